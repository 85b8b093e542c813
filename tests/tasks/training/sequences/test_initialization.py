"""Models before their first step: as many positions as texts need, and no more."""

import json
import shutil

import pyarrow as pa
import pytest
import torch

from data_contracts.errors import RecipeError
from tasks.corpus.tables import write_table
from tasks.modeling.encoder_decoder.config import DecodingConfig, PretrainedSeq2Seq, Seq2SeqShape
from tasks.modeling.encoder_decoder.network import (
    Seq2SeqTokens,
    build_seq2seq,
    decoder_states,
    save_seq2seq,
)
from tasks.training.sequences.initialization import untrained_seq2seq
from tasks.training.sequences.tokens import longest_target
from tests.tasks.twelve_words import write_words

FACTS = {"vocab_size": 20, "pad_token_id": 0, "eos_token_id": 3, "max_length_tokens": 8}

SHAPE = Seq2SeqShape(
    encoder_layers=1, decoder_layers=1, hidden_size=8, num_heads=2, intermediate_size=8, dropout=0.0
)


@pytest.fixture
def built(tmp_path):
    (tmp_path / "tokens.json").write_text(json.dumps({**FACTS, "max_target_tokens": 64}))

    def build(longest, *, positions="sinusoidal", written=6):
        shape = Seq2SeqShape(
            encoder_layers=1, decoder_layers=1, hidden_size=8, num_heads=2, intermediate_size=8,
            dropout=0.0, positions=positions,
        )  # fmt: skip
        return untrained_seq2seq(
            shape,
            tokens=tmp_path,
            decoding=DecodingConfig(max_length_tokens=written),
            longest_target=longest,
            seed=0,
            role="student",
        )

    return build


@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_the_longest_target_has_its_positions(built, positions):
    """A reply of 49 tokens, 48 positions: an index error in the first step."""
    model = built(21, positions=positions)
    source = torch.full((1, 8), 5)
    states = decoder_states(model, source, torch.ones_like(source), torch.full((1, 21), 7))
    assert states.shape == (1, 21, 8)


def test_targets_that_fit_change_no_weight(built):
    """A limit of 64 that no target reaches: every student of an unchanged recipe is another."""
    assert built(2).config.max_position_embeddings == 8
    assert built(2, written=30).config.max_position_embeddings == 30


def test_the_longest_target_is_that_of_all_parts_asked_for(tmp_path):
    """The longest reply stood in the second part of the validation rows."""
    for name, targets in (
        ("train/part-00000", [[4, 3], None]),
        ("validation/part-00000", [[3]]),
        ("validation/part-00001", [None, [4, 5, 6, 3]]),
        ("transfer/part-00000", [None, None]),
        ("test/part-00000", [[4] * 9]),
    ):
        table = pa.table({"target_ids": pa.array(targets, pa.list_(pa.int32()))})
        write_table(table, tmp_path / f"{name}.parquet")
    assert longest_target(tmp_path, ["train", "validation"]) == 4
    assert longest_target(tmp_path, ["transfer"]) == 0
    assert longest_target(tmp_path, ["adapt"]) == 0


@pytest.fixture
def pretrained(tmp_path):
    """Twenty words, and a model of theirs being read with one tokenizer or another."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(16))]
    folder = tmp_path / "model"
    torch.manual_seed(0)
    model = build_seq2seq(SHAPE, Seq2SeqTokens(20, 0, 3, 8))
    save_seq2seq(model, folder, DecodingConfig(max_length_tokens=6))
    (tmp_path / "tokens.json").write_text(json.dumps(FACTS))

    def build(*, own=words, given=words, rewritten=False):
        (folder / "tokenizer.json").unlink(missing_ok=True)
        if own is not None:
            write_words(own, tmp_path / "own")
            (tmp_path / "own" / "tokenizer.json").rename(folder / "tokenizer.json")
            (tmp_path / "own").rmdir()
        shutil.rmtree(tmp_path / "tokenizer", ignore_errors=True)
        write_words(given, tmp_path / "tokenizer")
        if rewritten:
            path = tmp_path / "tokenizer" / "tokenizer.json"
            path.write_text(json.dumps(json.loads(path.read_text("utf-8")), sort_keys=True))
        return untrained_seq2seq(
            PretrainedSeq2Seq(init="pretrained", model=str(folder)),
            tokens=tmp_path,
            decoding=DecodingConfig(max_length_tokens=6),
            longest_target=6,
            seed=0,
            role="teacher",
        )

    return words, build


def test_a_pretrained_model_reads_the_tokens_of_its_own_tokenizer_alone(pretrained):
    """Another vocabulary of a size that fits: a translator that reads other words, and scores 0."""
    words, build = pretrained
    assert build()
    swapped = [*words[:4], *reversed(words[4:])]
    with pytest.raises(RecipeError, match=r"starts from .*tokenizer\.json has 20 tokens"):
        build(given=swapped)
    with pytest.raises(RecipeError, match="given another's tokens, of which there are 19"):
        build(given=words[:-1])


def test_how_a_tokenizer_is_written_down_does_not_matter(pretrained):
    """A model refused its own tokenizer, which the tokens artifact holds in other bytes."""
    _, build = pretrained
    assert build(rewritten=True)
    assert build(own=None)  # a folder without one: nothing to compare
