"""Which of all rows stay, and in which role: the rules that need to see every row at once.

    contradictions -> cut validation and test where missing -> copies -> leaks -> unknown labels

Rows are numbers in arrays here (30 bytes each, texts stay on disk), in the order of the sources, so
an earlier source wins over a later one. The evaluation stays clean: where a training row meets an
evaluation row, the training row goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from data_contracts.errors import SourceError
from tasks.corpus.deduplication import (
    DeduplicationConfig,
    NearDuplicateIndex,
    contradictions,
    copies,
    mixed,
    sign,
)
from tasks.corpus.splitting import STAYS, TEST, VALIDATION, SplittingConfig, cut

ROLES = ("train", "transfer", "validation", "test")
TRAIN, TRANSFER, VALID, EVAL = range(4)
KEPT = ""
QUARANTINE_REASONS = ("contradiction", "leak_exact", "leak_near", "unknown_label")
COPY_KINDS = {"copy_exact": "exact", "copy_near": "near"}
_OUTCOMES = (KEPT, *QUARANTINE_REASONS, *COPY_KINDS)

_DTYPES = {
    "role": np.uint8,
    "language": np.int16,
    "parallel_language": np.int16,
    "text_hash": np.uint64,
    "parallel_hash": np.uint64,
    "label": np.int32,
}

TextReader = Callable[[], Iterator[tuple[int, Sequence[str], Sequence[str | None]]]]
"""Reads all rows again in order: (number of the first row, texts, parallel texts) a piece."""


@dataclass
class Rows:
    """All rows that passed on their own; arrays of shape (rows,).

    Args:
        role: uint8, index into `ROLES`; the cut changes it.
        language, parallel_language: int16, numbers of languages, -1 for none.
        text_hash, parallel_hash: uint64; parallel_hash is 0 without parallel text.
        label: int32, index into `labels`, -1 for none.
        labels: names of labels in order of appearance.
    """

    role: np.ndarray
    language: np.ndarray
    parallel_language: np.ndarray
    text_hash: np.ndarray
    parallel_hash: np.ndarray
    label: np.ndarray
    labels: Sequence[str]
    languages: Sequence[str]

    @classmethod
    def array_fields(cls) -> tuple[str, ...]:
        """Names of the fields that hold one number a row."""
        return tuple(f.name for f in fields(cls) if f.name not in ("labels", "languages"))

    @classmethod
    def from_pieces(
        cls,
        pieces: Mapping[str, Sequence[np.ndarray]],
        *,
        labels: Sequence[str],
        languages: Sequence[str],
    ) -> Rows:
        """Rows from the arrays of their pieces in order, by field."""
        arrays = {
            name: np.concatenate([np.empty(0, _DTYPES[name]), *pieces[name]]).astype(_DTYPES[name])
            for name in cls.array_fields()
        }
        return cls(**arrays, labels=labels, languages=languages)


@dataclass
class Verdicts:
    """What became of each row; `details` only for rows that are set aside."""

    outcome: np.ndarray  # uint8, index into _OUTCOMES
    details: dict[int, str] = field(default_factory=dict)
    cut_languages: dict[str, list[str]] = field(default_factory=dict)

    def kept(self) -> np.ndarray:
        """Mask of the rows that stay."""
        return self.outcome == 0

    def name(self, row: int) -> str:
        """`KEPT`, a reason code, or a kind of copy."""
        return _OUTCOMES[self.outcome[row]]

    def put(self, mask: np.ndarray, outcome: str) -> np.ndarray:
        """Give `outcome` to the rows in `mask` that had none; returns their numbers."""
        numbers = np.flatnonzero(mask & self.kept())
        self.outcome[numbers] = _OUTCOMES.index(outcome)
        return numbers


def select(
    rows: Rows,
    *,
    required_languages: Sequence[str],
    deduplication: DeduplicationConfig,
    splitting: SplittingConfig,
    fixed_labels: bool,
    read_texts: TextReader,
) -> Verdicts:
    """Judge all rows together. Changes `rows.role` of the rows that are cut for evaluation.

    Args:
        required_languages: need validation and test rows each.
        fixed_labels: the recipe lists the labels; otherwise those of the train rows are the set.

    Raises: SourceError if a required language has no labelled rows to evaluate on.
    """
    verdicts = Verdicts(np.zeros(len(rows.role), dtype=np.uint8))
    _contradictions(rows, verdicts)
    for language in dict.fromkeys(required_languages):
        _cut_evaluation(rows, verdicts, language, splitting)
    _exact_copies(rows, verdicts)
    _exact_leaks(rows, verdicts)
    if deduplication.near_duplicate_threshold is not None:
        _near_copies(rows, verdicts, deduplication.near_duplicate_threshold, read_texts)
    if deduplication.leak_threshold is not None:
        _near_leaks(rows, verdicts, deduplication.leak_threshold, read_texts)
    if not fixed_labels:
        _unknown_labels(rows, verdicts)
    return verdicts


def _contradictions(rows: Rows, verdicts: Verdicts) -> None:
    numbers = verdicts.put(contradictions(rows.text_hash, rows.label), "contradiction")
    found: dict[int, set[int]] = {}
    for number in numbers:
        found.setdefault(int(rows.text_hash[number]), set()).add(int(rows.label[number]))
    for number in numbers:
        names = sorted(rows.labels[label] for label in found[int(rows.text_hash[number])])
        verdicts.details[int(number)] = f"labels of this text: {', '.join(names)}"


def _cut_evaluation(
    rows: Rows, verdicts: Verdicts, language: str, splitting: SplittingConfig
) -> None:
    """Move labelled train or transfer rows of `language` to the evaluation roles it lacks."""
    code = rows.languages.index(language) if language in rows.languages else -2
    ours = verdicts.kept() & (rows.language == code) & (rows.label >= 0)
    missing = [
        (role, place)
        for role, place in ((VALID, VALIDATION), (EVAL, TEST))
        if not np.any(ours & (rows.role == role))
    ]
    if not missing:
        return
    pool = np.flatnonzero(ours & (rows.role <= TRANSFER))
    places = cut(rows.text_hash[pool], splitting)
    for role, place in missing:
        chosen = pool[places == place]
        if not len(chosen) or np.all(places != STAYS):
            raise _nothing_to_evaluate(rows, language, ROLES[role], len(pool))
        rows.role[chosen] = role
        verdicts.cut_languages.setdefault(ROLES[role], []).append(language)


def _nothing_to_evaluate(rows: Rows, language: str, role: str, num_labelled: int) -> SourceError:
    has = f"{num_labelled} labelled train or transfer rows" if num_labelled else "no labelled rows"
    given = ", ".join(sorted(rows.languages)) or "none"
    return SourceError(
        f"there are no {role} rows in {language!r}, and {has} in it to cut them from",
        rule="teacher and student are each validated and tested in their own language, which needs "
        f"labelled text there; languages given: {given}",
        remedy=f"add a source with role: {role}, language: {language} and a label column; a few "
        "hundred labelled rows are enough. Unlabelled transfer rows cannot be evaluated on",
    )


def _exact_copies(rows: Rows, verdicts: Verdicts) -> None:
    # A text may be transferred in several translations: there the pair counts.
    pair = mixed(rows.text_hash) ^ rows.parallel_hash
    keys = np.where(rows.role == TRANSFER, pair, rows.text_hash)
    for role in range(len(ROLES)):
        members = np.flatnonzero(verdicts.kept() & (rows.role == role))
        mask = np.zeros(len(rows.role), dtype=bool)
        mask[members] = copies(keys[members])
        verdicts.put(mask, "copy_exact")


def _exact_leaks(rows: Rows, verdicts: Verdicts) -> None:
    for role, against in _leak_checks():
        reference = verdicts.kept() & (rows.role == against)
        hashes = np.concatenate([rows.text_hash[reference], rows.parallel_hash[reference]])
        hashes = hashes[hashes != 0]
        mask = np.isin(rows.text_hash, hashes) | np.isin(rows.parallel_hash, hashes)
        for number in verdicts.put(mask & (rows.role == role), "leak_exact"):
            verdicts.details[int(number)] = f"the same text is a {ROLES[against]} row"


def _leak_checks() -> tuple[tuple[int, int], ...]:
    """(role that yields, role that stays clean): test before validation before the rest."""
    return ((VALID, EVAL), (TRAIN, EVAL), (TRANSFER, EVAL), (TRAIN, VALID), (TRANSFER, VALID))


def _near_copies(rows: Rows, verdicts: Verdicts, threshold: float, read_texts: TextReader) -> None:
    indexes: dict[tuple[int, int], NearDuplicateIndex] = {}
    for start, texts, parallel_texts in read_texts():
        groups: dict[tuple[int, int], list[int]] = {}
        for number in (
            start + np.flatnonzero(verdicts.kept()[start : start + len(texts)])
        ).tolist():
            group = int(rows.role[number]), int(rows.language[number])
            groups.setdefault(group, []).append(number)
        for group, numbers in groups.items():
            index = indexes.setdefault(group, NearDuplicateIndex(threshold))
            # A pair is a near copy only if both of its sides together are.
            joined = [f"{texts[n - start]} {parallel_texts[n - start] or ''}" for n in numbers]
            found = index.find_or_add(numbers, sign(joined, threshold))
            for number, match in zip(numbers, found, strict=True):
                if match:
                    verdicts.outcome[number] = _OUTCOMES.index("copy_near")


def _near_leaks(rows: Rows, verdicts: Verdicts, threshold: float, read_texts: TextReader) -> None:
    indexes: dict[tuple[int, int], NearDuplicateIndex] = {}
    evaluated = (VALID, EVAL)
    for start, texts, parallel_texts in read_texts():
        for language, side in _sides(rows, verdicts, start, texts, parallel_texts):
            for role in evaluated:
                numbers = [n for n in side if rows.role[n] == role]
                if numbers:
                    index = indexes.setdefault((role, language), NearDuplicateIndex(threshold))
                    index.add(numbers, sign([side[n] for n in numbers], threshold))
    for start, texts, parallel_texts in read_texts():
        for language, side in _sides(rows, verdicts, start, texts, parallel_texts):
            if not any((role, language) in indexes for role in evaluated):
                continue
            numbers = [n for n in side if rows.role[n] != EVAL]
            signed = sign([side[n] for n in numbers], threshold)
            for role, against in _leak_checks():
                index = indexes.get((against, language))
                places = [
                    i
                    for i, n in enumerate(numbers)
                    if rows.role[n] == role and verdicts.outcome[n] == 0
                ]
                if index is None or not places:
                    continue
                for place, match in zip(places, index.find(signed.take(places)), strict=True):
                    if match:
                        number = numbers[place]
                        verdicts.outcome[number] = _OUTCOMES.index("leak_near")
                        verdicts.details[number] = (
                            f"similarity {match[1]:.3f} to a {ROLES[against]} row"
                        )


def _sides(
    rows: Rows,
    verdicts: Verdicts,
    start: int,
    texts: Sequence[str],
    parallel_texts: Sequence[str | None],
) -> Iterator[tuple[int, dict[int, str]]]:
    """(language, text by row number) for each language on either side of kept rows."""
    sides: dict[int, dict[int, str]] = {}
    second: dict[int, dict[int, str]] = {}
    for offset in np.flatnonzero(verdicts.kept()[start : start + len(texts)]).tolist():
        number = start + offset
        sides.setdefault(int(rows.language[number]), {})[number] = texts[offset]
        parallel = parallel_texts[offset]
        if parallel is not None:
            second.setdefault(int(rows.parallel_language[number]), {})[number] = parallel
    yield from sorted(sides.items())
    yield from sorted(second.items())


def _unknown_labels(rows: Rows, verdicts: Verdicts) -> None:
    known = np.unique(rows.label[verdicts.kept() & (rows.role == TRAIN)])
    unknown = (rows.label >= 0) & ~np.isin(rows.label, known)
    for number in verdicts.put(unknown, "unknown_label"):
        name = rows.labels[int(rows.label[number])]
        verdicts.details[int(number)] = f"no train row has the label {name!r}"
