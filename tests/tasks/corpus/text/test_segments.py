"""Texts are cut near their middle, where a reader would pause."""

import random
import re
import time
import unicodedata

import pytest

from tasks.corpus.text.segments import halves


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("建筑学研究建筑设计，也是一门艺术。", ("建筑学研究建筑设计，", "也是一门艺术。")),
        # The comma nearer to the middle, 10 of 20; the first lies before a quarter.
        ("他，在北京住了十年，又去上海五年，走了。",
         ("他，在北京住了十年，", "又去上海五年，走了。")),
        ("今年的冬天特别长。春天来得晚", ("今年的冬天特别", "长。春天来得晚")),
        ("明日は雨が降るでしょう", ("明日は雨が", "降るでしょう")),
        ("Der Zug fährt, sobald alle da sind.", ("Der Zug fährt,", "sobald alle da sind.")),
        ("Wir fahren morgen nach Rom", ("Wir fahren", "morgen nach Rom")),
        ("ذهبنا إلى السوق، ثم عدنا إلى البيت", ("ذهبنا إلى السوق،", "ثم عدنا إلى البيت")),
        ("It costs about 12,500 euro", ("It costs about", "12,500 euro")),
        ("Um 10:30 Uhr los", ("Um 10:30", "Uhr los")),
        ("  two words \n", ("two", "words")),
        ("Donaudampfschifffahrt", ("Donaudampf", "schifffahrt")),
        ("ab", ("a", "b")),
    ],
)  # fmt: skip
def test_halves_by_hand(text, expected):
    """Halves cut in the middle of a word or clause, which say nothing."""
    assert halves(text) == expected


@pytest.mark.parametrize("text", ["", " ", "a", "天", "。。。。"])
def test_what_cannot_be_cut_stays_whole(text):
    """A row that was lost without a word, or a half of nothing."""
    assert halves(text) == (text.strip(),)


def test_no_letter_loses_its_marks():
    """A Thai or Hindi half that begins with the vowel of a letter in the other half."""
    for text in ("พื้นที่ขนาดใหญ่ซึ่งอยู่ห่างไกลออกไป", "नमस्ते" * 4, "e\u0301" * 9, "น้ำ" * 3, "ມາ" * 3):
        first, second = halves(text)
        assert first + second == text
        assert unicodedata.category(second[0])[0] != "M"
        assert second[0] not in "ะาำ" + "\u0eb2"  # letters to Unicode, vowels to their readers


def test_nothing_is_lost_but_white_space():
    """A comma, or the last letter of a text, that no half has."""
    draw = random.Random(3)
    cut = 0
    for _ in range(2000):
        text = "".join(draw.choices("ab甲乙，,; \u3000\n。ا", k=draw.randint(1, 40)))
        parts = halves(text)
        assert re.sub(r"\s", "", "".join(parts)) == re.sub(r"\s", "", text)
        if len(parts) == 2:
            cut += 1
            assert all(parts)
            assert all(part == part.strip() for part in parts)
            assert min(map(len, parts)) >= len(text.strip()) // 4 - 3  # white space between
    assert cut > 1500


@pytest.mark.parametrize("text", ["甲" * 300_000, "a b" * 100_000, "，" * 300_000, " " * 300_000])
def test_the_time_grows_with_the_text_alone(text):
    """One row of a megabyte that a run stands still at."""
    start = time.perf_counter()
    halves(text)
    assert (
        time.perf_counter() - start < 10
    )  # some tenths of a second; what is quadratic takes minutes
