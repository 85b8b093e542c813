"""Row counts by source that must reconcile, and the limit on what may be set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_contracts.artifacts import RowCounts
from data_contracts.errors import ContractViolation
from tasks.corpus.sources.source import ROLES, Source

_UNKNOWN = frozenset(("unknown_label", "unknown_tag"))
_MAX_LABELS = 8


@dataclass
class Tally:
    """Counts of one source while its rows are written."""

    source: Source
    rows_in: int = 0
    rows_not_taken: int = 0
    rows_out: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    deduplicated: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, Any]:
        """The source's entry of counts.json; raises if its rows do not reconcile."""
        counts = RowCounts(
            rows_in=self.rows_in,
            rows_out=self.rows_out.total(),
            quarantined=dict(sorted(self.quarantined.items())),
            deduplicated=dict(sorted(self.deduplicated.items())),
        )
        by_role = counted_by_role(self.rows_out)
        not_taken = {"rows_not_taken": self.rows_not_taken} if self.rows_not_taken else {}
        return {
            "role": self.source.role,
            "language": self.source.language,
            **not_taken,
            **counts.model_dump(),
            "rows_out_by_role": by_role,
            **self.repairs,
        }


def total(counts: Iterable[Mapping[str, Any]]) -> RowCounts:
    """The counts of all sources together; raises if they do not reconcile."""
    quarantined: Counter[str] = Counter()
    deduplicated: Counter[str] = Counter()
    entries = list(counts)
    for entry in entries:
        quarantined.update(entry["quarantined"])
        deduplicated.update(entry["deduplicated"])
    return RowCounts(
        rows_in=sum(entry["rows_in"] for entry in entries),
        rows_out=sum(entry["rows_out"] for entry in entries),
        quarantined=dict(sorted(quarantined.items())),
        deduplicated=dict(sorted(deduplicated.items())),
    )


def check_rates(
    counts: Mapping[str, Mapping[str, Any]],
    table: Path,
    *,
    limit: float | None,
    forgiven: Sequence[str] = (),
    known_labels: Collection[str] = (),
) -> None:
    """Refuse a source of which more is set aside than allowed; a single row is always allowed.

    Args:
        counts: entries of counts.json by source.
        table: where the quarantine lies, for the message.
        forgiven: reason codes that do not count.
        known_labels: those that train rows have, or that the recipe allows, for the message.
        limit: share of a source's rows, 0 to 1; None: `maxQuarantineRate` of the corpus contract.

    Raises: ContractViolation with the numbers and the most frequent reasons.
    """
    from data_contracts.tables import load_contract

    contract = load_contract("corpus")
    says = "max_quarantine_rate of the recipe"
    if limit is None:
        limit = float(contract.properties["maxQuarantineRate"])
        says = f"contract {contract.name} {contract.version}"
    for name, entry in counts.items():
        quarantined = entry["quarantined"].items()
        reasons = Counter({reason: n for reason, n in quarantined if reason not in forgiven})
        if reasons.total() <= (1 if limit else 0):
            continue
        # Not limit * rows, which is 28.999... for 0.29 of 100; 29 / 100 is the very number 0.29.
        share = reasons.total() / entry["rows_in"]
        if share <= limit:
            continue
        top = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common(5))
        if not _UNKNOWN.isdisjoint(reasons):
            top += f". Known, by train rows or data.filters.labels: {_some_of(known_labels)}"
            if not known_labels:
                top += f", as no train row is left: {_lost_train_rows(counts)}"
        raise ContractViolation(
            f"{reasons.total():,} of {entry['rows_in']:,} rows of source {name!r} ({share:.1%}) "
            f"were set aside: {top}",
            rule=f"{says}: at most {limit:.1%} of a source's rows",
            remedy=f"look at {table}, which lists each row with source, line and reason; then "
            "correct the source or raise data.max_quarantine_rate",
        )


def _lost_train_rows(counts: Mapping[str, Mapping[str, Any]]) -> str:
    """What became of the rows that would have named the labels: `leak_near 53, too_long 7`."""
    lost: Counter[str] = Counter()
    for entry in counts.values():
        if entry["role"] == "train":
            lost.update(entry["quarantined"])
    return ", ".join(f"{reason} {count:,}" for reason, count in lost.most_common()) or "none came"


def _some_of(labels: Collection[str]) -> str:
    """The first labels and how many more there are."""
    first = sorted(labels)[:_MAX_LABELS]
    more = len(labels) - len(first)
    return (", ".join(first) or "none") + (f" and {more:,} more" if more else "")


def counted_by_role(rows: Mapping[str, int]) -> dict[str, int]:
    """Rows of each role, those of `adapt` only where there are any: few corpora have them."""
    return {role: rows.get(role, 0) for role in ROLES if role != "adapt" or rows.get(role)}
