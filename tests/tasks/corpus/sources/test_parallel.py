"""Two files of two languages are joined by a key, whatever their order."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.corpus.sources.files import read_rows, source_files
from tasks.corpus.sources.parallel import ParallelTexts
from tasks.corpus.sources.source import FileSource, check_source, locations

CHINESE = [(7, "这座城市"), (8, "球队"), (9, "没有"), (None, "无号"), (11, "两次")]
ENGLISH = [(11, "twice"), (8, "the team"), (7, "the city"), (11, "two times"), (99, "other")]


def source(uri, other, format="jsonl", **fields):
    return FileSource.model_validate(
        {
            "name": "pairs",
            "format": format,
            "uri": str(uri),
            "role": "transfer",
            "language": "zh",
            "parallel_language": "en",
            "parallel": {"uri": str(other), "key": "id", "columns": {"text": "text"}},
            **fields,
        }
    )


def joined(made, folder):
    with_texts = ParallelTexts(made, folder / "texts.db")
    batches = [with_texts.join(batch) for batch in read_rows(made, source_files(made)[0])]
    with_texts.close()
    rows = [
        (line, row.text, row.parallel_text, dict(row.others))
        for batch in batches
        for line, row in batch.rows()
    ]
    return rows, [(row.line, row.reason) for batch in batches for row in batch.rejected]


@pytest.mark.parametrize("format", ["jsonl", "tsv", "parquet"])
def test_rows_meet_by_key_and_the_others_are_told(tmp_path, format):
    """The teacher read another sentence than the student: the files were in another order."""
    paths = []
    for name, rows in (("zh", CHINESE), ("en", ENGLISH)):
        path = tmp_path / f"{name}.{format}"
        if format == "jsonl":
            lines = [json.dumps({"id": key, "text": text}) for key, text in rows]
            path.write_text("\n".join(lines), encoding="utf-8")
        elif format == "tsv":
            lines = [f"{'' if key is None else key}\t{text}" for key, text in rows]
            path.write_text("\n".join(["id\ttext", *lines]), encoding="utf-8")
        else:
            columns = zip(*rows, strict=True)
            pq.write_table(pa.table(dict(zip(("id", "text"), columns, strict=True))), path)
        paths.append(path)
    rows, rejected = joined(source(*paths, format=format), tmp_path)
    first = 2 if format == "tsv" else 1
    assert rows == [(first, "这座城市", "the city", {}), (first + 1, "球队", "the team", {})]
    assert rejected == [
        (first + 2, "missing_parallel"),
        (first + 3, "missing_parallel"),
        (first + 4, "ambiguous_parallel"),
    ]


def test_both_texts_of_a_pair_are_joined(tmp_path):
    """The second text of the teacher's pair stayed in the student's language."""
    zh, en = tmp_path / "zh.jsonl", tmp_path / "en.jsonl"
    zh.write_text(json.dumps({"id": "a", "s1": "一", "s2": "二", "where": "wiki"}))
    en.write_text(json.dumps({"s2": "two", "s1": "one", "id": "a"}))
    columns = {"text": "s1", "text_b": "s2"}
    made = source(
        zh,
        en,
        columns={**columns, "domain": "where"},
        parallel={"uri": str(en), "key": "id", "columns": columns},
    )
    others = {"text_b": "二", "domain": "wiki", "parallel_text_b": "two"}
    assert joined(made, tmp_path) == ([(1, "一", "one", others)], [])


def test_the_other_file_is_part_of_what_a_corpus_is_made_of():
    """A corrected translation was not read, because only the first file was in the key."""
    assert locations(source("zh.jsonl", "en.jsonl")) == ("zh.jsonl", "en.jsonl")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"parallel_language": None}, "both or neither"),
        ({"role": "test", "columns": {"label": "l"}}, "only transfer rows"),
        ({"columns": {"parallel_text": "t"}}, "twice"),
        ({"columns": {"text_b": "b"}}, "second texts"),
    ],
)
def test_sources_that_contradict_themselves_are_refused(fields, message):
    """Half a pair, found out in the middle of a night's run."""
    with pytest.raises(ValueError, match=message):
        check_source("text_classification", source("a", "b", **fields))
