"""A small corpus on disk, English and Chinese requests, and what the corpus stage made of it."""

import json
import random

from data_contracts.tables import check_table
from tasks.corpus.tables import read_table
from tasks.ingestion import STAGE, Config
from tasks.runtime.stages import run_stage

ROLES = ("train", "transfer", "validation", "test")
VERBS = ["turn on", "switch off", "open", "close", "dim", "start", "stop", "lock"]
THINGS = ["lamp", "door", "radio", "window", "heater", "fan", "kettle", "camera", "gate", "oven"]


def write_sources(folder):
    """Sources of a recipe: English train only, Chinese pairs, Chinese validation and test."""
    train = write_csv(folder / "train.csv", [(text_of(n), VERBS[n % 8]) for n in range(400)])
    pairs = write_pairs(folder / "pairs.jsonl", range(200))
    entries = [
        source_of("train", train, "train", "en"),
        source_of(
            "pairs",
            pairs,
            "transfer",
            "zh",
            parallel_language="en",
            columns={"text": "zh", "parallel_text": "en"},
        ),
    ]
    for role, start in (("validation", 1000), ("test", 2000)):
        rows = [(chinese_of(n), VERBS[n % 8]) for n in range(start, start + 60)]
        path = write_csv(folder / f"{role}.csv", rows)
        entries.append(source_of(f"zh-{role}", path, role, "zh"))
    return entries


def text_of(number):
    """A sentence of its own for every number, far from all others."""
    rng = random.Random(number)
    extra = " ".join("".join(rng.choices("bcdfghklmnprstvw", k=6)) for _ in range(3))
    return f"{VERBS[number % 8]} the {THINGS[number % 10]} {extra}"


def chinese_of(number):
    rng = random.Random(number)
    return "打开" + "".join(chr(rng.randrange(0x4E00, 0x9000)) for _ in range(8))


def write_csv(path, rows):
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


def write_pairs(path, numbers, *, label=False):
    with path.open("w", encoding="utf-8") as stream:
        for number in numbers:
            row = {"zh": chinese_of(number), "en": text_of(10_000 + number)}
            if label:
                row["intent"] = VERBS[number % 8]
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path


def source_of(name, path, role, language, **fields):
    return {
        "name": name,
        "format": path.suffix[1:] if path.suffix else "csv",
        "uri": str(path),
        "role": role,
        "language": language,
        "columns": {"text": "text", "label": "label"},
        **fields,
    }


def config_of(sources, **fields):
    return Config.model_validate(
        {"source_language": "en", "target_language": "zh", "sources": sources, **fields}
    )


def ingest(sources, store, *, workers=1, force=False, **fields):
    return run_stage(
        STAGE, config_of(sources, **fields), {}, store=store, workers=workers, force=force
    ).artifact


def rows_of(artifact, role):
    parts = sorted((artifact.path / "rows" / role).glob("part-*.parquet"))
    for part in parts:
        check_table(read_table(part), "corpus")
    return [row for part in parts for row in read_table(part).to_pylist()]


def quarantine_of(artifact):
    table = read_table(artifact.path / "quarantine" / "part-00000.parquet")
    check_table(table, "quarantine")
    return table.to_pylist()


def counts_of(artifact):
    return json.loads((artifact.path / "counts.json").read_text())
