"""Raw rows -> the rows made of them, as `expand` of their source says, each with its line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from tasks.corpus.quarantine import Rejected
from tasks.corpus.readers.raw_rows import RawRow
from tasks.corpus.rows.answer_sentences import answer_sentences
from tasks.corpus.rows.kind import RowRules, UnfitError
from tasks.corpus.text.segments import halves


def expanded(
    rows: Iterable[tuple[int, RawRow]],
    rules: RowRules,
    rejected: list[Rejected],
    mended: Counter[str],
) -> Iterator[tuple[int, RawRow]]:
    """The rows made of `rows`, each with its line; all of them where `rules.expand` is None.

    Args:
        rejected: takes those of which none can be made.
        mended: counts what was repaired or dropped of their answers.
    """
    if rules.expand is None:
        yield from rows
        return
    for line, row in rows:
        if rules.expand == "halves":
            yield from ((line, row._replace(text=half)) for half in halves(row.text))
            continue
        try:
            pairs = answer_sentences(row, rules, mended)
        except UnfitError as error:
            rejected.append(Rejected(line, error.reason, error.detail, row.text))
            continue
        yield from ((line, pair) for pair in pairs)
