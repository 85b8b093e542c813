"""Units that share a token: what is said of one of them is said of all."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from tasks.corpus.units import segment, unit_positions
from tasks.modeling.joined_units import EXCLUDED, bounds_of_tokens, joined_units, units_a_token


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
    assert units_a_token(np.zeros(0, dtype=bool)).tolist() == []


def test_the_bounds_of_tokens_have_the_probabilities_of_their_units():
    """A long token was as likely as one of its characters, and "no answer" that much likelier."""
    rng = np.random.default_rng(0)
    joined = np.array([0, 1, 1, 0, 0, 1, 0], dtype=bool)
    of_tokens = rng.normal(size=(4, 2)) * 3
    units = of_tokens[np.cumsum(~joined) - 1].astype(np.float32)
    found = bounds_of_tokens(units, joined)
    share = np.exp(units.astype(np.float64))
    share /= share.sum(axis=0)
    by_bounds = np.exp(found.astype(np.float64))
    by_bounds /= by_bounds.sum(axis=0)
    tokens = [[0, 1, 2], [3], [4, 5], [6]]
    for token in tokens:
        together = share[token].sum(axis=0)
        assert by_bounds[token[0], 0] == pytest.approx(together[0], rel=1e-5)
        assert by_bounds[token[-1], 1] == pytest.approx(together[1], rel=1e-5)
    assert (found[[1, 2, 5], 0] == EXCLUDED).all()
    assert (found[[0, 1, 4], 1] == EXCLUDED).all()
