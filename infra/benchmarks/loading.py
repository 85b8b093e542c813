"""Training batches out of Parquet on one core: Decant's examples against a torch DataLoader.

An epoch in random order, padded to the longest text of the batch. Decant also sorts by length
inside windows, which the DataLoader does not; that is counted in Decant's time. Its examples are
measured twice: read into memory, and mapped with teacher logits, as training has them; the
DataLoader reads no logits.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import DataLoader

from data_contracts.artifacts import Artifact, StageSummary
from infra.benchmarks import synthetic, tokenizing
from infra.benchmarks.epochs import epoch_batches
from infra.benchmarks.rounds import Timed, measure, ratio
from infra.benchmarks.settings import Settings, say
from tasks.corpus.tables import ROWS_PER_PART, read_table, write_table
from tasks.corpus.tokenizers.encoding import Encoder
from tasks.problems import PROBLEMS
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.stages import Stage, StageConfig, Workspace, run_stage
from tasks.training.batching.examples import Examples, examples_of, read_labels, read_rows
from tasks.training.batching.mapped_examples import map_examples

_BATCH_SIZES = (32, 256)
_LABELS = ("a", "b", "c", "d")


class Rows(StageConfig):
    """How many rows an artifact of this benchmark has."""

    num_rows: int


def run(settings: Settings, section: str) -> dict:
    """Measure loading; JSON values."""
    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    num_rows = settings.pick(1_000_000, 5_000)
    num_peer_rows = settings.pick(20_000, 500)
    scratch = settings.work / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        store = ArtifactStore(Path(name) / "store")
        tokens = run_stage(_TOKENS, Rows(num_rows=num_rows), {}, store=store).artifact
        folder, cache = tokens.path, str(Path(name) / "cache")
        files = [str(path) for path in sorted((folder / "transfer").glob("*.parquet"))]
        loaded = datasets.Dataset.from_parquet(files, cache_dir=cache).with_format("torch")
        part = loaded.select(range(num_peer_rows))
        examples = examples_of(
            PROBLEMS["text_classification"], read_rows(folder, ["transfer"]), read_labels(folder)
        )
        mapped = mapped_examples(tokens, store)
        systems = {"decant_open": lambda: opened(folder)}
        for size in _BATCH_SIZES:
            systems[f"decant_{size}"] = lambda size=size: ours(examples, size)
            systems[f"decant_mapped_{size}"] = lambda size=size: ours(mapped, size)
            systems[f"dataloader_{size}"] = lambda size=size: theirs(part, size)
        say(f"  {num_rows:,} rows")
        rates = measure(systems, num_rounds=settings.num_rounds, say=lambda t: say(f"  {t}"))
    return {
        "rows": num_rows,
        "rates": {name: rate.record() for name, rate in rates.items()},
        "ratios": {
            name.replace("decant", "dataloader"): ratio(
                rates[name], rates[f"dataloader_{size}"]
            ).record()
            for size in _BATCH_SIZES
            for name in (f"decant_{size}", f"decant_mapped_{size}")
        },
    }


def write_tokens(
    config: Rows, inputs: Mapping[str, Artifact], workspace: Workspace
) -> StageSummary:
    """A tokens artifact's files for synthetic texts."""
    num_rows, folder = config.num_rows, workspace.output
    texts = synthetic.real_texts()
    tokenizer = tokenizing.small_tokenizer(texts)
    encoder = Encoder(
        tokenizer,
        max_length_tokens=tokenizing.MAX_LENGTH_TOKENS,
        unknown_id=None,
        workers=1,
    )
    facts = {"vocab_size": tokenizer.get_vocab_size()}
    (folder / "tokens.json").write_text(json.dumps(facts))
    (folder / "labels.json").write_text(json.dumps({"labels": _LABELS}))
    start = 0
    for number, block in enumerate(synthetic.blocks(num_rows, texts, block_rows=ROWS_PER_PART)):
        size = len(block)
        table = pa.table(
            {
                "example_id": [f"{row:032x}" for row in range(start, start + size)],
                "input_ids": encoder.encode(pa.chunked_array([block])).input_ids,
                "label": pa.array(np.arange(size) % len(_LABELS), pa.int32()),
                "language": pa.repeat(pa.scalar("zh"), size),
            }
        )
        write_table(table, folder / "transfer" / f"part-{number:05d}.parquet")
        start += size
    return StageSummary()


def write_signals(
    config: StageConfig, inputs: Mapping[str, Artifact], workspace: Workspace
) -> StageSummary:
    """Drawn logits of the rows of `inputs["tokens"]`, part by part."""
    rng, tokens = np.random.default_rng(0), inputs["tokens"].path
    for path in sorted((tokens / "transfer").glob("*.parquet")):
        rows = read_table(path, ["example_id"])
        drawn = rng.normal(size=rows.num_rows * len(_LABELS)).astype(np.float32)
        logits = pa.FixedSizeListArray.from_arrays(pa.array(drawn), len(_LABELS))
        table = rows.append_column("logits", logits)
        write_table(table, workspace.output / "transfer" / path.name)
    shutil.copyfile(tokens / "labels.json", workspace.output / "labels.json")
    return StageSummary()


_TOKENS, _SIGNALS = Stage("tokens", 1, write_tokens), Stage("teacher_signals", 1, write_signals)


def mapped_examples(tokens: Artifact, store: ArtifactStore) -> Examples:
    """The rows of `tokens` with teacher logits in flat files, as a student's training maps them."""
    signals = run_stage(_SIGNALS, StageConfig(), {"tokens": tokens}, store=store).artifact
    return map_examples(
        tokens,
        ["transfer"],
        problem="text_classification",
        signals=signals,
        workspace=Workspace(store.root / "output", store.root / "work", store),
    )


def opened(folder: Path) -> Timed:
    """From Parquet files to examples."""
    started = time.perf_counter()
    examples = examples_of(
        PROBLEMS["text_classification"], read_rows(folder, ["transfer"]), read_labels(folder)
    )
    return Timed(len(examples), time.perf_counter() - started)


def ours(examples, batch_size: int) -> Timed:
    """All batches of an epoch."""
    started = time.perf_counter()
    for _ in epoch_batches(examples, batch_size, pad_token_id=0):
        pass
    return Timed(len(examples), time.perf_counter() - started)


def theirs(part: datasets.Dataset, batch_size: int) -> Timed:
    """All batches of an epoch of `part`, with the usual collate function."""

    def collate(rows):
        ids = torch.nn.utils.rnn.pad_sequence([r["input_ids"] for r in rows], batch_first=True)
        return ids, (ids != 0).long(), torch.stack([r["label"] for r in rows])

    started = time.perf_counter()
    loader = DataLoader(part, batch_size=batch_size, shuffle=True, collate_fn=collate)
    for _ in loader:
        pass
    return Timed(len(part), time.perf_counter() - started)
