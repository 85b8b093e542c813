"""Files of texts scored shard by shard: the answers of one process, and nothing twice."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.errors import ContractViolation
from tasks import scoring
from tasks.corpus.readers.raw_rows import BATCH_ROWS
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.progress import SilentProgress
from tasks.runtime.stages import key_parts, run_stage
from tasks.serving.scoring.scoring import ScoringConfig, score

ROOMS = ("客厅", "卧室", "厨房", "书房", "浴室", "阳台", "车库", "走廊")
REQUESTS = ("打开{}的灯", "关闭{}的灯", "{}现在几度", "请把{}的亮度调到百分之五十")
TEXTS = [request.format(room) for request in REQUESTS for room in ROOMS]


def write(path, rows):
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@pytest.fixture
def texts(tmp_path):
    """Three files in four shards, broken and empty rows among them."""
    folder = tmp_path / "texts"
    folder.mkdir()
    rows = [{"text": text, "key": number} for number, text in enumerate(TEXTS)]
    write(folder / "a.jsonl", [*rows[:20], "{broken", {"text": " "}, *rows[20:]])
    many = [{"text": TEXTS[row % 7] + TEXTS[row % 32], "key": row} for row in range(BATCH_ROWS + 5)]
    write(folder / "b.jsonl", many)
    write(folder / "c.jsonl", [{"text": None, "key": 1}, rows[3]])
    return folder


def run(exported, store, folder, *, progress=None, **settings):
    """The artifact `scores` of the files in `folder`."""
    model = scoring.ModelConfig(folder=str(exported.path / "model"))
    student = run_stage(scoring.MODEL_STAGE, model, {}, store=store).artifact
    how = ScoringConfig(**{"id_column": "key"} | settings)
    config = scoring.config_for(str(folder), how, rows_per_shard=1)
    return run_stage(
        scoring.STAGE, config, {"model": student}, store=store, progress=progress
    ).artifact


def answers(scores):
    parts = sorted(scores.path.glob("part-*.parquet"))
    return pa.concat_tables([pq.read_table(part) for part in parts]), len(parts)


@pytest.mark.parametrize(
    "settings",
    [
        {"variant": "onnx_int8", "probabilities": True},
        {"variant": "safetensors", "precision": "fp32"},
        {"variant": "safetensors", "precision": "bf16"},
    ],
    ids=["onnx_int8", "fp32", "bf16"],
)
def test_shards_answer_as_one_process_does_to_the_bit(exported, tmp_path, texts, settings):
    """The cluster's answers differ from those that were looked at on one machine."""
    scores = run(exported, ArtifactStore(tmp_path / "store"), texts, **settings)
    found, num_parts = answers(scores)
    config = ScoringConfig(id_column="key", **settings)
    report = score(exported.path / "model", str(texts), tmp_path / "one.parquet", config)
    assert found.equals(pq.read_table(tmp_path / "one.parquet"), check_metadata=True)
    assert num_parts == 4
    # Every row is there once, known by file and line.
    assert found.num_rows == len(TEXTS) + 2 + BATCH_ROWS + 5 + 2
    assert len(set(zip(*found.select(["file", "line"]).to_pydict().values(), strict=True))) == (
        found.num_rows
    )
    counts = scores.manifest.row_counts
    assert counts.rows_in == found.num_rows
    assert counts.rows_out == found.num_rows - 3
    assert counts.quarantined == {"empty_text": 1, "malformed_json": 1, "missing_text": 1}
    summary = json.loads((scores.path / scoring.SUMMARY).read_text(encoding="utf-8"))
    assert summary == report.model_dump(exclude={"seconds"})


class KilledAfter(SilentProgress):
    """Ends the run once so many shards are done."""

    def __init__(self, shards):
        self.left = shards

    def advance(self, amount=1, *, note=""):
        self.left -= amount
        if not self.left:
            raise KeyboardInterrupt


def test_a_run_that_was_ended_scores_only_what_is_missing(exported, tmp_path, texts):
    """Ten hours of a night's run lost with its last minute."""
    store = ArtifactStore(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        run(exported, store, texts, progress=KilledAfter(3))
    made = {path: path.stat().st_mtime_ns for path in store.root.glob("artifacts/scores_shard/*")}
    assert len(made) == 3
    scores = run(exported, store, texts)
    assert scores.manifest.facts["shards_reused"] == 3
    assert {path: path.stat().st_mtime_ns for path in made} == made
    # The same bytes as of a run that nobody ended, and no text is left behind.
    alone = run(exported, ArtifactStore(tmp_path / "other"), texts)
    assert scores.content_digest == alone.content_digest
    assert not list(store.root.glob("work/*/*"))


def test_a_new_file_is_scored_alone(exported, tmp_path, texts):
    """A day of new texts costs what all days cost together."""
    store = ArtifactStore(tmp_path / "store")
    run(exported, store, texts)
    write(texts / "d.jsonl", [{"text": TEXTS[0], "key": 7}])
    scores = run(exported, store, texts)
    facts = scores.manifest.facts
    assert (facts["shards"], facts["shards_reused"]) == (5, 4)


def test_another_name_is_told_in_the_output(exported, tmp_path):
    """The same bytes under a new name, answered with the name of yesterday's file."""
    store = ArtifactStore(tmp_path / "store")
    for name in ("monday", "tuesday"):
        write(tmp_path / f"{name}.jsonl", [{"text": TEXTS[0], "key": 1}])
        found, _ = answers(run(exported, store, tmp_path / f"{name}.jsonl"))
        assert found["file"].to_pylist() == [f"{name}.jsonl"]


def test_a_kept_student_holds_what_its_key_says(tmp_path):
    """One key, and other bytes on each machine that had fetched the student from the hub."""
    kept = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "labels.json").write_text("[]")
        (folder / ".note").write_text("content, as any file")
        if name == "two":
            (folder / ".cache").mkdir()
            (folder / ".cache" / "fetched.metadata").write_text("today")
        outcome = run_stage(
            scoring.MODEL_STAGE,
            scoring.ModelConfig(folder=str(folder)),
            {},
            store=ArtifactStore(tmp_path / f"store-{name}"),
        )
        kept.append(outcome.artifact.manifest)
    assert kept[0].key == kept[1].key
    assert kept[0].content_digest == kept[1].content_digest
    assert "model/.note" in [file.path for file in kept[0].files]


def test_a_file_that_was_renamed_is_another_beside_it_too(tmp_path, monkeypatch):
    """A path from the working directory is the file's name, and was taken for its content."""
    monkeypatch.chdir(tmp_path)
    keys = []
    for name in ("monday.jsonl", "tuesday.jsonl"):
        write(tmp_path / name, [{"text": TEXTS[0], "key": 1}])
        config = scoring.config_for(name, ScoringConfig(variant="onnx_int8"), rows_per_shard=1)
        keys.append(key_parts(scoring.STAGE, config, {}))
    assert keys[0] != keys[1]
    assert keys[0].config["source"] == keys[1].config["source"]


def test_too_many_rows_without_an_answer_are_refused(exported, tmp_path, texts):
    """A misspelt column in one file of thousands, and nobody hears of it."""
    store = ArtifactStore(tmp_path / "store")
    write(texts / "b.jsonl", [{"text": "", "key": 1}] * 40)
    with pytest.raises(ContractViolation, match="43 of 76 rows cannot be scored: 41 empty_text"):
        run(exported, store, texts, max_unscored_rate=0.5)
    # Nothing is lost once a larger share is allowed.
    facts = run(exported, store, texts, max_unscored_rate=0.6).manifest.facts
    assert facts["shards_reused"] == facts["shards"] == 3


def test_files_without_rows_have_columns(exported, tmp_path):
    """An hour without texts, and the next job fails on an empty folder."""
    write(tmp_path / "none.jsonl", [])
    found, num_parts = answers(
        run(exported, ArtifactStore(tmp_path / "s"), tmp_path / "none.jsonl")
    )
    assert (found.num_rows, num_parts) == (0, 1)
    assert found.column_names == ["file", "line", "id", "label", "score", "reason"]
