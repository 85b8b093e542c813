"""Texts in Parquet to token ids in Parquet: Decant's encoder against `datasets.map`.

Same tokenizer file, same texts, as many processes (datasets) as threads (Decant). Decant's time
holds reading the texts; those of datasets lie in memory already when its clock starts.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import datasets
import pyarrow as pa
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from infra.benchmarks import synthetic
from infra.benchmarks.rounds import Timed, measure, ratio
from infra.benchmarks.settings import Settings, say
from tasks.corpus.encoding import Encoder
from tasks.corpus.tables import ROWS_PER_PART, iter_batches, write_table
from tasks.corpus.tokenizing import TrainedTokenizer, save_tokenizer, train_tokenizer
from tasks.runtime.device import thread_count

MAX_LENGTH_TOKENS = 48


def run(settings: Settings, section: str) -> dict:
    """Measure tokenization; JSON values."""
    datasets.disable_progress_bars()
    num_rows = settings.pick(150_000, 5_000)
    workers = thread_count()
    with tempfile.TemporaryDirectory(dir=_scratch(settings)) as name:
        folder = Path(name)
        texts = synthetic.real_texts()
        source = folder / "texts.parquet"
        synthetic.write_parquet(source, num_rows, texts)
        tokenizer = small_tokenizer(texts)
        save_tokenizer(tokenizer, folder / "tokenizer", max_length_tokens=MAX_LENGTH_TOKENS)
        file = folder / "tokenizer" / "tokenizer.json"
        peer = PreTrainedTokenizerFast(tokenizer_file=str(file), pad_token="[PAD]")
        check_equal(tokenizer, peer, texts)
        loaded = datasets.Dataset.from_parquet(str(source), cache_dir=str(folder / "cache"))
        plain = Tokenizer.from_file(str(file))
        plain.no_truncation()
        plain.no_padding()
        systems = {
            "decant": lambda: ours(plain, source, folder, workers),
            "datasets_map": lambda: theirs(peer, loaded, folder, workers),
            "datasets_map_rust_threads": lambda: theirs(peer, loaded, folder, None),
        }
        say(f"  {num_rows:,} texts, {workers} workers")
        rates = measure(systems, num_rounds=settings.num_rounds, say=lambda t: say(f"  {t}"))
    return {
        "rows": num_rows,
        "workers": workers,
        "rates": {name: rate.record() for name, rate in rates.items()},
        "ratios": {
            name: ratio(rates["decant"], rate).record()
            for name, rate in rates.items()
            if name != "decant"
        },
    }


def small_tokenizer(texts: list[str]) -> Tokenizer:
    """The quickstart's kind of vocabulary."""
    config = TrainedTokenizer(kind="bpe", vocab_size=2000, min_frequency=2, max_token_characters=4)
    return train_tokenizer(config, texts)


def ours(tokenizer: Tokenizer, source: Path, folder: Path, workers: int) -> Timed:
    """Read, encode and write in parts, as the stage `tokens` does with each part."""
    started = time.perf_counter()
    num_rows = 0
    encoder = Encoder(
        tokenizer, max_length_tokens=MAX_LENGTH_TOKENS, unknown_id=None, workers=workers
    )
    for number, batch in enumerate(iter_batches(source, ROWS_PER_PART, ["text"])):
        encoded = encoder.encode(pa.chunked_array([batch["text"]]))
        write_table(pa.table({"input_ids": encoded.input_ids}), folder / f"{number:05d}.parquet")
        num_rows += batch.num_rows
    return Timed(num_rows, time.perf_counter() - started)


def theirs(
    tokenizer: PreTrainedTokenizerFast,
    loaded: datasets.Dataset,
    folder: Path,
    num_proc: int | None,
) -> Timed:
    """`datasets.map` in batches, then `to_parquet`; processes, or Rust threads if None."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if num_proc is None else "false"

    def encode(batch):
        return tokenizer(
            batch["text"],
            truncation=True,
            max_length=MAX_LENGTH_TOKENS,
            return_attention_mask=False,
            return_token_type_ids=False,
        )

    try:
        started = time.perf_counter()
        done = loaded.map(
            encode,
            batched=True,
            num_proc=num_proc,
            remove_columns=["text"],
            load_from_cache_file=False,
        )
        done.to_parquet(str(folder / "map.parquet"))
        return Timed(len(done), time.perf_counter() - started)
    finally:
        os.environ["TOKENIZERS_PARALLELISM"] = before or "false"


def check_equal(tokenizer: Tokenizer, peer: PreTrainedTokenizerFast, texts: list[str]) -> None:
    """Refuse to compare two tokenizers that give different ids."""
    encoder = Encoder(tokenizer, max_length_tokens=MAX_LENGTH_TOKENS, unknown_id=None, workers=1)
    found = encoder.encode(pa.chunked_array([texts])).input_ids.to_pylist()
    expected = peer(texts, truncation=True, max_length=MAX_LENGTH_TOKENS)["input_ids"]
    if found != expected:
        raise SystemExit("the two tokenizers give different ids")


def _scratch(settings: Settings) -> Path:
    folder = settings.work / "scratch"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
