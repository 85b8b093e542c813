"""Models before their first step: as many positions as texts need, and no more."""

import json

import pyarrow as pa
import pytest
import torch

from tasks.corpus.tables import write_table
from tasks.modeling.seq2seq import decoder_states
from tasks.modeling.seq2seq_config import DecodingConfig, Seq2SeqShape
from tasks.training.sequences.seq2seq_init import untrained_seq2seq
from tasks.training.sequences.seq2seq_tokens import longest_target

FACTS = {"vocab_size": 20, "pad_token_id": 0, "eos_token_id": 3, "max_length_tokens": 8}


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
