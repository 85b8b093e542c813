"""Classes that the train rows of a source name, told before there is a corpus.

    label_names of the source     the names that its numbers stand for, as label_map has them:
                                  nothing is read; nor of answers that pairs are made of
    files on this machine         their rows, judged as ingestion would, of a long file the first
    a collection in a package     likewise
    anything else                 unknown: nothing is fetched for it

Ingestion looks at all rows together too (copies, leaks, rows cut for validation), so a class may
still go that has a row or two; no figure of a design hangs on that. 65,536 rows take some seconds.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from data_contracts.errors import SourceError
from flows.preflight.paths import is_here
from tasks import ingestion
from tasks.corpus.sources.expansion import NO, YES
from tasks.corpus.sources.files import SourceFile, read_rows, source_files
from tasks.corpus.sources.label_maps import check_keys_occur, keys_not_found, normalized_map
from tasks.corpus.sources.source import FileSource, Source
from tasks.corpus.text.normalization import normalize_label
from tasks.runtime.files.locations import local_files

if TYPE_CHECKING:
    from tasks.corpus.rows.kind import RowRules

_MOST_BATCHES = 8  # of 8,192 rows, of one source


class SourceClasses(NamedTuple):
    """Names of the classes of one source, and what was read for them.

    Args:
        num_rows: rows that were read; 0 if the recipe itself lists the names.
        is_all: whether there are no further rows.
    """

    names: frozenset[str]
    num_rows: int = 0
    is_all: bool = True


def source_classes(config: ingestion.Config, source: Source) -> SourceClasses | None:
    """The classes of a train source; None where they cannot be told without fetching it.

    Raises: SourceError if its file is here and is not what the source says.
    """
    if isinstance(source, FileSource) and source.expand == "answer_sentences":
        leads = normalized_map(source)
        return SourceClasses(frozenset(leads.get(name, name) for name in (YES, NO)))
    if isinstance(source, FileSource) and source.label_names:
        names = tuple(map(normalize_label, source.label_names))  # as the rows' names will be
        named, leads = _classes_of(names, config, source), normalized_map(source)
        others = {meant for name, meant in leads.items() if name not in named}
        return SourceClasses(frozenset({leads.get(name, name) for name in named} | others))
    try:
        if not is_here(source.uri):
            return None
        local_files(source.uri)
    except SourceError:  # not on this machine; told by whatever needs it
        return None
    return _read(config, source, source_files(source))


def check_label_maps(config: ingestion.Config) -> None:
    """Refuse a key of a `label_map` that no label has, as far as that is soon known.

    Files are read until all keys are found: mostly a batch. Nothing is said where rows are left
    that may have it: elsewhere, beside rows of another file, or after the first of a long one.

    Raises: SourceError as the first step would, also if a file is not what its source says.
    """
    from tasks.corpus.preparation.rows import prepare

    counts: list[tuple[Source, Counter[str]]] = []
    for source in config.sources:
        if not isinstance(source, FileSource) or not source.label_map:
            continue
        if source.parallel is not None or not is_here(source.uri):
            return
        files = source_files(source)
        batches = ((file.label, batch) for file in files for batch in read_rows(source, file))
        found: Counter[str] = Counter()
        for number, (label, batch) in enumerate(batches):
            if number == _MOST_BATCHES:
                return
            found += prepare(batch, _of_any_language(config, source, label)).changes.mapped
            if not keys_not_found(source, found):
                break
        counts.append((source, found))
    check_keys_occur(counts)


def _of_any_language(config: ingestion.Config, source: Source, label: str) -> RowRules:
    """The rules of a file without its texts' language, most of the time of 65,536 rows.

    Keys that occur are noted before a text is judged.
    """
    rules = ingestion.row_rules(config, source, label)
    filters = rules.filters.model_copy(update={"check_language": False})
    return rules.model_copy(update={"filters": filters})


def _classes_of(
    label_names: tuple[str, ...], config: ingestion.Config, source: FileSource
) -> set[str]:
    """The names themselves, or what they are tags of (B-LOC and I-LOC: LOC)."""
    from tasks.corpus.text.tags import tag_problem, types_of_tags

    if config.problem != "token_classification" and source.columns.tags is None:
        return set(label_names)
    tags = [tag for tag in label_names if tag_problem(tag) is None]
    if not tags:  # of spans, that are named by themselves
        return set(label_names)
    return types_of_tags(tags)


def _read(config: ingestion.Config, source: Source, files: list[SourceFile]) -> SourceClasses:
    import pyarrow.compute

    from tasks.corpus.preparation.rows import prepare
    from tasks.corpus.rows import ROW_KINDS

    pc: Any = pyarrow.compute
    kind = ROW_KINDS[config.problem]
    column = kind.names_column or "label"
    names: set[str | None] = set()
    num_rows, is_all = 0, len(files) <= _MOST_BATCHES
    for file in files[:_MOST_BATCHES]:
        rules = ingestion.row_rules(config, source, file.label)
        batches = read_rows(source, file)
        for batch in islice(batches, max(1, _MOST_BATCHES // len(files))):
            found = prepare(batch, rules).rows[column]
            found = pc.list_flatten(found) if kind.names_column else found
            names.update(pc.unique(found).to_pylist())
            num_rows += batch.num_rows
        rest = next(batches, None)  # perhaps an empty one
        is_all = is_all and (rest is None or not rest.num_rows)
    return SourceClasses(frozenset(name for name in names if name), num_rows, is_all)
