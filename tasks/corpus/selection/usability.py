"""Whether teacher, student and report can be made of what is left after filtering."""

from __future__ import annotations

from collections.abc import Sequence

from data_contracts.errors import SourceError
from tasks.corpus.selection.ledger import Census, Ledger


def check_usable(
    rows: Ledger,
    census: Census,
    labels: Sequence[str],
    *,
    source_language: str,
    target_language: str,
    classes_needed: int,
    teachers_learn: bool,
) -> None:
    """Refuse a corpus that no teacher, student or report can be made of.

    Args:
        labels: entries of labels.json, of which `classes_needed` must be there.
        teachers_learn: whether the teacher needs train rows.

    Raises: SourceError.
    """

    def count(language: str, *roles: str) -> int:
        return sum(census.count(rows.language_code(language), role) for role in roles)

    facts = []
    if teachers_learn and not count(source_language, "train"):
        facts.append(f"no labelled train rows in {source_language!r} for the teacher to learn from")
    if not count(target_language, "transfer", "train"):
        facts.append(f"no transfer rows in {target_language!r} for the student to learn from")
    for language in dict.fromkeys((source_language, target_language)):
        facts += [
            f"no {role} rows in {language!r}"
            for role in ("validation", "test")
            if not count(language, role)
        ]
    if not facts and len(labels) < classes_needed:
        facts.append(f"only {len(labels)} label: {', '.join(labels)}")
    if facts:
        raise SourceError(
            "after filtering there are " + "; ".join(facts),
            rule="a corpus needs train rows of two or more labels in the source language, transfer "
            "rows in the target language, and validation and test rows in both",
            remedy="add sources with these roles and languages, or see counts of the quarantine",
        )
