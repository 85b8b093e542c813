"""Token classification: spans of C types in a text (named entities), as IOB2 tags of its units.

    row      text, spans (start, end in characters, type)
    align    a span's tags go to the units (words; characters of scripts without spaces) it touches;
             teacher and student have the same units whatever their tokenizers (`corpus/units.py`)
    head     first token of each unit → linear layer, C tags; units that one token joins (北京) have
             one state, and learn the tag of the first of them
    loss     soft targets and hard labels over C, mean over units
    metrics  entity-level F1, precision, recall (a span counts if start, end and type are right);
             accuracy of tags
    decode   the likeliest tag of each unit; a joined unit continues what its token begins; an I-
             that continues nothing begins an entity, as seqeval does without its strict mode

References: Wu et al. 2020, arXiv:2004.12440 (distillation at first sub-words of unlabelled target
    text); Tjong Kim Sang 2002 (entity-level scoring).
Shapes: N texts, U units of all texts, C tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from data_contracts.errors import ContractViolation
from tasks.modeling.heads.units import Units, ranges
from tasks.problems.problem import Answers
from tasks.problems.text_units import UnitProblem
from tasks.problems.whole_texts import log_softmax

pc: Any = pyarrow.compute


class TokenClassification(UnitProblem):
    """One text, spans of C types."""

    name = "token_classification"
    metrics = ("entity_f1", "precision", "recall", "accuracy")
    token_columns = ("example_id", "input_ids", "unit_positions", "unit_labels")
    signals_contract = "teacher_signals_token_classification"

    def answers(self, table: pa.Table, *, num_labels: int) -> Answers:
        """One answer a unit; tags from `unit_labels`, those of a token from its first unit."""
        del num_labels
        units = read_units(table)
        return Answers(units, _unit_tags(table)[_first_of_token(units)])

    def soft_targets(
        self, table: pa.Table, signals: pa.Table, answers: Answers, *, order: Sequence[int]
    ) -> tuple[np.ndarray, Answers]:
        """Logits of the units that both have read: a longer limit on tokens reads more of them.

        Units that the student's tokenizer joins have one state: what is said of the first of them.
        """
        del table
        assert answers.units is not None
        given = np.asarray(signals["num_units"], dtype=np.int64)
        units, kept = answers.units.first(given)
        values = signals["logits"].combine_chunks()
        stored = np.asarray(values.flatten(), dtype=np.float32).reshape(-1, len(order))
        if len(stored) != given.sum():
            raise ContractViolation(
                f"teacher signals hold {len(stored)} rows of {len(order)} logits for "
                f"{given.sum()} units",
                rule="a signal holds one logit a tag and unit",
                remedy="run the teacher-signals step again",
            )
        starts = np.concatenate([[0], np.cumsum(given)])[:-1]
        numbers = ranges(starts, np.diff(units.offsets))[_first_of_token(units)]
        return stored[numbers][:, list(order)], Answers(units, answers.labels[kept])

    def signal_table(self, table: pa.Table, logits: np.ndarray, answers: Answers) -> pa.Table:
        """example_id, num_units and the logits of all units of a text, one after the other.

        Of joined units I- has the logit of B-, where that is larger: they continue.
        """
        assert answers.units is not None
        logits = _continued(logits, answers.units)
        offsets = pa.array(answers.units.offsets * logits.shape[1], pa.int32())
        item = pa.field("element", pa.float32(), nullable=False)
        counts = pa.array(np.diff(answers.units.offsets), pa.int32())
        lists = pa.ListArray.from_arrays(offsets, pa.array(logits.ravel()), type=pa.list_(item))
        return pa.table({"example_id": table["example_id"], "num_units": counts, "logits": lists})

    def soft_labels(self, signals: pa.Table, *, num_labels: int) -> tuple[np.ndarray, np.ndarray]:
        """One answer a unit."""
        flat = signals["logits"].combine_chunks().flatten()
        logits = np.asarray(flat, dtype=np.float32).reshape(-1, num_labels)
        return logits, np.asarray(signals["num_units"], dtype=np.int64)

    def restated(self, ids: pa.Array, logits: np.ndarray, counts: np.ndarray) -> pa.Table:
        """As `signal_table`."""
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        units = Units.apart(offsets)
        nothing = np.empty(0, dtype=np.int64)
        return self.signal_table(pa.table({"example_id": ids}), logits, Answers(units, nothing))

    def score(
        self, table: pa.Table, logits: np.ndarray, answers: Answers, *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Entity-level `entity_f1`, `precision`, `recall`; tag `accuracy`; `loss`, nats a unit."""
        assert answers.units is not None
        gold = _unit_tags(table)
        decided = _continued(logits, answers.units).argmax(1)
        found = entities(decided, answers.units.offsets, labels)
        wanted = entities(gold, answers.units.offsets, labels)
        right = len(found & wanted)
        precision, recall = right / max(1, len(found)), right / max(1, len(wanted))
        losses = -log_softmax(logits)[np.arange(len(gold)), answers.labels]
        return {
            "entity_f1": 2 * right / max(1, len(found) + len(wanted)),
            "precision": precision,
            "recall": recall,
            "accuracy": float((decided == gold).mean()),
            "loss": float(losses.mean()),
        }


def read_units(table: pa.Table) -> Units:
    """The units of a tokens table."""
    column = table["unit_positions"].combine_chunks()
    counts = np.asarray(column.value_lengths(), dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Units(offsets, np.asarray(column.flatten(), dtype=np.int32))


def _unit_tags(table: pa.Table) -> np.ndarray:
    return np.asarray(table["unit_labels"].combine_chunks().flatten(), dtype=np.int64)


def _first_of_token(units: Units) -> np.ndarray:
    """For each unit the number of the first one that its token holds, int64."""
    numbers = np.arange(len(units.positions))
    return np.maximum.accumulate(np.where(units.joined(), 0, numbers))


def _continued(logits_UC: np.ndarray, units: Units) -> np.ndarray:
    """`logits_UC`, but where a token would begin an entity in a unit that is joined to the one
    before, it goes on with it.

    Tags are O, then B- and I- of each type (`tasks.corpus.rows.spans`).
    """
    joined_U = units.joined()
    if not joined_U.any():
        return logits_UC
    begins, continues = logits_UC[joined_U, 1::2], logits_UC[joined_U, 2::2]
    found_UC = logits_UC.copy()
    found_UC[joined_U, 1::2] = np.minimum(begins, continues)
    found_UC[joined_U, 2::2] = np.maximum(begins, continues)
    return found_UC


def entities(
    tags_U: np.ndarray, offsets: np.ndarray, labels: Sequence[str]
) -> set[tuple[int, int, str]]:
    """(first unit, unit after the last, type) of each entity that the tags of some texts name.

    Args:
        tags_U: tag numbers of the units of all texts.
        offsets: first unit of each text, and the number of units.
        labels: tag names in IOB2: O, B-LOC, I-LOC, ...
    """
    kinds = [label.partition("-")[2] for label in labels]
    begins = [label.startswith("B-") for label in labels]
    edges = set(offsets.tolist())
    found: set[tuple[int, int, str]] = set()
    start, kind = 0, ""
    for unit, tag in enumerate(tags_U.tolist()):
        continues = kinds[tag] == kind and not begins[tag] and unit not in edges
        if kind and not continues:
            found.add((start, unit, kind))
        if not continues:
            start, kind = unit, kinds[tag]
    if kind:
        found.add((start, len(tags_U), kind))
    return found
