"""Words and their tags: what of them is read alike for spans and for sets of classes.

    In | Berlin | regnet | es      O | B-LOC | O | O

Words are joined by one space; in languages written without (Chinese, Japanese, Thai, ...) by none,
but where two words of letters meet of which one is longer than a letter (The | Bellagio | Group
inside Chinese).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tasks.corpus.readers.nested_values import as_list
from tasks.corpus.readers.raw_rows import RawRow
from tasks.corpus.rows.kind import RowRules, UnfitError, class_name, normalized
from tasks.corpus.text.languages import primary_subtag
from tasks.corpus.text.tags import tag_problem
from tasks.corpus.text.units import is_unspaced

UNKNOWN_TAG = "unknown_tag"
"""Reason code of rows with a tag that cannot be read."""

# Written without spaces between words (primary subtags of BCP-47).
_WITHOUT_SPACES = frozenset(
    ["bo", "dz", "ja", "km", "lo", "lzh", "my", "nan", "th", "wuu", "yue", "zh"]
)


def words_of(row: RawRow) -> list[str]:
    """The words of a row that has them in place of a text.

    Raises: UnfitError.
    """
    words = as_list(row.others["words"])
    if words is None or not all(isinstance(word, str) for word in words):
        raise UnfitError("wrong_type", "words are not a list of texts")
    return words


def tags_of(
    row: RawRow, rules: RowRules, mapped: Counter[str], words: Sequence[str] | None
) -> list[str] | None:
    """The tags of a row, their numbers named and their types mapped; None if nobody has looked.

    Args:
        mapped: takes the keys of `label_map` that occur, of every row.
        words: as many as there are tags; None where the row has a text.

    Raises: UnfitError.
    """
    if row.others.get("tags") is None:
        return None
    raw = as_list(row.others["tags"])
    if raw is None or not all(isinstance(tag, str | int) for tag in raw):
        raise UnfitError("wrong_type", "tags are not a list of texts or numbers")
    if words is not None and len(raw) != len(words):
        raise UnfitError("tags_length_mismatch", f"{len(words)} words have {len(raw)} tags")
    tags = [class_name(tag, rules, mapped, unknown=UNKNOWN_TAG, is_tag=True) for tag in raw]
    problem = next(filter(None, map(tag_problem, tags)), None)
    if problem:
        raise UnfitError(UNKNOWN_TAG, problem)
    return tags


def visible(
    words: Sequence[str], tags: Sequence[str] | None, rules: RowRules, removed: Counter[str]
) -> tuple[list[str], list[str] | None]:
    """Words in the corpus's form, and their tags; one that nothing is left of goes with its tag."""
    cleaned = [normalized(word, rules, removed) for word in words]
    kept = [word for word in cleaned if word]
    if tags is None:
        return kept, None
    return kept, [tag for tag, word in zip(tags, cleaned, strict=True) if word]


def joined(words: Sequence[str], language: str) -> tuple[str, list[int]]:
    """The text of `words`, none of them empty, and where each begins."""
    unspaced = primary_subtag(language) in _WITHOUT_SPACES
    pieces: list[str] = []
    starts: list[int] = []
    length = 0
    for place, word in enumerate(words):
        if place and not (unspaced and _touch(words[place - 1], word)):
            pieces.append(" ")
            length += 1
        starts.append(length)
        pieces.append(word)
        length += len(word)
    return "".join(pieces), starts


def _touch(left: str, right: str) -> bool:
    """Whether two words of a language without spaces stand without one between them."""
    letters = left[-1].isalnum() and right[0].isalnum()
    spaced = letters and not is_unspaced(left[-1]) and not is_unspaced(right[0])
    return not (spaced and len(left) + len(right) > 2)  # two single letters touch
