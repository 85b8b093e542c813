"""Sources -> corpus: normalised, filtered, deduplicated, split and leak-checked rows by role.

    sources ── prepare (each row alone, in parallel) ──► pieces on disk + a few numbers a row
                                                             │ select (all rows together)
    rows/<role>/part-NNNNN.parquet ◄── kept ─────────────────┤
    quarantine/part-NNNNN.parquet  ◄── set aside, with reason┘   counts.json  labels.json

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
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from data_contracts.artifacts import Artifact, StageSummary
from data_contracts.errors import SourceError
from tasks.corpus.counting import Tally, check_rates, total
from tasks.corpus.deduplication import DeduplicationConfig
from tasks.corpus.filtering import FilterConfig
from tasks.corpus.normalization import NormalizationConfig
from tasks.corpus.sources import (
    LABELLED_ROLES,
    ROLES,
    Source,
    SourceFile,
    read_rows,
    source_files,
)
from tasks.corpus.splitting import SplittingConfig
from tasks.runtime.stages import Stage, StageConfig, Workspace

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from tasks.corpus.ledger import Census, Ledger, Verdicts
    from tasks.corpus.preparation import RowRules
    from tasks.corpus.quarantine import Rejected
    from tasks.corpus.raw_rows import RawBatch
    from tasks.corpus.selection import Piece

VERSION = 2


class Config(StageConfig):
    """What the corpus is made of and which rules its rows must pass."""

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

    def locations(self) -> tuple[str, ...]:
        """URIs of all sources."""
        return tuple(source.uri for source in self.sources)


@dataclass
class _File:
    """What is known of one file of a source while it is ingested."""

    source: Source
    origin: SourceFile
    pieces: list[Path] = field(default_factory=list)
    num_rows: int = 0
    quarantine: list[Path] = field(default_factory=list)

    def set_aside(self, rows: pa.Table, path: Path) -> None:
        """Keep rows of the quarantine at `path` until they are sorted."""
        from tasks.corpus.tables import write_table

        if rows.num_rows:
            write_table(rows, path)
            self.quarantine.append(path)


def ingest(config: Config, inputs: Mapping[str, Artifact], workspace: Workspace) -> StageSummary:
    """Read, judge and write all rows of `config.sources`; see the module's picture.

    Raises: SourceError if a source cannot be read, or nothing is left to learn or evaluate on;
        ContractViolation if too large a share of a source is set aside.
    """
    from tasks.corpus.ledger import Census
    from tasks.corpus.quarantine import write_quarantine
    from tasks.corpus.selection import select

    pieces = workspace.work / "pieces"
    shutil.rmtree(pieces, ignore_errors=True)
    files = [_File(source, origin) for source in config.sources for origin in source_files(source)]
    rows, removed = _prepare_files(config, files, pieces, workspace)
    verdicts = select(
        rows,
        required_languages=(config.source_language, config.target_language),
        deduplication=config.deduplication,
        splitting=config.splitting,
        fixed_labels=config.filters.labels is not None,
        read_texts=lambda: _read_texts(files),
    )
    workspace.progress.say(f"{int(verdicts.kept().sum()):,} of {len(verdicts.outcome):,} rows stay")
    counts = _write_rows(config, files, rows, verdicts, workspace)
    table = workspace.work / "quarantine.parquet"  # survives a failed run, for its reader
    write_quarantine(
        [(file.origin.label, file.quarantine) for file in files],
        workspace.output / "quarantine",
        copy=table,
    )
    totals = total(counts.values())
    # Rows that meet evaluation rows which we cut ourselves are no fault of their source.
    forgiven = ("leak_exact", "leak_near") if verdicts.cut_languages else ()
    check_rates(counts, table, limit=config.max_quarantine_rate, forgiven=forgiven)
    census = Census.of(rows, verdicts)
    labels = sorted(set(config.filters.labels or census.train_labels))
    _check_usable(config, rows, census, labels)
    _write_json(workspace.output / "labels.json", {"labels": labels})
    by_role = {role: sum(c["rows_out_by_role"][role] for c in counts.values()) for role in ROLES}
    _write_json(
        workspace.output / "counts.json",
        {
            "total": totals.model_dump(),
            "sources": counts,
            "roles": by_role,
            "cut_from_labelled_rows": verdicts.cut_languages,
            "removed_characters": dict(sorted(removed.items())),
        },
    )
    shutil.rmtree(pieces, ignore_errors=True)
    return StageSummary(
        row_counts=totals,
        facts={**by_role, "labels": len(labels), "quarantined": totals.num_quarantined},
    )


STAGE = Stage("corpus", VERSION, ingest)


def _prepare_files(
    config: Config, files: Sequence[_File], folder: Path, workspace: Workspace
) -> tuple[Ledger, Counter[str]]:
    """Judge each row on its own; passing rows go to pieces in `folder`, numbers to the ledger."""
    from tasks.corpus.ledger import Ledger
    from tasks.corpus.preparation import prepare_all
    from tasks.corpus.tables import write_table

    removed: Counter[str] = Counter()
    rows = Ledger(folder / "ledger")
    order: deque[_File] = deque()
    workspace.progress.start("reading sources", total=len(files), unit="files")
    batches = _raw_batches(config, files, order, workspace)
    for number, prepared in enumerate(prepare_all(batches, workers=workspace.workers)):
        file, table = order.popleft(), prepared.rows
        removed += prepared.removed_characters
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
            parallel_language=file.source.parallel_language,
            labels=table["label"].to_pylist(),
            text_hashes=table["text_hash"].to_numpy(),
            parallel_hashes=table["parallel_hash"].to_numpy(),
        )
    rows.finish()
    for file in files:
        if not file.num_rows:
            raise SourceError(
                f"{file.origin.label!r} has no rows",
                rule="a source holds at least one row",
                remedy="check the file, or take the source out of the recipe",
            )
    return rows, removed


def _raw_batches(
    config: Config, files: Sequence[_File], order: deque[_File], workspace: Workspace
) -> Iterator[tuple[RawBatch, RowRules]]:
    """All batches of all files; `order` notes which file each belongs to."""
    from tasks.corpus.preparation import RowRules

    for file in files:
        source = file.source
        rules = RowRules(
            source=file.origin.label,
            language=source.language,
            parallel_language=source.parallel_language,
            needs_label=source.role in LABELLED_ROLES,
            normalization=config.normalization,
            filters=config.filters,
            keep_quarantined_text=config.keep_quarantined_text,
        )
        for batch in read_rows(source, file.origin):
            order.append(file)
            yield batch, rules
        workspace.progress.advance(note=file.origin.label)


def _pieces(
    files: Sequence[_File], columns: Sequence[str] | None = None
) -> Iterator[tuple[_File, int, pa.Table]]:
    """(file, number of the first row, rows) of every piece in order."""
    from tasks.corpus.tables import read_table

    start = 0
    for file in files:
        for path in file.pieces:
            table = read_table(path, columns)
            yield file, start, table
            start += table.num_rows


def _read_texts(files: Sequence[_File]) -> Iterator[Piece]:
    from tasks.corpus.selection import Piece

    for file, start, table in _pieces(files, ["text", "parallel_text"]):
        source = file.source
        texts, parallel_texts = (column.to_pylist() for column in table.columns)
        yield Piece(start, source.language, texts, source.parallel_language, parallel_texts)


def _write_rows(
    config: Config,
    files: Sequence[_File],
    rows: Ledger,
    verdicts: Verdicts,
    workspace: Workspace,
) -> dict[str, dict[str, Any]]:
    """Write what stays, set aside what does not, and count by source."""
    import numpy as np

    from tasks.corpus.ledger import COPY_KINDS, OUTCOMES
    from tasks.corpus.parts import PartWriter
    from tasks.corpus.quarantine import quarantine_table
    from tasks.corpus.tables import read_table

    writer = PartWriter(workspace.output / "rows")
    details = verdicts.details()
    tallies = {source.name: Tally(source) for source in config.sources}
    for file in files:
        tallies[file.source.name].rows_in += file.num_rows
    current: _File | None = None
    for file, start, table in _pieces(files):
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
            _rejected(table, start, verdicts.outcome[span], details.between(start, span.stop)),
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


def _rejected(
    table: pa.Table, start: int, outcomes: np.ndarray, details: Mapping[int, str]
) -> Iterator[Rejected]:
    """The rows of a piece that all rows together speak against."""
    import numpy as np

    from tasks.corpus.ledger import OUTCOMES, QUARANTINE_REASONS
    from tasks.corpus.quarantine import Rejected

    reasons = [OUTCOMES.index(reason) for reason in QUARANTINE_REASONS]
    places = np.flatnonzero(np.isin(outcomes, reasons))
    for place, row in zip(places.tolist(), table.take(places).to_pylist(), strict=True):
        raw = row["raw_text"] if row["raw_text"] is not None else row["text"]
        yield Rejected(row["line"], OUTCOMES[outcomes[place]], details.get(start + place, ""), raw)


def _check_usable(config: Config, rows: Ledger, census: Census, labels: Sequence[str]) -> None:
    """Refuse a corpus that no teacher, student or report can be made of."""

    def count(language: str, *roles: str) -> int:
        return sum(census.count(rows.language_code(language), role) for role in roles)

    source, target = config.source_language, config.target_language
    facts = []
    if not count(source, "train"):
        facts.append(f"no labelled train rows in {source!r} for the teacher to learn from")
    if not count(target, "transfer", "train"):
        facts.append(f"no transfer rows in {target!r} for the student to learn from")
    for language in dict.fromkeys((source, target)):
        facts += [
            f"no {role} rows in {language!r}"
            for role in ("validation", "test")
            if not count(language, role)
        ]
    if not facts and len(labels) < 2:
        facts.append(f"only {len(labels)} label: {', '.join(labels)}")
    if facts:
        raise SourceError(
            "after filtering there are " + "; ".join(facts),
            rule="a corpus needs train rows of two or more labels in the source language, transfer "
            "rows in the target language, and validation and test rows in both",
            remedy="add sources with these roles and languages, or see counts of the quarantine",
        )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
