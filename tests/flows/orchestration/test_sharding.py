"""Shards in other processes and on a real local Ray cluster: the bytes of shards made here."""

import importlib.util
import os
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from data_contracts.artifacts import StageSummary
from data_contracts.errors import RecipeError
from data_contracts.tables import arrow_schema, load_contract
from tasks import teacher_signals, tokenization
from tasks.corpus.tables import read_table, write_table
from tasks.modeling.backbones.encoder import build_student_backbone
from tasks.modeling.config import StudentArchitecture
from tasks.modeling.heads.classifier import EncoderClassifier, save_classifier
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.fingerprint import fingerprint
from tasks.runtime.shards import Shard, run_shards
from tasks.runtime.stages import Stage, StageConfig, Workspace, run_stage

pytestmark = pytest.mark.slow
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("prefect_ray") is None, reason="the extra `ray` is not installed"
)
WHERE = ["processes", pytest.param("ray", marks=needs_ray)]
ROOT = str(Path(__file__).parents[3])
ROOMS = ("客厅", "卧室", "厨房", "书房", "浴室", "阳台", "车库", "走廊")


@pytest.fixture(scope="module", autouse=True)
def prefect_api():
    """A Prefect server of its own for this file; workers must find this code."""
    from prefect.testing.utilities import prefect_test_harness

    with pytest.MonkeyPatch.context() as patch, prefect_test_harness(server_startup_timeout=120):
        patch.setenv("PYTHONPATH", os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")]))
        # Ray would make an environment with uv, and send telemetry.
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        yield


def in_flow(where, function):
    """`function` inside a flow whose shards go to `where`."""
    from prefect import flow

    from flows.orchestration.sharding import sharding

    @flow(name="toy", persist_result=False)
    def toy():
        with sharding(where, workers=2):
            return function()

    return toy()


def write_corpus(config, inputs, workspace):
    """Three parts of transfer rows."""
    for part in range(3):
        rows = [
            {
                "example_id": fingerprint([part, room, number])[:32],
                "text": f"把{room}的灯调到{number}",
                "language": "zh",
                "label": None,
                "parallel_text": None,
                "parallel_language": None,
                "source": "made",
                "line": number + 1,
            }
            for room in ROOMS
            for number in range(20 * part, 20 * part + 20)
        ]
        table = pa.Table.from_pylist(rows, schema=arrow_schema(load_contract("corpus")))
        write_table(table, workspace.output / "rows" / "transfer" / f"part-{part:05d}.parquet")
    (workspace.output / "labels.json").write_text('{"labels": ["off", "on"]}', encoding="utf-8")
    return StageSummary()


def tokens(store):
    corpus = run_stage(Stage("corpus", 1, write_corpus), StageConfig(), {}, store=store).artifact
    config = tokenization.Config.model_validate(
        {
            "languages": ["zh"],
            "roles": ["transfer"],
            "tokenizer": {"kind": "bpe", "vocab_size": 120},
            "max_length_tokens": 16,
        }
    )
    return run_stage(tokenization.STAGE, config, {"corpus": corpus}, store=store).artifact


@pytest.mark.parametrize("where", WHERE)
def test_shards_made_elsewhere_have_the_bytes_of_shards_made_here(where, tmp_path):
    """A cluster's result would be another data set, and everything after it would be rebuilt."""
    here = tokens(ArtifactStore(tmp_path / "here"))
    there_store = ArtifactStore(tmp_path / "there")
    there = in_flow(where, lambda: tokens(there_store))
    assert there.content_digest == here.content_digest
    assert len(list((tmp_path / "there/artifacts/tokens_shard").iterdir())) == 3


def write_teacher(config, inputs, workspace):
    """An encoder of random weights that reads these tokens."""
    torch.manual_seed(0)
    shape = StudentArchitecture(num_layers=1, hidden_size=32, num_heads=2, intermediate_size=32)
    backbone = build_student_backbone(shape, vocab_size=120, pad_token_id=0, max_length_tokens=16)
    model = EncoderClassifier(backbone, num_labels=2, pooling="mean", dropout=0.1)
    save_classifier(model, workspace.output / "model", problem="text_classification")
    (workspace.output / "model" / "labels.json").write_text('{"labels": ["off", "on"]}')
    return StageSummary()


@pytest.mark.parametrize("where", WHERE)
def test_signals_made_elsewhere_have_the_bytes_of_signals_made_here(where, tmp_path):
    """A teacher that says something else on another machine: every student is trained again."""
    store = ArtifactStore(tmp_path / "made")
    teacher = run_stage(Stage("teacher", 1, write_teacher), StageConfig(), {}, store=store).artifact
    inputs = {"teacher": teacher, "tokens": tokens(store)}
    config = teacher_signals.Config(roles=("transfer",), precision="fp32")

    def signals(folder):
        return run_stage(
            teacher_signals.STAGE, config, inputs, store=ArtifactStore(folder)
        ).artifact

    here = signals(tmp_path / "here")
    there = in_flow(where, lambda: signals(tmp_path / "there"))
    assert there.content_digest == here.content_digest
    assert len(list((tmp_path / "there/artifacts/teacher_signals_part").iterdir())) == 3
    logits = read_table(here.path / "transfer" / "part-00000.parquet")["logits"].to_pylist()
    assert len({tuple(row) for row in logits}) > 100, "a teacher that says one thing of all texts"


@pytest.mark.parametrize("where", WHERE)
def test_an_error_of_a_shard_arrives_as_it_was_raised(where, tmp_path):
    """Forty lines of a remote traceback instead of the remedy."""

    def refused(config, inputs, workspace):
        raise RecipeError("row 7", rule="rule", remedy="remedy")

    store = ArtifactStore(tmp_path)
    workspace = Workspace(tmp_path / "output", tmp_path / "work", store)
    shard = Shard(Stage("toy", 1, refused), StageConfig(), {})
    with pytest.raises(RecipeError) as raised:
        in_flow(where, lambda: list(run_shards([shard], workspace)))
    assert (raised.value.fact, raised.value.remedy) == ("row 7", "remedy")
