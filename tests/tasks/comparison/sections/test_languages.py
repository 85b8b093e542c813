"""Scores by language: which languages are told, and that no other failure hides one."""

import json
import shutil

import pyarrow as pa
import pytest

from data_contracts.errors import ContractViolation
from data_contracts.evaluation import EvaluationReport
from tasks.comparison.material import Material
from tasks.comparison.problem import Settings
from tasks.comparison.problems.classification import TextClassification
from tasks.comparison.sections.languages import answers_by_language, language_notes
from tasks.corpus.tables import read_table, write_table
from tasks.evaluation import STAGE, Config, SpeedConfig
from tasks.runtime.stages import run_stage
from tests.tasks.rooms import make_world, write_tokens


@pytest.fixture(scope="module")
def world(tmp_path_factory, publish):
    """(store, inputs) of `make_world`."""
    return make_world(tmp_path_factory.mktemp("world"), publish)


def read_in(world, publish, *, english_labels):
    """The inputs with students that read English test rows too, labelled or not."""
    store, inputs = world

    def tokens(output):
        write_tokens(output, "zh", also_tested_in="en")
        path = output / "test" / "part-1.parquet"
        table = read_table(path)
        if not english_labels:
            unknown = pa.array([-1] * len(table), pa.int32())
            table = table.set_column(table.column_names.index("label"), "label", unknown)
        write_table(table, path)

    config = {"english_labels": english_labels}
    return {**inputs, "student_tokens": publish(store, "tokens", tokens, config=config)}


def compared(material):
    return TextClassification(material, Settings())


def told(inputs):
    """(what is told by language, notes) of the two students."""
    material = Material(inputs, "en", "zh")
    models = [artifact.path / "model" for artifact in material.seeds("student")]
    answers = {"student": compared(material).answer_models(models)}
    found = [one.language for one in answers_by_language(compared, material, answers)]
    return found, [*language_notes(compared, material)]


def test_a_language_without_right_answers_is_named_in_the_report(world, publish):
    """Left out without a word, a language that nobody has examined looks like one that passed."""
    store, inputs = world
    assert told(inputs) == ([], [])
    assert told(read_in(world, publish, english_labels=True)) == (["zh", "en"], [])
    unlabelled = read_in(world, publish, english_labels=False)
    languages, [note] = told(unlabelled)
    assert languages == ["zh"]
    assert note.startswith("No test row in en has a right answer")
    config = Config(
        recipe="rooms",
        source_language="en",
        target_language="zh",
        num_resamples=100,
        speed=SpeedConfig(num_threads=1, latency_texts=1, round_texts=1, max_rounds=1),
    )
    artifact = run_stage(STAGE, config, unlabelled, store=store).artifact
    report = EvaluationReport.model_validate_json((artifact.path / "report.json").read_bytes())
    assert note in report.notes
    assert [(one.column, one.value) for one in report.groups] == [("language", "zh")]


def test_any_other_violation_stops_the_comparison(world, publish):
    """A teacher of other classes, or signals that were lost: a language vanished from the report
    instead of the run telling what is wrong."""
    store, _ = world
    inputs = read_in(world, publish, english_labels=True)

    def signals(output):
        shutil.copytree(inputs["teacher_signals"].path, output, dirs_exist_ok=True)
        known = json.loads((output / "labels.json").read_text())["labels"]
        (output / "labels.json").unlink()
        (output / "labels.json").write_text(json.dumps({"labels": [*known[1:], "other"]}))

    broken = publish(store, "teacher_signals", signals, config={"classes": "others"})
    with pytest.raises(ContractViolation, match="differ in 2 classes"):
        told({**inputs, "teacher_signals": broken})
