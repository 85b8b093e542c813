"""Short texts of a source, identified together."""

import itertools
import json
from pathlib import Path

import pytest

from data_contracts.errors import SourceError
from tasks.ingestion import Config, check_languages
from tests.tasks.small_corpus import chinese_of, config_of, source_of, text_of

_ROOMS = {
    "en": ["kitchen", "bedroom", "garage", "garden", "office", "bathroom"],
    "de": ["der Küche", "dem Schlafzimmer", "der Garage", "dem Garten", "dem Büro", "dem Bad"],
    "nb": ["kjøkkenet", "soverommet", "garasjen", "hagen", "kontoret", "badet"],
}
_TEMPLATES = {
    "en": ["please turn on the light in the {}", "how warm is it in the {} today", "open the door"],
    "de": ["bitte schalte das Licht in {} an", "wie warm ist es heute in {}", "öffne die Tür"],
    "nb": ["kan du slå på lyset på {}", "hvor varmt er det på {} i dag", "åpne døren"],
}


def _texts(language: str, count: int = 60) -> list[str]:
    pairs = itertools.product(_TEMPLATES[language], _ROOMS[language])
    texts = [template.format(room) for template, room in pairs]
    return [texts[number % len(texts)] for number in range(count)]


def _write(path: Path, **columns: list[str]) -> Path:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _plain(folder: Path, texts: list[str], language: str, **fields: object) -> Config:
    path = _write(folder / "rows.jsonl", text=texts, label=["a"] * len(texts))
    return config_of([source_of("rows", path, "train", language)], **fields)


def test_swapped_columns_of_one_script_are_refused(tmp_path: Path):
    """A student was trained on English that was declared as German, and reported without a word."""
    path = _write(tmp_path / "pairs.jsonl", en=_texts("en"), de=_texts("de"))
    columns = {"text": "de", "parallel_text": "en"}
    right = source_of("pairs", path, "transfer", "de", parallel_language="en", columns=columns)
    check_languages(config_of([right]))
    swapped = {**right, "columns": {"text": "en", "parallel_text": "de"}}
    with pytest.raises(SourceError) as error:
        check_languages(config_of([swapped]))
    assert "columns.text is declared as de, but its first 60 short texts are in en" in (
        error.value.fact
    )
    assert "the other way round" in error.value.remedy
    assert "check_language: false" in error.value.remedy
    check_languages(config_of([swapped], filters={"check_language": False}))


def test_the_second_column_and_the_second_file_are_judged_too(tmp_path: Path):
    """A teacher read German as English: only the text that the student reads was looked at."""
    keys = [str(number) for number in range(60)]
    german = _texts("de")
    path = _write(tmp_path / "pairs.jsonl", de=german, en=_texts("de"), key=keys)
    columns = {"text": "de", "parallel_text": "en"}
    pairs = source_of("pairs", path, "transfer", "de", parallel_language="en", columns=columns)
    with pytest.raises(SourceError, match=r"columns\.parallel_text is declared as en"):
        check_languages(config_of([pairs]))
    other = _write(tmp_path / "other.jsonl", text=german, key=keys)
    beside = {
        **pairs,
        "columns": {"text": "de"},
        "parallel": {"uri": str(other), "key": "key"},
    }
    with pytest.raises(SourceError, match=r"parallel\.columns\.text is declared as en"):
        check_languages(config_of([beside]))
    check_languages(config_of([beside]), here=lambda uri: uri != str(other))


def test_a_file_of_another_language_names_what_to_change(tmp_path: Path):
    """A German test source that pointed at the English file gave the student 40 % accuracy."""
    with pytest.raises(SourceError) as error:
        check_languages(_plain(tmp_path, _texts("en"), "de"))
    assert "in en" in error.value.fact
    assert "the file that does" in error.value.remedy


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (_texts("de"), "de"),
        (_texts("de"), "de-CH"),
        (_texts("nb"), "da"),  # confused by every identifier
        (_texts("en", 12), "de"),  # too few to say
        (["OK"] * 200, "de"),  # too few letters to say
        ([text for pair in zip(_texts("en"), _texts("de"), strict=True) for text in pair], "de"),
        (_texts("en", 80) + _texts("de", 20), "de"),  # in both: no wrong declaration
        ([f"{en}, {de}" for en, de in zip(_texts("en"), _texts("de"), strict=True)], "de"),
        (_texts("en"), "gsw"),  # unknown to the identifier
        (_texts("en"), "hi-Latn"),  # romanised: not judged
        ([text_of(number) for number in range(200)], "en"),  # made-up words
        ([chinese_of(number) for number in range(200)], "zh"),
    ],
)
def test_what_is_not_clearly_another_language_is_left_alone(
    tmp_path: Path, texts: list[str], language: str
):
    """Ordinary sources were refused for their names, their mixture or their dialect."""
    check_languages(_plain(tmp_path, texts, language))


def test_replies_may_be_code_and_translations_may_not_be_swapped(tmp_path: Path):
    """German requests with English commands as replies were refused; a swapped bitext was not."""
    path = _write(tmp_path / "rows.jsonl", de=_texts("de"), en=_texts("en"))
    columns = {"text": "de", "target_text": "en"}
    rows = source_of("rows", path, "train", "de", columns=columns)
    check_languages(config_of([rows], problem="generation", target_language="de"))
    turned = {**rows, "language": "en", "target_language": "de"}
    with pytest.raises(SourceError, match=r"columns\.text is declared as en.*texts are in de"):
        check_languages(config_of([turned], problem="translation", target_language="de"))
    with pytest.raises(SourceError, match=r"columns\.target_text is declared as de"):
        check_languages(config_of([rows], problem="summarization", target_language="de"))
