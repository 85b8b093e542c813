"""What a change of a contract means for those who read or write its table.

    major   something breaks: a reader meets what it was promised not to, or a writer's rows are
            suddenly refused
    minor   more is possible than before: an optional column, a wider limit, another allowed value
    patch   words only

Both directions count. Tables are written by one version of Decant and read by another (artifacts
outlive an upgrade), so neither side may be surprised without a major version.
"""

from __future__ import annotations

from typing import Literal

from data_contracts.tables import Column, Contract, Limits

Bump = Literal["none", "patch", "minor", "major"]
_ORDER: tuple[Bump, ...] = ("none", "patch", "minor", "major")
_KINDS: tuple[Bump, ...] = ("major", "minor", "patch")
# Limits where a smaller value is narrower; in all others a larger one is.
_UPPER = frozenset({"max_length", "maximum", "max_items"})


def breaking_changes(old: Contract, new: Contract) -> list[str]:
    """Each change from `old` to `new` that needs a major version, in words; empty if none does."""
    return _changes(old, new)[0]


def compatible_changes(old: Contract, new: Contract) -> list[str]:
    """Each change from `old` to `new` that needs a minor version, in words; empty if none does."""
    return _changes(old, new)[1]


def needed_bump(old: Contract, new: Contract) -> Bump:
    """The smallest version step that `new` must take from `old`."""
    breaking, compatible = _changes(old, new)
    if breaking:
        return "major"
    if compatible:
        return "minor"
    same = old.model_dump(exclude={"version"}) == new.model_dump(exclude={"version"})
    return "none" if same else "patch"


def taken_bump(old: Contract, new: Contract) -> Bump:
    """The version step between two contracts.

    Raises: ValueError if the version goes back.
    """
    before, after = ([int(part) for part in c.version.split(".")] for c in (old, new))
    if after < before:
        raise ValueError(f"{new.name}: version {new.version} lies before {old.version}")
    for kind, old_part, new_part in zip(_KINDS, before, after, strict=True):
        if old_part != new_part:
            return kind
    return "none"


def is_enough(taken: Bump, needed: Bump) -> bool:
    """Whether the version step `taken` covers what the change needs."""
    return _ORDER.index(taken) >= _ORDER.index(needed)


def _changes(old: Contract, new: Contract) -> tuple[list[str], list[str]]:
    breaking: list[str] = []
    compatible: list[str] = []
    before = {column.name: column for column in old.columns}
    after = {column.name: column for column in new.columns}
    if old.name != new.name:
        breaking.append(f"table renamed from {old.name} to {new.name}")
    breaking += [f"column {name} removed" for name in before if name not in after]
    for name, column in after.items():
        if name in before:
            _compare_columns(before[name], column, breaking, compatible)
        elif column.required:
            breaking.append(f"required column {name} added")
        else:
            compatible.append(f"optional column {name} added")
    common = [name for name in after if name in before]
    if [name for name in before if name in after] != common:
        breaking.append("columns reordered")
    if old.required_together != new.required_together:
        breaking.append("requiredTogether changed")
    if old.same_length != new.same_length:
        breaking.append("sameLength changed")
    _compare_properties(old, new, breaking, compatible)
    return breaking, compatible


def _compare_columns(old: Column, new: Column, breaking: list[str], compatible: list[str]) -> None:
    name = new.name
    if old.physical_type != new.physical_type:
        breaking.append(f"{name}: type changed from {old.physical_type} to {new.physical_type}")
        return
    if old.required != new.required:
        breaking.append(f"{name}: " + ("required" if new.required else "no longer required"))
    if old.unique != new.unique:
        breaking.append(f"{name}: " + ("unique" if new.unique else "no longer unique"))
    if old.enum != new.enum:
        if removed := [value for value in old.enum if value not in new.enum and new.enum]:
            breaking.append(f"{name}: allowed values removed: {', '.join(map(str, removed))}")
        elif new.enum and not old.enum:
            breaking.append(f"{name}: values restricted to {', '.join(map(str, new.enum))}")
        else:
            compatible.append(f"{name}: more values allowed")
    _compare_limits(name, old.limits, new.limits, breaking, compatible)
    item = f"each item of {name}"
    _compare_limits(item, old.item_limits, new.item_limits, breaking, compatible)


def _compare_limits(
    name: str, old: Limits, new: Limits, breaking: list[str], compatible: list[str]
) -> None:
    for limit in Limits.model_fields:
        before, after = getattr(old, limit), getattr(new, limit)
        if before == after:
            continue
        change = f"{name}: {limit} {before} -> {after}"
        if after is None:
            compatible.append(change)
        elif before is None or limit == "pattern":  # two expressions cannot be compared
            breaking.append(change)
        else:
            narrower = after < before if limit in _UPPER else after > before
            (breaking if narrower else compatible).append(change)


def _compare_properties(
    old: Contract, new: Contract, breaking: list[str], compatible: list[str]
) -> None:
    for name in sorted(old.properties.keys() | new.properties.keys()):
        before, after = old.properties.get(name), new.properties.get(name)
        if before == after:
            continue
        change = f"property {name}: {before} -> {after}"
        # maxQuarantineRate and its like are upper limits; anything but a wider number breaks.
        if before is None or (
            isinstance(before, int | float) and isinstance(after, int | float) and after > before
        ):
            compatible.append(change)
        else:
            breaking.append(change)
