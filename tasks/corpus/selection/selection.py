"""Which of all rows stay, and in which role: the rules that need to see every row at once.

    contradictions -> cut validation and test where missing -> copies -> leaks -> unknown labels

Rows are numbers here (see `tasks.corpus.selection.ledger`; texts stay on disk), in the order of the
sources, so an earlier source wins over a later one. The evaluation stays clean: where a training
row meets an evaluation row of its language, whatever their regions and scripts (zh-CN and zh), the
training row goes. Copies are looked for within one region: who reads it cannot read another's. In
memory are 16 bytes an evaluation row for exact leaks, and its n-grams (about 700 bytes a short
text) for near ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data_contracts.errors import SourceError
from tasks.corpus.readers.raw_rows import BATCH_ROWS
from tasks.corpus.selection.deduplication import (
    DeduplicationConfig,
    NearDuplicateIndex,
    contradictions,
    copies,
    mixed,
    sign,
)
from tasks.corpus.selection.ledger import (
    ADAPT,
    EVAL,
    ROLES,
    TRAIN,
    TRANSFER,
    VALID,
    Ledger,
    Verdicts,
)
from tasks.corpus.selection.splitting import STAYS, TEST, VALIDATION, SplittingConfig, cut
from tasks.corpus.text.languages import primary_subtag
from tasks.corpus.text.ngrams import grams_of
from tasks.corpus.text.similarity import SimilarityIndex

_LEARNED = (TRAIN, TRANSFER, ADAPT)  # read in training, in one way or another


class Piece(NamedTuple):
    """Texts of consecutive rows of one source; `start` is the number of the first."""

    start: int
    language: str
    texts: Sequence[str]
    parallel_language: str | None
    parallel_texts: Sequence[str | None]


TextReader = Callable[[], Iterator[Piece]]
"""Reads all rows again in order."""


def select(
    rows: Ledger,
    *,
    required_languages: Sequence[str],
    deduplication: DeduplicationConfig,
    splitting: SplittingConfig,
    fixed_labels: bool,
    pairs_count: bool,
    read_texts: TextReader,
) -> Verdicts:
    """Judge all rows together. Changes `rows.role` of the rows that are cut for evaluation.

    Args:
        required_languages: need validation and test rows each.
        fixed_labels: the recipe lists the labels; otherwise those of the train rows are the set.
        pairs_count: a text may stand in several rows, with another second hash each: those are no
            copies and do not contradict each other.

    Raises: SourceError if a required language has no labelled rows to evaluate on.
    """
    verdicts = rows.verdicts()
    if not pairs_count:
        _contradictions(rows, verdicts)
    for language in dict.fromkeys(required_languages):
        _cut_evaluation(rows, verdicts, language, splitting)
    _exact_copies(rows, verdicts, pairs_count)
    _exact_leaks(rows, verdicts)
    if deduplication.near_duplicate_threshold is not None:
        _near_copies(rows, verdicts, deduplication.near_duplicate_threshold, read_texts)
    if deduplication.leak_threshold is not None:
        _near_leaks(rows, verdicts, deduplication.leak_threshold, read_texts)
    if not fixed_labels and rows.labels:
        _unknown_labels(rows, verdicts)
    return verdicts


def _contradictions(rows: Ledger, verdicts: Verdicts) -> None:
    names_of = rows.labels  # none where annotations are codes
    for entries in rows.entries():
        bad = entries[contradictions(entries["text_hash"], entries["label"])]
        labels: dict[int, set[int]] = {}
        pairs = list(zip(bad["text_hash"].tolist(), bad["label"].tolist(), strict=True))
        for text, label in pairs:
            labels.setdefault(text, set()).add(label)
        names = {
            text: "labels of this text: " + ", ".join(sorted(names_of[label] for label in found))
            if names_of
            else f"{len(found)} different annotations of this text"
            for text, found in labels.items()
        }
        details = [names[text] for text, _ in pairs]
        verdicts.put(bad["number"], "contradiction", details)


def _cut_evaluation(
    rows: Ledger, verdicts: Verdicts, language: str, splitting: SplittingConfig
) -> None:
    """Move labelled train or transfer rows of `language` to the evaluation roles it lacks."""
    code, present, places = rows.language_code(language), Counter[int](), Counter[int]()
    for ours in _labelled(rows, verdicts, code):
        roles = rows.role[ours["number"]]
        present.update(roles.tolist())
        places.update(cut(ours["text_hash"][roles <= TRANSFER], splitting).tolist())
    missing = {
        place: role for role, place in ((VALID, VALIDATION), (EVAL, TEST)) if not present[role]
    }
    if not missing:
        return
    for place, role in missing.items():
        if not places[place] or not places[STAYS]:
            raise _nothing_to_evaluate(rows, language, ROLES[role], places.total())
        verdicts.cut_languages.setdefault(ROLES[role], []).append(language)
    for ours in _labelled(rows, verdicts, code):
        pool = ours[rows.role[ours["number"]] <= TRANSFER]
        cuts = cut(pool["text_hash"], splitting)
        for place, role in missing.items():
            rows.role[pool["number"][cuts == place]] = role


def _labelled(rows: Ledger, verdicts: Verdicts, language_code: int) -> Iterator[np.ndarray]:
    for entries in rows.entries():
        ours = (entries["language"] == language_code) & (entries["label"] >= 0)
        yield entries[ours & verdicts.kept(entries["number"])]


def _nothing_to_evaluate(rows: Ledger, language: str, role: str, num_labelled: int) -> SourceError:
    has = f"{num_labelled} labelled train or transfer rows" if num_labelled else "no labelled rows"
    given = ", ".join(sorted(rows.languages)) or "none"
    return SourceError(
        f"there are no {role} rows in {language!r}, and {has} in it to cut them from",
        rule="teacher and student are each validated and tested in their own language, which needs "
        f"labelled text there; languages given: {given}",
        remedy=f"add a source with role: {role}, language: {language} and a label column; a few "
        "hundred labelled rows are enough. Unlabelled transfer rows cannot be evaluated on",
    )


def _exact_copies(rows: Ledger, verdicts: Verdicts, pairs_count: bool) -> None:
    for entries in rows.entries():
        roles = rows.role[entries["number"]]
        # A text may be transferred in several translations: there the pair counts.
        pair = mixed(entries["text_hash"]) ^ entries["parallel_hash"]
        keys = np.where(pairs_count | (roles == TRANSFER), pair, entries["text_hash"])
        # The copy that stays must be read by whoever reads the one that goes.
        keys = keys ^ mixed(entries["language"].astype(np.uint64))
        kept = verdicts.kept(entries["number"])
        for role in range(len(ROLES)):
            members = kept & (roles == role)
            verdicts.put(entries["number"][members][copies(keys[members])], "copy_exact")


def _exact_leaks(rows: Ledger, verdicts: Verdicts) -> None:
    """Test before validation before the rest: what yields to the test no longer guards others."""
    for yielding, against in (((VALID,), EVAL), (_LEARNED, EVAL), (_LEARNED, VALID)):
        guarded = _hashes(rows, verdicts, against)
        if not len(guarded):
            continue
        for entries in rows.entries():
            numbers = entries["number"]
            asked = entries[verdicts.kept(numbers) & np.isin(rows.role[numbers], yielding)]
            hit = _among(asked["text_hash"], guarded) | _among(asked["parallel_hash"], guarded)
            detail = f"the same text is a {ROLES[against]} row"
            verdicts.put(asked["number"][hit], "leak_exact", detail)


def _hashes(rows: Ledger, verdicts: Verdicts, role: int) -> np.ndarray:
    """Hashes on either side of the kept rows of `role`, sorted, each once, uint64."""
    found = [np.empty(0, np.uint64)]
    for entries in rows.entries():
        numbers = entries["number"]
        ours = entries[verdicts.kept(numbers) & (rows.role[numbers] == role)]
        found += [ours["text_hash"], ours["parallel_hash"][ours["parallel_hash"] != 0]]
    return np.unique(np.concatenate(found))


def _among(hashes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mask of the `hashes` in `known`, which is sorted and not empty; np.isin would sort both."""
    return known[np.minimum(np.searchsorted(known, hashes), len(known) - 1)] == hashes


def _near_copies(
    rows: Ledger, verdicts: Verdicts, threshold: float, read_texts: TextReader
) -> None:
    """Each row against the earlier ones of its role, language and region.

    Keeps about 5 kB a short row, and a third more of rows with two texts.
    """
    indexes: dict[tuple[int, str], NearDuplicateIndex] = {}
    for piece in read_texts():
        joined = [
            f"{text} {parallel or ''}"
            for text, parallel in zip(piece.texts, piece.parallel_texts, strict=True)
        ]
        span = slice(piece.start, piece.start + len(joined))
        kept, roles = verdicts.kept(span), rows.role[span]
        for role in np.unique(roles[kept]).tolist():
            index = indexes.setdefault((role, piece.language), NearDuplicateIndex(threshold))
            places = np.flatnonzero(kept & (roles == role)).tolist()
            numbers = piece.start + np.array(places)
            signed = sign(
                [joined[place] for place in places],
                threshold,
                second_texts=[piece.parallel_texts[place] for place in places],
            )
            found = index.find_or_add(numbers.tolist(), signed)
            verdicts.put(numbers[[match is not None for match in found]], "copy_near")


def _near_leaks(rows: Ledger, verdicts: Verdicts, threshold: float, read_texts: TextReader) -> None:
    """Rows against the evaluation texts of each language: test before validation before the rest.

    Validation rows that yield to the test no longer guard others.
    """
    evaluated: dict[tuple[int, str], tuple[list[int], list[str]]] = {}
    for piece in read_texts():
        for role in (VALID, EVAL):
            for language, numbers, texts in _sides(piece, rows, verdicts, (role,)):
                known = evaluated.setdefault((role, language), ([], []))
                known[0].extend(numbers.tolist())
                known[1].extend(texts)
    tested, validated = (
        {language: known for (of, language), known in evaluated.items() if of == role}
        for role in (EVAL, VALID)
    )
    of_test = {key: SimilarityIndex(*known, threshold) for key, known in tested.items()}
    for language, (numbers, texts) in validated.items():
        for start in range(0, len(texts), BATCH_ROWS):
            some = slice(start, start + BATCH_ROWS)
            _near(verdicts, np.array(numbers[some]), texts[some], {EVAL: of_test.get(language)})
    of_validation = {}
    for language, (numbers, texts) in validated.items():
        kept = np.flatnonzero(verdicts.kept(np.array(numbers))).tolist()
        still = [numbers[place] for place in kept], [texts[place] for place in kept]
        of_validation[language] = SimilarityIndex(*still, threshold)
    for piece in read_texts():
        for language, numbers, texts in _sides(piece, rows, verdicts, _LEARNED):
            guards = {EVAL: of_test.get(language), VALID: of_validation.get(language)}
            _near(verdicts, numbers, texts, guards)


def _near(
    verdicts: Verdicts,
    numbers: np.ndarray,
    texts: Sequence[str],
    guards: Mapping[int, SimilarityIndex | None],
) -> None:
    """Set the kept ones of `numbers` aside whose texts are near one in `guards`, by role."""
    grams = None
    for role, index in guards.items():
        wanted = verdicts.kept(numbers)
        if index is None or not wanted.any():
            continue
        grams = grams or grams_of(texts)
        matches = index.find(grams)
        hit = [n for n in np.flatnonzero(wanted).tolist() if matches[n] is not None]
        scores = [match[1] for n in hit if (match := matches[n])]
        details = [f"similarity {score:.3f} to a {ROLES[role]} row" for score in scores]
        verdicts.put(numbers[hit], "leak_near", details)


def _sides(
    piece: Piece, rows: Ledger, verdicts: Verdicts, roles: Sequence[int]
) -> Iterator[tuple[str, np.ndarray, list[str]]]:
    """(primary subtag, row numbers, texts) of the kept rows in `roles`, either side of a piece."""
    span = slice(piece.start, piece.start + len(piece.texts))
    places = np.flatnonzero(verdicts.kept(span) & np.isin(rows.role[span], roles))
    if not len(places):
        return
    texts = [piece.texts[place] for place in places.tolist()]
    yield primary_subtag(piece.language), piece.start + places, texts
    parallel = [(place, piece.parallel_texts[place]) for place in places.tolist()]
    second = [(place, text) for place, text in parallel if text is not None]
    if second and piece.parallel_language is not None:
        numbers = piece.start + np.array([place for place, _ in second])
        yield primary_subtag(piece.parallel_language), numbers, [text for _, text in second]


def _unknown_labels(rows: Ledger, verdicts: Verdicts) -> None:
    known: set[int] = set()
    for entries in rows.entries():
        numbers = entries["number"]
        train = verdicts.kept(numbers) & (rows.role[numbers] == TRAIN)
        known.update(np.unique(entries["label"][train]).tolist())
    for entries in rows.entries():
        labels = entries["label"]
        bad = (labels >= 0) & ~np.isin(labels, list(known)) & verdicts.kept(entries["number"])
        details = [f"no train row has the label {rows.labels[n]!r}" for n in labels[bad].tolist()]
        verdicts.put(entries["number"][bad], "unknown_label", details)
