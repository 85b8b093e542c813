"""Several teachers as one: weighted by hand, aligned by name and id, and no student can tell."""

import json

import numpy as np
import pyarrow as pa
import pytest

from data_contracts.errors import ContractViolation
from tasks.combined_signals import STAGE, Combination, Config
from tasks.corpus.tables import read_table, write_table
from tasks.problems import PROBLEMS
from tasks.runtime.stages import run_stage
from tasks.training.batching.signal_join import SignalJoin

PART = "transfer/part-00000.parquet"
IDS = [f"{row:032x}" for row in range(4)]


def softmax(x):
    powers = np.exp(np.asarray(x, dtype=np.float64))
    return powers / powers.sum(-1, keepdims=True)


def entropy(p):
    return float(-(p * np.log(p)).sum())


@pytest.fixture
def signals(publish, store):
    """Publishes {part: signal table} with labels as a teacher's signals."""

    def make(name, parts, labels):
        def write(output):
            for part, table in parts.items():
                write_table(table, output / part)
            (output / "labels.json").write_text(json.dumps({"labels": labels}))

        return publish(store, "teacher_signals", write, config={"name": name})

    return make


@pytest.fixture
def combine(store):
    """Runs the stage; gives its artifact."""

    def run(inputs, problem="text_classification", **combination):
        names = tuple(name.removeprefix("signals_") for name in inputs if "signals_" in name)
        config = Config(
            problem=problem, teachers=names, combination=Combination.model_validate(combination)
        )
        return run_stage(STAGE, config, inputs, store=store).artifact

    return run


def texts(ids, logits):
    values = pa.FixedSizeListArray.from_arrays(
        pa.array(np.asarray(logits, np.float32).ravel()), len(logits[0])
    )
    return pa.table({"example_id": ids, "logits": values})


def two_teachers(signals):
    """A sure and an unsure one, in other orders of rows and classes; each has a row of its own."""
    first = texts([IDS[0], IDS[1]], [[2.0, 0.0, -1.0], [0.5, 0.0, 0.0]])
    second = texts([IDS[2], IDS[0]], [[0.0, 9.0, 1.0], [3.0, 1.0, 2.0]])
    return {
        "signals_teacher": signals("one", {PART: first}, ["a", "b", "c"]),
        "signals_other": signals("two", {PART: second}, ["c", "a", "b"]),
    }


# The second teacher's row 0 (less sure than the first is) and row 2, classes a, b, c.
OTHER = {0: [1.0, 2.0, 3.0], 2: [9.0, 1.0, 0.0]}


def rows_of(artifact, part=PART):
    table = read_table(artifact.path / part)
    return dict(zip(table["example_id"].to_pylist(), table["logits"].to_pylist(), strict=True))


def test_probabilities_are_averaged_by_id_and_class_name(signals, combine):
    """Averaged in file order, every row gets the prediction of another text or class."""
    found = rows_of(combine(two_teachers(signals)))
    assert list(found) == [IDS[0], IDS[1], IDS[2]]
    mean = (softmax([2.0, 0.0, -1.0]) + softmax(OTHER[0])) / 2
    assert softmax(found[IDS[0]]) == pytest.approx(mean, abs=1e-6)
    # The logit is the logarithm of the mean itself: comparable with a teacher's log-probabilities.
    assert found[IDS[0]] == pytest.approx(np.log(mean), abs=1e-5)
    assert softmax(found[IDS[1]]) == pytest.approx(softmax([0.5, 0.0, 0.0]), abs=1e-6)
    assert softmax(found[IDS[2]]) == pytest.approx(softmax(OTHER[2]), abs=1e-6)


def test_logits_are_averaged_only_on_request(signals, combine):
    """The geometric mean, in which the surest teacher decides alone, by default."""
    found = rows_of(combine(two_teachers(signals), average="logits"))
    mean = (np.array([2.0, 0.0, -1.0]) + OTHER[0]) / 2
    assert softmax(found[IDS[0]]) == pytest.approx(softmax(mean), abs=1e-6)


def test_fixed_weights_count_and_a_row_read_by_weight_zero_alone_is_kept(signals, combine):
    """0/0: a row without a number, and a student of NaN."""
    artifact = combine(
        two_teachers(signals), weighting="fixed", weights={"teacher": 0.0, "other": 2.0}
    )
    found = rows_of(artifact)
    assert softmax(found[IDS[0]]) == pytest.approx(softmax(OTHER[0]), abs=1e-6)
    assert softmax(found[IDS[1]]) == pytest.approx(softmax([0.5, 0.0, 0.0]), abs=1e-6)


def test_a_teacher_counts_by_how_sure_it_is_of_each_row(signals, combine):
    """One weight for a teacher that knows half of the topics."""
    found = rows_of(combine(two_teachers(signals), weighting="confidence"))
    p, q = softmax([2.0, 0.0, -1.0]), softmax(OTHER[0])
    a, b = np.exp(-entropy(p)), np.exp(-entropy(q))
    assert softmax(found[IDS[0]]) == pytest.approx((a * p + b * q) / (a + b), abs=1e-6)


def test_validation_figures_weigh_teachers(signals, combine, publish, store):
    """The figure of the last step, or of the loss, in place of that of the delivered weights."""
    inputs = two_teachers(signals)
    for name, score in {"teacher": 0.9, "other": 0.3}.items():
        validations = [
            {"step": 1, "accuracy": 0.1, "macro_f1": 0.5, "loss": 2.0},
            {"step": 2, "accuracy": score, "macro_f1": 0.5, "loss": 1.0},
            {"step": 3, "accuracy": 0.2, "macro_f1": 0.5, "loss": 3.0},
        ]

        def write(output, validations=validations):
            (output / "model").mkdir()
            head = {"problem": "text_classification"}
            (output / "model" / "head.json").write_text(json.dumps(head))
            history = {"validations": validations, "best_step": 2}
            (output / "history.json").write_text(json.dumps(history))

        inputs[f"teacher_{name}"] = publish(store, "teacher", write, config={"name": name})
    artifact = combine(inputs, weighting="validation")
    mean = (0.9 * softmax([2.0, 0.0, -1.0]) + 0.3 * softmax(OTHER[0])) / 1.2
    assert softmax(rows_of(artifact)[IDS[0]]) == pytest.approx(mean, abs=1e-6)
    told = json.loads((artifact.path / "combination.json").read_text())["teachers"]
    assert (told["teacher"]["score"], told["other"]["score"]) == (0.9, 0.3)
    # Three rows: 0.75, 1 and 0 of the first teacher.
    assert told["teacher"]["mean_share"] == pytest.approx(1.75 / 3, abs=1e-6)


def test_a_part_that_no_teacher_reads_does_not_hide_what_each_counted(signals, combine):
    """Shares of NaN in the report, and in a JSON file that other readers refuse."""
    nothing = texts(IDS[:1], [[0.0, 0.0, 0.0]]).slice(0, 0)
    parts = {PART: texts(IDS[:1], [[2.0, 0.0, -1.0]]), "test/part-00000.parquet": nothing}
    both = {f"signals_{name}": signals(name, parts, ["a", "b", "c"]) for name in ("one", "two")}
    artifact = combine(both)
    told = json.loads((artifact.path / "combination.json").read_text())["teachers"]
    assert [told[name]["mean_share"] for name in ("one", "two")] == [0.5, 0.5]
    assert rows_of(artifact, "test/part-00000.parquet") == {}


def test_several_labels_a_text_are_averaged_each_alone(signals, combine):
    """A softmax over labels of which several hold: two topics halve one another."""
    inputs = {
        "signals_teacher": signals("m1", {PART: texts(IDS[:1], [[4.0, -1.0]])}, ["a", "b"]),
        "signals_other": signals("m2", {PART: texts(IDS[:1], [[2.0, 3.0]])}, ["b", "a"]),
    }
    found = np.array(rows_of(combine(inputs, "multilabel_classification"))[IDS[0]])

    def sigmoid(x):
        return 1 / (1 + np.exp(-np.asarray(x)))

    mean = (sigmoid([4.0, -1.0]) + sigmoid([3.0, 2.0])) / 2
    assert sigmoid(found) == pytest.approx(mean, abs=1e-6)


def test_of_a_text_cut_off_by_one_teacher_the_end_is_the_others(signals, combine):
    """Units slide: the teacher with the shorter limit tags the next text's words."""
    problem = PROBLEMS["token_classification"]
    counts = {"one": [1, 2], "two": [3, 1]}
    said = {"one": np.arange(6.0).reshape(3, 2), "two": np.arange(8.0)[::-1].reshape(4, 2) ** 1.1}
    inputs = {
        f"signals_{name}": signals(
            name,
            {
                PART: problem.restated(
                    pa.array(IDS[:2]), said[name].astype(np.float32), np.array(counts[name])
                )
            },
            ["O", "B-LOC"],
        )
        for name in counts
    }
    artifact = combine(inputs, "token_classification")
    table = read_table(artifact.path / PART)
    assert table["num_units"].to_pylist() == [3, 2]
    one, two = softmax(said["one"]), softmax(said["two"])
    expected = [
        [(one[0] + two[0]) / 2, two[1], two[2]],
        [(one[1] + two[3]) / 2, one[2]],
    ]
    for found, wanted in zip(table["logits"].to_pylist(), expected, strict=True):
        assert softmax(np.reshape(found, (-1, 2))) == pytest.approx(np.array(wanted), abs=1e-6)


def contexts(rows):
    """Signals of (start logits, end logits, null start, null end)."""
    columns = list(zip(*rows, strict=True))
    item = pa.list_(pa.field("element", pa.float32(), nullable=False))
    return pa.table(
        {
            "example_id": IDS[: len(rows)],
            "num_units": pa.array([len(row[0]) for row in rows], pa.int32()),
            "start_logits": pa.array(columns[0], item),
            "null_start": pa.array(columns[2], pa.float32()),
            "end_logits": pa.array(columns[1], item),
            "null_end": pa.array(columns[3], pa.float32()),
        }
    )


def test_starts_and_ends_are_averaged_with_the_no_answer_slot(signals, combine):
    """Averaged without it, "no answer" of one teacher and a span of the other cannot be weighed."""
    one = contexts([([1.0, 2.0], [0.0, 5.0], 3.0, -1.0), ([0.0], [1.0], 0.0, 0.0)])
    two = contexts([([4.0, 0.0], [2.0, 2.0], -2.0, 2.0), ([7.0], [0.0], 0.0, 0.0)])
    labels = ["start", "end"]
    inputs = {
        "signals_teacher": signals("q1", {PART: one}, labels),
        "signals_other": signals("q2", {PART: two}, labels),
    }
    found = read_table(combine(inputs, "question_answering").path / PART).to_pylist()
    start = softmax([found[0]["null_start"], *found[0]["start_logits"]])
    assert start == pytest.approx(
        (softmax([3.0, 1.0, 2.0]) + softmax([-2.0, 4.0, 0.0])) / 2, abs=1e-6
    )
    end = softmax([found[0]["null_end"], *found[0]["end_logits"]])
    assert end == pytest.approx(
        (softmax([-1.0, 0.0, 5.0]) + softmax([2.0, 2.0, 2.0])) / 2, abs=1e-6
    )
    assert found[1]["num_units"] == 1


def test_contexts_of_other_units_are_refused(signals, combine):
    """A translation has other words: a distribution over both is over nothing."""
    labels = ["start", "end"]
    inputs = {
        "signals_teacher": signals("u1", {PART: contexts([([1.0], [0.0], 0.0, 0.0)])}, labels),
        "signals_other": signals("u2", {PART: contexts([([1, 2], [0, 0], 0, 0)])}, labels),
    }
    with pytest.raises(ContractViolation, match="number of units of 1 contexts"):
        combine(inputs, "question_answering")


def test_students_read_combined_signals_as_those_of_one_teacher(signals, combine, tmp_path):
    """An artifact of nearly the same form, which fails in the tenth hour of a run."""
    artifact = combine(two_teachers(signals))
    join = SignalJoin(artifact.path, ["c", "b", "a"])
    assert join.order == (2, 1, 0)
    assert len(join.rows(PART, pa.table({"example_id": IDS[:3]}))) == 3


def test_parts_that_only_one_teacher_has_are_there_even_if_empty(signals, combine):
    """A part that no teacher can read, missing: parts are then counted differently downstream."""
    inputs = two_teachers(signals)
    empty = texts(IDS[:1], [[0.0, 0.0, 0.0]]).slice(0, 0)
    extra = texts(IDS[3:], [[1.0, 0.0, 0.0]])
    parts = {PART: texts(IDS[:1], [[0.0, 0.0, 0.0]]), "test/part-00000.parquet": empty}
    inputs["signals_third"] = signals(
        "three", {**parts, "test/part-00001.parquet": extra}, ["a", "b", "c"]
    )
    artifact = combine(inputs)
    assert len(read_table(artifact.path / "test" / "part-00000.parquet")) == 0
    assert len(read_table(artifact.path / "test" / "part-00001.parquet")) == 1


def test_teachers_of_other_classes_are_refused(signals, combine):
    """Two sets of topics of the same size, averaged."""
    inputs = two_teachers(signals)
    inputs["signals_other"] = signals(
        "odd", {PART: texts(IDS[:1], [[0.0, 0.0, 0.0]])}, ["a", "b", "d"]
    )
    with pytest.raises(ContractViolation, match="first teacher differ in 2 classes"):
        combine(inputs)


@pytest.mark.parametrize("similarity", ["cosine", "learned"])
def test_the_teacher_of_the_nearer_language_counts_more(
    signals, publish, store, letter_encoder, write_texts, similarity
):
    """Cosines of 0.98 and 0.97 that make two teachers equal, or a far one the first."""
    from_teacher = {"en": ["a b c", "a a b"], "ja": ["x y z", "x y w"]}
    rows = {"train": from_teacher, "transfer": {"zh": ["x y z", "y w x"]}}
    corpus = publish(store, "corpus", lambda output: write_texts(output, rows))
    inputs = {**two_teachers(signals), "corpus": corpus}
    config = Config(
        teachers=("teacher", "other"),
        combination=Combination(
            weighting="similarity", encoder=str(letter_encoder), similarity=similarity
        ),
        languages=(("zh", "en"), ("zh", "ja")),
        target_language="zh",
    )
    artifact = run_stage(STAGE, config, inputs, store=store).artifact
    found = json.loads((artifact.path / "combination.json").read_text())
    far, near = (found["teachers"][name]["score"] for name in ("teacher", "other"))
    assert near > far
    # Two teachers' standardised scores are 1 and -1, whatever they are; learned ones are weights.
    near = near if similarity == "learned" else np.exp(1) / (np.exp(1) + np.exp(-1))
    mean = (1 - near) * softmax([2.0, 0.0, -1.0]) + near * softmax(OTHER[0])
    assert softmax(rows_of(artifact)[IDS[0]]) == pytest.approx(mean, abs=1e-6)
    figures = {name: found.get(name) for name in ("language_accuracy", "tau")}
    assert figures == {name: artifact.manifest.facts.get(name) for name in figures}
    assert figures["language_accuracy"] == (1.0 if similarity == "learned" else None)


def test_the_same_teachers_give_the_same_bytes(signals, combine, store):
    """Students that are built again because a float was added in another order."""
    inputs = two_teachers(signals)
    config = Config(teachers=("teacher", "other"), combination=Combination.model_validate({}))
    first = run_stage(STAGE, config, inputs, store=store).artifact.content_digest
    again = run_stage(STAGE, config, inputs, store=store, force=True).artifact.content_digest
    assert first == again


@pytest.mark.parametrize("labelled", [True, False])
def test_labels_are_decided_at_thresholds_of_the_mean(signals, combine, publish, store, labelled):
    """At the first teacher's thresholds, which were tuned to its own probabilities, the mean of two
    decides other labels; in the other order of classes each class is decided by another's."""
    part, ids = "validation/part-00000.parquet", [f"{row:032x}" for row in range(40)]
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 2, (40, 2))
    said = [rng.normal(size=(40, 2)) * 2 + 3 * gold - [4.0, 0.5] for _ in range(2)]
    inputs = {
        "signals_teacher": signals("t1", {part: texts(ids, said[0])}, ["a", "b"]),
        "signals_other": signals("t2", {part: texts(ids[::-1], said[1][::-1, ::-1])}, ["b", "a"]),
    }

    def tokens(output):
        # Classes in another order than the signals; the last row is not labelled.
        labels = [np.flatnonzero(row[::-1]).tolist() for row in gold]
        known = [row if labelled and i < 39 else None for i, row in enumerate(labels)]
        rows = {
            "example_id": ids,
            "input_ids": pa.array([[2, 3]] * 40, pa.list_(pa.int32())),
            "labels": pa.array(known, pa.list_(pa.int32())),
            "language": ["en"] * 40,
        }
        write_table(pa.table(rows), output / part)
        (output / "labels.json").write_text(json.dumps({"labels": ["b", "a"]}))
        (output / "tokens.json").write_text("{}")

    inputs["tokens"] = publish(store, "tokens", tokens)
    artifact = combine(inputs, "multilabel_classification")
    path = artifact.path / "thresholds.json"
    assert path.is_file() == labelled
    if not labelled:
        return
    mean = (1 / (1 + np.exp(-said[0])) + 1 / (1 + np.exp(-said[1])))[:39] / 2
    known = gold[:39]

    def f1(which, threshold):
        decided = mean[:, which] >= threshold
        return (
            2 * (decided & (known[:, which] == 1)).sum() / (decided.sum() + known[:, which].sum())
        )

    found = json.loads(path.read_text())["thresholds"]
    for which, threshold in enumerate(found):
        best = max(f1(which, cut) for cut in mean[:, which])
        assert f1(which, threshold) == pytest.approx(best)
    assert found[0] < found[1] - 0.05
    assert f1(0, found[0]) > f1(0, 0.5)


def test_what_no_weighting_reads_is_refused():
    """An encoder that compares languages, named where they are never compared."""
    Combination.model_validate({"weighting": "similarity", "encoder": "pkg://x/y", "max_texts": 9})
    with pytest.raises(ValueError, match="encoder and max_texts is given and weighting is uniform"):
        Combination.model_validate({"encoder": "pkg://x/y", "max_texts": 9})
    with pytest.raises(ValueError, match="similarity is given and weighting is validation"):
        Combination.model_validate({"weighting": "validation", "similarity": "learned"})


def test_teachers_of_one_language_cannot_be_told_apart():
    """Told after all teachers were trained and asked."""
    learned = Combination(weighting="similarity", similarity="learned", encoder="pkg://x/y")
    both = {"teachers": ("teacher", "other"), "target_language": "zh", "combination": learned}
    with pytest.raises(ValueError, match=r"2 teachers have the same languages \(zh, en\)"):
        Config.model_validate({**both, "languages": (("zh", "en"), ("en", "zh"))})


def test_a_choice_and_a_seed_that_are_not_read_are_not_in_the_key():
    """Every run of several teachers made again for a choice that none of them made."""
    from_teacher = {"teachers": ("teacher", "other"), "languages": (("en",), ("ja",)), "seed": 7}
    cosine, learned = (
        Config(combination=Combination(weighting="similarity", similarity=one), **from_teacher)
        for one in ("cosine", "learned")
    )
    assert "seed" not in cosine.model_dump()
    assert "similarity" not in cosine.combination.model_dump()
    written = learned.model_dump()
    assert (written["seed"], written["combination"]["similarity"]) == (7, "learned")
