"""The report's own notes say what was done, not what is usually done."""

import pytest

from tasks.comparison.material import Material
from tasks.comparison.problem import Settings
from tasks.comparison.problems.classification import TextClassification
from tasks.comparison.sections.notes import own_notes
from tests.tasks.rooms import make_world

SOFT = {"alpha": 1.0, "hard_labels": "none"}
UNTAUGHT = "No zh label enters the student's loss."


@pytest.fixture(scope="module")
def world(tmp_path_factory, publish):
    """(store, inputs) of `make_world`."""
    return make_world(tmp_path_factory.mktemp("world"), publish)


def notes(
    world,
    publish,
    *,
    source="en",
    signals=None,
    asked="combined_signals",
    selection="auto",
    **config,
):
    """Notes about a student of this configuration, as one text; `signals` are made by `asked`."""
    store, inputs = world

    def copied(name):
        def write(output):
            for path in inputs[name].path.rglob("*"):
                if path.is_file() and path.name != "manifest.json":
                    target = output / path.relative_to(inputs[name].path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(path.read_bytes())

        return write

    config["training"] = {"selection": selection}
    student = publish(store, "student", copied("student_0"), config=config)
    made = {**inputs, "student_0": student}
    if signals:
        made["teacher_signals"] = publish(store, asked, copied("teacher_signals"), config=signals)
    problem = TextClassification(Material(made, "en", "zh"), Settings())
    answers = {
        "teacher": problem.answer_teacher(),
        "student": problem.answer_models([student.path / "model"]),
    }
    spoken = TextClassification(Material(made, source, "zh"), Settings())
    return " ".join(own_notes(spoken, answers))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"validation_language": "zh"}, "The labelled zh validation rows choose"),
        ({"validation_language": None}, "validation rows of all languages that the student reads"),
        ({"peers": [{"validation_language": "zh"}, {"validation_language": "en"}]},
         "The labelled zh validation rows choose"),
    ],
)  # fmt: skip
def test_the_rows_that_chose_the_step_are_named(world, publish, config, said):
    """Rows of eight languages chose it, and the report spoke of one."""
    assert said in notes(world, publish, objective=SOFT, **config)


@pytest.mark.parametrize("objective", [SOFT, {"alpha": 0.5, "targets": "gold"}])
def test_rows_that_chose_no_step_are_not_said_to_have(world, publish, objective):
    """`selection: last`, and a report in which labelled Chinese rows chose what was delivered."""
    signals = {"targets": "gold"}
    told = notes(
        world, publish, objective=objective, signals=signals, asked="teacher_signals",
        validation_language="zh", selection="last",
    )  # fmt: skip
    assert "chooses the training step: the last is kept" in told
    assert "step that is kept" not in told


@pytest.mark.parametrize(
    ("objective", "source", "is_taught"),
    [
        ({"alpha": 0.5, "hard_labels": "gold"}, "en", True),
        ({"alpha": 1.0, "hard_labels": "gold"}, "en", False),  # they have no weight
        ({"alpha": 0.5, "hard_labels": "source"}, "en", False),
        ({"alpha": 0.5, "hard_labels": "source"}, "zh", True),  # the source is the target
        ({"terms": [{"kind": "kl"}, {"kind": "hard", "labels": "gold"}]}, "en", True),
        ({"terms": [{"kind": "kl"}, {"kind": "hard", "labels": "gold", "weight": 0}]}, "en", False),
    ],
)
def test_gold_labels_are_admitted_where_they_enter_the_loss(
    world, publish, objective, source, is_taught
):
    """`No label` of a student that learned from labels: a transfer that never happened."""
    told = notes(world, publish, source=source, objective=objective, validation_language="zh")
    assert ("Gold zh labels enter this student's loss." in told) is is_taught
    assert (UNTAUGHT in told) is not is_taught


def test_a_panel_of_teachers_is_not_timed_as_one(world, publish):
    """The accuracy of three networks beside the size of one of them."""
    config = {"objective": SOFT, "validation_language": "zh"}
    told = notes(world, publish, signals={"teachers": ["teacher", "german"]}, **config)
    assert "those of 2 teachers combined (teacher, german)" in told
    assert "combined" not in notes(world, publish, **config)


@pytest.mark.parametrize(
    ("learnt", "asked", "said"),
    [
        ("teacher", "interpolation", "texts that the teacher wrote (with"),
        ("teacher", "sequence", "texts that the teacher wrote (with"),
        ("gold", "gold", "the given texts. Validation"),
        ("gold", "interpolation", "the given texts. Validation"),
        ("teacher", "gold", "the given texts; of rows without one, what the teacher wrote."),
    ],
)
def test_whose_texts_were_learnt_is_what_the_teacher_was_asked_about(
    world, publish, learnt, asked, said
):
    """A student of given texts, reported as one of its teacher's: `targets: teacher` are gold ones
    where the teacher was asked about those."""
    told = notes(
        world,
        publish,
        objective={"alpha": 0.5, "targets": learnt},
        signals={"targets": asked},
        asked="teacher_signals",
    )
    assert f"The student learns {said}" in told


def test_a_handful_of_test_examples_is_called_one(world, publish):
    """One example, answered rightly by one of two: `the interval lies above zero`."""
    told = notes(world, publish, objective=SOFT, validation_language="zh")
    assert "Test examples of a system: 16. Intervals are" in told
