"""Words of any script, for metrics that compare texts word by word.

    "Das ist 北京, ok?"  ->  Das | ist | 北 | 京 | ok

A character of a script written without spaces is a word of its own, so that a Chinese answer that
is nearly right is not simply wrong; runs of other letters, marks and digits are words.

References: CMRC 2018 and MLQA score Chinese in this way ("mixed segmentation").
"""

from __future__ import annotations

import regex

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = regex.compile(
    rf"[{_UNSPACED}](?:(?=[{_UNSPACED}])\p{{M}})*|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+",
    regex.VERSION1,
)
_ALONE = regex.compile(rf"([{_UNSPACED}])", regex.VERSION1)


def words_of(text: str) -> list[str]:
    """Letters and digits of a text as words, in lower case; punctuation separates them."""
    return _WORD.findall(text.lower())


def word_places(text: str) -> list[tuple[int, int]]:
    """First character of each of the words of a text, and the one after its last."""
    return [match.span() for match in _WORD.finditer(text)]


def space_out(text: str) -> str:
    """The text with spaces around each character of a script without spaces."""
    return _ALONE.sub(r" \1 ", text)
