"""The curve along which a tiny teacher and a tiny student learn changes only on purpose.

The other tests hold the parts of a training step to references; this one holds their sum. Losses of
the first steps are kept in tests/golden/training.json. To record them anew, because the maths was
to change (raise VERSION of the stages that do):  GOLDEN=write pytest tests/test_golden_training.py
"""

import json
import os
import random
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from transformers import BertConfig, BertModel

from data_contracts.artifacts import StageSummary
from data_contracts.tables import arrow_schema, load_contract
from tasks import distillation, teacher, teacher_signals, tokenization
from tasks.corpus.tables import write_table
from tasks.runtime.fingerprint import fingerprint
from tasks.runtime.stages import Stage, StageConfig, run_stage

GOLDEN = Path(__file__).parent / "golden" / "training.json"
# Another processor sums float32 in another order: with AVX-512, with AVX2 and with neither, the
# losses differed by 3e-7 at most (2026-11-26).
RELATIVE = 3e-6
VOCABULARY = 160
TRAINING = {
    "num_epochs": 2,
    "batch_size": 16,
    "learning_rate": 0.003,
    "precision": "fp32",
    "validations_per_epoch": 4,  # so that each step's loss is in the history
    "patience": 100,
}
ROOMS = {"厨房": "kitchen", "走廊": "hall", "车库": "garage", "花园": "garden"}
THINGS = {"灯": "lamp", "空调": "heater", "电视": "radio", "窗帘": "curtain"}


def write_corpus(config, inputs, workspace):
    """64 rows a role: two wordings of each room, thing and number."""
    rng = random.Random(5)
    for role in ("train", "transfer", "validation"):
        rows = []
        for number in range(2):
            for place, (room, name) in enumerate(ROOMS.items()):
                for thing, device in THINGS.items():
                    for label in ("on", "off"):
                        english = f"turn {label} the {device} {rng.randrange(9)} in the {name}"
                        verb = "打开" if label == "on" else "关闭"
                        chinese = f"请{verb}{room}的{thing}{rng.randrange(9)}"
                        of_teacher = role == "train"
                        rows.append(
                            {
                                "example_id": fingerprint([role, number, place, english])[:32],
                                "text": english if of_teacher else chinese,
                                "language": "en" if of_teacher else "zh",
                                "label": None if role == "transfer" else label,
                                "parallel_text": None if of_teacher else english,
                                "parallel_language": None if of_teacher else "en",
                                "source": "made",
                                "line": len(rows) + 1,
                            }
                        )
        table = pa.Table.from_pylist(rows, schema=arrow_schema(load_contract("corpus")))
        write_table(table, workspace.output / "rows" / role / "part-00000.parquet")
    (workspace.output / "labels.json").write_text('{"labels": ["off", "on"]}', encoding="utf-8")
    return StageSummary()


def pretrained(folder):
    """A random encoder, drawn by integers and so alike on every processor."""
    rng = random.Random(11)
    shape = BertConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32,
    )  # fmt: skip
    model = BertModel(shape, add_pooling_layer=False)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                drawn = [rng.randint(-1000, 1000) / 20_000 for _ in range(weights.numel())]
                weights.copy_(torch.tensor(drawn).view_as(weights))
    model.save_pretrained(folder)
    return str(folder)


def losses(artifact):
    history = json.loads((artifact.path / "history.json").read_text(encoding="utf-8"))
    return [entry["loss"] for entry in history["steps"]]


def test_the_learning_curve_changes_only_on_purpose(store, tmp_path):
    """A mask, a schedule or a mean that slipped: every student a little worse, and no test red."""
    corpus = run_stage(Stage("corpus", 1, write_corpus), StageConfig(), {}, store=store).artifact

    def tokens(language, *roles):
        config = tokenization.Config.model_validate(
            {
                "languages": [language],
                "roles": roles,
                "tokenizer": {"kind": "wordpiece", "vocab_size": VOCABULARY},
                "max_length_tokens": 24,
            }
        )
        return run_stage(tokenization.STAGE, config, {"corpus": corpus}, store=store).artifact

    def build(stage, config, **inputs):
        return run_stage(stage, config, inputs, store=store).artifact

    english = tokens("en", "train", "transfer", "validation")
    chinese = tokens("zh", "transfer", "validation")
    model = pretrained(tmp_path / "pretrained")
    from_teacher = build(
        teacher.STAGE, teacher.Config(model=model, training=TRAINING), tokens=english
    )
    asked = teacher_signals.Config(roles=("transfer", "validation"), precision="fp32")
    signals = build(teacher_signals.STAGE, asked, teacher=from_teacher, tokens=english)
    config = distillation.Config.model_validate(
        {
            "architecture": {
                "num_layers": 2,
                "hidden_size": 16,
                "num_heads": 2,
                "intermediate_size": 32,
            },
            "objective": {"alpha": 0.5, "temperature": 2.0, "hard_labels": "teacher"},
            "training": TRAINING,
        }
    )
    student = build(distillation.STAGE, config, tokens=chinese, signals=signals)
    found = {"teacher": losses(from_teacher), "student": losses(student)}
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    known = json.loads(GOLDEN.read_text(encoding="utf-8"))
    for name, curve in found.items():
        assert len(curve) == len(known[name]) == 8
        assert curve == pytest.approx(known[name], rel=RELATIVE), name
