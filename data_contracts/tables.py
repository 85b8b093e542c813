"""Contracts of the tables that cross a boundary, read from ODCS files and checked on Arrow data.

    load_contract("tokens")              the contract as a frozen value
    arrow_schema(contract)               what a writer builds its table with
    check_table(table, "tokens")         raises ContractViolation with counts and the first bad row

Every rule is one vectorised pyarrow expression over a column, about 1 µs a row for a whole table of
the corpus; the figures against pandera stand in infra/decisions/0002-contract-checks-in-pyarrow.md.
Values of columns classified as restricted (texts) never appear in a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
from pydantic import Field

from data_contracts.artifacts import Frozen
from data_contracts.errors import ContractViolation, RecipeError
from data_contracts.safe_yaml import load_yaml

# Its functions are made when it is imported: a type checker sees none of them.
pc: Any = pyarrow.compute

_FOLDER = Path(__file__).parent
_SHOWN_CHARS = 40
_SHOWN_RULES = 5
_LIST = re.compile(r"^(list|fixed_size_list)<(\w+)>$")
_SCALARS: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "binary": pa.binary(),
}


class Limits(Frozen):
    """What one value may be; None where nothing is said."""

    min_length: int | None = Field(default=None, description="characters, at least")
    max_length: int | None = Field(default=None, description="characters, at most")
    pattern: str | None = Field(default=None, description="RE2 expression the whole value matches")
    minimum: float | None = Field(
        default=None, description="number, at least; NaN never satisfies it"
    )
    maximum: float | None = Field(
        default=None, description="number, at most; NaN never satisfies it"
    )
    min_items: int | None = Field(default=None, description="list items, at least")
    max_items: int | None = Field(default=None, description="list items, at most")


class Column(Frozen):
    """One column of a contract."""

    name: str
    description: str
    physical_type: str = Field(description="Arrow type: int32, string, list<int32>, ...")
    required: bool = Field(description="whether null is refused")
    unique: bool = Field(description="whether a value may occur only once in a table")
    restricted: bool = Field(description="whether values are kept out of messages")
    enum: tuple[str | int | float, ...] = Field(
        default=(), description="allowed values; empty: any"
    )
    limits: Limits = Limits.model_construct()
    item_limits: Limits = Field(
        default=Limits.model_construct(), description="of each item of a list"
    )


class Contract(Frozen):
    """A table's contract: its columns, no more and no less, and the rules over them."""

    name: str
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$", description="semantic version")
    description: str
    columns: tuple[Column, ...]
    required_together: tuple[tuple[str, ...], ...] = Field(
        (), description="groups of columns null together or not at all"
    )
    same_length: tuple[tuple[str, ...], ...] = Field(
        (), description="groups of list columns with equally many items in a row"
    )
    properties: dict[str, float | int | str | bool] = Field(
        description="custom properties of the contract, such as maxQuarantineRate (a share, 0 to 1)"
    )

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(column.name for column in self.columns)


@cache
def load_contract(name: str) -> Contract:
    """The contract `data_contracts/<name>.odcs.yaml`.

    Raises: RecipeError if there is none of that name, or it is not ODCS version 3.
    """
    path = _FOLDER / f"{name}.odcs.yaml"
    if not path.is_file():
        known = sorted(file.name.removesuffix(".odcs.yaml") for file in _FOLDER.glob("*.odcs.yaml"))
        raise RecipeError(
            f"there is no contract {name!r}",
            rule=f"contracts: {', '.join(known)}",
            remedy="use one of these names",
        )
    return read_contract(path)


def read_contract(path: Path) -> Contract:
    """The contract in one ODCS file, which describes one table.

    Raises: RecipeError if it is not ODCS version 3 or uses a type that no table here has.
    """
    from open_data_contract_standard.model import OpenDataContractStandard
    from pydantic import ValidationError

    content = load_yaml(path.read_text(encoding="utf-8"), name=path.name, error=RecipeError)
    try:
        document = OpenDataContractStandard.model_validate(content)
        if not (document.apiVersion or "").startswith("v3.") or len(document.schema_ or ()) != 1:
            raise ValueError("not one table under an apiVersion v3.x")
        return _contract(document)
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(
            f"{path.name}: {error}",
            rule="a contract is an Open Data Contract Standard v3 document with one schema",
            remedy="compare it with data_contracts/corpus.odcs.yaml",
        ) from error


def _contract(document: Any) -> Contract:
    table = document.schema_[0]
    return Contract(
        name=table.name,
        version=document.version,
        description=document.description.purpose,
        columns=tuple(_column(entry) for entry in table.properties),
        required_together=_groups(_custom(table).get("requiredTogether", ())),
        same_length=_groups(_custom(table).get("sameLength", ())),
        properties=_custom(document),
    )


def _groups(value: Any) -> tuple[tuple[str, ...], ...]:
    several = value and not isinstance(value[0], str)
    return tuple(map(tuple, value)) if several else (tuple(value),) if value else ()


def _custom(holder: Any) -> dict[str, Any]:
    return {entry.property: entry.value for entry in holder.customProperties or ()}


def _column(entry: Any) -> Column:
    column = Column(
        name=entry.name,
        description=entry.description,
        physical_type=entry.physicalType,
        required=bool(entry.required),
        unique=bool(entry.unique),
        restricted=entry.classification == "restricted",
        enum=tuple(allowed.value for allowed in entry.enum or ()),
        limits=_limits(entry.logicalTypeOptions),
        item_limits=_limits(entry.items.logicalTypeOptions if entry.items else None),
    )
    _arrow_type(column.physical_type, list_size=1)  # unknown types are refused when read
    return column


def _limits(options: Mapping[str, Any] | None) -> Limits:
    """ODCS spells limits in camel case; one that nothing here checks is refused, not ignored."""
    return Limits.model_validate(
        {
            re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), option): value
            for option, value in (options or {}).items()
        }
    )


def arrow_schema(contract: Contract, *, list_size: int | None = None) -> pa.Schema:
    """The Arrow schema of a contract; required columns are not nullable there.

    Args:
        list_size: length of fixed-size lists (classes), needed for contracts that have them.
    """
    return pa.schema(
        pa.field(
            column.name,
            _arrow_type(column.physical_type, list_size=list_size),
            nullable=not column.required,
        )
        for column in contract.columns
    )


def _arrow_type(physical_type: str, *, list_size: int | None) -> pa.DataType:
    if match := _LIST.match(physical_type):
        item = pa.field("element", _SCALARS[match[2]], nullable=False)
        if match[1] == "list":
            return pa.list_(item)
        if list_size is None:
            raise ValueError(f"{physical_type} needs list_size")
        return pa.list_(item, list_size)
    return _SCALARS[physical_type]


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
            if not _same_type(actual, column.physical_type):
                facts.append(f"has {column.name} as {actual}, not {column.physical_type}")
    if facts:
        raise ContractViolation(
            f"{name or 'a table'} {'; '.join(facts)}",
            rule=f"contract {contract.name} {contract.version}: "
            + ", ".join(f"{column.name} {column.physical_type}" for column in contract.columns),
            remedy="build the table with arrow_schema(load_contract(...)), or change the contract "
            "and its version",
        )


def _same_type(actual: pa.DataType, physical_type: str) -> bool:
    if match := _LIST.match(physical_type):
        fixed = pa.types.is_fixed_size_list(actual)
        right_kind = fixed if match[1] == "fixed_size_list" else pa.types.is_list(actual)
        return right_kind and actual.field(0).type == _SCALARS[match[2]]
    return actual == _SCALARS[physical_type]


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
        if _LIST.match(column.physical_type):
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
