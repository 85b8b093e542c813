"""Answers are found where files say, or where they stand once."""

from collections import Counter

import pytest

from tasks.corpus.rows.answers import answer_places
from tasks.corpus.rows.kind import UnfitError

CONTEXT = "Berlin liegt an der Spree. Bonn liegt am Rhein."


@pytest.mark.parametrize(
    ("cell", "places", "mended"),
    [
        ({"text": ["Spree"], "answer_start": [20]}, [(20, 25)], {"repaired_answers": 0}),
        ({"text": ["Rhein"], "answer_start": [3]}, [(41, 46)], {"repaired_answers": 1}),
        ([{"text": "Bonn", "answer_start": 27}, {"text": "liegt", "answer_start": 0}], [(27, 31)],
         {"repaired_answers": 0, "dropped_answers": 1}),  # it stands there twice
        ({"text": [], "answer_start": []}, [], {}),
        (None, None, {}),
    ],
)  # fmt: skip
def test_places_by_hand(cell, places, mended):
    """An answer learned at another word of the context, because an offset counted bytes."""
    counted = Counter()
    assert answer_places(cell, CONTEXT, counted) == places
    assert counted == mended


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("Spree", "malformed_answers"),
        ({"text": ["Spree"], "answer_start": ["20"]}, "malformed_answers"),
        ({"text": [" "], "answer_start": [6]}, "empty_span"),
        ({"text": ["Elbe"], "answer_start": [20]}, "answer_not_found"),
    ],
)
def test_what_is_no_answer_has_its_reason(cell, reason):
    """A broken file that trained "no answer here"."""
    with pytest.raises(UnfitError) as refused:
        answer_places(cell, CONTEXT, Counter())
    assert refused.value.reason == reason
