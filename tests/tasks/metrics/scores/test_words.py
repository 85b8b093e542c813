"""Words of every script."""

import pytest

from tasks.metrics.scores.words import space_out, word_places, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Das ist 北京, ok?", ["das", "ist", "北", "京", "ok"]),
        ("東京タワーへ", ["東", "京", "タ", "ワ", "ー", "へ"]),
        ("مدينة كبيرة.", ["مدينة", "كبيرة"]),
        ("3.5 Mio. Café-Bars", ["3", "5", "mio", "café", "bars"]),
        # A vowel sign belongs to its letter: alone it would be right or wrong once more.
        ("กรุงเทพ", ["ก", "รุ", "ง", "เ", "ท", "พ"]),
        ("", []),
    ],
)
def test_words_by_hand(text, words):
    """A Chinese sentence taken for one word is right or wrong as a whole."""
    assert words_of(text) == words


def test_spaces_stand_around_characters_without_spaces():
    """`in北京` must be two kinds of words, whatever stands beside it."""
    assert space_out("in北京today").split() == ["in", "北", "京", "today"]


def test_words_stand_where_they_are_said_to():
    """A place counted in the lower-case text: `İ` is two characters there."""
    text = "İn 北京, タワー 3.5"
    assert [text[start:end] for start, end in word_places(text)] == [
        "İn", "北", "京", "タ", "ワ", "ー", "3", "5",
    ]  # fmt: skip
