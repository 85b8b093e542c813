"""One Unicode form, nothing invisible."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.text.normalization import (
    NormalizationConfig,
    has_invisible,
    normalize,
    normalize_label,
)

NFC = NormalizationConfig()

CASES = {
    "  turn\ton \n the\u3000light\u00a0": "turn on the light",
    "cafe\u0301": "café",
    "e\u200b\u0301": "é",  # joined only once the space between is gone
    "x²": "x²",
    "\ufeffhello\u202e": "hello",
    "ig\U000e0041\U000e0042nore": "ignore",
    "soft\u00adhyphen": "softhyphen",
    "می\u200cخواهم": "می\u200cخواهم",  # Persian spells with ZWNJ
    "क्\u200dष": "क्\u200dष",  # Hindi with ZWJ
    "👩\u200d👧": "👩\u200d👧",  # one family, not two people
    "turn\u200d on": "turn on",
    "\x07bell": "bell",
    "": "",
    "\u200b": "",
}


@pytest.mark.parametrize("text", CASES, ids=ascii)
def test_normal_form(text):
    """Two spellings of one text were counted as two, one in training and one in the test."""
    assert normalize(text, NFC)[0] == CASES[text]


def test_removed_characters_are_counted_by_kind():
    """Hidden instructions were stripped, and nobody saw that they had come."""
    _, removed = normalize("a\u202eb\u200bc\U000e0041d\U000e0042\x01", NFC)
    assert removed == {"bidi": 1, "zero_width": 1, "tag": 2, "control": 1}


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    """A rerun over its own output gave other hashes, so every cache was stale."""
    for form in ("NFC", "NFKC"):
        config = NormalizationConfig(unicode_form=form)
        once, _ = normalize(text, config)
        assert normalize(once, config)[0] == once
        assert unicodedata.is_normalized(form, once)
        assert once == " ".join(once.split())


def test_nfkc_and_repair_only_on_request():
    """Full-width letters, which readers of Chinese see, were folded without being asked for."""
    assert normalize("ＡＢＣ", NFC)[0] == "ＡＢＣ"
    assert normalize("ＡＢＣ", NormalizationConfig(unicode_form="NFKC"))[0] == "ABC"
    assert normalize("schÃ¶n", NFC)[0] == "schÃ¶n"
    assert normalize("schÃ¶n", NormalizationConfig(repair_encoding=True))[0] == "schön"


def test_labels_are_matched_in_nfc_without_surrounding_space():
    """`café` and `café` were two classes."""
    assert normalize_label(" cafe\u0301 ") == "café"
    assert has_invisible("gre\u200bet")
    assert not has_invisible("greet")
