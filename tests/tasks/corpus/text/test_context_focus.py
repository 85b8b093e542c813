"""Contexts are cut to the sentences that their questions are about."""

import random
import time

import pytest
from pydantic import ValidationError

from tasks import ingestion
from tasks.corpus.sources.source import FileSource
from tasks.corpus.text.context_focus import focused
from tasks.corpus.text.normalization import NormalizationConfig, normalize

FORM = NormalizationConfig()
CHINESE = "长城东起山海关。长城全长两万公里。故宫在北京！游客很多；门票不贵。"
GERMAN = (
    "Die Straße ist 3.5 km lang. Sie führt am Fluss entlang. „Wer baute sie?“ Es war z. B. ein "
    "Ingenieur. Er starb früh."
)
ARABIC = "يقع البرج في دبي. يبلغ ارتفاعه 828.5 مترا! متى افتتح؟ افتتح عام 2010؛ وهو الأطول."


@pytest.mark.parametrize(
    ("text", "question", "limit", "kept"),
    [
        (CHINESE, "长城有多长？", 20, "长城东起山海关。长城全长两万公里。"),
        (CHINESE, "故宫在哪里？", 20, "长城全长两万公里。故宫在北京！游客很多；"),
        (CHINESE, "故宫在哪里？", 19, "长城全长两万公里。故宫在北京！"),
        (CHINESE, "门票贵不贵？", 13, "游客很多；门票不贵。"),
        (GERMAN, "WIE LANG IST DIE STRASSE?", 30, "Die Straße ist 3.5 km lang."),
        (GERMAN, "Was baute der Ingenieur?", 60,
         "„Wer baute sie?“ Es war z. B. ein Ingenieur. Er starb früh."),
        (GERMAN, "Was baute der Ingenieur?", 46, "„Wer baute sie?“ Es war z. B. ein Ingenieur."),
        (ARABIC, "كم يبلغ ارتفاع البرج؟", 45, "يقع البرج في دبي. يبلغ ارتفاعه 828.5 مترا!"),
        (ARABIC, "متى افتتح البرج؟", 30, "متى افتتح؟ افتتح عام 2010؛"),
    ],
)  # fmt: skip
def test_sentences_by_hand(text, question, limit, kept):
    """The number of the answer was cut at its point, or the sentence before it was kept."""
    assert focused(text, question, limit) == kept


@pytest.mark.parametrize(
    ("text", "question", "limit", "kept"),
    [
        ("甲乙丙。甲乙丁。甲乙戊。", "甲乙", 4, "甲乙丙。"),  # a tie
        ("甲乙丙。甲乙丁。甲乙戊。", "子丑", 8, "甲乙丙。甲乙丁。"),  # nothing is shared
        ("甲乙丙。甲乙丁。甲乙戊。", "", 8, "甲乙丙。甲乙丁。"),
        ("甲乙丙。甲乙丁。甲乙戊。", "丁", 8, "甲乙丙。甲乙丁。"),  # one character is no pair
        (
            "甲乙甲乙甲乙。乙丙甲。",
            "甲乙丙甲",
            7,
            "乙丙甲。",
        ),  # each pair counts once: 甲乙 and 乙甲
        ("没有句号的一段很长的话", "句号", 5, "没有句号的一段很长的话"),
        ("甲乙丙丁戊。子丑寅卯辰。", "子丑", 3, "子丑寅卯辰。"),  # smaller than every sentence
        ("真的？！。。是的。", "是的", 4, "是的。"),
        ("。。。。", "何", 2, "。。。。"),
        ("短。文。", "文", 4, "短。文。"),
        ("", "何", 20, ""),
        ("   ", "何", 2, "   "),
    ],
)
def test_edges_by_hand(text, question, limit, kept):
    """An empty text, or a run that stops, for a context that is not like most."""
    assert focused(text, question, limit) == kept


def by_brute_force(sentences, gap, question, limit):
    """Every window is put together and compared, as the recipe once told users to do it."""

    def pairs(text):
        text = text.casefold()
        return {text[at : at + 2] for at in range(len(text) - 1)}

    best = None
    for first in range(len(sentences)):
        fitting = [sentences[first]]
        for last in range(first + 2, len(sentences) + 1):
            window = gap.join(sentences[first:last])
            if len(window) <= limit:
                fitting.append(window)
        window = fitting[-1]
        shared = len(pairs(window) & pairs(question))
        if best is None or shared > best[0]:
            best = shared, window
    return best[1]


@pytest.mark.parametrize(
    ("letters", "ends", "gap"),
    [
        ("甲乙丙丁戊", ["。", "！", "？", "；", "？！"], ""),
        ("abSßİé 7", [".", "!", "?", "...", '."', "?“"], " "),
        ("ابتث ", [".", "؟", "!", "؛"], " "),
        ("अआक\u200dख ", ["।", "?"], " "),
    ],
)
def test_the_window_is_the_one_that_comparing_all_of_them_finds(letters, ends, gap):
    """Pairs that left the window were counted on, and a student learned from another sentence."""
    draw = random.Random(7)

    def some(least, most):
        return "".join(draw.choices(letters, k=draw.randint(least, most)))

    moved = 0
    for _ in range(400):
        # A letter before the mark is not alone: no initial, whose dot ends nothing.
        sentences = [
            normalize(f"{letters[0]}{some(0, 12)}{letters[1:3]}{draw.choice(ends)}", FORM)[0]
            for _ in range(draw.randint(1, 9))
        ]
        text, question, limit = gap.join(sentences), some(0, 9), draw.randint(1, 45)
        kept = focused(text, question, limit)
        assert kept == (
            text if len(text) <= limit else by_brute_force(sentences, gap, question, limit)
        )
        assert focused(kept, question, limit) == kept
        assert normalize(kept, FORM)[0] == kept
        moved += not text.startswith(kept)
    assert moved > 60


def test_a_joiner_stays_with_the_mark_before_it():
    """A context that began with an invisible character, and was another text when normalised."""
    text = "کتاب در خانه است۔\u200c خانه در شهر است۔\u200cشهر بزرگ است۔"
    assert normalize(text, FORM)[0] == text
    assert focused(text, "شهر بزرگ", 16) == "شهر بزرگ است۔"


@pytest.mark.parametrize(
    "text",
    [
        "." * 200_000 + "x",
        "Aa. " * 50_000,
        "甲。" * 100_000,
        ".)" * 100_000 + "x",
        "甲乙" * 100_000,
    ],
    ids=["dots", "sentences", "Chinese", "closing", "one sentence"],
)
def test_the_time_grows_with_the_text_alone(text):
    """A table of contents, ten thousand dots long, that a run stood still at."""
    start = time.perf_counter()
    focused(text, "甲乙丙 Aa. Aa.", 50_000)
    assert time.perf_counter() - start < 10  # 0.1 s; what is quadratic takes minutes


def config_of(problem="question_answering", **fields):
    source = {
        "name": "mine", "format": "parquet", "uri": "mine.parquet", "role": "transfer",
        "language": "zh", "columns": {"text": "context", "question": "question"},
        "focus_characters": 180,
    }  # fmt: skip
    return ingestion.Config.model_validate(
        {"problem": problem, "source_language": "en", "target_language": "zh",
         "sources": [{**source, **fields}]}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("problem", "fields", "said"),
    [
        ("text_classification", {"columns": {}}, "text_classification asks no question of a text"),
        ("question_answering", {"role": "test", "columns": {"question": "q", "answers": "a"}},
         "but the role test: contexts are cut of transfer rows only"),
        ("question_answering", {"columns": {"question": "q", "answers": "a"}},
         "an answer may lie outside of what is kept"),
        ("question_answering", {"focus_characters": 19}, "greater than or equal to 20"),
    ],
)  # fmt: skip
def test_a_limit_that_could_lose_an_answer_is_refused_when_the_recipe_is_read(
    problem, fields, said
):
    """Answers whose sentence is gone are learned as "no answer here"."""
    with pytest.raises(ValidationError, match="focus_characters") as refused:
        config_of(problem, **fields)
    assert said in str(refused.value)


def test_a_source_without_a_limit_has_the_key_it_had():
    """All corpora, and all that is learned from them, made again for a field that none uses."""
    given = config_of().sources[0]
    assert isinstance(given, FileSource)
    assert given.model_dump()["focus_characters"] == 180
    plain = config_of(focus_characters=None)
    assert "focus_characters" not in plain.model_dump_json()
    assert config_of(focus_characters=20).model_dump_json() != plain.model_dump_json()
