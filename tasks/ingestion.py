"""Sources -> corpus: normalised, filtered, deduplicated, split and leak-checked rows by role.

    sources ── prepare (each row alone, in parallel) ──► pieces on disk + a few numbers a row
                                                             │ select (all rows together)
    rows/<role>/part-NNNNN.parquet ◄── kept ─────────────────┤
    quarantine/part-NNNNN.parquet  ◄── set aside, with reason┘   counts.json  labels.json

Texts are held in pieces on disk; in memory there are about 40 bytes a row, and the n-grams of the
evaluation texts. The bytes depend on the sources and the rules, not on the number of workers.
Nothing is lost in silence: rows_in = rows_out + quarantined + deduplicated for every source,
asserted before publishing. A bad row never stops a run; too many of them in one source do.

A part file holds rows of one file of one source, so a new file of a source adds parts and leaves
the bytes of the others alone, and later stages work on the new ones only.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
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
    import pyarrow as pa

    from tasks.corpus.preparation import RowRules
    from tasks.corpus.raw_rows import RawBatch
    from tasks.corpus.selection import Rows, Verdicts

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
    quarantine: list[pa.Table] = field(default_factory=list)


def ingest(config: Config, inputs: Mapping[str, Artifact], workspace: Workspace) -> StageSummary:
    """Read, judge and write all rows of `config.sources`; see the module's picture.

    Raises: SourceError if a source cannot be read, or nothing is left to learn or evaluate on;
        ContractViolation if too large a share of a source is set aside.
    """
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
        read_texts=lambda: _texts(files),
    )
    workspace.progress.say(f"{int(verdicts.kept().sum()):,} of {len(verdicts.outcome):,} rows stay")
    counts = _write_rows(config, files, rows, verdicts, workspace.output / "rows")
    table = _write_quarantine(files, workspace)
    totals = total(counts.values())
    # Rows that meet evaluation rows which we cut ourselves are no fault of their source.
    forgiven = ("leak_exact", "leak_near") if verdicts.cut_languages else ()
    check_rates(counts, table, limit=config.max_quarantine_rate, forgiven=forgiven)
    labels = _labels(config, rows, verdicts)
    _check_usable(config, rows, verdicts, labels)
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
) -> tuple[Rows, Counter[str]]:
    """Judge each row on its own; passing rows go to pieces in `folder`, their numbers to `Rows`."""
    import numpy as np

    from tasks.corpus.preparation import prepare_all
    from tasks.corpus.selection import Rows
    from tasks.corpus.tables import write_table

    removed: Counter[str] = Counter()
    codes: dict[str, int] = {}
    languages: dict[str, int] = {}
    columns: dict[str, list[Any]] = {name: [] for name in Rows.array_fields()}
    order: list[_File] = []
    workspace.progress.start("reading sources", total=len(files), unit="files")
    batches = _raw_batches(config, files, order, workspace)
    for number, prepared in enumerate(prepare_all(batches, workers=workspace.workers)):
        file, table = order[number], prepared.rows
        removed += prepared.removed_characters
        file.num_rows += table.num_rows + prepared.quarantine.num_rows
        if prepared.quarantine.num_rows:
            file.quarantine.append(prepared.quarantine)
        if not table.num_rows:
            continue
        path = folder / f"{number:06d}.parquet"
        write_table(table, path)
        file.pieces.append(path)
        labels = [
            -1 if name is None else codes.setdefault(name, len(codes))
            for name in table["label"].to_pylist()
        ]
        shape = table.num_rows
        other = file.source.parallel_language
        language = languages.setdefault(file.source.language, len(languages))
        other_code = -1 if other is None else languages.setdefault(other, len(languages))
        columns["role"].append(np.full(shape, ROLES.index(file.source.role), np.uint8))
        columns["language"].append(np.full(shape, language, np.int16))
        columns["parallel_language"].append(np.full(shape, other_code, np.int16))
        columns["text_hash"].append(table["text_hash"].to_numpy())
        columns["parallel_hash"].append(table["parallel_hash"].to_numpy())
        columns["label"].append(np.array(labels, np.int32))
    for file in files:
        if not file.num_rows:
            raise SourceError(
                f"{file.origin.label!r} has no rows",
                rule="a source holds at least one row",
                remedy="check the file, or take the source out of the recipe",
            )
    return Rows.from_pieces(columns, labels=list(codes), languages=list(languages)), removed


def _raw_batches(
    config: Config, files: Sequence[_File], order: list[_File], workspace: Workspace
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


def _pieces(files: Sequence[_File]) -> Iterator[tuple[_File, int, pa.Table]]:
    """(file, number of the first row, rows) of every piece in order."""
    from tasks.corpus.tables import read_table

    start = 0
    for file in files:
        for path in file.pieces:
            table = read_table(path)
            yield file, start, table
            start += table.num_rows


def _texts(files: Sequence[_File]) -> Iterator[tuple[int, list[str], list[str | None]]]:
    for _, start, table in _pieces(files):
        yield start, table["text"].to_pylist(), table["parallel_text"].to_pylist()


def _write_rows(
    config: Config, files: Sequence[_File], rows: Rows, verdicts: Verdicts, folder: Path
) -> dict[str, dict[str, Any]]:
    """Write what stays, note what does not in each file's quarantine, and count by source."""
    import pyarrow as pa

    from tasks.corpus.parts import PartWriter
    from tasks.corpus.quarantine import Rejected, quarantine_table
    from tasks.corpus.selection import COPY_KINDS, KEPT

    writer = PartWriter(folder)
    tallies = {source.name: Tally(source) for source in config.sources}
    for file in files:
        tallies[file.source.name].rows_in += file.num_rows
    current: _File | None = None
    for file, start, table in _pieces(files):
        if current is not None and file is not current:
            writer.finish_file()
        current = file
        tally = tallies[file.source.name]
        rejected = []
        kept: dict[str, list[int]] = {role: [] for role in ROLES}
        raw_texts, texts = table["raw_text"].to_pylist(), table["text"].to_pylist()
        lines = table["line"].to_pylist()
        for offset in range(table.num_rows):
            number = start + offset
            outcome = verdicts.name(number)
            if outcome == KEPT:
                kept[ROLES[rows.role[number]]].append(offset)
            elif outcome in COPY_KINDS:
                tally.deduplicated[COPY_KINDS[outcome]] += 1
            else:
                raw = raw_texts[offset] if raw_texts[offset] is not None else texts[offset]
                detail = verdicts.details.get(number, "")
                rejected.append(Rejected(lines[offset], outcome, detail, raw))
        for role, offsets in kept.items():
            tally.rows_out[role] += len(offsets)
            writer.add(
                role, table.take(pa.array(offsets, pa.int64())), file.source, file.origin.label
            )
        if rejected:
            aside = quarantine_table(
                rejected,
                source=file.origin.label,
                language=file.source.language,
                keep_text=config.keep_quarantined_text,
            )
            file.quarantine.append(aside)
    writer.finish_file()
    for file in files:
        for table in file.quarantine:
            tallies[file.source.name].quarantined.update(table["reason"].to_pylist())
    return {name: tally.counts() for name, tally in tallies.items()}


def _write_quarantine(files: Sequence[_File], workspace: Workspace) -> Path:
    """Write the quarantine into the artifact, and where it survives a failed run; returns that."""
    import pyarrow as pa

    from data_contracts.tables import arrow_schema, check_table, load_contract
    from tasks.corpus.tables import ROWS_PER_PART, write_table

    parts = []
    for file in files:
        if file.quarantine:
            table = pa.concat_tables(file.quarantine)
            parts.append(table.sort_by("line"))
    schema = arrow_schema(load_contract("quarantine"))
    table = pa.concat_tables(parts) if parts else schema.empty_table()
    check_table(table, "quarantine", name="quarantine")
    for number, start in enumerate(range(0, max(1, table.num_rows), ROWS_PER_PART)):
        part = table.slice(start, ROWS_PER_PART)
        write_table(part, workspace.output / "quarantine" / f"part-{number:05d}.parquet")
    kept = workspace.work / "quarantine.parquet"
    write_table(table, kept)
    return kept


def _labels(config: Config, rows: Rows, verdicts: Verdicts) -> list[str]:
    """The label set, sorted: the recipe's, otherwise that of the train rows."""
    if config.filters.labels is not None:
        return sorted(set(config.filters.labels))
    train = verdicts.kept() & (rows.role == ROLES.index("train"))
    return sorted({rows.labels[int(label)] for label in rows.label[train]})


def _check_usable(config: Config, rows: Rows, verdicts: Verdicts, labels: Sequence[str]) -> None:
    """Refuse a corpus that no teacher, student or report can be made of."""

    def count(language: str, *roles: str) -> int:
        code = rows.languages.index(language) if language in rows.languages else -2
        wanted = [ROLES.index(role) for role in roles]
        mask = verdicts.kept() & ((rows.language == code) | (rows.parallel_language == code))
        return int(sum((mask & (rows.role == role)).sum() for role in wanted))

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
