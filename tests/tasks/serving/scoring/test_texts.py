"""The files that batch scoring reads, and how many rows they hold."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.serving.scoring.texts import text_files


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("ended.jsonl", '{"text": "a"}\n{"text": "b"}\n', 2),
        ("not_ended.jsonl", '{"text": "a"}\n{"text": "b"}', 2),
        ("ended.csv", "text\na\nb\n", 2),
        ("not_ended.tsv", "text\na\nb", 2),
        ("header.csv", "text\n", 0),
        ("nothing.tsv", "", 0),
    ],
)
def test_rows_are_told_as_many_as_there_are(tmp_path, name, content, rows):
    """A progress of "8 of 7 texts, -0.1 s left" makes its reader doubt that all rows were read."""
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    (file,) = text_files(str(path), file_format=None, columns={"text": "text"})

    assert file.count_rows() == rows
    if content:
        assert sum(batch.num_rows for batch in file.batches()) == rows


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_texts_may_be_fields_of_records(tmp_path, name):
    """`--text-column translation.en` was no column of the file that the student learnt from."""
    path = tmp_path / name
    records = [{"en": "a", "id": 7}, None]
    if name.endswith("jsonl"):
        path.write_text("".join(json.dumps({"translation": one}) + "\n" for one in records))
    else:
        pq.write_table(pa.table({"translation": records}), path)
    columns = {"text": "translation.en", "label": "translation.id"}
    (file,) = text_files(str(path), file_format=None, columns=columns)
    (batch,) = file.batches()
    assert (batch.texts, batch.labels) == (["a"], ["7"])
    assert [(row.line, row.reason) for row in batch.rejected] == [(2, "missing_text")]
