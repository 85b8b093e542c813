"""Embedding rows go with the spelling of their token."""

import json

import pytest
import tokenizers
import torch
from tokenizers import models
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

from data_contracts.errors import RecipeError, SourceError
from tasks.modeling.backbones.vocabulary import embedding_rows, gather_embeddings, read_vocabulary

SHAPE = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
         "intermediate_size": 16, "max_position_embeddings": 20, "vocab_size": 12}  # fmt: skip


def test_rows_are_joined_by_spelling_not_by_position():
    """Two tokenizers with the same words in another order: every word means another one."""
    rows = embedding_rows({"b": 0, "a": 1, "d": 2}, {"a": 4, "b": 5, "c": 6, "d": 9})
    assert rows.tolist() == [5, 4, 9]


def test_a_token_of_another_model_is_refused():
    """A student of one model with the tokenizer of another starts from noise and says nothing."""
    with pytest.raises(RecipeError, match=r"1 of the student's 2 tokens, such as \['灯'\]"):
        embedding_rows({"a": 0, "灯": 1}, {"a": 0})


def test_embeddings_are_the_chosen_rows_and_the_configuration_says_so():
    """A model that is saved with 12 rows and 250,000 in its configuration cannot be loaded."""
    torch.manual_seed(0)
    model = BertModel(BertConfig(**SHAPE, pad_token_id=3, eos_token_id=7), add_pooling_layer=False)
    before = model.get_input_embeddings().weight.detach().clone()
    gather_embeddings(model, torch.tensor([2, 3, 7]), pad_token_id=1)
    after = model.get_input_embeddings()
    assert torch.equal(after.weight, before[[2, 3, 7]])
    assert (model.config.vocab_size, model.config.pad_token_id, after.padding_idx) == (3, 1, 1)
    assert model.config.eos_token_id == 2
    with pytest.raises(RecipeError, match="3 embedding rows"):
        gather_embeddings(model, torch.tensor([0, 5]), pad_token_id=0)


def test_positions_counted_from_the_padding_do_not_move():
    """XLM-R with <pad> at 0 instead of 1 reads every token one place to the left."""
    model = XLMRobertaModel(XLMRobertaConfig(**SHAPE, pad_token_id=1), add_pooling_layer=False)
    with pytest.raises(RecipeError, match="padding moved from id 1 to 0"):
        gather_embeddings(model, torch.tensor([1, 4]), pad_token_id=0)
    gather_embeddings(model, torch.tensor([0, 1, 4]), pad_token_id=1)
    assert model.config.vocab_size == 3


def test_a_model_without_tokenizer_is_refused(tmp_path):
    with pytest.raises(SourceError, match="is not a tokenizer"):
        read_vocabulary(tmp_path / "tokenizer.json")


TOKENS = {"<pad>": 0, "<unk>": 1, "a": 2, "灯": 3, "▁Haus": 4}


@pytest.mark.parametrize(
    "model",
    [
        models.Unigram([(token, -1.5) for token in TOKENS], unk_id=1),
        models.WordPiece(TOKENS, unk_token="<unk>"),
        models.WordLevel(TOKENS, unk_token="<unk>"),
        models.BPE(TOKENS, [], unk_token="<unk>"),
    ],
    ids=lambda model: type(model).__name__,
)
def test_the_vocabulary_is_what_the_tokenizer_itself_says(model, tmp_path):
    """Ids read off a file in another way than its reader does are rows of other tokens."""
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.add_special_tokens(["<pad>", "<mask>"])
    tokenizer.add_tokens(["word of its own"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    expected = tokenizer.get_vocab(with_added_tokens=True)
    assert len(expected) == len(TOKENS) + 2
    assert read_vocabulary(tmp_path / "tokenizer.json") == expected


@pytest.mark.parametrize(
    ("added", "listed"),
    [
        (None, TOKENS),
        ([("<mask>", 40), ("<sep>", 7)], TOKENS),  # ids with a hole before them
        ([("<pad>", 3), ("<mask>", 5)], TOKENS),  # another id than the vocabulary's
        ([("x", 9), ("<mask>", 6)], {**TOKENS, "x": 9}),  # a vocabulary with a hole
    ],
)
def test_ids_that_the_tokenizer_does_not_follow_are_not_followed(added, listed, tmp_path):
    """A file edited by hand, or without added tokens: it was read, and is not any more, or a
    student gets the embedding of another token."""
    content = json.loads(tokenizers.Tokenizer(models.WordLevel(listed, unk_token="<unk>")).to_str())
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content["added_tokens"] = [
        {"id": row, "content": token, "special": True, **flags} for token, row in added or ()
    ]
    if added is None:
        del content["added_tokens"]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    expected = tokenizers.Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)
    assert read_vocabulary(path) == expected


@pytest.mark.parametrize("content", [{}, [], {"model": {"vocab": 3}, "added_tokens": []}, "{"])
def test_a_file_that_is_no_tokenizer_is_refused(content, tmp_path):
    """A traceback of JSON's reader tells nobody which of the two files was the wrong one."""
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match="is not a tokenizer"):
        read_vocabulary(tmp_path / "tokenizer.json")
