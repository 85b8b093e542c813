"""Places in a text stay where they were while it is normalised."""

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.corpus.filtering import FilterConfig
from tasks.corpus.rows.character_spans import normalize_with_places
from tasks.corpus.rows.kind import RowRules, UnfitError
from tasks.corpus.text.normalization import NormalizationConfig, normalize
from tasks.serving.portable.origins import normalize_with_origins

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
        # a space behind a mark that nobody sees, at either bound
        ("born in \u200eParis today", [(9, 14)], "born in Paris today", ["Paris"]),
        ("born in \u200bParis\u200b today", [(8, 15)], "born in Paris today", ["Paris"]),
        ("in\u202b Tel Aviv", [(2, 12)], "in Tel Aviv", ["Tel Aviv"]),
        # ZWNJ stands between the bounds of two places, begins one, or is one
        ("کتاب\u200cها", [(0, 4), (4, 7), (4, 5)], "کتاب\u200cها", ["کتاب", "ها", ""]),
        ("👩\u200d👧", [(2, 3), (1, 3)], "👩\u200d👧", ["👧", "👧"]),
        ("\u200b \u200e", [(0, 1), (1, 3)], "", ["", ""]),
        ("ab", [], "ab", []),
    ],
)
def test_places_move_with_the_text(text, places, clean, found):
    """Every answer behind a double space began one letter too late."""
    whole, moved = normalize_with_places(text, places, RULES, Counter())
    assert whole == clean
    assert [whole[start:end] for start, end in moved] == found


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
@given(
    text=st.text(max_size=14)
    | st.text("ab \u3000\u200b\u200e\u200c\u200dسی\u0301e¨ﬁ😀क्", max_size=14),
    drawn=st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=3),
)
@example(text="a¨", drawn=[(1, 2)])  # in NFKC a space and an accent
def test_a_text_is_the_same_wherever_its_places_are(form, text, drawn):
    """Five questions of a paragraph had five texts, none of them the one that is read in service.

    The places are compared with what serving says of each character: from where it is.
    """
    config = NormalizationConfig(unicode_form=form)
    rules = RULES.model_copy(update={"normalization": config})
    places = [(start, end) for start, end in drawn if start < end <= len(text)]
    bounds = {bound for place in places for bound in place}
    whole, origins = normalize_with_origins(text, unicode_form=form, repair_encoding=False)
    seen = {n: origins[n] for n, character in enumerate(whole) if character != " "}
    cut = any(low < bound < high for low, high in seen.values() for bound in bounds)
    try:
        found, moved = normalize_with_places(text, places, rules, Counter())
    except UnfitError:
        assert cut
        return
    assert found == whole == normalize(text, config)[0]
    if cut:  # serving tells a mark with its letter, also where they are two characters
        return
    for (start, end), place in zip(places, moved, strict=True):
        inside = [n for n, (low, high) in seen.items() if start <= low and high <= end]
        while inside and whole[inside[0]] in "\u200c\u200d":  # is the letter's before it
            inside.pop(0)
        if inside:
            assert place == (inside[0], inside[-1] + 1)
        else:
            assert place[0] == place[1]


def test_what_is_taken_out_is_counted_once_and_what_stays_is_not():
    """Spelling with ZWNJ was counted as tampering wherever an answer began behind it."""
    counts = Counter()
    normalize_with_places("کتاب\u200cها\u200e خوب", [(0, 4), (5, 7)], RULES, counts)
    assert counts == {"bidi": 1}


def test_a_wrong_decoding_inside_a_place_is_repaired():
    """An answer in wrong letters, in a text whose letters are right."""
    rules = RULES.model_copy(update={"normalization": NormalizationConfig(repair_encoding=True)})
    whole, places = normalize_with_places("Es  ist schÃ¶n hier", [(8, 14)], rules, Counter())
    assert (whole, places) == ("Es ist schön hier", [(7, 12)])


def test_a_place_that_cuts_a_letter_is_refused():
    """An answer `Cafe` whose accent stands behind it."""
    with pytest.raises(UnfitError, match="one character"):
        normalize_with_places("Cafe\u0301", [(0, 4)], RULES, Counter())
