"""Contracts of the tables that cross a boundary, read from ODCS files.

    load_contract("tokens")              the contract as a frozen value
    arrow_schema(contract)               what a writer builds its table with

`tables.py` checks Arrow tables against them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from data_contracts.artifacts import Frozen
from data_contracts.errors import RecipeError
from data_contracts.safe_yaml import load_yaml

_FOLDER = Path(__file__).parent
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


def is_list(physical_type: str) -> bool:
    """Whether values of this type are lists."""
    return _LIST.match(physical_type) is not None


def is_type(actual: pa.DataType, physical_type: str) -> bool:
    """Whether an Arrow type is the one that a contract names, whatever the size of its lists."""
    if match := _LIST.match(physical_type):
        fixed = pa.types.is_fixed_size_list(actual)
        right_kind = fixed if match[1] == "fixed_size_list" else pa.types.is_list(actual)
        return right_kind and actual.field(0).type == _SCALARS[match[2]]
    return actual == _SCALARS[physical_type]
