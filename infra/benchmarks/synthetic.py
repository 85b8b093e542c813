"""Distinct Chinese texts with the length profile of the quickstart's, as many as are asked for.

Lengths are drawn from the real texts and characters from their frequencies, so token counts are
real and no row is a copy. Made as flat arrays: ten million rows take seconds and little memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.demo_data.home_assistant import HomeAssistantSource, sample

_BLOCK_ROWS = 250_000
_UTF8_BYTES = 3  # of every CJK character kept here, which makes texts slices of one flat array


def real_texts(rows_per_intent: int = 40) -> list[str]:
    """Chinese commands of the quickstart's collection."""
    source = HomeAssistantSource(
        name="profile",
        format="home_assistant_intents",
        role="train",
        language="zh",
        shared_with=("en",),
        rows_per_intent=rows_per_intent,
    )
    return [command.text for command in sample(source)]


def sentences(folder: Path) -> list[str]:
    """Every different sentence of `<split>.<language>.parquet` files, file by file.

    Raises: SystemExit if there are none.
    """
    paths = sorted(folder.glob("*.*.parquet"))
    found = [text for path in paths for text in pq.read_table(path)["text"].to_pylist()]
    if not found:
        raise SystemExit(f"{folder} holds no <split>.<language>.parquet with sentences")
    return list(dict.fromkeys(found))


def blocks(
    num_rows: int, texts: Sequence[str], *, seed: int = 0, block_rows: int = _BLOCK_ROWS
) -> Iterator[pa.Array]:
    """Arrow string arrays of `num_rows` synthetic texts in all."""
    rng = np.random.default_rng(seed)
    lengths = np.array([len(text) for text in texts])
    counts = Counter(character for text in texts for character in text)
    kept = {c: n for c, n in counts.items() if len(c.encode()) == _UTF8_BYTES}
    encoded = np.frombuffer("".join(kept).encode(), np.uint8).reshape(-1, _UTF8_BYTES)
    shares = np.array(list(kept.values()), float) / sum(kept.values())
    for start in range(0, num_rows, block_rows):
        size = min(block_rows, num_rows - start)
        # Six characters more than nothing: shorter texts would soon be copies of each other.
        chosen = np.maximum(rng.choice(lengths, size), 6)
        offsets = np.concatenate([[0], np.cumsum(chosen)]).astype(np.int64)
        data = encoded[rng.choice(len(shares), int(offsets[-1]), p=shares)].tobytes()
        buffers = [
            None,
            pa.py_buffer((offsets * _UTF8_BYTES).astype(np.int32)),
            pa.py_buffer(data),
        ]
        yield pa.Array.from_buffers(pa.string(), size, buffers)


def write_parquet(path: Path, num_rows: int, texts: Sequence[str]) -> None:
    """A Parquet file with the column `text`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([("text", pa.string())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for block in blocks(num_rows, texts):
            writer.write_table(pa.table({"text": block}), row_group_size=16_384)
