"""Units that share a token: what is said of one of them is said of all."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from tasks.corpus.text.units import segment, unit_positions
from tasks.modeling.heads.joined_units import EXCLUDED, bounds_of_tokens, joined_units


@pytest.mark.parametrize(
    ("text", "pieces", "expected"),
    [
        ("北京人去海关", ["北京", "人", "去", "海关"], [0, 1, 0, 0, 0, 1]),
        ("Er liegt in Köln.", ["Er", "liegt", "in", "K", "öln", "."], [0, 0, 0, 0, 0]),
        ("ولد في برلين", ["ولد", "في", "برلين"], [0, 0, 0]),
        ("กรุงเทพ", ["กรุง", "เทพ"], [0, 1, 1, 1, 0, 1, 1]),
    ],
)
def test_units_of_one_token_are_joined_to_its_first(text, pieces, expected):
    """Chinese words that a vocabulary holds whole were read as characters that begin anew."""
    vocabulary = {piece: number for number, piece in enumerate(["[UNK]", *pieces])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.model.continuing_subword_prefix = ""
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    encoding = tokenizer.encode(text)
    assert encoding.tokens == pieces
    units = segment(text)
    places = unit_positions(units, encoding.offsets, encoding.ids, max_tokens=99)
    found = joined_units(np.array(places), np.zeros(1, np.int64))
    assert found.astype(int).tolist() == expected


def test_a_text_never_continues_the_token_of_the_text_before():
    """Two texts read at token 1 each: the second one's first word lost its tag."""
    positions = np.array([1, 1, 1, 2, 2, 1])
    firsts = np.array([0, 2, 2, 5, 6])  # the second text, and the last, have no units
    assert joined_units(positions, firsts).astype(int).tolist() == [0, 1, 0, 0, 1, 0]
    assert joined_units(positions[:0], firsts[:1]).tolist() == []


def test_a_token_starts_an_answer_with_its_first_unit_and_ends_it_with_its_last():
    """Of equal ends the nearer was taken: 公里 gave 公."""
    joined = np.array([0, 1, 1, 0, 0, 1, 0], dtype=bool)
    logits = np.arange(14, dtype=np.float32).reshape(7, 2)
    found = bounds_of_tokens(logits, joined)
    first, last = [0, 3, 4, 6], [2, 3, 5, 6]
    assert (found[first, 0] == logits[first, 0]).all()
    assert (found[last, 1] == logits[last, 1]).all()
    assert (np.delete(found[:, 0], first) == EXCLUDED).all()
    assert (np.delete(found[:, 1], last) == EXCLUDED).all()
    assert bounds_of_tokens(logits[:0], joined[:0]).shape == (0, 2)
