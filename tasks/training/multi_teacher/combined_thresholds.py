"""What decides beside the largest logit, for several teachers that speak as one.

    signals of validation rows (combined) ─┐ by example id
    tokens of one teacher, with gold labels ┴► thresholds, as a single teacher's fine-tuning leaves

Each teacher's own thresholds were tuned to its own probabilities. A mean of several is nearer to
even where they disagree: at the thresholds of one of them other labels would be decided.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.corpus.tables import part_paths, read_table
from tasks.corpus.tokens.facts import read_token_facts
from tasks.modeling.heads.units import Units
from tasks.problems import Problem
from tasks.training.batching.examples import read_labels
from tasks.training.batching.mapped_examples import have_labels
from tasks.training.batching.signal_join import SignalJoin

_ROLE = "validation"


def combined_thresholds(problem: Problem, tokens: Path, signals: Path) -> dict[str, Any] | None:
    """Thresholds of the combined `signals`, classes in their order; None without labelled rows.

    Args:
        tokens: folder of the tokens of a teacher: the validation rows that it reads are tuned on.
        signals: folder of the combined signals, with its labels.json.
    Raises: ContractViolation if such a row has no signal.
    """
    problem = problem.as_read(read_token_facts(tokens))
    join = SignalJoin(signals, labels := read_labels(tokens))
    tables, said = [], []
    for path in part_paths(tokens, [_ROLE]):
        table = read_table(path)
        table = table.filter(pa.array(have_labels(problem.answers(table, num_labels=len(labels)))))
        table = _first_of_each(table)
        if len(table):
            tables.append(table)
            said.append(join.rows(f"{_ROLE}/{path.name}", table))
    if not tables:
        return None
    table = pa.concat_tables(tables).combine_chunks()
    logits, counts = problem.soft_labels(
        pa.concat_tables(said).combine_chunks(), num_labels=len(labels)
    )
    answers = problem.answers(table, num_labels=len(labels))
    if answers.units is not None:  # those of whole contexts, as if one window held them
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        answers = replace(answers, units=Units.apart(offsets))
    found = problem.thresholds(table, logits[:, join.order], answers)
    if "thresholds" in found:
        of_class = dict(zip(join.order, found["thresholds"], strict=True))
        found["thresholds"] = [of_class[number] for number in range(len(labels))]
    return found


def _first_of_each(table: pa.Table) -> pa.Table:
    """One row a text: of several windows of a context the first, which then holds all of it."""
    _, first = np.unique(table["example_id"].to_numpy(), return_index=True)
    table = table.take(pa.array(np.sort(first)))
    if "first_unit" not in table.column_names:
        return table
    column = pa.array(np.zeros(len(table), dtype=np.int32))
    return table.set_column(table.column_names.index("first_unit"), "first_unit", column)
