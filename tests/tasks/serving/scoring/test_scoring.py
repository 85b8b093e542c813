import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.errors import ContractViolation, CorruptArtifact, SourceError, UserError
from tasks.runtime.progress import SilentProgress
from tasks.serving.portable.text_classifier import TextClassifier
from tasks.serving.scoring.scoring import ScoringConfig, score
from tests.tasks.peak_memory import peak_memory

QUESTION = "哪个房间"
ROOMS = ("客厅", "卧室", "厨房", "书房", "浴室", "阳台", "车库", "走廊")
TEXTS = [
    request.format(room)
    for request in ("打开{}的灯", "关闭{}的灯", "{}现在几度", "请把{}的亮度调到百分之五十")
    for room in ROOMS
]


@pytest.fixture
def model(exported):
    return exported.path / "model"


def write_jsonl(path, rows):
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def answers_of_the_served_model(downloaded, texts, variant):
    served = TextClassifier()
    bundle = str(downloaded / "artifacts" / "bundle")
    served.load_context(type("Context", (), {"artifacts": {"bundle": bundle}})())
    import pandas as pd

    return served.predict(None, pd.DataFrame({"text": texts}), {"variant": variant})


@pytest.mark.parametrize(("variant", "tolerance"), [("safetensors", 1e-5), ("onnx_int8", 0.05)])
def test_answers_are_those_of_the_served_model(model, downloaded, tmp_path, variant, tolerance):
    """Texts normalised, cut or batched otherwise than in service get other labels by night."""
    texts = [*TEXTS, "  打开\u200b客厅的灯 ", "打开客厅的灯" * 9]
    source = write_jsonl(tmp_path / "texts.jsonl", [{"text": text} for text in texts])
    config = ScoringConfig(variant=variant, precision="fp32")
    report = score(model, str(source), tmp_path / "out.parquet", config)
    found = pq.read_table(tmp_path / "out.parquet")
    expected = answers_of_the_served_model(downloaded, texts, variant)
    assert found["label"].to_pylist() == expected["label"].tolist()
    assert np.allclose(found["score"].to_numpy(), expected["score"], atol=tolerance)
    assert found["line"].to_pylist() == list(range(1, len(texts) + 1))
    assert report.num_scored == report.num_rows == len(texts)
    assert report.num_truncated == 1
    assert report.labels == dict(expected["label"].value_counts())
    assert report.texts_per_second > 0


def write_rows(folder, file_format, texts):
    path = folder / f"texts.{file_format}"
    keys = list(range(100, 100 + len(texts)))
    if file_format == "parquet":
        pq.write_table(pa.table({"key": keys, "body": texts}), path)
    elif file_format == "jsonl":
        write_jsonl(path, [{"key": k, "body": t} for k, t in zip(keys, texts, strict=True)])
    else:
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, delimiter="\t" if file_format == "tsv" else ",")
            writer.writerows([("key", "body"), *zip(keys, texts, strict=True)])
    return path


@pytest.mark.parametrize("file_format", ["parquet", "jsonl", "csv", "tsv"])
def test_every_format_gives_the_same_answers(model, tmp_path, file_format):
    """A column read under another name, or a header scored as a text."""
    config = ScoringConfig(text_column="body", id_column="key", probabilities=True)
    path = write_rows(tmp_path, file_format, TEXTS)
    score(model, str(path), tmp_path / "out.parquet", config)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column_names == ["file", "line", "id", "label", "score", "probabilities", "reason"]
    assert found["id"].to_pylist() == [str(100 + row) for row in range(len(TEXTS))]
    labels = json.loads(found.schema.metadata[b"labels"])
    table = np.array(found["probabilities"].to_pylist())
    assert np.allclose(table.sum(1), 1, atol=1e-5)
    assert [labels[row.argmax()] for row in table] == found["label"].to_pylist()
    assert np.allclose(table.max(1), found["score"].to_numpy())
    # The same text alone, in the simplest form that there is.
    alone = write_jsonl(tmp_path / "alone.jsonl", [{"text": text} for text in TEXTS])
    score(model, str(alone), tmp_path / "alone.parquet")
    assert pq.read_table(tmp_path / "alone.parquet")["label"].to_pylist() == (
        found["label"].to_pylist()
    )


def test_rows_that_cannot_be_scored_keep_their_place_and_say_why(model, tmp_path):
    """Answers that slip by one row after the first bad one label every later text wrongly."""
    rows = [
        {"text": TEXTS[0]},
        {"text": None},
        {"text": TEXTS[20]},
        {"text": " \u200b "},
        "{broken",
        {"text": 5},
        {"text": TEXTS[8]},
    ]
    source = write_jsonl(tmp_path / "texts.jsonl", rows)
    report = score(model, str(source), tmp_path / "out.parquet", ScoringConfig(probabilities=True))
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    reasons = [row["reason"] for row in found]
    wrong = ["missing_text", "empty_text", "malformed_json", "wrong_type"]
    assert reasons == [None, wrong[0], None, *wrong[1:], None]
    assert [row["line"] for row in found] == list(range(1, 8))
    for row in found:
        is_bad = row["reason"] is not None
        assert all((row[name] is None) == is_bad for name in ("label", "score", "probabilities"))
    expected = write_jsonl(tmp_path / "good.jsonl", [rows[0], rows[2], rows[6]])
    score(model, str(expected), tmp_path / "good.parquet")
    good = pq.read_table(tmp_path / "good.parquet")["label"].to_pylist()
    assert [row["label"] for row in found if row["label"]] == good
    assert report.unscored == dict.fromkeys(wrong, 1)
    assert (report.num_rows, report.num_scored) == (7, 3)


@pytest.mark.parametrize("file_format", ["parquet", "jsonl", "csv"])
def test_rows_that_cannot_be_scored_keep_their_id(model, tmp_path, file_format):
    """Joined by their ids, the rows that have no answer are missing, and nobody knows which."""
    bodies = [TEXTS[0], None, "", "打\0开" if file_format != "csv" else "", "开" * 400_000]
    path = write_rows(tmp_path, file_format, bodies)
    config = ScoringConfig(text_column="body", id_column="key")
    score(model, str(path), tmp_path / "out.parquet", config)
    found = pq.read_table(tmp_path / "out.parquet")
    assert [reason is None for reason in found["reason"].to_pylist()] == [True] + [False] * 4
    assert found["id"].to_pylist() == ["100", "101", "102", "103", "104"]


def test_an_id_that_cannot_be_read_is_none(model, tmp_path):
    """A list taken for the name of a row."""
    rows = [{"text": None, "key": ["a"]}, {"text": None, "key": "a\0"}, {"text": None, "key": True}]
    source = write_jsonl(tmp_path / "texts.jsonl", rows)
    score(model, str(source), tmp_path / "out.parquet", ScoringConfig(id_column="key"))
    assert pq.read_table(tmp_path / "out.parquet")["id"].to_pylist() == [None] * 3


def test_batches_keep_their_order_across_files_and_windows(model, tmp_path):
    """The second batch's answers written before the first's, or a file's tail left out."""
    folder = tmp_path / "in"
    folder.mkdir()
    many = [TEXTS[row % len(TEXTS)] for row in range(9000)]  # beyond one batch of the readers
    write_jsonl(folder / "b.jsonl", [{"text": text} for text in many])
    write_jsonl(folder / "a.jsonl", [{"text": text} for text in TEXTS])
    write_jsonl(folder / "c.jsonl", [])
    (folder / "_SUCCESS").write_text("")
    report = score(model, str(folder), tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert report.num_rows == found.num_rows == 9000 + len(TEXTS)
    assert found["file"].to_pylist() == ["a.jsonl"] * len(TEXTS) + ["b.jsonl"] * 9000
    labels = found["label"].to_pylist()
    assert labels[len(TEXTS) :] == [labels[row % len(TEXTS)] for row in range(9000)]


def test_too_many_bad_rows_write_nothing(model, tmp_path):
    """A misspelt column: a table of nulls takes the place of yesterday's answers."""
    source = write_jsonl(tmp_path / "texts.jsonl", [{"text": TEXTS[0]}, {"text": ""}, {"text": ""}])
    output = tmp_path / "out.parquet"
    output.write_bytes(b"yesterday")
    with pytest.raises(ContractViolation, match="2 of 3 rows cannot be scored: 2 empty_text"):
        score(model, str(source), output, ScoringConfig(max_unscored_rate=0.5))
    assert output.read_bytes() == b"yesterday"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "texts.jsonl"]


@pytest.mark.parametrize(
    ("name", "columns", "said"),
    [
        ("texts.jsonl", {"text_column": "body"}, "no column 'body'"),
        ("texts.jsonl", {"id_column": "nr"}, "no column 'nr'"),
        ("texts.data", {}, "does not tell its format"),
        ("nowhere.csv", {}, "no file at"),
    ],
)
def test_a_wrong_input_is_told(model, tmp_path, name, columns, said):
    """`KeyError: 'body'` after an hour of a night's run."""
    write_jsonl(tmp_path / "texts.jsonl", [{"text": TEXTS[0]}])
    write_jsonl(tmp_path / "texts.data", [{"text": TEXTS[0]}])
    output = tmp_path / "out.parquet"
    with pytest.raises(SourceError, match=said):
        score(model, str(tmp_path / name), output, ScoringConfig(**columns))
    assert not output.exists()


def test_a_folder_that_is_no_student_is_told(tmp_path):
    """A JSON traceback for a wrong path."""
    source = write_jsonl(tmp_path / "texts.jsonl", [{"text": TEXTS[0]}])
    with pytest.raises(CorruptArtifact, match=r"serving\.json"):
        score(tmp_path, str(source), tmp_path / "out.parquet")


def scored(delivered, tmp_path, rows, **settings):
    """(rows of the output, report) of records scored with a delivered model's export."""
    source = write_jsonl(tmp_path / "rows.jsonl", rows)
    output = tmp_path / "out.parquet"
    folder = delivered.export / "model"
    report = score(folder, str(source), output, ScoringConfig(**settings))
    return pq.read_table(output).to_pylist(), report


def test_entities_are_those_of_the_served_model(tagger, tmp_path):
    """Names by night in other places than by day; a long text cut in the file only."""
    texts = [
        "打开客厅的灯",
        " 打开\u200b 浴\u200b室的灯",
        "现在播放",
        "打开客厅的灯浴室现在几度" * 9,
    ]
    rows = [{"text": texts[0]}, {"text": None}, *({"text": text} for text in texts[1:])]
    for variant in ("safetensors", "onnx_int8"):
        found, report = scored(tagger, tmp_path, rows, variant=variant)
        assert [row["reason"] for row in found] == [None, "missing_text", None, None, None]
        assert found[1]["entities"] is None
        wanted = tagger.ask([{"text": text} for text in texts], variant=variant)["entities"]
        for row, entities in zip([found[0], *found[2:]], wanted, strict=True):
            names = ("start", "end", "text", "label")
            assert [[one[name] for name in names] for one in row["entities"]] == [
                [one[name] for name in names] for one in entities
            ]
        assert report.labels == {"ROOM": 20, "DEVICE": 11}
        assert report.num_scored == 4


def test_answers_to_questions_are_those_of_the_served_model(answerer, tmp_path):
    """The question taken for the context, or the answer of one row in the next."""
    rows = [
        {"context": "打开客厅的灯", "question": QUESTION},
        {"context": "打开客厅的灯", "question": " "},
        {"context": "打开的灯" * 9, "question": QUESTION},
        {"context": "打开的灯" * 8 + "关闭阳台的灯", "question": QUESTION},
        {"context": "打开客厅的灯"},
    ]
    found, report = scored(answerer, tmp_path, rows)
    assert [row["answer"] for row in found] == ["客厅", None, None, "阳台", None]
    reasons = [None, "empty_question", None, None, "missing_question"]
    assert [row["reason"] for row in found] == reasons
    assert (found[3]["start"], found[3]["end"]) == (34, 36)
    served = answerer.ask([rows[row] for row in (0, 2, 3)], variant="onnx_int8")
    for row, wanted in zip((0, 2, 3), served.to_dict("records"), strict=True):
        assert found[row]["start"] == wanted["start"]
        assert found[row]["score"] == pytest.approx(wanted["score"], abs=0.05)
    assert report.labels == {"answer": 2, "no answer": 1}


def test_pairs_are_those_of_the_served_model(matcher, tmp_path):
    """Both texts read from one column: every pair matches."""
    rows = [
        {"a": "打开客厅的灯", "b": "关闭客厅的灯"},
        {"a": "打开客厅的灯", "b": "客厅现在几度"},
        {"a": "打开客厅的灯", "b": 5},
        {"a": "打开客厅的灯" * 9, "b": "客厅现在几度"},
    ]
    found, report = scored(
        matcher, tmp_path, rows, text_column="a", second_column="b", probabilities=True
    )
    assert [row["label"] for row in found[:3]] == ["same", "other", None]
    assert found[2]["reason"] == "missing_text_b"
    assert sum(found[0]["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert report.num_truncated == 1
    wanted = matcher.ask([{"text": rows[3]["a"], "text_b": rows[3]["b"]}], variant="onnx_int8")
    assert found[3]["label"] == wanted["label"][0]
    assert found[3]["score"] == pytest.approx(wanted["score"][0], abs=0.05)


def test_the_allowed_share_of_unscored_rows_is_allowed(model, tmp_path):
    """29 of 100 rows refused by a limit of 29 %: 0.29 x 100 is 28.999999999999996."""
    rows = [{"text": ""}] * 29 + [{"text": TEXTS[0]}] * 71
    source = write_jsonl(tmp_path / "texts.jsonl", rows)
    config = ScoringConfig(max_unscored_rate=0.29)
    assert score(model, str(source), tmp_path / "out.parquet", config).num_scored == 71


def test_two_long_texts_are_scored_in_bounded_memory(matcher, tmp_path):
    """A file with one pair of long documents ended the run for lack of memory."""
    long = "打开客厅的灯" * 1000
    with peak_memory() as peak:
        (row,), report = scored(matcher, tmp_path, [{"text": long, "text_b": long}])
    assert (row["reason"], report.num_truncated) == (None, 1)
    assert peak.growth_bytes < 1e9  # 3 GB


def test_label_sets_are_those_of_the_served_model(labeller, tmp_path):
    """A text with no label at all, scored as one that could not be read."""
    texts = ["打开客厅的灯", "卧室现在几度", "客厅现在几度"]
    rows = [{"text": text} for text in texts]
    found, report = scored(labeller, tmp_path, rows, probabilities=True)
    assert [set(row["labels"]) for row in found] == [{"lamp", "living"}, set(), {"living"}]
    assert [len(row["scores"]) for row in found] == [2, 0, 1]
    assert all(len(row["probabilities"]) == 3 for row in found)
    assert report.labels == {"living": 2, "lamp": 1}


def test_vectors_are_those_of_the_served_model(embedder, tmp_path):
    """An index built by night that the served queries do not fit."""
    rows = [{"text": text} for text in TEXTS[:3]] + [{"text": None}]
    settings = {"variant": "safetensors", "precision": "fp32"}
    found, report = scored(embedder, tmp_path, rows, **settings)
    *vectors, nothing = (row["embedding"] for row in found)
    wanted = embedder.ask(rows[:3], variant="safetensors")["embedding"].tolist()
    np.testing.assert_allclose(vectors, wanted, atol=1e-5)
    assert nothing is None
    assert report.num_scored == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"probabilities": True}, "probability of every class"),
        ({"second_column": "b"}, "reads one text"),
    ],
)
def test_what_a_problem_does_not_have_is_refused(tagger, tmp_path, settings, said):
    """A setting that is dropped in silence."""
    with pytest.raises(UserError, match=said):
        scored(tagger, tmp_path, [{"text": "打开客厅的灯"}], **settings)


def test_a_problem_that_files_are_not_scored_for_is_told(model, tmp_path):
    """`KeyError: 'translation'`."""
    folder = shutil.copytree(model, tmp_path / "model")
    serving = json.loads((folder / "serving.json").read_text(encoding="utf-8"))
    serving["problem"] = "juggling"
    (folder / "serving.json").write_text(json.dumps(serving), encoding="utf-8")
    source = write_jsonl(tmp_path / "texts.jsonl", [{"text": TEXTS[0]}])
    with pytest.raises(UserError, match="is a model for juggling"):
        score(folder, str(source), tmp_path / "out.parquet")


class Recorder(SilentProgress):
    def __init__(self):
        self.total = self.done = 0

    def start(self, description, *, total, unit):
        self.total = total

    def advance(self, amount=1, *, note=""):
        self.done += amount


@pytest.mark.parametrize("file_format", ["parquet", "jsonl"])
def test_progress_counts_every_row(model, tmp_path, file_format):
    """A bar that stops at 97 % looks like a run that hangs."""
    recorder = Recorder()
    path = write_rows(tmp_path, file_format, TEXTS)
    config = ScoringConfig(text_column="body")
    score(model, str(path), tmp_path / "out.parquet", config, progress=recorder)
    assert recorder.done == recorder.total == len(TEXTS)


@pytest.mark.slow
def test_a_killed_run_leaves_yesterdays_answers_and_the_next_one_finishes(model, tmp_path):
    """Half a file under the right name is read by the next job as the whole."""
    source = write_jsonl(
        tmp_path / "texts.jsonl", [{"text": TEXTS[row % len(TEXTS)]} for row in range(60_000)]
    )
    output, partial = tmp_path / "out.parquet", tmp_path / ".out.parquet.partial"
    output.write_bytes(b"yesterday")
    command = [sys.executable, "-m", "flows", "score", str(model), str(source), str(output)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    running = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size) and time.monotonic() < deadline:
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert output.read_bytes() == b"yesterday"
    write_jsonl(source, [{"text": text} for text in TEXTS])
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "32 of 32 rows scored" in done.stdout
    assert "texts/s" in done.stdout
    assert pq.read_table(output).num_rows == len(TEXTS)
    assert not partial.exists()
