"""Training batches out of Parquet on one core: Decant's examples against a torch DataLoader.

An epoch in random order, padded to the longest text of the batch. Decant also sorts by length
inside windows, which the DataLoader does not; that is counted in Decant's time.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import DataLoader

from infra.benchmarks import synthetic, tokenizing
from infra.benchmarks.epochs import epoch_batches
from infra.benchmarks.rounds import Timed, measure, ratio
from infra.benchmarks.settings import Settings, say
from tasks.corpus.encoding import Encoder
from tasks.corpus.tables import ROWS_PER_PART, write_table
from tasks.problems import PROBLEMS
from tasks.training.examples import examples_of, read_labels, read_rows

_BATCH_SIZES = (32, 256)


def run(settings: Settings, section: str) -> dict:
    """Measure loading; JSON values."""
    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    num_rows = settings.pick(1_000_000, 5_000)
    num_peer_rows = settings.pick(20_000, 500)
    scratch = settings.work / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        write_tokens(folder, num_rows)
        files = [str(path) for path in sorted((folder / "transfer").glob("*.parquet"))]
        cache = str(folder / "cache")
        loaded = datasets.Dataset.from_parquet(files, cache_dir=cache).with_format("torch")
        part = loaded.select(range(num_peer_rows))
        examples = examples_of(
            PROBLEMS["text_classification"], read_rows(folder, ["transfer"]), read_labels(folder)
        )
        systems = {"decant_open": lambda: opened(folder)}
        for size in _BATCH_SIZES:
            systems[f"decant_{size}"] = lambda size=size: ours(examples, size)
            systems[f"dataloader_{size}"] = lambda size=size: theirs(part, size)
        say(f"  {num_rows:,} rows")
        rates = measure(systems, num_rounds=settings.num_rounds, say=lambda t: say(f"  {t}"))
    return {
        "rows": num_rows,
        "rates": {name: rate.record() for name, rate in rates.items()},
        "ratios": {
            f"dataloader_{size}": ratio(
                rates[f"decant_{size}"], rates[f"dataloader_{size}"]
            ).record()
            for size in _BATCH_SIZES
        },
    }


def write_tokens(folder: Path, num_rows: int) -> None:
    """A tokens artifact's files for synthetic texts."""
    texts = synthetic.real_texts()
    encoder = Encoder(
        tokenizing.small_tokenizer(texts),
        max_length_tokens=tokenizing.MAX_LENGTH_TOKENS,
        unknown_id=None,
        workers=1,
    )
    (folder / "labels.json").write_text(json.dumps({"labels": ["a", "b", "c", "d"]}))
    start = 0
    for number, block in enumerate(synthetic.blocks(num_rows, texts, block_rows=ROWS_PER_PART)):
        size = len(block)
        table = pa.table(
            {
                "example_id": [f"{row:032x}" for row in range(start, start + size)],
                "input_ids": encoder.encode(pa.chunked_array([block])).input_ids,
                "label": pa.array(np.arange(size) % 4, pa.int32()),
                "language": pa.repeat(pa.scalar("zh"), size),
            }
        )
        write_table(table, folder / "transfer" / f"part-{number:05d}.parquet")
        start += size


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
