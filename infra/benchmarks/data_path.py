"""Memory and time of the data path against rows: ingest, tokenize, load, make batches.

    .venv/bin/python infra/benchmarks/data_path.py --rows 10000 100000 1000000 --out /tmp/data_path

Each size runs every stage in a process of its own, so that peak memory (VmHWM, which counts the
shared libraries and every mapped page that was touched) belongs to that stage. The rows are made of
the wordings of home_assistant_intents, one to six joined, so that lengths are as ragged as those of
real text, each with a number of its own so that no row is a copy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
STAGES = ("ingest", "tokenize", "load", "batches", "join")
ROWS_PER_FILE = 1_000_000
NUM_CLASSES = 40


def make_rows(rows: int, folder: Path) -> None:
    """Transfer pairs in Parquet files of a million rows; labelled rows for the other roles."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tasks.corpus.home_assistant import HomeAssistantSource, sample

    source = HomeAssistantSource(
        name="pairs", format="home_assistant_intents", role="transfer", language="zh",
        parallel_language="en", rows_per_intent=100,
    )  # fmt: skip
    commands = list(sample(source))
    chinese = np.array([command.text for command in commands], dtype=object)
    english = np.array([command.parallel_text for command in commands], dtype=object)
    rng = np.random.default_rng(0)

    def texts(first: int, count: int) -> tuple[list[str], list[str]]:
        parts = 1 + np.minimum(rng.geometric(0.4, count) - 1, 5)
        picks = rng.integers(0, len(commands), int(parts.sum()))
        ends = np.cumsum(parts)
        zh, en = [], []
        for number, (start, end) in enumerate(zip(ends - parts, ends, strict=True), start=first):
            chosen = picks[start:end]
            zh.append("，".join(chinese[chosen]) + f"{number}号")
            en.append(", ".join(english[chosen]) + f" {number}")
        return zh, en

    (folder / "pairs").mkdir(parents=True, exist_ok=True)
    for file, first in enumerate(range(0, rows, ROWS_PER_FILE)):
        zh, en = texts(first, min(ROWS_PER_FILE, rows - first))
        path = folder / "pairs" / f"{file:04d}.parquet"
        pq.write_table(pa.table({"zh": zh, "en": en}), path, row_group_size=65_536)
    labels = [f"class{number % NUM_CLASSES:02d}" for number in range(800)]
    for place, role in enumerate(("train", "validation", "test")):
        for language, side in zip(("zh", "en"), texts((place + 1) * 10**10, 800), strict=True):
            table = pa.table({"text": side, "label": labels})
            pq.write_table(table, folder / f"{role}-{language}.parquet")


def ingest(folder: Path, workers: int) -> None:
    """Sources -> corpus."""
    from tasks.ingestion import STAGE, Config

    labelled = {"format": "parquet", "columns": {"label": "label"}}
    sources = [
        {"name": "pairs", "format": "parquet", "uri": str(folder / "pairs"), "role": "transfer",
         "language": "zh", "parallel_language": "en",
         "columns": {"text": "zh", "parallel_text": "en"}},
        *({"name": f"{role}-{language}", "uri": str(folder / f"{role}-{language}.parquet"),
           "role": role, "language": language, **labelled}
          for role in ("train", "validation", "test") for language in ("zh", "en")),
    ]  # fmt: skip
    config = Config.model_validate(
        {"source_language": "en", "target_language": "zh", "sources": sources}
    )
    _remember(folder, "corpus", _run(STAGE, config, {}, folder, workers))


def tokenize(folder: Path, workers: int) -> None:
    """Corpus -> tokens of the student, with a vocabulary trained on the corpus."""
    from tasks.tokenization import STAGE, Config

    config = Config.model_validate(
        {"languages": ["zh"], "tokenizer": {"kind": "bpe", "vocab_size": 8000}}
    )
    corpus = _recall(folder, "corpus")
    _remember(folder, "tokens", _run(STAGE, config, {"corpus": corpus}, folder, workers))


def load(folder: Path, workers: int) -> None:
    """Tokens -> examples, and the sum of all ids, so that every page is touched once."""
    from tasks.training.examples import load_examples

    examples = load_examples(_recall(folder, "tokens").path, ["transfer"])
    print(len(examples), len(examples.input_ids.values))


def batches(folder: Path, workers: int) -> None:
    """One epoch of padded batches."""
    from tasks.training.batches import epoch_order, make_batch
    from tasks.training.examples import load_examples

    examples = load_examples(_recall(folder, "tokens").path, ["transfer"])
    started = time.perf_counter()
    order = epoch_order(examples.input_ids.lengths, batch_size=1024, seed=0, epoch=0)
    ordered = time.perf_counter()
    rows = 0
    for step in order:
        rows += make_batch(examples, step, pad_token_id=0).num_examples
    done = time.perf_counter()
    print(
        f"order {rows / (ordered - started):,.0f} rows/s, "
        f"batches {rows / (done - ordered):,.0f} rows/s"
    )


def join(folder: Path, workers: int) -> None:
    """Made-up signals of every row, joined to the examples."""
    import numpy as np
    import pyarrow as pa

    from tasks.corpus.tables import read_table, write_table
    from tasks.training.examples import attach_signals, load_examples

    tokens, signals = _recall(folder, "tokens").path, folder / "signals"
    if not signals.exists():
        rng = np.random.default_rng(0)
        for path in sorted((tokens / "transfer").glob("*.parquet")):
            ids = read_table(path, ["example_id"])["example_id"]
            values = pa.array(rng.random(len(ids) * NUM_CLASSES, dtype=np.float32))
            logits = pa.FixedSizeListArray.from_arrays(values, NUM_CLASSES)
            part = pa.table({"example_id": ids, "logits": logits})
            write_table(part, signals / "transfer" / path.name)
        (signals / "labels.json").write_bytes((tokens / "labels.json").read_bytes())
    examples = attach_signals(load_examples(tokens, ["transfer"]), signals)
    assert examples.teacher_logits is not None
    print(examples.teacher_logits.shape)


def _run(stage, config, inputs, folder: Path, workers: int):
    from tasks.runtime.artifacts import ArtifactStore
    from tasks.runtime.stages import run_stage

    store = ArtifactStore(folder / "store")
    return run_stage(stage, config, inputs, store=store, workers=workers).artifact


def _remember(folder: Path, name: str, artifact) -> None:
    (folder / f"{name}.path").write_text(str(artifact.path), encoding="utf-8")


def _recall(folder: Path, name: str):
    from data_contracts.artifacts import Artifact, Manifest
    from tasks.runtime.artifacts import MANIFEST

    path = Path((folder / f"{name}.path").read_text(encoding="utf-8"))
    manifest = Manifest.model_validate_json((path / MANIFEST).read_bytes())
    return Artifact(path=path, manifest=manifest)


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


def _child(stage: str, folder: Path, workers: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--stage", stage, "--out", str(folder)]
    found = subprocess.run(
        [*command, "--workers", str(workers)], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    if found.returncode:
        raise SystemExit(f"{stage}: {found.stderr}")
    print(found.stdout.rsplit("\n", 2)[0], flush=True)
    return json.loads(found.stdout.splitlines()[-1])


def main() -> None:
    """Run all stages at all sizes and print memory, time and slopes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--out", type=Path, required=True, help="folder for data; about 1 kB a row")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--stages", nargs="+", default=STAGES)
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        started = time.perf_counter()
        globals()[arguments.stage](arguments.out, arguments.workers)
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": round(seconds, 2), "peak_mb": round(_peak_mb(), 1)}))
        return
    found: dict[int, dict[str, dict[str, float]]] = {}
    for rows in arguments.rows:
        folder = arguments.out / str(rows)
        if not (folder / "pairs").exists():
            make_rows(rows, folder)
        found[rows] = {s: _child(s, folder, arguments.workers) for s in arguments.stages}
        print(rows, json.dumps(found[rows]), flush=True)
    few, many = min(found), max(found)
    for stage in arguments.stages:
        if many > few:
            grown = found[many][stage]["peak_mb"] - found[few][stage]["peak_mb"]
            print(f"{stage}: {grown * 2**20 / (many - few):.1f} bytes a row")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
