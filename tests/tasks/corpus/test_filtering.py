"""Rules on one row: length and language."""

import pytest
from pydantic import ValidationError

from tasks.corpus.filtering import FilterConfig, language_problem, length_problem

CONFIG = FilterConfig(min_length_characters=2, max_length_characters=10)

RIGHT = [
    ("打开厨房的灯", "zh"),
    ("打开 Netflix 频道", "zh"),  # names stay Latin
    ("OK", "zh"),
    ("turn on 周杰伦 songs", "en"),
    ("キッチン", "ja"),
    ("включи свет", "ru"),
    ("uključi svetlo", "sr"),
    ("روشن کن", "fa"),
    ("बत्ती जलाओ", "hi"),
    ("何か", "xx"),  # nothing is known of the language: not judged
    ("12345 !!", "zh"),
    ("batti jalao aur pankha band karo", "hi-Latn"),  # romanised, as its tag says
    ("Dost, aaj mausam bahut achha hai, hum shaam ko park mein ghoomne chalenge", "hi-latn"),
    ("打开厨房的灯", "zh-Hant"),
    ("ਬੱਤੀ ਜਗਾਓ ਅਤੇ ਪੱਖਾ ਬੰਦ ਕਰੋ", "pa-Guru"),
    ("بتی جلاؤ اور پنکھا بند کرو", "pa-Arab-PK"),
    ("What is the difference between the two kinds of coffee that you sell here?", "en"),
    ("今天的天气非常好，我们打算下午一起去公园散步，然后再去附近的餐厅吃饭，" * 2, "zh"),
    # Danish and Norwegian are confused by every identifier: no verdict between them.
    ("Jeg vil gerne have, at du slukker for lyset i køkkenet, når jeg er gået ud af huset", "nb"),
]  # fmt: skip
WRONG = [
    ("turn on the light", "zh"),
    ("打开厨房的灯", "en"),
    ("turn on the light", "zh-Hans-CN"),
    ("включи свет на кухне", "de-Latn"),
    ("включи свет на кухне", "de"),
    ("キッチンのスイッチ", "zh"),
    ("Wie lange dauert die Lieferung, wenn ich heute noch bestelle und per Express zahle?", "en"),
]


@pytest.mark.parametrize(("text", "language"), RIGHT)
def test_a_right_row_is_not_taken_for_a_foreign_one(text, language):
    """Chinese commands with an English brand name were thrown away."""
    assert language_problem(text, language, FilterConfig()) is None


@pytest.mark.parametrize(("text", "language"), WRONG)
def test_a_foreign_row_is_told(text, language):
    """A file of pairs with its columns swapped trained a Chinese student on English."""
    problem = language_problem(text, language, FilterConfig())
    assert problem is not None
    assert problem[0] == "language_mismatch"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty_text"),
        ("a", "too_short"),
        ("a" * 11, "too_long"),
        ("a" * 10, None),
        ("ab", None),
    ],
)
def test_length_limits_are_inclusive(text, reason):
    """Empty texts gave a class by chance, and were counted as successes."""
    problem = length_problem(text, CONFIG)
    assert (problem[0] if problem else None) == reason


def test_limits_that_no_text_can_meet_are_refused():
    """A swapped minimum and maximum put the whole corpus into quarantine."""
    with pytest.raises(ValidationError, match="no text can pass"):
        FilterConfig(min_length_characters=10, max_length_characters=5)
