"""Arrow tables checked against the contracts of `contracts.py`.

    check_table(table, "tokens")         raises ContractViolation with counts and the first bad row

Every rule is one vectorised pyarrow expression over a column, about 1 µs a row for a whole table of
the corpus; the figures against pandera stand in infra/decisions/0002-contract-checks-in-pyarrow.md.
Values of columns classified as restricted (texts) never appear in a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute

from data_contracts.contracts import (
    Column,
    Contract,
    Limits,
    arrow_schema,
    is_list,
    is_type,
    load_contract,
    read_contract,
)
from data_contracts.errors import ContractViolation

# Its functions are made when it is imported: a type checker sees none of them.
pc: Any = pyarrow.compute

_SHOWN_CHARS = 40
_SHOWN_RULES = 5


def check_table(
    data: pa.Table | pa.RecordBatch | Iterable[pa.RecordBatch | pa.Table],
    contract_name: str,
    *,
    name: str = "",
) -> None:
    """Check rows against a contract: columns, types, nulls, limits, allowed values, uniqueness.

    Args:
        data: a table, or the batches of one in order.
        contract_name: see `load_contract`.
        name: what to call the data in messages, such as its path inside the artifact.

    Raises: ContractViolation naming up to five broken rules, each with how many rows break it and
        the first of them (counted from 0).
    """
    contract = load_contract(contract_name)
    broken: dict[str, _Finding] = {}
    seen: dict[str, list[pa.ChunkedArray]] = {c.name: [] for c in contract.columns if c.unique}
    num_rows = 0
    for batch in _tables(data):
        _check_columns(batch.schema, contract, name)
        for rule, bad, shown in _broken_rows(batch, contract):
            if count := pc.sum(bad).as_py():
                broken.setdefault(rule, _Finding()).add(count, bad, shown, offset=num_rows)
        for column, chunks in seen.items():
            chunks.append(batch[column])
        num_rows += batch.num_rows
    for column, chunks in seen.items():
        values = pa.chunked_array([part for chunk in chunks for part in chunk.chunks], pa.string())
        if pc.count_distinct(values).as_py() != len(values):
            bad = _repeated(values)
            count = pc.sum(bad).as_py()
            broken.setdefault(f"{column} is unique", _Finding()).add(count, bad, values, offset=0)
    if broken:
        raise _violation(contract, broken, num_rows, name)


class _Finding:
    """How many rows break one rule, and the first of them."""

    def __init__(self) -> None:
        self.count, self.first, self.value = 0, -1, ""

    def add(
        self, count: int, bad: pa.ChunkedArray, shown: pa.ChunkedArray | None, *, offset: int
    ) -> None:
        if not self.count:
            row = pc.index(bad, True).as_py()
            self.first = offset + row
            if shown is not None:
                text = repr(shown.slice(row, 1).to_pylist()[0])
                self.value = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
        self.count += count


def _tables(data: Any) -> Iterator[pa.Table]:
    if isinstance(data, pa.Table | pa.RecordBatch):
        data = [data]
    for batch in data:
        yield batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])


def _check_columns(schema: pa.Schema, contract: Contract, name: str) -> None:
    facts = []
    if missing := [column for column in contract.column_names if column not in schema.names]:
        facts.append(f"lacks {', '.join(missing)}")
    if extra := [column for column in schema.names if column not in contract.column_names]:
        facts.append(f"has the unknown column {', '.join(extra)}")
    for column in contract.columns:
        if column.name in schema.names:
            actual = schema.field(column.name).type
            if not is_type(actual, column.physical_type):
                facts.append(f"has {column.name} as {actual}, not {column.physical_type}")
    if facts:
        raise ContractViolation(
            f"{name or 'a table'} {'; '.join(facts)}",
            rule=f"contract {contract.name} {contract.version}: "
            + ", ".join(f"{column.name} {column.physical_type}" for column in contract.columns),
            remedy="build the table with arrow_schema(load_contract(...)), or change the contract "
            "and its version",
        )


def _broken_rows(
    batch: pa.Table, contract: Contract
) -> Iterator[tuple[str, pa.ChunkedArray, pa.ChunkedArray | None]]:
    """(rule, mask of rows that break it, values to show) of every rule but uniqueness."""
    for column in contract.columns:
        values = batch[column.name]
        shown = None if column.restricted else values
        if column.required and values.null_count:
            yield f"{column.name} is not null", pc.is_null(values), None
        for rule, good in _judged(values, column.limits, column.name):
            yield rule, pc.invert(pc.fill_null(good, True)), shown
        if column.enum:
            good = pc.is_in(values, pa.array(column.enum, values.type), skip_nulls=True)
            allowed = ", ".join(map(str, column.enum))
            bad = pc.and_(pc.is_valid(values), pc.invert(good))
            yield f"{column.name} is one of {allowed}", bad, shown
        if is_list(column.physical_type):
            yield from _broken_items(values, column, shown)
    for name, *others in contract.required_together:
        first = pc.is_null(batch[name])
        for other in others:
            rule = f"{name} and {other} are null together"
            yield rule, pc.not_equal(first, pc.is_null(batch[other])), None
    for name, *others in contract.same_length:
        lengths = pc.list_value_length(batch[name])
        for other in others:
            differ = pc.not_equal(lengths, pc.list_value_length(batch[other]))
            yield f"{name} and {other} have as many items", pc.fill_null(differ, False), None


def _broken_items(
    values: pa.ChunkedArray, column: Column, shown: pa.ChunkedArray | None
) -> Iterator[tuple[str, pa.ChunkedArray, pa.ChunkedArray | None]]:
    items = pc.list_flatten(values)
    rules = list(_judged(items, column.item_limits, f"each item of {column.name}"))
    if items.null_count:
        rules.append((f"no item of {column.name} is null", pc.is_valid(items)))
    for rule, good in rules:
        if pc.all(pc.fill_null(good, True), min_count=0).as_py():
            continue
        bad_items = pc.invert(pc.fill_null(good, True))
        rows = pc.unique(pc.filter(pc.list_parent_indices(values), bad_items))
        numbers = pa.array(range(len(values)), pa.int64())
        yield rule, pa.chunked_array([pc.is_in(numbers, rows)]), shown


def _judged(
    values: pa.ChunkedArray, limits: Limits, name: str
) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """(rule, mask of values that keep it, null where the value is) for every limit that is set."""
    if limits.min_length is not None:
        good = pc.greater_equal(pc.utf8_length(values), limits.min_length)
        yield f"{name} has at least {limits.min_length} characters", good
    if limits.max_length is not None:
        good = pc.less_equal(pc.utf8_length(values), limits.max_length)
        yield f"{name} has at most {limits.max_length} characters", good
    if limits.pattern is not None:
        good = pc.match_substring_regex(values, limits.pattern)
        yield f"{name} matches {limits.pattern}", good
    if limits.minimum is not None:
        yield f"{name} is at least {limits.minimum:g}", pc.greater_equal(values, limits.minimum)
    if limits.maximum is not None:
        yield f"{name} is at most {limits.maximum:g}", pc.less_equal(values, limits.maximum)
    if limits.min_items is not None:
        good = pc.greater_equal(pc.list_value_length(values), limits.min_items)
        yield f"{name} has at least {limits.min_items} items", good
    if limits.max_items is not None:
        good = pc.less_equal(pc.list_value_length(values), limits.max_items)
        yield f"{name} has at most {limits.max_items} items", good


def _repeated(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Mask of rows whose value occurred before. Slow path: only when something is broken."""
    seen: set[Any] = set()
    mask = [value in seen or bool(seen.add(value)) for value in values.to_pylist()]
    return pa.chunked_array([pa.array(mask, pa.bool_())])


def _violation(
    contract: Contract, broken: dict[str, _Finding], num_rows: int, name: str
) -> ContractViolation:
    lines = [
        f"{finding.count:,} of {num_rows:,} rows break `{rule}`, first row {finding.first}"
        + (f": {finding.value}" if finding.value else "")
        for rule, finding in list(broken.items())[:_SHOWN_RULES]
    ]
    if len(broken) > _SHOWN_RULES:
        lines.append(f"and {len(broken) - _SHOWN_RULES} more rules are broken")
    return ContractViolation(
        f"{name or 'a table'}: " + "; ".join(lines),
        rule=f"contract {contract.name} {contract.version}",
        remedy="correct the rows where they are made; rows of a source belong in quarantine",
    )


__all__ = ["arrow_schema", "check_table", "load_contract", "read_contract"]
