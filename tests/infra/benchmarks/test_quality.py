"""Tables of quality.md: differences over several languages are drawn by sentence."""

import json
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from data_contracts.evaluation import Group
from infra.benchmarks.forms import Measured
from infra.benchmarks.quality import (
    against_line,
    check_pooled,
    language_table,
    main,
    pooled_table,
    rights_by_sentence,
)
from tasks.corpus.tables import write_table
from tasks.metrics.measures import primary_measure
from tasks.metrics.statistics import rows, values
from tests.tasks.reporting.conftest import build_report


def test_the_answers_to_one_sentence_are_drawn_together():
    """Two languages that are right and wrong together count as twice the sentences: narrow."""
    right = np.array([1.0, 0.0] * 50)
    other = np.array([0.0, 0.0] * 50)
    report = SimpleNamespace(systems={})

    def interval(languages):
        rights = {"student": dict.fromkeys(languages, right), "x": dict.fromkeys(languages, other)}
        line = next(row for row in pooled_table(report, rights) if row.startswith("| x"))
        cell = line.split(" | ")[2]
        assert line.split(" | ")[1] == "0.0"
        assert cell.startswith("+50.0 [+")
        low, high = cell.partition("[")[2].rstrip("]").split(", ")
        return float(low), float(high)

    one, two = interval(["zh"]), interval(["zh", "de"])
    assert two == one
    # 50 of 100: a binomial's two standard errors, by its formula
    assert one == pytest.approx((50 - 196 * 0.05, 50 + 196 * 0.05), abs=1.5)


def test_another_runs_student_is_compared_text_by_text():
    """A spread taken from the wrong student, or a gain with the sign of the other's."""
    measure = primary_measure("accuracy", target_language="zh")

    def measured(*rights):
        seeds = tuple(values(np.array(one)) for one in rights)
        return Measured(measure, tuple("abcd"), seeds, (), 1234567)

    student = measured([1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0])
    other = measured([1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0])
    cells = against_line("another", student, other).split(" | ")
    # By hand: 75 and 100 against 50 and 75; the spread of 50 and 75 is 25 / sqrt(2).
    assert cells[0] == "| another (1,234,567 parameters)"
    assert cells[1] == "62.5 ± 17.7"
    assert cells[2].startswith("+25.0 [")
    assert cells[2].endswith("(by seed +25.0, +25.0) |")


def test_a_system_that_reads_one_language_alone_has_a_line_with_a_gap():
    """A KeyError after the first table, where the teacher reads English and the student both."""
    report, _ = build_report(("on", "off", "play"))
    scores = [{"student": {"accuracy": 0.5}}]
    scores.append({"student": {"accuracy": 0.25}, "teacher": {"accuracy": 1.0}})
    groups = [
        SimpleNamespace(value=language, scores=found)
        for language, found in zip(("zh", "en"), scores, strict=True)
    ]
    assert list(language_table(report, groups))[2:] == ["| zh | 50.0 |  |", "| en | 25.0 | 100.0 |"]


@pytest.mark.parametrize("theirs", [{"zh": 4}, {"zh": 4, "fr": 4}, {"zh": 5, "de": 5, "fr": 5}])
def test_another_runs_student_of_other_languages_is_refused(theirs):
    """A traceback of numpy's; or German compared with French, where there are as many rows."""
    rights = {
        "student": {"zh": np.ones(4), "de": np.ones(4)},
        "Student of other": {name: np.ones(size) for name, size in theirs.items()},
    }
    told = rf"other answered test rows in {', '.join(sorted(theirs))}, the student in de, zh:"
    with pytest.raises(SystemExit, match=told):
        list(pooled_table(SimpleNamespace(systems={}), rights))


def test_another_runs_student_of_other_test_rows_is_refused(tmp_path, monkeypatch):
    """A traceback, where a sentence says which of the two is not to be compared."""
    report, _ = build_report(("on", "off"), num_examples=40)
    for name, ids in (("mine", ["a", "b"]), ("theirs", ["a", "c"])):
        (tmp_path / name / "statistics").mkdir(parents=True)
        (tmp_path / name / "report.json").write_text(report.model_dump_json(), encoding="utf-8")
        table = pa.table({"example_id": ids, "statistics": [[1.0], [0.0]]})
        write_table(table, tmp_path / name / "statistics" / "student_0.parquet")
    mine, theirs = str(tmp_path / "mine"), str(tmp_path / "theirs")
    monkeypatch.setattr("sys.argv", ["quality", mine, "--against", theirs])
    with pytest.raises(SystemExit, match=r"--against .*/theirs: 2 and 2 test examples, not the sa"):
        main()


def test_another_problems_student_of_the_same_rows_is_refused():
    """Sums of hits, decisions and gold classes read as rights: a precision for an accuracy."""
    accuracy, f1 = (primary_measure(one, target_language="zh") for one in ("accuracy", "micro_f1"))
    student = Measured(accuracy, ("a", "b"), (values(np.array([1.0, 0.0])),), (), 1)
    other = Measured(f1, ("a", "b"), (rows([[1.0, 1.0, 2.0], [0.0, 1.0, 1.0]]),), (), 1)
    with pytest.raises(ValueError, match="measured by micro-F1, those here by accuracy"):
        against_line("another", student, other)


def test_a_folder_that_is_no_evaluation_is_named(tmp_path, monkeypatch):
    """A traceback for a path with one letter wrong."""
    monkeypatch.setattr("sys.argv", ["quality", str(tmp_path / "evaluatoin")])
    with pytest.raises(SystemExit, match=r"evaluatoin/report\.json does not exist: an evaluation"):
        main()


def test_a_corpus_without_its_keys_is_refused(monkeypatch, capsys):
    """An option that is taken and does nothing: a table without the lines that were asked for."""
    monkeypatch.setattr("sys.argv", ["quality", "here", "--corpus", "there"])
    with pytest.raises(SystemExit):
        main()
    assert "--corpus and --join go together" in capsys.readouterr().err


def test_answers_that_are_not_right_or_wrong_are_not_pooled():
    """Places in a context never equal the list of right ones: a table of 0.0, headed accuracy."""
    report, _ = build_report(("on", "off"), num_examples=40)
    with pytest.raises(SystemExit, match="has labelled test rows in zh alone"):
        check_pooled(report)
    languages = [Group(column="language", value=one, num_examples=1, scores={}) for one in "ab"]
    several = report.model_copy(update={"groups": tuple(languages)})
    check_pooled(several)
    f1 = several.metrics[0].model_copy(update={"name": "answer_f1", "display": "answer F1"})
    with pytest.raises(SystemExit, match=r"measured by answer F1: .* leave --corpus and --join"):
        check_pooled(several.model_copy(update={"metrics": (f1,)}))


def test_thousands_of_sentences_are_not_resampled_all_at_once():
    """2,000 resamples of 4 languages and 3 systems in one array: 400 MB for 2,000 sentences."""
    rng = np.random.default_rng(0)
    rights = {
        name: {one: (rng.random(2000) < 0.8).astype(float) for one in ("zh", "de", "fr", "ja")}
        for name in ("student", "x", "y")
    }
    tracemalloc.start()
    try:
        assert len(list(pooled_table(SimpleNamespace(systems={}), rights))) == 7
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


@pytest.fixture
def one_language(tmp_path):
    """(report, evaluation, what was asked): three Chinese test rows, two of them answered rightly.

    Their table has a no-break space, a quote that ends nowhere and an invisible mark.
    """
    corpus, evaluation = tmp_path / "corpus", tmp_path / "evaluation"
    (corpus / "rows" / "test").mkdir(parents=True)
    (evaluation / "predictions").mkdir(parents=True)
    config = {"normalization": {"unicode_form": "NFC", "repair_encoding": False}}
    manifest = {"key_parts": {"config": config}}
    (corpus / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    texts = {"a": "93 % de la ville", "b": '"Oui, dit-il.', "c": "une ville", "en": "a town"}
    rows = {"example_id": [*texts], "text": [*texts.values()], "language": ["fr"] * 3 + ["en"]}
    pd.DataFrame(rows).to_parquet(corpus / "rows" / "test" / "part-00000.parquet")
    answers = {"example_id": ["a", "b", "c"], "label": [1, 1, 1], "prediction": [1, 0, 1]}
    pd.DataFrame(answers).to_parquet(evaluation / "predictions" / "student_0.parquet")
    answers = {"example_id": ["en"], "label": [1], "prediction": [1]}
    pd.DataFrame(answers).to_parquet(evaluation / "predictions" / "teacher.parquet")
    table = tmp_path / "test.fr.tsv"
    lines = ("id\ttext", "7\tune ville\u200b", '8\t"Oui, dit-il.', "9\t93\u00a0% de la ville")
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    report = SimpleNamespace(
        source_language="en",
        target_language="fr",
        groups=[SimpleNamespace(column="language", value=one) for one in ("fr", "en")],
    )
    pattern = str(tmp_path / "test.{language}.tsv")
    asked = SimpleNamespace(corpus=corpus, join=pattern, text="text", key="id")
    return report, evaluation, asked


def test_every_test_row_is_in_the_mean(one_language):
    """28 of 204 French rows, whose no-break spaces the corpus had made plain, were left out."""
    report, evaluation, asked = one_language
    found = rights_by_sentence(report, evaluation, asked)
    assert {name: one["fr"].tolist() for name, one in found.items()} == {"student": [1, 0, 1]}


def test_another_runs_corpus_is_refused(one_language):
    """A traceback about a missing student, or a table without it."""
    report, evaluation, asked = one_language
    (evaluation / "predictions" / "student_0.parquet").unlink()
    with pytest.raises(SystemExit, match="no answers of a student"):
        rights_by_sentence(report, evaluation, asked)


def test_a_row_without_a_key_is_refused(one_language):
    """A mean over those that happened to be found looks like one over all."""
    report, evaluation, asked = one_language
    table = Path(asked.join.format(language="fr"))
    table.write_text("id\ttext\n7\tune ville\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="2 of 3 test rows in fr"):
        rights_by_sentence(report, evaluation, asked)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"corpus": Path("nowhere")}, "nowhere has no test rows: --corpus is the folder"),
        ({"join": "no/{language}.tsv"}, r"--join names no/fr\.tsv for fr, which does not exist"),
    ],
)
def test_a_path_that_leads_nowhere_is_named(one_language, wrong, told):
    """`No objects to concatenate`, three libraries deep."""
    report, evaluation, asked = one_language
    with pytest.raises(SystemExit, match=told):
        rights_by_sentence(report, evaluation, SimpleNamespace(**{**vars(asked), **wrong}))
