"""Tagging answers for units: those of both readers, scored as entities, never by token index."""

import numpy as np
import pyarrow as pa
import pytest
from seqeval.metrics import f1_score, precision_score, recall_score

from data_contracts.errors import ContractViolation
from data_contracts.tables import check_table
from tasks.problems import PROBLEMS
from tasks.problems.token_classification import entities

PROBLEM = PROBLEMS["token_classification"]
LABELS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


def tokens(*rows):
    """A tokens table of (unit positions, unit labels) rows."""
    return pa.table(
        {
            "example_id": [f"{number:032x}" for number in range(len(rows))],
            "unit_positions": pa.array([places for places, _ in rows], pa.list_(pa.int32())),
            "unit_labels": pa.array([tags for _, tags in rows], pa.list_(pa.int32())),
        }
    )


def test_a_student_that_reads_fewer_units_gets_the_signals_of_those(monkeypatch):
    """Logits of a long text, taken in order, slide onto the units of the texts after it."""
    teacher = tokens(([1, 2, 4], [0, 0, 0]), ([1], [0]), ([1, 2], [0, 0]))
    said = np.arange(6 * 5, dtype=np.float32).reshape(6, 5)
    signals = PROBLEM.signal_table(teacher, said, PROBLEM.answers(teacher, num_labels=5))
    check_table(signals, PROBLEM.signals_contract)
    # The student's tokenizer is another one; its limit cut the first text after two units, while
    # it read one unit more of the last text than the teacher did.
    student = tokens(([1, 3], [3, 4]), ([2], [1]), ([1, 2, 3], [0, 1, 2]))
    answers = PROBLEM.answers(student, num_labels=5)
    order = [4, 3, 2, 1, 0]
    logits, kept = PROBLEM.soft_targets(student, signals, answers, order=order)
    expected = said[[0, 1, 3, 4, 5]][:, order]
    assert np.array_equal(logits, expected)
    assert kept.units.offsets.tolist() == [0, 2, 3, 5]
    assert kept.units.positions.tolist() == [1, 3, 2, 1, 2]
    assert kept.labels.tolist() == [3, 4, 1, 0, 1]


def test_signals_of_another_number_of_classes_are_refused():
    """Reshaped all the same, each unit gets parts of its neighbours' logits."""
    table = tokens(([1, 2], [0, 0]))
    answers = PROBLEM.answers(table, num_labels=5)
    signals = PROBLEM.signal_table(table, np.zeros((2, 5), np.float32), answers)
    with pytest.raises(ContractViolation, match="one logit a tag and unit"):
        PROBLEM.soft_targets(table, signals, answers, order=[0])


@pytest.mark.parametrize("seed", range(20))
def test_entity_scores_are_those_of_seqeval(seed):
    """An F1 of tags rewards a model that never closes an entity where it ends."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, 12)
    texts = [rng.choice(5, length, p=[0.4, 0.15, 0.15, 0.15, 0.15]) for length in lengths]
    table = tokens(*[(range(1, len(tags) + 1), tags.tolist()) for tags in texts])
    decided = [np.where(rng.random(len(t)) < 0.3, rng.integers(0, 5, len(t)), t) for t in texts]
    logits = np.eye(5, dtype=np.float32)[np.concatenate(decided)] * 3
    answers = PROBLEM.answers(table, num_labels=5)
    found = PROBLEM.score(table, logits, answers, labels=LABELS)

    def names(rows):
        return [[LABELS[tag] for tag in tags] for tags in rows]

    for name, score in (
        ("entity_f1", f1_score), ("precision", precision_score), ("recall", recall_score),
    ):  # fmt: skip
        assert found[name] == pytest.approx(score(names(texts), names(decided)), abs=1e-12)
    right = np.mean(np.concatenate(decided) == np.concatenate(texts))
    assert found["accuracy"] == pytest.approx(right)
    # One logit of 3 and four of 0: the right tag's is 3 where it was decided, otherwise 0.
    assert found["loss"] == pytest.approx(np.log(np.exp(3) + 4) - 3 * right, rel=1e-6)


def test_shares_of_one_entity_or_of_none_are_numbers():
    """The first validations of a training find nothing, and a division by that ended it."""
    table = tokens(([1, 2], [1, 0]))
    answers = PROBLEM.answers(table, num_labels=5)
    for decided, share in (([1, 0], 1.0), ([0, 0], 0.0)):
        logits = np.eye(5, dtype=np.float32)[decided]
        scores = PROBLEM.score(table, logits, answers, labels=LABELS)
        assert {scores[name] for name in ("entity_f1", "precision", "recall")} == {share}


def test_a_joined_unit_goes_on_with_each_type_by_itself():
    """A place that begins in the middle of a token, told as a person that goes on."""
    table = tokens(([1, 1, 2, 2], [0, 0, 0, 0]))
    said = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    signals = PROBLEM.signal_table(table, said, PROBLEM.answers(table, num_labels=5))
    expected = said.copy()
    for unit in (1, 3):  # the second of its token
        for begins, goes_on in ((1, 2), (3, 4)):
            both = said[unit, [begins, goes_on]]
            expected[unit, [begins, goes_on]] = both.min(), both.max()
    assert np.array_equal(np.array(signals["logits"].to_pylist()[0]).reshape(4, 5), expected)


def test_an_entity_never_runs_on_into_the_next_text():
    """B-LOC at the end of one text and I-LOC at the start of the next are two places."""
    tags = np.array([0, 1, 2, 2])
    assert entities(tags, np.array([0, 2, 4]), LABELS) == {(1, 2, "LOC"), (2, 4, "LOC")}


def test_a_word_that_is_one_token_is_one_entity():
    """北京 read as two characters that both begin a place: half of the Chinese names were wrong,
    whatever the model knew."""
    # 北京 人 爱 丽 丝: 北京 is a place, 爱丽丝 a person of the tokens 爱丽 丝
    table = tokens(([1, 1, 2, 3, 3, 4], [1, 2, 0, 3, 4, 4]))
    answers = PROBLEM.answers(table, num_labels=5)
    said = np.eye(5, dtype=np.float32)[[1, 1, 0, 3, 3, 4]] * 9
    scores = PROBLEM.score(table, said, answers, labels=LABELS)
    assert scores["entity_f1"] == scores["accuracy"] == 1
    assert scores["loss"] < 0.01, "the state of a token cannot say both B- and I-"
    signals = PROBLEM.signal_table(table, said, answers)
    kept = np.array(signals["logits"].to_pylist()[0]).reshape(6, 5)
    assert kept.argmax(1).tolist() == [1, 2, 0, 3, 4, 4]


def test_units_of_one_token_learn_one_tag():
    """One state was told to begin an entity and to continue it, and learned to be unsure."""
    teacher = tokens(([1, 2, 3], [1, 2, 0]))  # 北 京 人, a token each
    said = np.eye(5, dtype=np.float32)[[1, 2, 0]] * 9
    signals = PROBLEM.signal_table(teacher, said, PROBLEM.answers(teacher, num_labels=5))
    student = tokens(([1, 1, 2], [1, 2, 0]))  # 北京 人
    answers = PROBLEM.answers(student, num_labels=5)
    assert answers.labels.tolist() == [1, 1, 0]
    logits, kept = PROBLEM.soft_targets(student, signals, answers, order=range(5))
    assert logits.argmax(1).tolist() == kept.labels.tolist() == [1, 1, 0]
    # the other way round: what the teacher says of 北京 begins at 北 and goes on at 京
    signals = PROBLEM.signal_table(student, said[[0, 0, 2]], answers)
    answers = PROBLEM.answers(teacher, num_labels=5)
    logits, _ = PROBLEM.soft_targets(teacher, signals, answers, order=range(5))
    assert logits.argmax(1).tolist() == [1, 2, 0]
