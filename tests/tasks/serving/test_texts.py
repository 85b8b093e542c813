"""The files that batch scoring reads, and how many rows they hold."""

import pytest

from tasks.serving.texts import text_files


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
