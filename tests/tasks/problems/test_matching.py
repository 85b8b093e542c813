"""Pairs read apart, from the corpus to the delivered network."""

import json

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from data_contracts.artifacts import StageSummary
from data_contracts.tables import arrow_schema, load_contract
from tasks import distillation, export, tokenization
from tasks.corpus.tables import read_table, write_table
from tasks.corpus.tokenizers.config import TrainedTokenizer
from tasks.modeling.config import StudentArchitecture
from tasks.modeling.heads.pair_encoder import PairEncoder
from tasks.problems import load_model
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.stages import Stage, StageConfig, run_stage
from tasks.training.fitting.inference import predict_logits
from tasks.training.optimization.config import TrainingConfig

ROOMS = ("客厅", "卧室", "厨房", "书房")
LABELS = ["different", "same"]


class _Made(StageConfig):
    """A hand-made corpus, as its own key."""

    name: str = "pairs"


def write_corpus(config, inputs, workspace):
    """Whether both texts are about one room, for all pairs of rooms."""
    rows = [
        {
            "text": f"打开{a}的灯",
            "text_b": f"{b}的灯开了吗",
            "language": "zh",
            "label": LABELS[a == b],
            "source": "made",
            "line": 1,
        }
        for a in ROOMS
        for b in ROOMS
    ]
    schema = arrow_schema(load_contract("corpus_matching"))
    for role in ("transfer", "validation"):
        named = [
            {**row, "example_id": f"{role}{number}".encode().hex().zfill(32)}
            for number, row in enumerate(rows)
        ]
        path = workspace.output / "rows" / role / "part-00000.parquet"
        write_table(pa.Table.from_pylist(named, schema=schema), path)
    (workspace.output / "labels.json").write_text(json.dumps({"labels": LABELS}))
    return StageSummary()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(tokens, student, export) of a bi-encoder."""
    store = ArtifactStore(tmp_path_factory.mktemp("apart"))
    corpus = run_stage(Stage("corpus", 1, write_corpus), _Made(), {}, store=store).artifact
    config = tokenization.Config(
        problem="matching",
        languages=("zh",),
        tokenizer=TrainedTokenizer(kind="bpe", vocab_size=64, max_token_characters=2),
        max_length_tokens=24,
        pairs="apart",
        roles=("transfer", "validation"),
    )
    tokens = run_stage(tokenization.STAGE, config, {"corpus": corpus}, store=store).artifact
    student = run_stage(
        distillation.STAGE,
        distillation.Config(
            problem="matching",
            architecture=StudentArchitecture(
                num_layers=1, hidden_size=32, num_heads=2, intermediate_size=64, dropout=0.0
            ),
            objective=distillation.ObjectiveConfig(alpha=0.0, temperature=1.0, hard_labels="gold"),
            training=TrainingConfig(num_epochs=60, batch_size=8, learning_rate=0.005, patience=60),
        ),
        {"tokens": tokens},
        store=store,
    ).artifact
    exported = run_stage(
        export.STAGE, export.Config(), {"student": student, "tokens": tokens}, store=store
    ).artifact
    return tokens, student, exported


def test_each_text_is_framed_as_it_is_alone(made):
    """The second text of a pair began in the middle of a sequence, unlike any text alone."""
    tokens, _, _ = made
    tokenizer = Tokenizer.from_file(str(tokens.path / "tokenizer" / "tokenizer.json"))
    (row, *_) = read_table(tokens.path / "transfer" / "part-00000.parquet").to_pylist()
    expected = [tokenizer.encode("打开客厅的灯").ids, tokenizer.encode("客厅的灯开了吗").ids]
    assert row["input_ids"] == [*expected[0], *expected[1]]


def test_two_texts_read_apart_are_compared(made):
    """A comparison that only sees one of the texts cannot tell whether their rooms agree."""
    tokens, student, exported = made
    model = load_model(student.path / "model")
    assert isinstance(model, PairEncoder)
    rows = read_table(tokens.path / "validation" / "part-00000.parquet")
    logits = predict_logits(model, rows["input_ids"], pad_token_id=0)
    assert (logits.argmax(1) == rows["label"].to_numpy()).all()
    parity = json.loads((exported.path / "parity.json").read_text())
    assert parity["agreement"] == 1.0
    assert np.isfinite(logits).all()
