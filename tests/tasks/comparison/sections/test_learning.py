"""What a student's training noted, and what it was made of, told where the report is read."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest

from data_contracts.evaluation import Course
from tasks.comparison.material import Material
from tasks.comparison.sections.learning import learning_of, warnings_of
from tasks.corpus.tables import read_table, write_table
from tests.tasks.rooms import make_world

CLASSES = "text_classification"


@pytest.fixture(scope="module")
def world(tmp_path_factory, publish):
    """(store, inputs) of `make_world`."""
    return make_world(tmp_path_factory.mktemp("world"), publish)


def with_history(world, publish, validations, best_step, **config):
    """The material with a student of another history."""
    store, inputs = world

    def write(output):
        shutil.copytree(inputs["student_0"].path, output, dirs_exist_ok=True)
        (output / "manifest.json").unlink()
        history = {"steps": [], "validations": validations, "best_step": best_step}
        (output / "history.json").write_text(json.dumps(history))

    config = {"objective": {"hard_labels": "teacher"}, **config}
    student = publish(store, "student", write, config={**config, "history": str(validations)})
    return Material({**inputs, "student_0": student}, "en", "zh")


def test_shares_and_drift_are_those_of_the_first_the_delivered_and_the_last_validation(
    world, publish
):
    """The last step's shares told of a student that stopped being kept long before."""
    validations = [
        {
            "step": step,
            "accuracy": 0.5,
            "share_kd": share,
            "share_hard": 1 - share,
            "peer_1_accuracy": 0.6,
            "peer_1_drift_accuracy": -share / 4,
            "peer_1_drift_kl": share / 2,
        }
        for step, share in ((2, 0.875), (4, 0.75), (6, 0.5), (8, 0.25))
    ]
    found = learning_of(with_history(world, publish, validations, 4))
    assert (found.first_step, found.best_step, found.last_step) == (2, 4, 8)
    assert found.shares == (
        Course(name="kd", first=0.875, best=0.75, last=0.25),
        Course(name="hard", first=0.125, best=0.25, last=0.75),
    )
    assert found.drift == (
        Course(name="peer_1_accuracy", first=-0.21875, best=-0.1875, last=-0.0625),
        Course(name="peer_1_kl", first=0.4375, best=0.375, last=0.125),
    )


def test_a_figure_that_was_not_always_noted_is_left_out(world, publish):
    """A training that an older version began has no shares at first: a zero would be invented."""
    validations = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 1.0, "share_kd": 1.0}]
    assert learning_of(with_history(world, publish, validations, 2)) is None
    assert learning_of(with_history(world, publish, [], 0)) is None


def test_a_sound_student_is_not_warned_of(world):
    """Warnings in every report are read in none."""
    _, inputs = world
    assert warnings_of(Material(inputs, "en", "zh"), CLASSES, ("transfer",)) == ()


def test_a_collapsed_student_is_told_of_at_the_step_that_is_delivered(world, publish):
    """Texts that share one vector score near chance, and no figure says why."""
    validations = [
        {"step": 1, "embedding_cosine": 0.9987},
        {"step": 2, "embedding_cosine": 0.4},
    ]
    (warning,) = warnings_of(with_history(world, publish, validations, 1), CLASSES, ("transfer",))
    assert "collapsed" in warning
    assert "0.9987" in warning
    assert not warnings_of(with_history(world, publish, validations, 2), CLASSES, ("transfer",))


def signals_times(world, publish, scales):
    """The teacher's signals, logits of a role multiplied."""
    store, inputs = world

    def write(output):
        folder = inputs["teacher_signals"].path
        shutil.copyfile(folder / "labels.json", output / "labels.json")
        for path in folder.glob("*/*.parquet"):
            table = read_table(path)
            logits = np.array(table["logits"].to_pylist()) * scales.get(path.parent.name, 1.0)
            column = pa.array(logits.tolist(), table.schema.field("logits").type)
            at = table.schema.get_field_index("logits")
            write_table(
                table.set_column(at, table.schema.field("logits"), column),
                output / path.relative_to(folder),
            )

    return publish(store, "teacher_signals", write, config={"scales": str(scales)})


def test_what_the_student_was_made_of_is_judged_as_training_judges_it(world, publish):
    """Said once, at a training that was cached ever since, a cause is never found."""
    store, inputs = world
    saturated = signals_times(world, publish, {"transfer": 200.0, "validation": 200.0})
    made = {**inputs, "teacher_signals": saturated}
    (warning,) = warnings_of(Material(made, "en", "zh"), CLASSES, ("transfer",))
    logits = read_table(saturated.path / "transfer" / "part-00000.parquet")["logits"].to_pylist()
    halved = np.array(logits, dtype=np.float64) / 2.0  # the temperature, unless given
    halved -= halved.max(axis=1, keepdims=True)
    p = np.exp(halved) / np.exp(halved).sum(axis=1, keepdims=True)
    nats = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1).mean()
    assert f"at temperature 2 its entropy is {nats:.4f} nats" in warning

    unsure = signals_times(world, publish, {"transfer": 0.01, "validation": 5.0})
    made = {**inputs, "teacher_signals": unsure}
    (warning,) = warnings_of(Material(made, "en", "zh"), CLASSES, ("transfer",))
    assert "another domain" in warning

    def in_pieces(output):
        shutil.copytree(inputs["student_tokens"].path, output, dirs_exist_ok=True)
        (output / "manifest.json").unlink()
        facts = json.loads((output / "tokens.json").read_text())
        facts["num_tokens"]["transfer"] *= 4
        (output / "tokens.json").write_text(json.dumps(facts))

    pieces = publish(store, "tokens", in_pieces, config={"pieces": True})
    made = {**inputs, "student_tokens": pieces}
    (warning,) = warnings_of(Material(made, "en", "zh"), CLASSES, ("transfer",))
    assert "vocabulary falls to pieces" in warning


def in_parts(world, publish, num_parts, *, rows=1000):
    """(material of a saturated teacher of 40 classes, its logits): transfer rows in many parts."""
    store, inputs = world
    names = [f"label {number:02d}" for number in range(40)]
    rng = np.random.default_rng(num_parts)
    logits = rng.normal(0.0, 600.0, (num_parts, rows, 40)).astype(np.float32)

    def each_part(output, write):
        (output / "labels.json").write_text(json.dumps({"labels": names}))
        for part in range(num_parts):
            ids = [f"{part:016x}{row:016x}" for row in range(rows)]
            write_table(write(part, ids), output / "transfer" / f"part-{part:05d}.parquet")

    def signals(output):
        # In another order than the tokens: rows are joined by their ids.
        each_part(
            output,
            lambda part, ids: pa.table(
                {
                    "example_id": ids[::-1],
                    "logits": pa.array(list(logits[part, ::-1]), pa.list_(pa.float32())),
                }
            ),
        )

    def tokens(output):
        languages = ["zh", "en"] * (rows // 2)
        each_part(output, lambda part, ids: pa.table({"example_id": ids, "language": languages}))
        facts = {"num_rows": {}, "num_tokens": {}}
        (output / "tokens.json").write_text(json.dumps(facts))

    made = {
        name: publish(store, name, write, config={"num_parts": num_parts})
        for name, write in {"teacher_signals": signals, "tokens": tokens}.items()
    }
    student = with_history(
        world, publish, [{"step": 1}], 1, languages=["zh"], parts=num_parts
    ).inputs["student_0"]
    changed = {**inputs, "teacher_signals": made["teacher_signals"], "student_0": student}
    return Material({**changed, "student_tokens": made["tokens"]}, "en", "zh"), logits


def test_the_rows_that_are_looked_at_are_spread_over_all_parts(world, publish):
    """A teacher judged by the first file of a hundred, or by another row's logits."""
    material, logits = in_parts(world, publish, 12)
    (warning,) = warnings_of(material, CLASSES, ("transfer",))
    read = logits[:, 0::2].reshape(-1, 40)  # what the student reads, in file order
    chosen = read[np.unique(np.floor(np.linspace(0, len(read) - 1, 4096)).astype(int))]
    halved = chosen.astype(np.float64) / 2.0
    halved -= halved.max(axis=1, keepdims=True)
    p = np.exp(halved) / np.exp(halved).sum(axis=1, keepdims=True)
    nats = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1).mean()
    assert f"at temperature 2 its entropy is {nats:.4f} nats" in warning


def test_memory_of_warnings_does_not_grow_with_rows(world, publish):
    """All that a teacher said of ten million rows in memory, to look at four thousand."""
    peaks = []
    for num_parts in (2, 16):
        material, _ = in_parts(world, publish, num_parts)
        usual, counted = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
        pa.set_memory_pool(counted)
        try:
            assert warnings_of(material, CLASSES, ("transfer",))
        finally:
            pa.set_memory_pool(usual)
        peaks.append(counted.max_memory())
    assert 0 < peaks[1] < 1.5 * peaks[0]


def test_a_student_of_gold_labels_is_not_warned_of_a_teacher_it_never_heard(world, publish):
    """The saturation of a teacher that trained nothing is no cause of anything."""
    saturated = signals_times(world, publish, {"transfer": 200.0, "validation": 200.0})
    made = with_history(
        world,
        publish,
        [{"step": 1}],
        1,
        objective={"alpha": 0.0, "hard_labels": "gold"},
    )
    heard = Material({**made.inputs, "teacher_signals": saturated}, "en", "zh")
    assert warnings_of(heard, CLASSES, ("transfer",)) == ()
