"""Pairs are framed and cut as the tokenizer itself would do it."""

import random

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from data_contracts.errors import SourceError
from tasks.corpus.text.truncation import longest_first
from tasks.corpus.tokenizers.encoding import special_frame
from tasks.corpus.tokens.pair_encoding import encode_pairs, framed_apart, pair_frame

SPECIAL = ("<s>", "</s>", "<unk>")


def tokenizer(pair):
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *"0123456789abc京灯"])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair=pair, special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return made


BERT, XLM_R = "<s> $A </s> $B </s>", "<s> $A </s> </s> $B </s>"


@pytest.mark.parametrize(("pair", "between"), [(BERT, [1]), (XLM_R, [1, 1])])
def test_the_frame_is_the_tokenizers_own(pair, between):
    """Two separators for XLM-R, one for BERT: a teacher fed the other's form is a worse teacher."""
    assert pair_frame(tokenizer(pair)) == ([0], between, [1])


@pytest.mark.parametrize("pair", [BERT, XLM_R])
@pytest.mark.parametrize("length", [6, 7, 12, 64])
def test_ids_are_those_of_the_library_cut_longest_first(pair, length):
    """The second text was cut away whole because the first was long."""
    rng = random.Random(length)
    made = tokenizer(pair)
    texts = [
        ["".join(rng.choices("abc京灯12", k=rng.randrange(1, 20))) for _ in range(40)]
        for _ in range(2)
    ]
    found = encode_pairs(
        made, pa.array(texts[0]), pa.array(texts[1]), max_length_tokens=length, workers=2
    )
    uncut = [len(encoding.ids) for encoding in made.encode_batch(list(zip(*texts, strict=True)))]
    made.enable_truncation(length, strategy="longest_first")
    expected = [encoding.ids for encoding in made.encode_batch(list(zip(*texts, strict=True)))]
    assert found.input_ids.to_pylist() == expected
    assert found.lengths.tolist() == uncut


def test_what_is_cut_by_hand():
    """The longer side yields first, then both."""
    kept = longest_first(np.array([1, 9, 9, 2, 5, 3]), np.array([9, 1, 9, 2, 4, 6]), 7)
    assert [side.tolist() for side in kept] == [[1, 6, 3, 2, 4, 3], [6, 1, 4, 2, 3, 4]]


def test_texts_read_apart_have_the_frame_they_have_alone():
    """A second text without its first token reads like the end of the first."""
    made = tokenizer(XLM_R)
    framed_apart(made)
    assert pair_frame(made) == ([0], [1, 0], [1])
    assert special_frame(made) == ([0], [1])
    found = encode_pairs(
        made, pa.array(["ab"]), pa.array(["c"]), max_length_tokens=64, workers=1
    ).input_ids.to_pylist()
    assert found == [[*made.encode("ab").ids, *made.encode("c").ids]]


def test_a_tokenizer_that_marks_no_beginning_cannot_read_apart():
    """Nobody could tell where the second text begins: both would be read as one."""
    made = tokenizer(BERT)
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    with pytest.raises(SourceError, match="0 special tokens before a text and 1 after"):
        framed_apart(made)


def test_no_room_is_told():
    """A length of 4 left one text empty without a word."""
    with pytest.raises(SourceError, match="at least one token of each text"):
        encode_pairs(
            tokenizer(BERT), pa.array(["a"]), pa.array(["b"]), max_length_tokens=4, workers=1
        )
