"""Sources -> corpus: normalised, filtered, deduplicated, split and leak-checked rows by role.

    sources ── prepare (each row alone, in parallel) ──► pieces on disk + a few numbers a row
                                                             │ select (all rows together)
    rows/<role>/part-NNNNN.parquet ◄── kept ─────────────────┤
    quarantine/part-NNNNN.parquet  ◄── set aside, with reason┘   counts.json  labels.json

What a row is depends on the problem and lies in `tasks.corpus.rows`: its columns, the rules on it,
and what makes two rows copies of each other.

Texts are held in pieces on disk, hashes in files beside them; in memory there are two bytes a row
and the n-grams of the evaluation texts (see `ledger` for what was measured). The bytes depend on
the sources and the rules, not on the number of workers.

Nothing is lost in silence: rows_in = rows_out + quarantined + deduplicated for every source,
asserted before publishing. A bad row never stops a run; too many of them in one source do.

A part file holds rows of one file of one source, so a new file of a source adds parts and leaves
the bytes of the others alone, and later stages work on the new ones only.
"""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from data_contracts.artifacts import Artifact, StageSummary
from data_contracts.errors import SourceError
from tasks.corpus.filtering import FilterConfig
from tasks.corpus.preparation.counting import Tally, check_rates, counted_by_role, total
from tasks.corpus.selection.deduplication import DeduplicationConfig
from tasks.corpus.selection.splitting import SplittingConfig
from tasks.corpus.sources.columns import ProblemType
from tasks.corpus.sources.expansion import check_not_cut
from tasks.corpus.sources.files import read_rows, source_files, start_draw
from tasks.corpus.sources.label_maps import check_keys_occur, check_map, normalized_map
from tasks.corpus.sources.source import (
    LABELLED_ROLES,
    ROLES,
    FileSource,
    Source,
    check_source,
    locations,
)
from tasks.corpus.text.normalization import NormalizationConfig
from tasks.runtime.stages import Stage, StageConfig, Workspace

if TYPE_CHECKING:
    from tasks.corpus.preparation.chunks import IngestedFile
    from tasks.corpus.readers.raw_rows import RawBatch
    from tasks.corpus.readers.row_choice import Draw
    from tasks.corpus.rows.kind import RowRules
    from tasks.corpus.selection.ledger import Ledger, Verdicts

VERSION = 5


class Config(StageConfig):
    """What the corpus is made of and which rules its rows must pass."""

    problem: ProblemType = Field(
        default="text_classification", description="problem type: decides what a row is"
    )
    source_language: str = Field(description="BCP-47 tag of the teacher's language, such as en")
    target_language: str = Field(description="BCP-47 tag of the student's language, such as zh")
    sources: tuple[Source, ...] = Field(
        min_length=1, max_length=256, description="where rows come from, in order of preference"
    )
    normalization: NormalizationConfig = Field(
        default=NormalizationConfig(), description="how texts are brought into one form"
    )
    filters: FilterConfig = Field(
        default=FilterConfig(), description="rules that look at one row at a time"
    )
    deduplication: DeduplicationConfig = Field(
        default=DeduplicationConfig(), description="copies and leaks"
    )
    splitting: SplittingConfig = Field(
        default=SplittingConfig(), description="validation and test rows where sources bring none"
    )
    max_quarantine_rate: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="the run fails if a larger share of a source's rows is set aside, 0 to 1; "
        "null: the limit of the corpus contract. Where Decant cut the evaluation rows itself, "
        "leaks into them do not count",
    )
    keep_quarantined_text: bool = Field(
        default=False,
        description="keep the text of quarantined rows beside its hash; off, because such rows "
        "may hold personal data",
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Config:
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"source names must differ: {', '.join(twice)} is used twice")
        return self

    @model_validator(mode="after")
    def _sources_fit_the_problem(self) -> Config:
        for source in self.sources:
            check_source(self.problem, source)
            if isinstance(source, FileSource):
                check_map(self.problem, source, self.filters.labels)
        check_not_cut(self.sources, (self.source_language, self.target_language))
        return self

    def locations(self) -> tuple[str, ...]:
        """URIs of all sources."""
        return tuple(uri for source in self.sources for uri in locations(source))


def ingest(config: Config, inputs: Mapping[str, Artifact], workspace: Workspace) -> StageSummary:
    """Read, judge and write all rows of `config.sources`; see the module's picture.

    Raises: SourceError if a source cannot be read, or nothing is left to learn or evaluate on;
        ContractViolation if too large a share of a source is set aside.
    """
    from tasks.corpus.preparation.chunks import (
        IngestedFile,
        check_some_passed,
        read_texts,
        removed_characters,
        set_aside_unknown_names,
    )
    from tasks.corpus.quarantine import write_quarantine
    from tasks.corpus.rows import ROW_KINDS
    from tasks.corpus.selection.ledger import Census
    from tasks.corpus.selection.selection import select
    from tasks.corpus.selection.usability import check_usable

    kind, fixed_names = ROW_KINDS[config.problem], config.filters.labels
    check_languages(config)
    pieces = workspace.work / "pieces"
    shutil.rmtree(pieces, ignore_errors=True)
    files = [
        IngestedFile(source, origin) for source in config.sources for origin in source_files(source)
    ]
    rows = _prepare_files(config, files, pieces, workspace)
    table = workspace.work / "quarantine.parquet"  # survives a failed run, for its reader
    needed = kind.evaluated_languages(config.source_language, config.target_language)
    try:
        verdicts = select(
            rows,
            required_languages=needed,
            deduplication=config.deduplication,
            splitting=config.splitting,
            fixed_labels=fixed_names is not None,
            pairs_count=kind.pairs_count,
            read_texts=lambda: read_texts(files, kind, config.target_language),
        )
    except SourceError:  # rows that are lacking may be there, and all set aside
        check_some_passed(files, workspace.output / "quarantine", table)
        raise
    names: set[str] | None = None
    if kind.names_column is not None:
        fixed = fixed_names is not None
        names = set_aside_unknown_names(files, kind, rows, verdicts, fixed=fixed)
    num_read = sum(file.num_rows for file in files)
    workspace.progress.say(f"{int(verdicts.kept().sum()):,} of {num_read:,} rows stay")
    counts = _write_rows(config, files, rows, verdicts, workspace)
    write_quarantine(
        [(file.origin.label, file.quarantine) for file in files],
        workspace.output / "quarantine",
        copy=table,
    )
    totals = total(counts.values())
    # Rows that meet evaluation rows which we cut ourselves are no fault of their source.
    forgiven = ("leak_exact", "leak_near") if verdicts.cut_languages else ()
    census = Census.of(rows, verdicts)
    names = census.train_labels if names is None else names
    check_rates(
        counts,
        table,
        limit=config.max_quarantine_rate,
        forgiven=forgiven,
        known_labels=fixed_names or names,
    )
    labels = kind.class_labels(sorted(set(fixed_names or names)))
    check_usable(
        rows,
        census,
        labels,
        source_language=config.source_language,
        target_language=config.target_language,
        classes_needed=kind.classes_needed,
        teachers_learn=kind.teachers_learn,
    )
    _write_json(workspace.output / "labels.json", {"labels": labels})
    by_role = counted_by_role(
        {role: sum(c["rows_out_by_role"].get(role, 0) for c in counts.values()) for role in ROLES}
    )
    _write_json(
        workspace.output / "counts.json",
        {
            "total": totals.model_dump(),
            "sources": counts,
            "roles": by_role,
            "cut_from_labelled_rows": verdicts.cut_languages,
            "removed_characters": removed_characters(files),
        },
    )
    shutil.rmtree(pieces, ignore_errors=True)
    return StageSummary(
        row_counts=totals,
        facts={**by_role, "labels": len(labels), "quarantined": totals.num_quarantined},
    )


STAGE = Stage("corpus", VERSION, ingest)


def _prepare_files(
    config: Config, files: Sequence[IngestedFile], folder: Path, workspace: Workspace
) -> Ledger:
    """Judge each row on its own; passing rows go to pieces in `folder`, numbers to the ledger."""
    from tasks.corpus.preparation.chunks import check_rows_found
    from tasks.corpus.preparation.rows import prepare_all
    from tasks.corpus.rows import ROW_KINDS
    from tasks.corpus.selection.ledger import Ledger
    from tasks.corpus.tables import write_table

    kind = ROW_KINDS[config.problem]
    rows = Ledger(folder / "ledger")
    order: deque[IngestedFile] = deque()
    workspace.progress.start("reading sources", total=len(files), unit="files")
    batches = _raw_batches(config, files, order, workspace)
    for number, prepared in enumerate(prepare_all(batches, workers=workspace.workers)):
        file, table = order.popleft(), prepared.rows
        file.changes.add(prepared.changes)
        file.num_rows += table.num_rows + prepared.quarantine.num_rows
        file.set_aside(prepared.quarantine, folder / f"aside-{number:07d}.parquet")
        if not table.num_rows:
            continue
        path = folder / f"{number:07d}.parquet"
        write_table(table, path)
        file.pieces.append(path)
        rows.add(
            role=file.source.role,
            language=file.source.language,
            parallel_language=kind.second_language(file.source, config.target_language),
            labels=kind.ledger_labels(table),
            text_hashes=table["text_hash"].to_numpy(),
            parallel_hashes=table["parallel_hash"].to_numpy(),
        )
    rows.finish()
    check_rows_found(files)
    drawn = [source for source in config.sources if getattr(source, "max_rows", None)]
    check_keys_occur(((file.source, file.changes.mapped) for file in files), drawn=drawn)
    return rows


def _raw_batches(
    config: Config, files: Sequence[IngestedFile], order: deque[IngestedFile], workspace: Workspace
) -> Iterator[tuple[RawBatch, RowRules]]:
    """All batches of all files; `order` notes which file each belongs to."""
    from tasks.corpus.sources.parallel import ParallelTexts

    parallel: ParallelTexts | None = None
    reading: Source | None = None
    draw: Draw | None = None
    for file in files:
        source = file.source
        if parallel is not None and parallel.source != source:
            parallel.close()
            parallel = None
        if parallel is None and isinstance(source, FileSource) and source.parallel is not None:
            parallel = ParallelTexts(source, workspace.work / "pieces" / "parallel.db")
        if source is not reading:
            reading = source
            draw = start_draw(source, [one.origin for one in files if one.source is source])
        rules = row_rules(config, source, file.origin.label)
        for batch in read_rows(source, file.origin, draw):
            file.num_not_taken += batch.num_not_taken
            file.num_admitted += batch.num_admitted
            order.append(file)
            yield (parallel.join(batch) if parallel else batch), rules
        workspace.progress.advance(note=file.origin.label)
    if parallel is not None:
        parallel.close()


def check_languages(config: Config, *, here: Callable[[str], bool] | None = None) -> None:
    """Refuse sources whose texts are clearly in another language than they declare.

    Args:
        here: whether a URI may be read; by default all may.

    Raises: SourceError, also if a file is not what its source says.
    """
    from tasks.corpus.preparation.source_language import check_source_language

    for source in config.sources:
        if isinstance(source, FileSource) and (here is None or here(source.uri)):
            beside = here is None or source.parallel is None or here(source.parallel.uri)
            rules = row_rules(config, source, source.name)
            check_source_language(source, rules, with_parallel=beside)


def row_rules(config: Config, source: Source, label: str) -> RowRules:
    """What rows of `source` must be like; `label` says which of its files is meant."""
    from tasks.corpus.rows.kind import RowRules

    return RowRules(
        problem=config.problem,
        source=label,
        language=source.language,
        parallel_language=source.parallel_language,
        needs_label=source.role in LABELLED_ROLES,
        label_names=source.label_names if isinstance(source, FileSource) else (),
        label_map=normalized_map(source),
        target_language=_target_language(config, source),
        label_separator=source.label_separator if isinstance(source, FileSource) else None,
        focus_characters=source.focus_characters if isinstance(source, FileSource) else None,
        expand=source.expand if isinstance(source, FileSource) else None,
        normalization=config.normalization,
        filters=config.filters,
        keep_quarantined_text=config.keep_quarantined_text,
    )


def _write_rows(
    config: Config,
    files: Sequence[IngestedFile],
    rows: Ledger,
    verdicts: Verdicts,
    workspace: Workspace,
) -> dict[str, dict[str, Any]]:
    """Write what stays, set aside what does not, and count by source."""
    import numpy as np

    from tasks.corpus.preparation.chunks import iter_pieces, rejections
    from tasks.corpus.preparation.parts import PartWriter
    from tasks.corpus.quarantine import quarantine_table
    from tasks.corpus.rows import ROW_KINDS
    from tasks.corpus.selection.ledger import COPY_KINDS, OUTCOMES
    from tasks.corpus.tables import read_table

    kind = ROW_KINDS[config.problem]
    writer = PartWriter(workspace.output / "rows", kind)
    details = verdicts.details()
    tallies = {source.name: Tally(source) for source in config.sources}
    for file in files:
        tally = tallies[file.source.name]
        tally.rows_in += file.num_rows
        tally.rows_not_taken += file.num_not_taken
        tally.repairs.update({**dict.fromkeys(kind.repairs, 0), **file.changes.repaired})
    current: IngestedFile | None = None
    for file, start, table in iter_pieces(files):
        if current is not None and file is not current:
            writer.finish_file()
        current = file
        tally = tallies[file.source.name]
        span = slice(start, start + table.num_rows)
        for number, role in enumerate(ROLES):
            kept = np.flatnonzero(verdicts.kept(span) & (rows.role[span] == number))
            tally.rows_out[role] += len(kept)
            writer.add(role, table.take(kept), file.source, file.origin.label)
        occurred = np.bincount(verdicts.outcome[span], minlength=len(OUTCOMES))
        for kind, name in COPY_KINDS.items():
            if count := int(occurred[OUTCOMES.index(kind)]):
                tally.deduplicated[name] += count
        aside = quarantine_table(
            rejections(table, start, verdicts.outcome[span], details.between(start, span.stop)),
            source=file.origin.label,
            language=file.source.language,
            keep_text=config.keep_quarantined_text,
        )
        file.set_aside(aside, workspace.work / "pieces" / f"judged-{start:010d}.parquet")
    writer.finish_file()
    for file in files:
        for path in file.quarantine:
            reasons = read_table(path, ["reason"])["reason"].to_pylist()
            tallies[file.source.name].quarantined.update(reasons)
    return {name: tally.counts() for name, tally in tallies.items()}


def _target_language(config: Config, source: Source) -> str:
    """Language of the source's targets."""
    if isinstance(source, FileSource) and source.target_language is not None:
        return source.target_language
    return config.target_language if config.problem == "translation" else source.language


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
