"""Extractive question answering: a question and a context, answered by a span of it or by none.

    row      question, context, answers (text and first character)
    windows  a long context is read in overlapping windows, each after the question; a row of the
             tokens is a window, and says which of the context's units it holds
    align    start and end are units of the context (words; characters of scripts without spaces),
             so that teacher and student agree on them whatever their tokenizers and windows
    head     first token of each unit → start and end logits; the first token of the window is the
             slot "no answer in here"
    loss     soft targets and hard labels over the units of a window, once for start, once for end;
             units that one token joins (公里) count once
    metrics  F1 of the answer's units, exact match
    decode   the span of the best start + end, no longer than `max_answer_units`, over all windows;
             it begins and ends where tokens do (`tasks.modeling.heads.joined_units`)

A teacher's signals are those of whole contexts. A student's window takes its stretch of them, and
puts the mass of all units outside, with the teacher's own "none", on its no-answer slot. Units that
the student's tokenizer joins have one logit, which learns what the teacher gives to all of them.

References: Devlin et al. 2019, arXiv:1810.04805, section 4.2 and 4.3 (spans, the no-answer slot).
Shapes: N windows, U units of all windows with their slots, A = U answers, C = 2 (start, end).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute

from data_contracts.errors import ContractViolation
from tasks.metrics.answer_spans import (
    MAX_ANSWER_UNITS,
    SpanChoice,
    choose_span,
    longest_answer,
    tune_null_threshold,
)
from tasks.modeling.heads.joined_units import EXCLUDED, bounds_of_tokens
from tasks.modeling.heads.units import Units
from tasks.problems.problem import IGNORE_INDEX, Answers, Distribution, TeacherOutput
from tasks.problems.text_units import UnitProblem

pc: Any = pyarrow.compute

START, END = 0, 1
UNLABELLED, NO_ANSWER = -1, -2  # values of start_unit and end_unit in the tokens
_LEAST = 30.0
"""How far below the likeliest unit of a window a target lies at most, in logits: a probability of
1e-13. A divergence from the student's side has no bound where the target says "never"."""


class QuestionAnswering(UnitProblem):
    """A question and a context, a span of it.

    Args:
        max_answer_units: of an answer at most, where validation rows are scored.
    """

    name = "question_answering"
    metrics = ("answer_f1", "exact_match")
    has_thresholds = True
    distribution: ClassVar[Distribution] = "units"
    token_columns = (
        "example_id", "input_ids", "first_unit", "num_units", "unit_positions", "start_unit",
        "end_unit",
    )  # fmt: skip
    row_key = ("example_id", "window")
    signals_contract = "teacher_signals_question_answering"

    def __init__(self, max_answer_units: int = MAX_ANSWER_UNITS) -> None:
        """Keep how long answers may be."""
        self._max_answer_units = max_answer_units

    def as_read(self, facts: Mapping[str, Any]) -> QuestionAnswering:
        """With answers as long as the reader's may be."""
        return QuestionAnswering(longest_answer(facts))

    def answers(self, table: pa.Table, *, num_labels: int) -> Answers:
        """Units of each window after its slot; a label's bit 1 marks the start, bit 2 the end.

        window holds units 7 8 9, the answer is 8 to 9    labels 0 | 0 1 2
        the answer is elsewhere, or there is none         labels 3 | 0 0 0
        unlabelled                                        labels -1 throughout
        """
        del num_labels
        column = table["unit_positions"].combine_chunks()
        counts = np.asarray(column.value_lengths(), dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(counts + 1)]).astype(np.int64)
        slots = offsets[:-1]
        positions = np.zeros(offsets[-1], dtype=np.int32)  # the slot is the window's first token
        is_unit = np.ones(offsets[-1], dtype=bool)
        is_unit[slots] = False
        positions[is_unit] = np.asarray(column.flatten(), dtype=np.int32)
        first, start, end = (
            np.asarray(table[name], dtype=np.int64)
            for name in ("first_unit", "start_unit", "end_unit")
        )
        labels = _labels(offsets, first, start, end)
        labels[np.repeat(start == UNLABELLED, counts + 1)] = IGNORE_INDEX
        return Answers(Units(offsets, positions), labels)

    def soft_targets(
        self, table: pa.Table, signals: pa.Table, answers: Answers, *, order: Sequence[int]
    ) -> tuple[np.ndarray, Answers]:
        """Teacher logits of each window's units; the rest of its mass is on the window's slot."""
        del order
        assert answers.units is not None
        offsets = answers.units.offsets
        found = np.empty((offsets[-1], 2), dtype=np.float32)
        first = np.asarray(table["first_unit"], dtype=np.int64)
        _check_units(table, signals)
        for which, name in ((START, "start"), (END, "end")):
            column = signals[f"{name}_logits"].combine_chunks()
            values = np.asarray(column.flatten(), dtype=np.float64)
            starts = np.asarray(column.offsets, dtype=np.int64) - int(column.offsets[0].as_py())
            nulls = np.asarray(signals[f"null_{name}"], dtype=np.float64)
            for row in range(len(table)):
                whole = values[starts[row] : starts[row + 1]]
                stop = first[row] + offsets[row + 1] - offsets[row] - 1
                outside = np.concatenate([whole[: first[row]], whole[stop:], nulls[row : row + 1]])
                found[offsets[row], which] = np.logaddexp.reduce(outside)
                found[offsets[row] + 1 : offsets[row + 1], which] = whole[first[row] : stop]
        found = _of_tokens(found, answers.units)
        largest = np.maximum.reduceat(found, offsets[:-1])
        return np.maximum(found, np.repeat(largest, np.diff(offsets), axis=0) - _LEAST), answers

    def decisions(self, from_teacher: TeacherOutput) -> np.ndarray:
        """The teacher's answer to the whole context, as it would be delivered, in each window.

        Start and end are chosen together: of an unsure teacher the likeliest start often lies
        behind the likeliest end, or a paragraph before it.
        """
        signals, units = from_teacher.signals, from_teacher.answers.units
        assert units is not None
        threshold = from_teacher.thresholds.get("null_threshold", 0.0)
        longest = longest_answer(from_teacher.thresholds)
        nulls = np.asarray(signals["null_start"], np.float64) + np.asarray(signals["null_end"])
        spans = np.full((len(signals), 2), NO_ANSWER, dtype=np.int64)
        said = zip(*(signals[f"{name}_logits"] for name in ("start", "end")), strict=True)
        for row, (start, end) in enumerate(said):
            choice = choose_span(
                start.values, end.values, null_logit=float(nulls[row]), max_units=longest
            )
            spans[row] = choice.decided(threshold) or (NO_ANSWER, NO_ANSWER)
        first = np.asarray(from_teacher.table["first_unit"], dtype=np.int64)
        return _labels(units.offsets, first, spans[:, 0], spans[:, 1])

    def signal_table(self, table: pa.Table, logits: np.ndarray, answers: Answers) -> pa.Table:
        """One row a context: each unit's largest logit over its windows, the smallest of "none".

        Units within a token have `EXCLUDED` as starts, or as ends.
        """
        assert answers.units is not None
        rows = list(contexts(table, logits, answers.units))
        item = pa.list_(pa.field("element", pa.float32(), nullable=False))
        columns: dict[str, Any] = {
            "example_id": pa.array([row.example_id for row in rows], pa.string()),
            "num_units": pa.array([len(row.logits_U2) for row in rows], pa.int32()),
        }
        for which, name in ((START, "start"), (END, "end")):
            columns[f"{name}_logits"] = pa.array([row.logits_U2[:, which] for row in rows], item)
            nulls = [float(row.null_2[which]) for row in rows]
            columns[f"null_{name}"] = pa.array(nulls, pa.float32())
        return pa.table(columns)

    def soft_labels(self, signals: pa.Table, *, num_labels: int) -> tuple[np.ndarray, np.ndarray]:
        """A context's slot "no answer", then its units."""
        num_units = np.asarray(signals["num_units"], dtype=np.int64)
        slots = np.cumsum(num_units + 1) - num_units - 1
        logits = np.empty((int((num_units + 1).sum()), num_labels), dtype=np.float32)
        is_unit = np.ones(len(logits), dtype=bool)
        is_unit[slots] = False
        for which, name in ((START, "start"), (END, "end")):
            column = signals[f"{name}_logits"].combine_chunks().flatten()
            logits[is_unit, which] = np.asarray(column, dtype=np.float32)
            logits[slots, which] = np.asarray(signals[f"null_{name}"], dtype=np.float32)
        return logits, num_units + 1

    def restated(self, ids: pa.Array, logits: np.ndarray, counts: np.ndarray) -> pa.Table:
        """As `signal_table` of contexts that one window holds."""
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        units = Units.apart(offsets)
        first = np.zeros(len(ids), dtype=np.int32)
        whole = {"example_id": ids, "first_unit": first, "num_units": counts - 1}
        nothing = np.empty(0, dtype=np.int64)
        return self.signal_table(pa.table(whole), logits, Answers(units, nothing))

    def thresholds(self, table: pa.Table, logits: np.ndarray, answers: Answers) -> dict[str, Any]:
        """`null_threshold`: how far "no answer" must be ahead of the best span to win.

        And `max_answer_units`, unless it is the usual number: who decides needs both.
        """
        found: dict[str, Any] = {
            "null_threshold": _null_threshold(self._choices(table, logits, answers))
        }
        if self._max_answer_units != MAX_ANSWER_UNITS:
            found["max_answer_units"] = self._max_answer_units
        return found

    def score(
        self, table: pa.Table, logits: np.ndarray, answers: Answers, *, labels: Sequence[str]
    ) -> dict[str, float]:
        """`answer_f1` of units, `exact_match`, in [0, 1] a context; `loss` in nats a labelled
        window, start and end together.

        With the threshold that these rows give, as the model is delivered: what a student takes
        from an unsure teacher is spread over units, and "no answer", one slot, would win of itself.
        """
        del labels
        choices = self._choices(table, logits, answers)
        threshold = _null_threshold(choices)
        f1s, exact = [], []
        for choice, wanted in choices:
            decided = choice.decided(threshold)
            exact.append(decided == wanted)
            f1s.append(_overlap(decided, wanted))
        return {
            "answer_f1": float(np.mean(f1s)),
            "exact_match": float(np.mean(exact)),
            "loss": _loss(logits, answers),
        }

    def _choices(
        self, table: pa.Table, logits: np.ndarray, answers: Answers
    ) -> list[tuple[SpanChoice, tuple[int, int] | None]]:
        """What is chosen in each context, and what was wanted."""
        assert answers.units is not None
        gold = _gold_spans(table)
        found = contexts(table, logits, answers.units)
        return [
            (_choice(context, max_units=self._max_answer_units), gold[context.example_id])
            for context in found
        ]


class Context:
    """What a model said of one context, its windows merged.

    Args:
        logits_U2: start and end of each unit. null_2: of "no answer".
    """

    def __init__(self, example_id: str, logits_U2: np.ndarray, null_2: np.ndarray) -> None:
        """Keep what was said."""
        self.example_id, self.logits_U2, self.null_2 = example_id, logits_U2, null_2


def contexts(table: pa.Table, logits: np.ndarray, units: Units) -> Iterator[Context]:
    """The contexts of a tokens table in order of their first windows; a unit that several windows
    hold has its largest logit, "no answer" the smallest. Only the first unit of a token starts an
    answer, and only the last one ends it."""
    first, total = (np.asarray(table[name], dtype=np.int64) for name in ("first_unit", "num_units"))
    merged: dict[str, Context] = {}
    logits = bounds_of_tokens(logits, units.joined())
    for row, example_id in enumerate(table["example_id"].to_pylist()):
        said = logits[units.offsets[row] : units.offsets[row + 1]]
        if example_id not in merged:
            # What no window holds (a context of characters that the tokenizer drops) is no answer.
            nothing = np.full((total[row], 2), EXCLUDED, dtype=np.float32)
            merged[example_id] = Context(example_id, nothing, said[0].copy())
        context = merged[example_id]
        stretch = context.logits_U2[first[row] : first[row] + len(said) - 1]
        np.maximum(stretch, said[1:], out=stretch)
        np.minimum(context.null_2, said[0], out=context.null_2)
    yield from merged.values()


def best_span(
    context: Context, *, max_units: int, null_threshold: float = 0.0
) -> tuple[int, int] | None:
    """First and last unit of the likeliest answer, None if "no answer" is likelier.

    Args:
        max_units: units of an answer at most.
        null_threshold: by how much "no answer" must be ahead to win.
    """
    return _choice(context, max_units=max_units).decided(null_threshold)


def _choice(context: Context, *, max_units: int) -> SpanChoice:
    start_U, end_U = context.logits_U2.T
    null_logit = float(context.null_2.sum())
    return choose_span(start_U, end_U, null_logit=null_logit, max_units=max_units)


def _null_threshold(choices: Sequence[tuple[SpanChoice, tuple[int, int] | None]]) -> float:
    return tune_null_threshold(
        [choice.margin for choice, _ in choices],
        [_overlap((choice.first, choice.last), wanted) for choice, wanted in choices],
        [float(wanted is None) for _, wanted in choices],
    )


def _gold_spans(table: pa.Table) -> dict[str, tuple[int, int] | None]:
    columns = (table[name].to_pylist() for name in ("example_id", "start_unit", "end_unit"))
    return {
        example_id: None if start < 0 else (start, end)
        for example_id, start, end in zip(*columns, strict=True)
    }


def _overlap(decided: tuple[int, int] | None, wanted: tuple[int, int] | None) -> float:
    """F1 of the units of two spans; 1 if both are None."""
    if decided is None or wanted is None:
        return float(decided == wanted)
    common = min(decided[1], wanted[1]) - max(decided[0], wanted[0]) + 1
    if common <= 0:
        return 0.0
    return 2 * common / (decided[1] - decided[0] + wanted[1] - wanted[0] + 2)


def _loss(logits: np.ndarray, answers: Answers) -> float:
    """Cross-entropies of start and end over the tokens of each window, summed: nats a window."""
    assert answers.units is not None
    offsets, labels = answers.units.offsets[:-1], answers.labels
    x = logits.astype(np.float64)
    once = ~answers.units.joined()[:, None]
    # a softmax a window: subtract its largest, sum, take logarithms
    counts = np.diff(answers.units.offsets)
    shifted = x - np.repeat(np.maximum.reduceat(x, offsets), counts, axis=0)
    sums = np.add.reduceat(np.exp(shifted) * once, offsets)
    logs = shifted - np.repeat(np.log(sums), counts, axis=0)
    known = labels >= 0
    marked = [known & ((labels & bit) > 0) for bit in (1, 2)]
    total = sum(-logs[mask, which].sum() for which, mask in enumerate(marked))
    # a labelled window has one start, in it or on its slot, and as in training both bounds count
    return float(total / max(1, int(marked[0].sum())))


def _of_tokens(logits_A2: np.ndarray, units: Units) -> np.ndarray:
    """What units that one token joins have together, on each of them: float32."""
    joined_A = units.joined()
    if not joined_A.any():
        return logits_A2
    tokens = np.flatnonzero(~joined_A)
    together = np.logaddexp.reduceat(logits_A2.astype(np.float64), tokens, axis=0)
    return together[np.cumsum(~joined_A) - 1].astype(np.float32)


def _labels(
    offsets: np.ndarray, first_N: np.ndarray, start_N: np.ndarray, end_N: np.ndarray
) -> np.ndarray:
    """Of each unit of the windows: bit 1 where a span starts, bit 2 where it ends; both on the slot
    of a window that does not hold all of it.

    Args:
        offsets: of the windows, each a slot and its units, (N + 1,).
        first_N: the first unit of each window. start_N, end_N: of its context's span, negative if
            there is none.
    """
    slots, counts = offsets[:-1], np.diff(offsets) - 1
    labels = np.zeros(offsets[-1], dtype=np.int64)
    inside = (start_N >= first_N) & (end_N < first_N + counts) & (start_N >= 0)
    labels[(slots + 1 + start_N - first_N)[inside]] |= 1
    labels[(slots + 1 + end_N - first_N)[inside]] |= 2
    labels[slots[~inside]] = 3
    return labels


def _check_units(table: pa.Table, signals: pa.Table) -> None:
    differs = pc.not_equal(table["num_units"], signals["num_units"])
    if count := pc.sum(differs).as_py():
        raise ContractViolation(
            f"{count} of {len(table)} windows have contexts of another number of units than their "
            "teacher signals",
            rule="teacher and student read the same text, and so the same units",
            remedy="run the token and teacher-signals steps again",
        )
