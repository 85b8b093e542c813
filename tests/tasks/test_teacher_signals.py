"""Teacher signals: each part read once, again only when something that defines it changes."""

import gc
import json
import shutil
import weakref

import pyarrow as pa
import pytest
import torch
from transformers import BertConfig, BertModel

from data_contracts.artifacts import StageSummary
from tasks.corpus.tables import read_table, write_table
from tasks.modeling.heads.classifier import EncoderClassifier, save_classifier
from tasks.problems import load_model
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.progress import SilentProgress
from tasks.runtime.shards import SHARD_RUNNER, run_shard
from tasks.runtime.stages import Stage, StageConfig, run_stage
from tasks.teacher_signals import _TEACHER, STAGE, Config


class _Made(StageConfig):
    """Distinguishes the hand-made artifacts below."""

    name: str


@pytest.fixture
def made(store):
    """A tiny teacher, and tokens of two roles."""

    def teacher(config, inputs, workspace):
        torch.manual_seed(0)
        shape = BertConfig(
            vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, max_position_embeddings=16, type_vocab_size=1,
        )  # fmt: skip
        backbone = BertModel(shape, add_pooling_layer=False)
        model = EncoderClassifier(backbone, num_labels=2, pooling="mean", dropout=0.0)
        save_classifier(model, workspace.output / "model", problem="text_classification")
        (workspace.output / "model" / "labels.json").write_text('{"labels": ["off", "on"]}')
        return StageSummary()

    def tokens(config, inputs, workspace):
        roles = {"transfer": [[2, 9, 3], [2, 7, 8, 3]], "test": [[2, 5, 3]]}
        for role, texts in roles.items():
            table = pa.table(
                {
                    "example_id": [f"{role}{row}".encode().hex().zfill(32)[:32] for row in
                                   range(len(texts))],
                    "input_ids": pa.array(texts, pa.list_(pa.int32())),
                    "label": pa.array([-1] * len(texts), pa.int32()),
                }
            )  # fmt: skip
            write_table(table, workspace.output / role / "part-00000.parquet")
        counts = {role: sum(map(len, texts)) for role, texts in roles.items()}
        facts = {"vocab_size": 30, "pad_token_id": 0, "max_length_tokens": 16, "num_tokens": counts}
        (workspace.output / "tokens.json").write_text(json.dumps(facts))
        return StageSummary()

    return {
        name: run_stage(Stage(name, 1, function), _Made(name=name), {}, store=store).artifact
        for name, function in {"teacher": teacher, "tokens": tokens}.items()
    }


def test_signals_are_the_teachers_logits_of_each_row(made, store):
    """Logits of a teacher with dropout on, or of the neighbour's row, teach noise."""
    config = Config(roles=("transfer",), precision="fp32")
    signals = run_stage(STAGE, config, made, store=store).artifact
    table = read_table(signals.path / "transfer" / "part-00000.parquet")
    model = load_model(made["teacher"].path / "model")
    ids = torch.tensor([[2, 7, 8, 3]])
    expected = model(ids, torch.ones_like(ids))[0].tolist()
    assert table["logits"].to_pylist()[1] == pytest.approx(expected, abs=1e-5)


def test_what_the_teacher_decides_by_goes_with_its_logits(made, store, publish):
    """Thresholds left behind: everyone who reads the logits decides at one half."""

    def tuned(output):
        shutil.copytree(made["teacher"].path, output, dirs_exist_ok=True)
        (output / "model" / "thresholds.json").write_text('{"thresholds": [0.3, 0.7]}')

    teacher = publish(store, "teacher", tuned, config={"tuned": True})
    for inputs, found in ((made, False), ({**made, "teacher": teacher}, True)):
        signals = run_stage(STAGE, Config(precision="fp32"), inputs, store=store).artifact
        path = signals.path / "thresholds.json"
        assert path.is_file() == found
    assert json.loads(path.read_text()) == {"thresholds": [0.3, 0.7]}


def test_asking_for_another_role_reads_only_that_role(made, store):
    """A recipe that adds a role must not pay for every row again."""
    run_stage(STAGE, Config(roles=("transfer",)), made, store=store)
    more = run_stage(STAGE, Config(roles=("transfer", "test")), made, store=store).artifact
    assert more.manifest.facts == {"rows": 3, "parts_reused": 1}


def test_forcing_the_stage_runs_the_teacher_again(made, store):
    """`--force teacher-signals` that copies cached parts does nothing it was asked for."""
    config = Config(roles=("transfer", "test"))
    first = run_stage(STAGE, config, made, store=store).artifact
    again = run_stage(STAGE, config, made, store=store, force=True).artifact
    assert again.manifest.facts["parts_reused"] == 0
    assert again.content_digest == first.content_digest


def test_one_network_reads_all_parts_and_all_their_tokens_decide_on_compiling(
    made, store, monkeypatch
):
    """Hundreds of millions of tokens read uncompiled, or compiled anew for each part of them."""
    loaded, asked = [], []

    def load(folder):
        loaded.append(folder)
        return load_model(folder)

    def ask(model, *, num_tokens):
        asked.append(num_tokens)
        return False

    monkeypatch.setattr("tasks.problems.load_model", load)
    monkeypatch.setattr("tasks.training.fitting.inference.will_compile", ask)
    config = Config(roles=("transfer", "test"))
    run_stage(STAGE, config, made, store=store)
    assert (len(loaded), asked) == (1, [10, 10])
    # The device's memory is the next step's: whoever asks again loads again.
    run_stage(STAGE, config, made, store=store, force=True)
    assert len(loaded) == 2


def test_a_process_whose_last_part_is_read_holds_no_teacher(made, store, monkeypatch):
    """Gigabytes in each process of a pool, all the while that students are trained."""
    loaded = []

    def load(folder):
        model = load_model(folder)
        loaded.append(weakref.ref(model))
        return model

    def elsewhere(shards, **options):
        """A process of a pool: given part after part, and not told which is the last."""
        outcomes = [run_shard(shard, threads=1, **options) for shard in shards]
        assert len(loaded) == 1
        assert loaded[0]() is not None  # for the next part
        clock = _TEACHER._clock
        clock.cancel()
        clock.function()  # the minute is over
        gc.collect()
        assert loaded[0]() is None
        return iter(outcomes)

    monkeypatch.setattr("tasks.problems.load_model", load)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    token = SHARD_RUNNER.set(elsewhere)
    try:
        found = run_stage(STAGE, Config(roles=("transfer", "test")), made, store=store).artifact
    finally:
        SHARD_RUNNER.reset(token)
    assert found.manifest.facts["rows"] == 3


class _DiesBeforeTest(SilentProgress):
    """A listener that ends the run when the second part begins."""

    def start(self, title, *, total, unit):
        if "test/" in title:
            raise KeyboardInterrupt


def test_a_run_killed_between_two_parts_goes_on_with_the_second(made, store):
    """Hours of a teacher's reading thrown away by a preemption, or other bytes after it."""
    config = Config(roles=("transfer", "test"))
    with pytest.raises(KeyboardInterrupt):
        run_stage(STAGE, config, made, store=store, progress=_DiesBeforeTest())
    finished = {path: path.stat().st_mtime_ns for path in store.root.rglob("part.parquet")}
    assert len(finished) == 1
    resumed = run_stage(STAGE, config, made, store=store).artifact
    assert resumed.manifest.facts["parts_reused"] == 1
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    undisturbed = run_stage(STAGE, config, made, store=ArtifactStore(store.root / "other")).artifact
    assert resumed.content_digest == undisturbed.content_digest


def test_what_bf16_was_worth_is_told_beside_each_part_and_defines_none(made, store, monkeypatch):
    """A machine that emulates bf16 reads for days, and nothing says why; or a figure of the day in
    the bytes, so that the same part is another artifact tomorrow."""
    monkeypatch.setattr("tasks.training.engine.precision_probe.has_cuda", lambda: False)
    digests = set()
    for speedup in (2.0, 0.5):
        monkeypatch.setattr(
            "tasks.training.engine.precision_probe.bf16_speedup", lambda s=speedup: s
        )
        config = Config(roles=("test",), precision="bf16")
        run_stage(STAGE, config, made, store=store, force=True)
        (part,) = store.root.rglob("part.parquet")
        manifest = json.loads((part.parent / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["facts"] == {"rows": 1, "bf16_speedup": speedup}
        digests.add((part.parent.name, manifest["content_digest"]))
    assert len(digests) == 1
