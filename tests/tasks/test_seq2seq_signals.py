"""Teacher of texts and its signals: what it learned, and what it says of which text."""

import json

import numpy as np
import pytest
import torch

from data_contracts.tables import arrow_schema, load_contract
from tasks import seq2seq_teacher
from tasks.corpus.tables import read_table
from tasks.modeling.encoder_decoder.network import load_seq2seq
from tasks.runtime.stages import run_stage
from tasks.training.batching.layouts import padded_layout
from tasks.training.sequences.generation import load_reader
from tasks.training.sequences.targets import closest_hypothesis
from tasks.training.sequences.token_signals import ask_teacher, from_topk
from tasks.training.sequences.topk_signals import TopKCodec
from tests.tasks.twelve_words import DECODING, ROWS, SMALL, WORDS, history, training


def test_a_teacher_learns_to_translate_from_nothing(text_world):
    """A loop that trains another network than it saves, or shifts a target, learns nothing here."""
    validations = history(text_world.teacher)["validations"]
    assert validations[0]["loss"] > 2.0
    assert min(entry["loss"] for entry in validations) < 0.8
    assert max(entry["chrf"] for entry in validations) > 0.6
    facts = json.loads((text_world.teacher.path / "training.json").read_text("utf-8"))
    assert facts["num_examples"] == 256  # transfer rows have no target
    head = json.loads((text_world.teacher.path / "model" / "head.json").read_text("utf-8"))
    assert (head["problem"], head["target_language"]) == ("translation", "zh")
    assert load_seq2seq(text_world.teacher.path / "model").generation_config.num_beams == 3


def test_signals_hold_the_texts_and_opinions_of_the_teacher(text_world):
    """Signals of a padded neighbour, or of dropout, teach something that no teacher said."""
    facts = json.loads((text_world.signals.path / "topk.json").read_text("utf-8"))
    codec = TopKCodec(facts["vocab_size"], facts["k"])
    assert (facts["k"], facts["token_bytes"]) == (5, codec.token_bytes)
    model, reader = (
        load_seq2seq(text_world.teacher.path / "model"),
        load_reader(text_world.tokens.path / "tokenizer"),
    )
    for role, count in ROWS.items():
        table = read_table(text_world.signals.path / role / "part-00000.parquet")
        assert table.schema.equals(arrow_schema(load_contract("teacher_signals_seq2seq")))
        assert len(table) == count
        rows = read_table(text_world.tokens.path / role / "part-00000.parquet")
        assert table["example_id"].to_pylist() == rows["example_id"].to_pylist()
    for row in range(6):
        one = table.slice(row, 1).to_pylist()[0]
        assert len(one["hypotheses"]) == len(one["hypothesis_scores"]) == 3
        assert one["target_text"] == reader.decode(one["target_ids"])
        stored = codec.decode(np.frombuffer(one["topk"], np.uint8))
        source = torch.tensor([rows["input_ids"][row].as_py()])
        expected = ask_teacher(
            model, source, torch.ones_like(source), torch.tensor([one["target_ids"]]),
            k=5, vocab_size=len(WORDS),
        )  # fmt: skip
        np.testing.assert_array_equal(stored.ids_NK[:, 0], expected.ids_NK[:, 0])
        np.testing.assert_allclose(
            stored.log_probs_NK[:, 0], expected.log_probs_NK[:, 0], atol=1e-3
        )


@pytest.mark.parametrize("targets", ["gold", "sequence", "interpolation"])
def test_the_teacher_is_asked_about_the_text_that_was_chosen(text_world, targets):
    """Signals of gold texts under the name of the teacher's would be joined to other tokens."""
    found = text_world.asked(targets=targets)
    gold = read_table(text_world.tokens.path / "train" / "part-00000.parquet")[
        "target_ids"
    ].to_pylist()
    table = read_table(found.path / "train" / "part-00000.parquet").to_pylist()
    if targets == "gold":
        assert [row["target_ids"] for row in table] == gold
        assert all(row["hypotheses"] == [] for row in table)  # none was needed
    else:
        assert all(row["target_text"] in row["hypotheses"] for row in table)
    if targets == "sequence":
        assert all(row["target_text"] == row["hypotheses"][0] for row in table)
    unlabelled = read_table(found.path / "transfer" / "part-00000.parquet").to_pylist()
    assert all(row["target_text"] == row["hypotheses"][0] for row in unlabelled)
    tested = read_table(found.path / "test" / "part-00000.parquet").to_pylist()
    assert all(len(row["hypotheses"]) == 3 for row in tested)  # evaluation reads them


def test_the_chosen_text_is_the_nearest_as_the_recipe_measures_it(text_world):
    """`similarity: bleu` that is read and never used: every text is the one that chrF would have
    chosen."""
    tokens = read_table(text_world.tokens.path / "train" / "part-00000.parquet")
    reader = load_reader(text_world.tokens.path / "tokenizer")
    gold = [reader.decode(ids) for ids in tokens["target_ids"].to_pylist()]
    short = DECODING.model_copy(update={"num_beams": 8, "max_length_tokens": 3})
    chosen = {}
    for similarity in ("chrf", "bleu"):
        asked = text_world.asked(roles=("train",), similarity=similarity, decoding=short)
        rows = read_table(asked.path / "train" / "part-00000.parquet").to_pylist()
        chosen[similarity] = [row["target_text"] for row in rows]
        for row, right in zip(rows, gold, strict=True):
            written = row["hypotheses"]
            nearest = closest_hypothesis(written, right, similarity=similarity, language="zh")
            assert row["target_text"] == written[nearest]
    assert chosen["chrf"] != chosen["bleu"], "both choose the same: this test shows little"


def test_bf16_asks_in_bf16_about_the_texts_of_fp32(text_world):
    """A teacher that reads at half its device's speed; or one that writes other texts for it."""
    exact, coarse = text_world.asked(), text_world.asked(precision="bf16")
    facts = json.loads((exact.path / "topk.json").read_text("utf-8"))
    codec = TopKCodec(facts["vocab_size"], facts["k"])
    first, second = (
        read_table(signals.path / "test" / "part-00000.parquet") for signals in (exact, coarse)
    )
    written = ["example_id", "target_text", "target_ids", "hypotheses", "hypothesis_scores"]
    assert first.select(written).equals(second.select(written))
    told = [
        codec.decode(np.frombuffer(b"".join(table["topk"].to_pylist()), np.uint8))
        for table in (first, second)
    ]
    likeliest = [np.exp(one.log_probs_NK[:, 0]) for one in told]
    # Logits of bf16 carry 8 bits: some 1 % of a probability, never none.
    assert 0 < np.abs(likeliest[0] - likeliest[1]).max() < 0.05


def test_signals_are_the_same_bytes_every_time(text_world):
    first = text_world.signals
    assert text_world.asked(force=True).content_digest == first.content_digest


def test_mapped_signals_are_those_of_the_row_and_token(text_world):
    """Signals off by a token, or of another row, teach noise with every loss falling nicely."""
    examples = text_world.mapped()
    table = read_table(text_world.signals.path / "train" / "part-00000.parquet")
    rows = np.array([200, 3, 77])
    (batch,) = examples.batches(rows, padded_layout(), pad_token_id=0)
    wanted = [table["target_ids"][int(row)].as_py() for row in rows]
    assert [[i for i in label if i >= 0] for label in batch.labels_BL.tolist()] == wanted
    packed = b"".join(table["topk"][int(row)].as_py() for row in rows)
    expected = from_topk(examples.codec.decode(np.frombuffer(packed, np.uint8)))
    assert torch.equal(batch.from_teacher.ids_NK, expected.ids_NK)
    assert torch.equal(batch.from_teacher.log_probs_NK, expected.log_probs_NK)
    assert examples.normalizers(rows) == (sum(map(len, wanted)),) * 2


def test_languages_are_noted_and_drawn(text_world):
    """740 Chinese rows among 26,000: a summarizer of three languages that never learns one."""
    tokens = text_world.tokens_of(languages=("en", "en", "en", "zh"), validated_in="zh")
    config = seq2seq_teacher.Config(
        problem="summarization", target_language="zh", architecture=SMALL, decoding=DECODING,
        training=training(1, language_temperature=100.0),
    )  # fmt: skip
    made = run_stage(seq2seq_teacher.STAGE, config, {"tokens": tokens}, store=text_world.store)
    facts = made.artifact.manifest.facts
    assert (facts["rows_en"], facts["rows_zh"]) == (192, 64)
    # Shares n^(1/100): 0.503 and 0.497 of 256.
    assert (facts["drawn_en"], facts["drawn_zh"]) == (129, 127)
