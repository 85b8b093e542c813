"""Texts in Parquet to token ids in Parquet: Decant's encoder against `datasets.map`.

Same tokenizer file, same texts, as many processes (datasets) as threads (Decant). Decant's time
holds reading the texts; those of datasets lie in memory already when its clock starts.

Synthetic texts with a tokenizer trained on the spot are always measured; with --sib200 real
sentences too, and with --multilingual-model its tokenizer.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from infra.benchmarks import synthetic
from infra.benchmarks.rounds import Timed, measure, ratio
from infra.benchmarks.settings import Settings, say
from tasks.corpus.tables import ROWS_PER_PART, iter_batches, write_table
from tasks.corpus.tokenizers.config import PretrainedTokenizer, TrainedTokenizer
from tasks.corpus.tokenizers.encoding import Encoder
from tasks.corpus.tokenizers.tokenizer import (
    load_tokenizer,
    save_tokenizer,
    special_token_names,
    train_tokenizer,
)
from tasks.runtime.machine.device import thread_count

MAX_LENGTH_TOKENS = 48
_CHECKED_TEXTS = 2000


@dataclass(frozen=True)
class Case:
    """Some texts and the tokenizer that everybody reads them with.

    Args:
        texts, tokenizer: what they are, for the report.
        source: Parquet file with the column `text`.
        file: tokenizer.json.
    """

    texts: str
    tokenizer: str
    source: Path
    file: Path


def run(settings: Settings, section: str) -> dict:
    """Measure tokenization; JSON values: the first case's, and under `further` the others'."""
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory(dir=_scratch(settings)) as name:
        first, *further = [compare(case, settings) for case in cases(settings, Path(name))]
    given = {"--sib200": settings.sib200, "--multilingual-model": settings.multilingual_model}
    options = [f"{option} DIR" for option, folder in given.items() if folder is not None]
    return {**first, "further": further, "options": options}


def cases(settings: Settings, folder: Path) -> Iterator[Case]:
    """What is compared, written into `folder`."""
    commands = synthetic.real_texts()
    trained = _saved(small_tokenizer(commands), folder / "trained")
    random = folder / "random.parquet"
    synthetic.write_parquet(random, settings.pick(150_000, 5_000), commands)
    yield Case("synthetic commands", "byte pairs, 2,000, trained here", random, trained)
    multilingual: tuple[str, Path] | None = None
    if settings.multilingual_model is not None:
        given = load_tokenizer(PretrainedTokenizer(uri=str(settings.multilingual_model)))
        title = f"the multilingual model's, {given.get_vocab_size():,}"
        multilingual = title, _saved(given, folder / "pretrained")
        commands = list(dict.fromkeys(synthetic.real_texts(rows_per_intent=1000)))
        texts = numbered(commands, settings.pick(50_000, 2_000))
        source = _written(texts, folder / "commands.parquet")
        yield Case("the quickstart's commands, numbered", title, source, multilingual[1])
    if settings.sib200 is not None:
        texts = synthetic.sentences(settings.sib200)[: settings.pick(1_000_000, 1_000)]
        source = _written(texts, folder / "sentences.parquet")
        config = TrainedTokenizer(kind="bpe", vocab_size=settings.pick(16_000, 8_000))
        own = _saved(train_tokenizer(config, texts), folder / "trained-on-sentences")
        tokenizers = [(f"byte pairs, {config.vocab_size:,}, trained here", own)]
        if multilingual is not None:
            tokenizers.append(multilingual)
        for title, file in tokenizers:
            yield Case("sentences in many languages", title, source, file)


def numbered(texts: list[str], num_rows: int) -> list[str]:
    """`num_rows` texts, none alike if `texts` are: those after the first pass end in a number.

    The number follows without a space. With one, a tokenizer that splits at spaces would read every
    command of the later passes out of its cache, which texts of one's own are not.
    """
    passes = -(-num_rows // len(texts))
    found = [f"{text}{number or ''}" for number in range(passes) for text in texts]
    return found[:num_rows]


def compare(case: Case, settings: Settings) -> dict:
    """Rates of one case over interleaved rounds."""
    workers, folder = thread_count(), case.source.with_suffix("")
    folder.mkdir(exist_ok=True)
    tokenizer = Tokenizer.from_file(str(case.file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    pad_token = special_token_names(tokenizer)["pad_token"]
    peer = PreTrainedTokenizerFast(tokenizer_file=str(case.file), pad_token=pad_token)
    loaded = datasets.Dataset.from_parquet(str(case.source), cache_dir=str(folder / "cache"))
    check_equal(tokenizer, peer, loaded.shuffle(seed=0)[:_CHECKED_TEXTS]["text"])
    systems = {
        "decant": lambda: ours(tokenizer, case.source, folder, workers),
        "datasets_map": lambda: theirs(peer, loaded, folder, workers),
        "datasets_map_rust_threads": lambda: theirs(peer, loaded, folder, None),
    }
    say(f"  {len(loaded):,} texts: {case.texts}; {case.tokenizer}; {workers} workers")
    rates = measure(systems, num_rounds=settings.num_rounds, say=lambda t: say(f"  {t}"))
    return {
        "texts": case.texts,
        "tokenizer": case.tokenizer,
        "rows": len(loaded),
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


def _saved(tokenizer: Tokenizer, folder: Path) -> Path:
    save_tokenizer(tokenizer, folder, max_length_tokens=MAX_LENGTH_TOKENS)
    return folder / "tokenizer.json"


def _written(texts: list[str], path: Path) -> Path:
    pq.write_table(pa.table({"text": texts}), path, compression="zstd")
    return path


def _scratch(settings: Settings) -> Path:
    folder = settings.work / "scratch"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
