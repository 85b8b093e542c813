"""Words of a text, and which word each token belongs to: what whole-word masking hides at once.

    "我们住的酒店很干净"   我们 | 住 | 的 | 酒店 | 很 | 干净   zh: a dictionary (jieba)
    "Barack Obama, again"  Barack | Obama | , | again   others: by white space, signs apart

A model that sees 酒 of 酒店 guesses 店 from its neighbour and learns nothing of the sentence; the
word hidden whole must be told from its context. Scripts without spaces other than Chinese have no
dictionary here: their characters are words of one (see `units`).

References: Cui et al. 2021, arXiv:1906.08101 (whole-word masking for Chinese).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from tasks.corpus.text.languages import primary_subtag
from tasks.corpus.text.units import Unit, segment

CONTINUES, BEGINS, SPECIAL = range(3)
"""What a token is to the words: inside one, the first of one, or none of the text's."""
_CHINESE = ("zh", "yue", "wuu", "gan", "hak", "nan", "cmn", "lzh")


def words(text: str, language: str) -> list[Unit]:
    """First character and the one after the last of each word; white space belongs to none.

    Args:
        language: BCP-47 tag of the text.
    """
    if primary_subtag(language) not in _CHINESE:
        return segment(text)
    import rjieba  # 20 ms for its dictionary

    found, start = [], 0
    for word in rjieba.cut(text):
        end = start + len(word)
        if not word.isspace():
            found.append((start, end))
        start = end
    return found


def word_starts(
    offsets: Sequence[tuple[int, int]], found: Sequence[Unit], length: int
) -> list[int]:
    """BEGINS or CONTINUES for each token of a text.

    A token belongs to the word of its last character, since many tokenizers count the space before
    a word as its own. One without characters, such as a mark of a word's beginning that stands
    alone, belongs to the token after it:

        words 我们 住, tokens ▁ (0, 0), 我 (0, 1), 们住 (1, 3)   →   BEGINS CONTINUES BEGINS

    Args:
        offsets: characters that each token covers, special tokens left out.
        found: `words` of the text.
        length: of the text, in characters.
    """
    word_of_character = np.full(length + 1, -1)
    for number, (start, end) in enumerate(found):
        word_of_character[start:end] = number
    owners = [int(word_of_character[end - 1]) if end > start else -1 for start, end in offsets]
    for place in range(len(owners) - 2, -1, -1):
        if owners[place] < 0:
            owners[place] = owners[place + 1]
    return [BEGINS, *(CONTINUES if a == b else BEGINS for a, b in pairwise(owners))][: len(owners)]
