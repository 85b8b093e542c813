"""Places in a text stay where they were while it is normalised."""

from collections import Counter

import pytest

from tasks.corpus.filtering import FilterConfig
from tasks.corpus.normalization import NormalizationConfig
from tasks.corpus.rows.kind import RowRules, UnfitError
from tasks.corpus.stretches import normalize_with_places

RULES = RowRules(
    problem="question_answering", source="made", language="en", parallel_language=None,
    needs_label=True, normalization=NormalizationConfig(), filters=FilterConfig(),
    keep_quarantined_text=False,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "places", "clean", "found"),
    [
        ("Tel  Aviv ,", [(0, 9), (10, 11)], "Tel Aviv ,", ["Tel Aviv", ","]),
        # one inside the other, and two that cross
        (" a  b c", [(1, 7), (4, 5)], "a b c", ["a b c", "b"]),
        ("ab  cd", [(0, 4), (1, 6)], "ab cd", ["ab", "b cd"]),
        # bounds within white space
        ("a   b", [(2, 5), (0, 2)], "a b", ["b", "a"]),
        ("x \u200b y", [(2, 3)], "x y", [""]),
        ("Cafe\u0301 noir", [(6, 10)], "Café noir", ["noir"]),
        ("\n在北京\n", [(2, 4)], "在北京", ["北京"]),
        ("القاهرة  كبيرة", [(9, 14)], "القاهرة كبيرة", ["كبيرة"]),
        ("ab", [], "ab", []),
    ],
)
def test_places_move_with_the_text(text, places, clean, found):
    """Every answer behind a double space began one letter too late."""
    whole, moved = normalize_with_places(text, places, RULES, Counter())
    assert whole == clean
    assert [whole[start:end] for start, end in moved] == found


def test_a_place_that_cuts_a_letter_is_refused():
    """An answer `Cafe` whose accent stands behind it."""
    with pytest.raises(UnfitError, match="one character"):
        normalize_with_places("Cafe\u0301", [(0, 4)], RULES, Counter())
