import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.corpus.normalization import NormalizationConfig
from tasks.corpus.normalization import normalize as corpus_normalize
from tasks.serving.portable.foundation import batches, normalize

NASTY = (
    "ｆｕｌｌ　ｗｉｄｔｈ １２３",
    "e\u0301te\u0301 x² ﬁne ①",
    "\u202eesrever\u202c a\u200bb\u00adc\ufeff",
    "می\u200cخواهم ZWNJ\u200chere",
    "👩\u200d🔬 👍🏽\u200d x\u200dy ❤\ufe0f\u200d🔥",
    "क\u094d\u200dष \U000e0041\U000e0042tag",
    "tab\tand\r\nline\u2028end\u3000wide\x00\x1b\x1f\x85",
    "caf\u200be\u0301 A\u030a\u200d",
    "schÃ¶n â€œquoted”",
    "",
    " \u200d ",
)


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
@pytest.mark.parametrize("repair", [False, True])
@settings(deadline=None)  # the first text imports ftfy; a busy machine is not a failure
@given(
    text=st.one_of(
        st.sampled_from(NASTY),
        st.text(max_size=40),
        st.text(
            alphabet="ab e\u0301é\u200c\u200d\u200b\ufeff\u202e👩🏽🔬❤\ufe0fमی²ﬁ\x07\t\u2028　",
            max_size=12,
        ),
    )
)
def test_texts_are_normalised_as_the_training_corpus(form, repair, text):
    """Texts normalised differently in service are read with other tokens than in training."""
    config = NormalizationConfig(unicode_form=form, repair_encoding=repair)
    found = normalize(text, unicode_form=form, repair_encoding=repair)
    assert found == corpus_normalize(text, config)[0]
    assert unicodedata.is_normalized(form, found)


def test_batches_hold_every_text_once_and_mask_the_rest():
    """A token of the neighbour in a row, or a text that no batch holds."""
    texts = [[5, 6, 7], [8], [9, 9], [4, 4, 4, 4]]
    seen = {}
    for rows, ids, mask in batches(texts, 3, pad_token_id=1):
        assert ids.shape == mask.shape
        assert (ids[mask == 0] == 1).all()
        for place, row in enumerate(rows):
            seen[row] = ids[place][mask[place] == 1].tolist()
    assert [seen[row] for row in range(4)] == texts
    assert np.concatenate([rows for rows, _, _ in batches(texts, 3, 0)]).tolist() == [1, 2, 0, 3]
