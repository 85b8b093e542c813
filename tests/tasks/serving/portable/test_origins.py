import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.serving.portable.base import normalize
from tasks.serving.portable.origins import normalize_with_origins, original_span

PLAIN = {"unicode_form": "NFC", "repair_encoding": False}


def pieces(text, **settings):
    """Each normalised character with the characters it is said to come from."""
    normalised, origins = normalize_with_origins(text, **{**PLAIN, **settings})
    return [(new, text[slice(*origin)]) for new, origin in zip(normalised, origins, strict=True)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("e\u0301t", [("é", "e\u0301"), ("t", "t")]),
        (" 北\u200b京 ", [("北", "北"), ("京", "京")]),
        ("a \t\u3000b", [("a", "a"), (" ", " \t\u3000"), ("b", "b")]),
        ("a\u200b \u200bb", [("a", "a"), (" ", " "), ("b", "b")]),
        ("\u1112\u1161\u11ab국", [("한", "\u1112\u1161\u11ab"), ("국", "국")]),
        # The cedilla goes before the ring, and only the ring joins the letter it stands behind.
        (
            "xA\u0327\u030a!",
            [("x", "x"), ("Å", "A\u0327\u030a"), ("\u0327", "A\u0327\u030a"), ("!", "!")],
        ),
        ("می\u200cروم", [(one, one) for one in "می\u200cروم"]),
        ("", []),
        (" \u200b ", []),
    ],
)
def test_characters_come_from_where_they_were(text, wanted):
    """A span told one character off for every accent and zero-width space before it."""
    assert pieces(text) == wanted


def test_ligatures_and_wide_letters_are_told_whole():
    """Half of a ligature is no place in a text."""
    assert pieces("ﬁn Ａ", unicode_form="NFKC") == [
        *[("f", "ﬁ"), ("i", "ﬁ"), ("n", "n"), (" ", " "), ("A", "Ａ")]
    ]


def test_repaired_letters_come_from_what_they_were_read_as():
    """The text was decoded wrongly by the consumer: the places are those in what was sent."""
    wrong = "schÃ¶n in æ‰“å¼€ the å®¢åŽ… now"
    found = pieces(wrong, repair_encoding=True)
    assert "".join(new for new, _ in found) == "schön in 打开 the 客厅 now"
    assert dict(found) | {"ö": "Ã¶", "打": "æ‰“", "开": "å¼€", "客": "å®¢", "厅": "åŽ…"} == dict(
        found
    )


def test_a_span_is_told_from_its_first_to_its_last_character():
    """A zero-width space inside a name must not end it; the accent of its last letter belongs."""
    text = "x caf\u200be\u0301 y"
    normalised, origins = normalize_with_origins(text, **PLAIN)
    assert normalised == "x café y"
    start, end = original_span(origins, 2, 6)
    assert text[start:end] == "caf\u200be\u0301"


ALPHABET = (
    "ab =e\u0301é\u0327\u030a\u0338\u0344\u200c\u200d\u200b\ufeff\u202e👩🏽🔬❤\ufe0f"
    "فمی²ﬁ\x07\t\u2028\u3000カ\uff9e\u1100\u1161\u11a8가\u09c7\u09be\u0f71\u0f73Å\U000e0041"
)


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
@settings(deadline=None, max_examples=300)
@given(text=st.one_of(st.text(alphabet=ALPHABET, max_size=14), st.text(max_size=30)))
def test_any_text_normalised_in_pieces_is_the_text_normalised_at_once(form, text):
    """Marks pass over other marks to the letter they join: a cut between loses them."""
    normalised, origins = normalize_with_origins(text, unicode_form=form, repair_encoding=False)
    assert normalised == normalize(text, unicode_form=form, repair_encoding=False)
    assert len(origins) == len(normalised)
    assert all(0 <= start < end <= len(text) for start, end in origins)
    starts = [start for start, _ in origins]
    assert starts == sorted(starts)
    for new, (start, end) in zip(normalised, origins, strict=True):
        # What a character is made of is found where it is said to come from.
        there = unicodedata.normalize("NFKD", text[start:end])
        assert new == " " or all(one in there for one in unicodedata.normalize("NFKD", new))


def test_long_texts_take_time_by_their_length():
    """A document of 100,000 characters compared piece by piece with all before: minutes."""
    normalised, origins = normalize_with_origins("某个e\u0301很长的文本，" * 20_000, **PLAIN)
    assert len(origins) == len(normalised) == 180_000
    mark = "e" + "\u0301" * 20_000
    assert original_span(normalize_with_origins(mark, **PLAIN)[1], 0, 1) == (0, 20_001)
