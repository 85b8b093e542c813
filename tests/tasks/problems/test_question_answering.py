"""Answers are units of the context: windows are merged, and split, without moving them."""

import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from data_contracts.errors import ContractViolation
from data_contracts.tables import check_table
from tasks.problems import PROBLEMS
from tasks.problems.problem import TeacherOutput
from tasks.problems.question_answering import Context, best_span, contexts
from tasks.training.objectives.unit_distributions import as_distributions

PROBLEM = PROBLEMS["question_answering"]


def windows(*rows):
    """A tokens table of (example, first unit, units of the context, positions, start, end)."""
    names = ("example_id", "first_unit", "num_units", "unit_positions", "start_unit", "end_unit")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    types = {"example_id": pa.string(), "unit_positions": pa.list_(pa.int32())}
    return pa.table(
        {name: pa.array(list(c), types.get(name, pa.int32())) for name, c in columns.items()}
    )


A, B, C = ("a" * 32, "b" * 32, "c" * 32)


def test_a_label_lies_in_the_windows_that_hold_the_whole_answer():
    """A window that holds half of the answer is trained that the answer ends at its edge."""
    table = windows(
        (A, 0, 6, [5, 6, 7, 8], 2, 4),  # holds its start only
        (A, 2, 6, [5, 6, 7, 8], 2, 4),  # units 2 to 5
        (B, 0, 2, [4, 5], -2, -2),  # no answer in the context
        (C, 0, 2, [4, 5], -1, -1),  # unlabelled
    )
    answers = PROBLEM.answers(table, num_labels=2)
    assert answers.units.offsets.tolist() == [0, 5, 10, 13, 16]
    assert answers.units.positions.tolist() == [0, 5, 6, 7, 8, 0, 5, 6, 7, 8, 0, 4, 5, 0, 4, 5]
    assert answers.labels.tolist() == [3, 0, 0, 0, 0, 0, 1, 0, 2, 0, 3, 0, 0, -1, -1, -1]


def test_a_window_of_the_student_keeps_the_teachers_distribution():
    """Dropping what lies outside a window makes the teacher sure of what it hardly believed."""
    rng = np.random.default_rng(0)
    teacher = windows((A, 0, 5, [3, 4, 5], 1, 1), (A, 2, 5, [3, 4, 5], 1, 1))
    said = rng.normal(size=(8, 2)).astype(np.float32)
    answers = PROBLEM.answers(teacher, num_labels=2)
    signals = PROBLEM.signal_table(teacher, said, answers)
    check_table(signals, PROBLEM.signals_contract)
    whole = [max(said[3, 0], said[5, 0]) if unit == 2 else None for unit in range(5)]
    whole = [said[1, 0], said[2, 0], whole[2], said[6, 0], said[7, 0]]
    null = min(said[0, 0], said[4, 0])
    assert signals["start_logits"].to_pylist() == [pytest.approx(whole)]
    assert signals["null_start"].to_pylist() == pytest.approx([null])

    student = windows((A, 1, 5, [9, 10], 1, 1))
    logits, _ = PROBLEM.soft_targets(
        student, signals, PROBLEM.answers(student, num_labels=2), order=[0, 1]
    )
    total = math.fsum(math.exp(value) for value in [*whole, null])
    outside = math.fsum(math.exp(value) for value in [whole[0], whole[3], whole[4], null])
    expected = [outside / total, math.exp(whole[1]) / total, math.exp(whole[2]) / total]
    assert torch.softmax(torch.tensor(logits[:, 0]), 0).tolist() == pytest.approx(expected)


def test_windows_of_several_contexts_each_learn_from_their_own():
    """A row read from where its neighbour starts teaches every context but the first another's."""
    rng = np.random.default_rng(5)
    teacher = windows(
        (C, 0, 2, [3, 4], 0, 0), (A, 0, 3, [3, 4, 5], 1, 1), (B, 0, 4, [3, 4, 5, 6], 0, 3)
    )
    said = rng.normal(size=(12, 2)).astype(np.float32)
    signals = PROBLEM.signal_table(teacher, said, PROBLEM.answers(teacher, num_labels=2))
    student = windows(
        (A, 0, 3, [3, 4], 1, 1), (A, 1, 3, [3, 4], 1, 1), (B, 1, 4, [3, 4], 0, 3)
    )  # fmt: skip
    # A slice, as a part of a file is: its first context is not the first of the column.
    theirs = signals.take([0, 1, 1, 2]).slice(1)
    found, _ = PROBLEM.soft_targets(
        student, theirs, PROBLEM.answers(student, num_labels=2), order=[0, 1]
    )
    slots = {A: 3, B: 7}  # where each teacher's context begins in `said`
    for window, (context, first, size) in enumerate([(A, 0, 3), (A, 1, 3), (B, 1, 4)]):
        for which in (0, 1):
            masses = [math.exp(said[slots[context] + unit, which]) for unit in range(size + 1)]
            inside = masses[first + 1 : first + 3]
            expected = np.array([sum(masses) - sum(inside), *inside]) / sum(masses)
            learned = torch.tensor(found[3 * window : 3 * window + 3, which]).softmax(0)
            assert learned.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_signals_of_a_context_of_other_units_are_refused():
    """Units counted by another rule: every answer after the first difference is off by some."""
    teacher, student = windows((A, 0, 3, [3, 4, 5], 1, 1)), windows((A, 0, 4, [3, 4, 5], 1, 1))
    signals = PROBLEM.signal_table(
        teacher, np.zeros((4, 2), np.float32), PROBLEM.answers(teacher, num_labels=2)
    )
    with pytest.raises(ContractViolation, match="1 of 1 windows have contexts of another number"):
        PROBLEM.soft_targets(student, signals, PROBLEM.answers(student, num_labels=2), order=[0, 1])


@pytest.mark.parametrize(
    ("decided", "f1"),
    [((0, 1), 1.0), ((1, 2), 0.5), ((0, 3), 2 / 3), ((2, 2), 0.0), ((3, 3), 0.0)],
)
def test_an_answer_is_worth_the_units_it_shares_with_the_right_one(decided, f1):
    """Units between two spans counted as common: a wrong answer scores the more the further off."""
    table = windows((A, 0, 4, [3, 4, 5, 6], 0, 1))
    answers = PROBLEM.answers(table, num_labels=2)
    logits = np.zeros((5, 2), np.float32)
    logits[decided[0] + 1, 0] = logits[decided[1] + 1, 1] = 9
    scores = PROBLEM.score(table, logits, answers, labels=["start", "end"])
    assert scores["answer_f1"] == pytest.approx(f1)
    assert scores["exact_match"] == (f1 == 1.0)
    start, end = torch.tensor(logits).double().log_softmax(0).T
    assert scores["loss"] == pytest.approx(float(-start[1] - end[2]))


def test_the_best_span_is_found_by_looking_at_all_of_them():
    """A start after its end, or a span of a thousand words, is no answer."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        context = Context(A, rng.normal(size=(7, 2)).astype(np.float32), rng.normal(size=2))
        scores = {
            (start, end): context.logits_U2[start, 0] + context.logits_U2[end, 1]
            for start in range(7)
            for end in range(start, min(7, start + 3))
        }
        best = max(scores, key=scores.get)
        wanted = None if context.null_2.sum() > scores[best] else best
        assert best_span(context, max_units=3) == wanted


def test_a_context_that_no_window_holds_has_no_answer():
    """A zero-width space as a context: one odd row of a million, and the teacher's signals of all
    of them break their contract."""
    table = windows((A, 0, 2, [], -2, -2), (B, 0, 2, [3, 4], 0, 1))
    answers = PROBLEM.answers(table, num_labels=2)
    logits = np.zeros((len(answers.labels), 2), np.float32)
    signals = PROBLEM.signal_table(table, logits, answers)
    check_table(signals, "teacher_signals_question_answering")
    empty, known = contexts(table, logits, answers.units)
    assert best_span(empty, max_units=30) is None
    assert best_span(known, max_units=30) == (0, 0)
    # A student learns that the answer is not in there, without an infinity.
    soft, _ = PROBLEM.soft_targets(table, signals, answers, order=(0, 1))
    assert np.isfinite(soft).all()


def test_scores_count_units_of_the_merged_context():
    """Scored by window, a context without the answer in most windows looks well answered."""
    table = windows((A, 0, 4, [3, 4, 5], 1, 2), (A, 2, 4, [3, 4], 1, 2), (B, 0, 2, [3, 4], -2, -2))
    answers = PROBLEM.answers(table, num_labels=2)
    logits = np.zeros((len(answers.labels), 2), np.float32)
    logits[2, 0] = 9  # unit 1 starts
    logits[6, 1] = 9  # unit 3, in the second window, ends: one unit too many
    logits[7] = 5  # "none" for the second context
    scores = PROBLEM.score(table, logits, answers, labels=["start", "end"])
    assert scores["exact_match"] == 0.5
    assert scores["answer_f1"] == pytest.approx((2 * 2 / 5 + 1) / 2)
    merged = {context.example_id: context for context in contexts(table, logits, answers.units)}
    assert merged[A].logits_U2.shape == (4, 2)


def test_distributions_over_units_are_softmaxes_of_each_window():
    """One softmax over all windows of a batch: the loss then depends on who shares it."""
    rng = np.random.default_rng(2)
    counts = [3, 1, 4]
    text = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    logits = torch.tensor(rng.normal(size=(8, 2)), dtype=torch.float32)
    labels = torch.tensor([0, 3, 0, 3, -1, -1, -1, -1])
    found, targets, teacher = as_distributions(logits, labels, logits * 2, text)
    assert targets.tolist() == [1, 0, -1, 1, 0, -1]
    for which in (0, 1):
        start = 0
        for number, count in enumerate(counts):
            row = torch.softmax(found[which * 3 + number], 0)
            expected = torch.softmax(logits[start : start + count, which], 0)
            assert torch.allclose(row[:count], expected)
            assert (row[count:] == 0).all()
            start += count
    assert torch.allclose(teacher[0, :3], logits[:3, 0] * 2)


def decided(table, start, end, *, null=-9.0, thresholds=None):
    """Pseudo-labels of windows of one context, of the teacher's logits for its units."""
    columns = {
        "num_units": [len(start)], "start_logits": [start], "null_start": [null],
        "end_logits": [end], "null_end": [null],
    }  # fmt: skip
    signals = pa.table(columns).take([0] * len(table))
    logits, answers = PROBLEM.soft_targets(
        table, signals, PROBLEM.answers(table, num_labels=2), order=(0, 1)
    )
    labels = PROBLEM.decisions(TeacherOutput(table, signals, logits, answers, thresholds or {}))
    return labels.tolist()


def test_pseudo_labels_are_the_answer_that_the_teacher_gives():
    """The likeliest start and the likeliest end, each by itself, named an answer that ends before
    it begins for one question in eight: hard labels looked worse than they are beside soft ones."""
    whole = windows((A, 0, 5, [3, 4, 5, 6, 7], -1, -1))
    start, end = [0.0, 3.0, 0.0, 4.0, 0.0], [0.0, 0.0, 4.0, 0.0, 0.0]
    # 1 to 2 has 7; the likeliest start, 3, lies behind the likeliest end, 2
    assert decided(whole, start, end) == [0, 0, 1, 2, 0, 0]
    far = [0.0] * 40
    far[0] = 2.0
    ends = [0.0] * 40
    ends[35] = 2.0
    labels = decided(windows((A, 0, 40, list(range(3, 43)), -1, -1)), far, ends)
    assert 3 in (labels[1], labels[36]), "36 units are no answer: one of the two peaks by itself"


def test_answers_are_as_long_as_their_reader_allows():
    """A third of a data set's answers are sentences, which nothing could be trained or
    scored to give."""
    table = windows((A, 0, 40, list(range(3, 43)), 0, 35))
    answers = PROBLEM.answers(table, num_labels=2)
    logits = np.zeros((41, 2), np.float32)
    logits[1, 0] = logits[36, 1] = 9  # 36 units
    logits[5] = 4  # the best of the short ones
    logits[0] = -9
    long = PROBLEM.as_read({"max_answer_units": 36})
    assert long.score(table, logits, answers, labels=[])["exact_match"] == 1
    short = PROBLEM.as_read({"max_answer_units": 35})
    assert short.score(table, logits, answers, labels=[])["exact_match"] == 0
    assert PROBLEM.score(table, logits, answers, labels=[])["exact_match"] == 0
    assert long.thresholds(table, logits, answers)["max_answer_units"] == 36
    assert "max_answer_units" not in PROBLEM.thresholds(table, logits, answers)
    start, end = logits[1:].T.tolist()
    from_teacher = decided(table, start, end, thresholds={"max_answer_units": 36})
    assert (from_teacher[1], from_teacher[36], sum(from_teacher)) == (1, 2, 3)
    assert decided(table, start, end)[36] == 0


def test_pseudo_labels_of_windows_lie_where_the_whole_answer_does():
    """A window took what is best within it for the answer to the question."""
    table = windows((A, 0, 5, [3, 4, 5], -1, -1), (A, 2, 5, [3, 4, 5], -1, -1))
    start, end = [2.0, 0.0, 0.0, 5.0, 0.0], [2.0, 0.0, 0.0, 0.0, 5.0]
    assert decided(table, start, end) == [3, 0, 0, 0, 0, 0, 1, 2]


def test_pseudo_labels_refuse_where_the_teacher_refuses():
    """A teacher tuned to answer was quoted as refusing, or the reverse."""
    table = windows((A, 0, 2, [3, 4], -1, -1))
    start, end = [1.0, 0.0], [1.0, 0.0]
    assert decided(table, start, end, null=2.0) == [3, 0, 0]  # none is ahead by 2
    assert decided(table, start, end, null=2.0, thresholds={"null_threshold": 2.5}) == [0, 3, 0]


def test_an_answer_ends_where_its_token_does():
    """海关 is one token: of two equal ends the nearer was taken, and 关 was missing, in 43 % of the
    answers that a perfect model would give."""
    # 上 海关 在 公里: units 0 | 1 2 | 3 | 4 5
    table = windows((A, 0, 6, [5, 6, 6, 7, 8, 8], 1, 2))
    answers = PROBLEM.answers(table, num_labels=2)
    said = np.zeros((7, 2), np.float32)
    said[[2, 3]] = 5  # the token 海关 both starts and ends it
    (context,) = contexts(table, said, answers.units)
    assert best_span(context, max_units=30) == (1, 2)
    scores = PROBLEM.score(table, said, answers, labels=[])
    assert scores["exact_match"] == scores["answer_f1"] == 1
    # as signals of a teacher: what is delivered is what is trained
    signals = PROBLEM.signal_table(table, said, answers)
    check_table(signals, PROBLEM.signals_contract)
    logits, _ = PROBLEM.soft_targets(table, signals, answers, order=(0, 1))
    labels = PROBLEM.decisions(TeacherOutput(table, signals, logits, answers, {}))
    assert labels.tolist() == answers.labels.tolist() == [0, 0, 1, 2, 0, 0, 0]


def test_units_of_one_token_learn_what_the_teacher_gives_to_all_of_them():
    """A student whose token holds both was told that its first half starts an answer, and that its
    second, which has the same logit, never does."""
    rng = np.random.default_rng(3)
    teacher = windows((A, 0, 4, [3, 4, 5, 6], -1, -1))  # four tokens
    said = rng.normal(size=(5, 2)).astype(np.float32) * 2
    answers = PROBLEM.answers(teacher, num_labels=2)
    signals = PROBLEM.signal_table(teacher, said, answers)
    student = windows((A, 0, 4, [3, 3, 4, 4], -1, -1))  # two
    answers = PROBLEM.answers(student, num_labels=2)
    logits, _ = PROBLEM.soft_targets(student, signals, answers, order=(0, 1))
    given, taken = (
        torch.softmax(torch.tensor(x).double(), 0) for x in (said, logits[[0, 1, 3]])
    )  # a slot and two tokens
    for token, units in enumerate(([0], [1, 2], [3, 4])):
        assert torch.allclose(given[units].sum(0), taken[token])
        assert (logits[units] == logits[units[0]]).all()
    # and a student that tells apart what its teacher joins: no target is an infinity away
    signals = PROBLEM.signal_table(student, said[[0, 1, 1, 2, 2]], answers)
    answers = PROBLEM.answers(teacher, num_labels=2)
    logits, _ = PROBLEM.soft_targets(teacher, signals, answers, order=(0, 1))
    assert np.ptp(logits, axis=0).max() < 30.001
    assert logits[1:, 0].argmax() in (0, 2)


def test_units_of_one_token_are_one_class_of_the_softmax():
    """A token of two characters had twice the probability of one, for the same logit; and where
    dropout makes its units differ, the loss was that of neither."""
    rng = np.random.default_rng(4)
    joined = torch.tensor([0, 0, 1, 0, 0, 0, 0, 1, 1]).bool()
    text = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1])
    logits = torch.tensor(rng.normal(size=(9, 2)), dtype=torch.float32, requires_grad=True)
    labels = torch.tensor([0, 0, 1, 0, 2, 0, 0, 1, 2])  # within tokens
    found, targets, teacher = as_distributions(logits, labels, logits * 2, text, joined_A=joined)
    loss = torch.nn.functional.cross_entropy(found, targets)
    firsts = [[0, 1, 3, 4], [5, 6]]
    expected = torch.stack(
        [
            torch.nn.functional.cross_entropy(logits[rows, which], torch.tensor(token))
            for rows, which, token in (
                (firsts[0], 0, 1), (firsts[1], 0, 1), (firsts[0], 1, 3), (firsts[1], 1, 1),
            )
        ]
    ).mean()  # fmt: skip
    assert torch.allclose(loss, expected)
    loss.backward()
    assert (logits.grad[joined] == 0).all()
    assert torch.allclose(teacher[0, :4], logits[firsts[0], 0] * 2)
    # as validation counts it
    table = windows((A, 0, 4, [3, 3, 4, 5], 1, 3), (B, 0, 3, [3, 3, 3], 1, 2))
    answers = PROBLEM.answers(table, num_labels=2)
    equal = logits.detach()[[0, 1, 1, 3, 4, 5, 6, 6, 6]].numpy()
    scores = PROBLEM.score(table, equal, answers, labels=[])
    assert scores["loss"] == pytest.approx(2 * float(expected.detach()), rel=1e-5)


def test_the_threshold_of_no_answer_is_the_one_that_validation_rows_ask_for():
    """A model that believes in "none" a little too much refuses questions it can answer."""
    table = windows((A, 0, 2, [3, 4], 1, 1), (B, 0, 2, [3, 4], 0, 0), (C, 0, 2, [3, 4], -2, -2))
    answers = PROBLEM.answers(table, num_labels=2)
    logits = np.zeros((9, 2), np.float32)
    logits[0], logits[2] = 3, 2  # none is ahead by 2, and the answer is there
    logits[3], logits[4] = 1, 2
    logits[6], logits[7] = 9, 2  # none is ahead by 14, rightly
    found = PROBLEM.thresholds(table, logits, answers)
    assert 2 < found["null_threshold"] < 14
    spans = {
        context.example_id: best_span(context, max_units=30, null_threshold=found["null_threshold"])
        for context in contexts(table, logits, answers.units)
    }
    assert spans == {A: (1, 1), B: (0, 0), C: None}
    # The step is chosen by what is delivered: at a threshold of 0 it would be 2/3 here, or 0 for a
    # student that takes its doubts from an unsure teacher, at every step.
    scores = PROBLEM.score(table, logits, answers, labels=["start", "end"])
    assert scores["answer_f1"] == scores["exact_match"] == 1.0
