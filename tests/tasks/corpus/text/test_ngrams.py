"""N-grams of a batch are those of its texts one by one."""

import random

from tasks.corpus.selection.deduplication import shingles
from tasks.corpus.text.ngrams import grams_of


def unpacked(grams, row):
    """The grams of a text as strings."""
    values = grams.values[grams.numbers[grams.offsets[row] : grams.offsets[row + 1]]].tolist()
    points = [(value >> 42, value >> 21 & 0x1FFFFF, value & 0x1FFFFF) for value in values]
    return {"".join(chr(point) for point in three if point) for three in points}


def test_a_batch_has_the_grams_of_its_texts():
    """One text's last letters ran into the next text's first, and neighbours became near copies."""
    rng = random.Random(0)
    texts = ["Turn on the TV!", "打开灯", "hi", "👍", "!!!---", "  x  ", "ＴＶ on, 打开", "⺀⺁!",
             "STRASSE ß", "\u0301 accent first", "ﬁ", "line\nend", "a"]  # fmt: skip
    points = [point for point in range(0x20, 0x30000) if not 0xD800 <= point < 0xE000]
    texts += ["".join(map(chr, rng.choices(points, k=rng.randint(1, 9)))) for _ in range(3000)]
    grams = grams_of(texts)
    for row, text in enumerate(texts):
        assert unpacked(grams, row) == shingles(text), repr(text)
