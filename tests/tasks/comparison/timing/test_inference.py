"""Timed texts are read as in training and service, or the times are those of other texts."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from data_contracts.tables import arrow_schema, load_contract
from tasks.comparison.timing.inference import torch_answerer
from tasks.corpus.rows.kind import Reading
from tasks.corpus.tokens.window_encoding import encode_windows
from tests.tasks.peak_memory import peak_memory

PAD = 2


class Echo(torch.nn.Module):
    """Answers with what it was asked: (B, L, 2), ids and mask."""

    def forward(self, input_ids, attention_mask):
        return torch.stack([input_ids, attention_mask], dim=-1)


@pytest.fixture
def tokenizer():
    """Letters, digits and `?`, each one token; pairs as in XLM-R."""
    words = ["<s>", "</s>", "[PAD]", "[UNK]", *"abcdefghijklmnopqrstuvwxyz0123456789?"]
    made = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 1)],
    )
    return made


def read(tokenizer, folder, texts, **limits):
    """What a network gets for `texts`, decoded; padding and mask are checked."""
    tokenizer.save(str(folder / "tokenizer.json"))
    answer = torch_answerer(Echo(), folder / "tokenizer.json", pad_token_id=PAD, **limits)
    found = answer(texts).astype(np.int64)
    ids, mask = found[..., 0], found[..., 1]
    assert (mask == (ids != PAD)).all()
    assert mask.all(axis=1).any()  # as long as the longest, no longer
    kept = [row[row != PAD].tolist() for row in ids]
    return [tokenizer.decode(row, skip_special_tokens=False) for row in kept]


def test_a_question_longer_than_the_window_is_cut(tokenizer, tmp_path):
    """`Truncation error`, and no more, after all training: one question was pasted in whole."""
    letters, digits = " ".join("abcdefghijklmnop"), " ".join("0123456789")
    limits = {"max_length_tokens": 12, "max_question_tokens": 5}
    assert read(
        tokenizer, tmp_path, [(letters, digits), ("a ?", digits), ("a ?", "0")], **limits
    ) == [
        "<s> a b c d e </s> </s> 0 1 2 </s>",
        "<s> a ? </s> </s> 0 1 2 3 4 5 </s>",
        "<s> a ? </s> </s> 0 </s>",
    ]


@pytest.mark.parametrize("num_letters", [0, 1, 5, 6, 7, 16])
def test_timed_windows_are_the_first_ones_of_training(tokenizer, tmp_path, num_letters):
    """Cut at another place, the timed text is longer or shorter than what is served."""
    question = " ".join([*"abcdefghijklmnop"[:num_letters], "?"])
    context = " ".join("0123456789")
    row = {
        "example_id": "0" * 32,
        "source": "made",
        "line": 1,
        "language": "en",
        "text": context,
        "question": question,
    }
    rows = pa.Table.from_pylist(
        [row], schema=arrow_schema(load_contract("corpus_question_answering"))
    )
    reading = Reading(
        tokenizer,
        ("en",),
        ("start", "end"),
        max_length_tokens=12,
        max_question_tokens=None,
        window_stride_tokens=None,
        max_target_tokens=9,
        workers=1,
    )
    trained = encode_windows(rows, reading).columns["input_ids"][0]
    limits = {"max_length_tokens": 12, "max_question_tokens": 6}
    [timed] = read(tokenizer, tmp_path, [(question, context)], **limits)
    assert timed == tokenizer.decode(trained, skip_special_tokens=False)


def test_of_other_pairs_the_longer_text_is_cut(tokenizer, tmp_path):
    """Both halves of a pair to match count: a first text cut by rule loses what sets it apart."""
    pairs = [("a b c d e f g h", "0 1"), ("a b", "0 1 2 3 4 5 6")]
    assert read(tokenizer, tmp_path, pairs, max_length_tokens=10) == [
        "<s> a b c d </s> </s> 0 1 </s>",
        "<s> a b </s> </s> 0 1 2 3 </s>",
    ]
    assert read(tokenizer, tmp_path, ["a b c d", "a"], max_length_tokens=5) == [
        "<s> a b c </s>",
        "<s> a </s>",
    ]


@pytest.mark.parametrize("max_length_tokens", [7, 10, 11])
def test_pairs_are_cut_as_the_library_cuts_them(tokenizer, tmp_path, max_length_tokens):
    """A student timed, and its int8 form scored, on other tokens than it was trained on."""
    letters, digits = "abcdefgh", "01234567"
    pairs = [(" ".join(letters[:a]), " ".join(digits[:b])) for a in range(9) for b in range(9)]
    found = read(tokenizer, tmp_path, pairs, max_length_tokens=max_length_tokens)
    tokenizer.enable_truncation(max_length_tokens, strategy="longest_first")
    expected = [tokenizer.encode(*pair).ids for pair in pairs]
    assert found == [tokenizer.decode(ids, skip_special_tokens=False) for ids in expected]


def test_two_long_texts_are_a_short_row(tokenizer, tmp_path):
    """Every combination of what was cut off of both ended the evaluation for lack of memory."""
    pair = (" ".join("a" * 1_000), " ".join("0" * 1_000))
    with peak_memory() as peak:
        found = read(tokenizer, tmp_path, [pair], max_length_tokens=10)
    assert found == ["<s> a a a </s> </s> 0 0 0 </s>"]
    assert peak.growth_bytes < 500e6
