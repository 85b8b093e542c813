"""Corpora and tokens of every kind of row, made of small files by the real stages."""

import json

import pytest

from data_contracts.tables import check_table
from tasks import ingestion, tokenization
from tasks.corpus.rows import ROW_KINDS
from tasks.corpus.tables import read_table
from tasks.runtime.artifacts import MANIFEST
from tasks.runtime.stages import run_stage

ROLES = ("train", "transfer", "validation", "test")


class Made:
    """An artifact of rows in roles, checked against its contract while it is read."""

    def __init__(self, artifact, contract):
        self.artifact, self.path, self.contract = artifact, artifact.path, contract

    def rows(self, role):
        """The rows of a role as dictionaries."""
        folder = self.path / "rows" / role
        folder = folder if folder.is_dir() else self.path / role
        found = []
        for part in sorted(folder.glob("*.parquet")):
            table = read_table(part)
            check_table(table, self.contract)
            found += table.to_pylist()
        return found

    def json(self, name):
        """A JSON file of the artifact."""
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    def bytes(self):
        """File name -> bytes, but for the manifest, which holds times."""
        files = (path for path in self.path.rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in files if path.name != MANIFEST}

    def quarantined(self):
        """(source, line, reason) of every row that was set aside."""
        rows = [
            row
            for part in sorted((self.path / "quarantine").glob("*.parquet"))
            for row in read_table(part).to_pylist()
        ]
        return [(row["source"], row["line"], row["reason"]) for row in rows]


@pytest.fixture
def write_rows(tmp_path):
    """Write JSON lines and return a source entry that names them."""

    def write(name, rows, role, language, columns, **fields):
        path = tmp_path / f"{name}.jsonl"
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        given = {"name": name, "format": "jsonl", "uri": str(path), "role": role}
        return {**given, "language": language, "columns": columns, **fields}

    return write


@pytest.fixture
def ingest(store):
    """Run the corpus stage for a problem."""

    def run(problem, sources, *, workers=1, force=False, source="en", target="zh", **fields):
        config = ingestion.Config.model_validate(
            {
                "problem": problem,
                "source_language": source,
                "target_language": target,
                "sources": sources,
                "max_quarantine_rate": 0.6,
                **fields,
            }
        )
        artifact = run_stage(
            ingestion.STAGE, config, {}, store=store, workers=workers, force=force
        ).artifact
        kind = ROW_KINDS[problem]
        return Made(artifact, kind.corpus_contract)

    return run


@pytest.fixture
def tokenize(store):
    """Run the tokens stage over a corpus."""

    def run(problem, corpus, languages, *, workers=1, force=False, kind="bpe", **fields):
        config = tokenization.Config.model_validate(
            {
                "problem": problem,
                "languages": languages,
                "tokenizer": {"kind": kind, "vocab_size": 400, "max_token_characters": 4},
                "max_truncated_rate": 1.0,
                "max_unknown_rate": 1.0,
                **fields,
            }
        )
        artifact = run_stage(
            tokenization.STAGE,
            config,
            {"corpus": corpus.artifact},
            store=store,
            workers=workers,
            force=force,
        ).artifact
        return Made(artifact, ROW_KINDS[problem].tokens_contract)

    return run
