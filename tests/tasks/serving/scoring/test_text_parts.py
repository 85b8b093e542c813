"""Parts of the texts that are scored hold what the readers gave, batch by batch."""

import json

import pyarrow.parquet as pq
import pytest

from data_contracts.errors import CorruptArtifact
from tasks.corpus.readers.raw_rows import BATCH_ROWS
from tasks.serving.scoring.text_parts import part_batches, split_texts
from tasks.serving.scoring.texts import text_files

COLUMNS = {"text": "text", "question": "question", "label": "key"}


def write(path, rows):
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def split(folder, *, rows_per_shard):
    files = text_files(str(folder / "in"), file_format=None, columns=COLUMNS)
    parts = folder / f"parts-{rows_per_shard}"
    parts.mkdir()
    return files, split_texts(files, parts, rows_per_shard=rows_per_shard)


def row(number, **changes):
    return {"text": f"第{number}个", "question": "几", "key": number} | changes


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    broken = [row(0), "{", row(1, text=None), row(2, question=5), row(3, question=None), row(4)]
    write(tmp_path / "in" / "a.jsonl", broken)
    write(tmp_path / "in" / "b.jsonl", [row(number) for number in range(2 * BATCH_ROWS + 10)])
    write(tmp_path / "in" / "c.jsonl", [])
    return tmp_path


def told(file, batch):
    """What scoring reads of a batch; a second text that is no string is none."""
    questions = [cell if isinstance(cell, str) else None for cell in batch.others["question"]]
    rejected = [(one.line, one.reason, one.label) for one in batch.rejected]
    return file, batch.lines, batch.texts, batch.labels, questions, rejected


@pytest.mark.parametrize(("rows_per_shard", "num_parts"), [(1, 4), (BATCH_ROWS + 1, 3)])
def test_batches_come_back_as_the_readers_gave_them(folder, rows_per_shard, num_parts):
    """Other batches round other: the same file would get other answers in shards than in one."""
    files, parts = split(folder, rows_per_shard=rows_per_shard)
    assert len(parts) == num_parts
    wanted = [
        told(file.label, batch) for file in files for batch in file.batches() if batch.num_rows
    ]
    assert [told(*found) for part in parts for found in part_batches(part)] == wanted
    # The broken rows of a.jsonl by hand: lines 2 and 3 cannot be read, question 5 is no text.
    assert wanted[0] == (
        "a.jsonl",
        [1, 4, 5, 6],
        ["第0个", "第2个", "第3个", "第4个"],
        ["0", "2", "3", "4"],
        ["几", None, None, "几"],
        [(2, "malformed_json", None), (3, "missing_text", "1")],
    )


def test_a_new_file_changes_no_part_of_the_others(folder):
    """A day of new texts, and the texts of all days before are scored again."""
    _, before = split(folder, rows_per_shard=1)
    contents = [part.read_bytes() for part in before]
    write(folder / "in" / "d.jsonl", [row(7)])
    _, after = split(folder, rows_per_shard=2)
    assert [part.read_bytes() for part in after[:-1]] == contents


def test_no_rows_are_one_empty_part(tmp_path):
    """A folder without any file, in which the next job finds no columns."""
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.jsonl", [])
    _, parts = split(tmp_path, rows_per_shard=1)
    assert [pq.read_metadata(part).num_rows for part in parts] == [0]
    assert list(part_batches(parts[0])) == []


def test_a_part_cut_short_is_told(folder):
    """A full disk, scored as if the texts ended there."""
    _, parts = split(folder, rows_per_shard=1)
    parts[0].write_bytes(parts[0].read_bytes()[:-20])
    with pytest.raises(CorruptArtifact, match="part-00000"):
        list(part_batches(parts[0]))
