"""Sources whose rows become several: what is made, counted and refused."""

import json

import pytest
from pydantic import ValidationError

from data_contracts.errors import SourceError
from tasks import ingestion
from tasks.corpus.tables import read_table
from tests.tasks.corpus.text.test_segments import halves
from tests.tasks.small_corpus import (
    chinese_of,
    config_of,
    counts_of,
    ingest,
    quarantine_of,
    rows_of,
    source_of,
    text_of,
    write_sources,
)


@pytest.fixture
def sources(tmp_path):
    return write_sources(tmp_path)


def _write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def _halved(path, **fields):
    fields = {"columns": {"text": "text"}, "expand": "halves", **fields}
    return source_of("halves", path, "transfer", "zh", **fields)


def test_each_text_becomes_its_halves(sources, store, tmp_path):
    """Texts that were learned whole, or whose second halves were lost."""
    texts = [chinese_of(5000 + n) for n in range(30)]
    path = _write(tmp_path / "more.jsonl", [{"text": text} for text in [*texts, None, " "]])
    artifact = ingest([*sources, _halved(path)], store)
    rows = [row for row in rows_of(artifact, "transfer") if row["source"] == "halves"]
    assert [row["text"] for row in rows] == [half for text in texts for half in halves(text)]
    assert [row["line"] for row in rows] == [1 + n // 2 for n in range(60)]
    assert len({row["example_id"] for row in rows}) == 60
    counts = counts_of(artifact)["sources"]["halves"]
    assert counts["rows_in"] == 62
    assert sum(counts["rows_out_by_role"].values()) == 60
    aside = [(row["line"], row["reason"]) for row in quarantine_of(artifact)]
    assert aside == [(31, "missing_text"), (32, "empty_text")]


def test_rows_are_drawn_before_they_become_several(sources, store, tmp_path):
    """Half of a text drawn without the other, or twice as many rows as were asked for."""
    path = _write(tmp_path / "more.jsonl", [{"text": chinese_of(6000 + n)} for n in range(50)])
    artifact = ingest([*sources, _halved(path, max_rows=7)], store)
    rows = [row for row in rows_of(artifact, "transfer") if row["source"] == "halves"]
    assert len(rows) == 14
    assert counts_of(artifact)["sources"]["halves"]["rows_not_taken"] == 43


def _questions(numbers):
    for n in numbers:
        answer = text_of(n + 50_000)
        context = f"They {text_of(n)}. They {answer}. They {text_of(n + 90_000)}."
        cell = {"text": [answer], "answer_start": [context.index(answer)]}
        yield {"q": f"What of {text_of(n)}?", "c": context, "a": cell}


def _pairs(folder, store, train_rows, *, workers=1, max_quarantine_rate=None, **fields):
    """A corpus of English questions; the pool's answers are not read, nor is it given `fields`."""
    entries = []
    for name, role, rows in (
        ("train", "train", train_rows),
        ("pool", "transfer", _questions(range(100, 120))),
        ("dev", "validation", _questions(range(200, 220))),
        ("test", "test", _questions(range(300, 320))),
    ):
        path = _write(folder / f"{name}.jsonl", rows)
        entry = {"columns": {"text": "q", "text_b": "c"}, "expand": "answer_sentences"}
        if name != "pool":
            entry = {**entry, "columns": {**entry["columns"], "answers": "a"}, **fields}
        entries.append(source_of(name, path, role, "en", **entry))
    return ingest(
        entries,
        store,
        workers=workers,
        force=True,
        problem="matching",
        target_language="en",
        filters={"check_language": False},
        deduplication={"leak_threshold": None},
        max_quarantine_rate=max_quarantine_rate,
    )


def _labels(artifact):
    return json.loads((artifact.path / "labels.json").read_text())["labels"]


def test_pairs_are_made_of_answers_whatever_the_number_of_workers(store, tmp_path):
    """Two machines that teach different sentences under one key."""
    contents = []
    for workers in (1, 3):
        made = _pairs(tmp_path, store, _questions(range(30)), workers=workers)
        contents.append(
            {
                path.relative_to(made.path): path.read_bytes()
                for path in made.path.rglob("*.parquet")
            }
        )
    assert contents[0] == contents[1]
    rows_in = {name: one["rows_in"] for name, one in counts_of(made)["sources"].items()}
    assert rows_in == {"train": 60, "pool": 40, "dev": 40, "test": 40}
    assert _labels(made) == ["no", "yes"]
    (part,) = (made.path / "rows" / "train").glob("*.parquet")
    assert read_table(part)["line"].to_pylist() == [1 + n // 2 for n in range(60)]


def test_one_broken_row_costs_itself_alone(store, tmp_path):
    """A run that stops at the first context whose answer is not there."""
    rows = list(_questions(range(30)))
    rows[3]["a"] = {"text": ["nowhere"], "answer_start": [0]}
    rows[4]["a"] = None
    rows[5]["a"]["answer_start"] = [1]
    rows[6]["a"]["text"].append("nowhere")
    rows[6]["a"]["answer_start"].append(0)
    artifact = _pairs(tmp_path, store, rows, max_quarantine_rate=0.5)
    aside = [(row["source"], row["line"], row["reason"]) for row in quarantine_of(artifact)]
    assert aside == [("train", 4, "answer_not_found"), ("train", 5, "missing_label")]
    counts = counts_of(artifact)["sources"]
    assert counts["train"]["rows_in"] == 58
    mended = [counts["train"][name] for name in ("repaired_answers", "dropped_answers")]
    assert mended == [1, 2]  # of the row that is set aside, too


def test_the_label_of_a_pair_may_have_another_name(store, tmp_path):
    """A recipe that mixes made pairs with a file whose classes are called otherwise."""
    names = {"yes": "entailment", "no": "not_entailment"}
    artifact = _pairs(tmp_path, store, _questions(range(30)), label_map=names)
    assert _labels(artifact) == ["entailment", "not_entailment"]


def _config(problem="text_classification", **fields):
    source = {
        "name": "mine", "format": "parquet", "uri": "mine.parquet", "role": "transfer",
        "language": "zh", "columns": {"text": "text"}, "expand": "halves",
    }  # fmt: skip
    return ingestion.Config.model_validate(
        {"problem": problem, "source_language": "en", "target_language": "zh",
         "sources": [{**source, **fields}]}
    )  # fmt: skip


PAIRS = {"text": "q", "text_b": "c"}


@pytest.mark.parametrize(
    ("problem", "fields", "said"),
    [
        ("text_classification", {"role": "train", "columns": {"label": "label"}},
         "what is true of a text need not be of its halves"),
        ("text_classification", {"columns": {"label": "label"}}, "take the column out"),
        ("text_classification", {"parallel_language": "en", "columns": {"parallel_text": "en"}},
         "parallel text"),
        ("multilabel_classification", {"columns": {"words": "tokens"}},
         "more of a row than a text"),
        ("translation", {"columns": {}}, "more of a row than a text"),
        ("text_classification", {"expand": "answer_sentences", "columns": {}}, "reads no pairs"),
        ("matching", {"columns": PAIRS}, "more of a row than a text"),
        ("matching", {"expand": "answer_sentences", "columns": {**PAIRS, "label": "l"}},
         "by columns.answers: take columns.label out"),
        ("matching", {"expand": None, "columns": {**PAIRS, "answers": "a"}},
         "set expand: answer_sentences"),
        ("matching", {"expand": "answer_sentences", "role": "train", "columns": PAIRS},
         "set columns.answers, or use the role transfer"),
        ("text_classification", {"label_names": ["off", "on"]}, "take label_names out"),
        ("matching", {"expand": "answer_sentences", "columns": PAIRS, "role": "adapt"},
         "the role adapt"),
        ("text_classification", {"expand": "thirds"}, "'halves' or 'answer_sentences'"),
    ],
)  # fmt: skip
def test_what_could_not_be_true_is_refused_when_the_recipe_is_read(problem, fields, said):
    """Halves with the label of their text, or pairs that are neither a yes nor a no."""
    with pytest.raises(ValidationError) as refused:
        _config(problem, **fields)
    assert said in str(refused.value)


def test_a_source_without_expansion_has_the_key_it_had():
    """All corpora, and all that is learned from them, made again for a field that none uses."""
    plain = _config(expand=None)
    assert "expand" not in plain.model_dump_json()
    assert _config().model_dump_json() != plain.model_dump_json()


def test_texts_in_another_language_are_told_though_their_halves_are_short(sources, store, tmp_path):
    """German halves learned as French ones: too short to be told, of texts that are not."""
    said = [
        f"Der Zug {n} fährt am frühen Morgen wieder ab, nachdem alle Reisenden eingestiegen sind"
        for n in range(60)
    ]
    path = _write(tmp_path / "more.jsonl", [{"text": text} for text in said])
    with pytest.raises(SourceError, match="short texts are in de"):
        ingest([*sources, {**_halved(path), "language": "fr"}], store)
    artifact = ingest([*sources, {**_halved(path), "language": "de"}], store)
    assert counts_of(artifact)["sources"]["halves"]["rows_in"] == 120


@pytest.mark.parametrize("missing", ["validation", "test"])
def test_pairs_of_one_question_are_not_parted_into_what_is_learned_and_tested(tmp_path, missing):
    """Whoever knows that one sentence answers knows that the other, a test row, does not."""
    columns = {"text": "q", "text_b": "c", "answers": "a"}
    entries = [
        source_of(role, tmp_path / f"{role}.jsonl", role, "en", columns=columns,
                  expand="answer_sentences")
        for role in ("train", "validation", "test")
        if role != missing
    ]  # fmt: skip
    with pytest.raises(ValidationError, match=f"no source has the role {missing} in 'en'"):
        config_of(entries, problem="matching", target_language="en")
