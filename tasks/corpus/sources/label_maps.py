"""Names of classes as a file spells them -> as the recipe does: `label_map` of a source.

    cell ── number -> name of label_names ── name -> name of label_map ──► class
    tag     the same, then the type alone: B-Heat -> B-heat; the prefix stays

Each name is looked up once, so two names may be exchanged. A key that no label of its source has is
a misspelt one: the labels that it was meant for would become a class of their own, or go to the
quarantine. As a column that a file does not have, it is refused. Files of one data set are often
given one map, and a test file may lack a class: a key counts as found where any source that has it
finds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from data_contracts.errors import SourceError
from tasks.corpus.text.normalization import normalize_label

if TYPE_CHECKING:
    from tasks.corpus.sources.columns import ProblemType
    from tasks.corpus.sources.source import FileSource, Source

_NAMES_OF = {
    "text_classification": ("label",),
    "multilabel_classification": ("labels", "label", "tags"),
    "matching": ("label", "answers"),
    "token_classification": ("tags", "spans"),
}


def check_map(problem: ProblemType, source: FileSource, allowed: Iterable[str] | None) -> None:
    """Refuse a map that no label of `source` could be led through.

    Args:
        allowed: the only classes that rows may have; None: any.

    Raises: ValueError.
    """
    if not source.label_map:
        return
    columns = _NAMES_OF.get(problem)
    if columns is None:
        raise ValueError(
            f"source {source.name!r} has a label_map, but rows of {problem} have no names of "
            f"classes: take it out (it is of {', '.join(_NAMES_OF)})"
        )
    if not any(dict(source.columns)[column] is not None for column in columns):
        raise ValueError(
            f"source {source.name!r} has a label_map, but names no column of labels: set "
            f"columns.{' or columns.'.join(columns)}, or take it out"
        )
    known = None if allowed is None else set(allowed)
    for name, meant in normalized_map(source).items():
        if known is not None and meant not in known:
            raise ValueError(
                f"source {source.name!r}: label_map leads {name!r} to {meant!r}, which is not one "
                f"of the {len(known)} names of data.filters.labels: all its rows would be set aside"
            )


def normalized_map(source: Source) -> dict[str, str]:
    """The source's map, both sides in the form in which labels are matched; empty if it has none.

    Raises: ValueError if a name is empty in that form, or two keys are the same.
    """
    given: Mapping[str, str] = getattr(source, "label_map", {})
    found: dict[str, str] = {}
    for raw, meant in given.items():
        name, target = normalize_label(raw), normalize_label(meant)
        if not name or not target:
            raise ValueError(f"label_map leads {raw!r} to {meant!r}: neither name may be empty")
        if name in found:
            raise ValueError(f"label_map has the key {name!r} twice, spelt in two ways")
        found[name] = target
    return found


def mapped(name: str, label_map: Mapping[str, str], occurred: Counter[str]) -> str:
    """What `name` is called in the recipe, itself if it is no key; `occurred` notes the key."""
    if name not in label_map:
        return name
    occurred[name] += 1
    return label_map[name]


def keys_not_found(source: Source, occurred: Counter[str]) -> list[str]:
    """Keys of the source's map that did not occur, in its rows or in others."""
    return [name for name in normalized_map(source) if not occurred[name]]


def check_keys_occur(
    found: Iterable[tuple[Source, Counter[str]]], *, drawn: Iterable[Source] = ()
) -> None:
    """Refuse keys that no label has, in any source that maps them; see the module.

    Args:
        found: keys that occurred in each file, with its source.
        drawn: sources of which not all rows were read: nothing is said of a key that one of them
            has, which may be that of the others.

    Raises: SourceError.
    """
    occurred: Counter[str] = Counter()
    sources: dict[str, Source] = {}
    for source, keys in found:
        sources[source.name] = source
        occurred.update(keys)
    unknown = {name for one in drawn for name in normalized_map(one)}
    for source in sources.values():
        if names := [name for name in keys_not_found(source, occurred) if name not in unknown]:
            raise SourceError(
                f"label_map of source {source.name!r} has {', '.join(map(repr, names))}, which no "
                "label of a source with that key is",
                rule="a key of label_map is a label as the file has it, or the name that "
                "label_names gives its number; of tags it is the type alone (PER of B-PER)",
                remedy="correct the key as the file spells it, or take it out",
            )
