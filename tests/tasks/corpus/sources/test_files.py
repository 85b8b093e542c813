"""Files of four formats: every row is read or told about, with the line an editor shows."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from data_contracts.errors import SourceError
from tasks.corpus.readers.text_formats import MAX_LINE_BYTES
from tasks.corpus.sources.files import (
    check_parallel_readable,
    check_readable,
    read_rows,
    source_files,
)
from tasks.corpus.sources.source import Source


def _source(path, format_, **fields):
    entry = {
        "name": "mine",
        "format": format_,
        "uri": str(path),
        "role": "train",
        "language": "en",
        "columns": {"text": "text", "label": "label"},
        **fields,
    }
    return TypeAdapter(Source).validate_python(entry)


def _read(path, format_, **fields):
    """(line -> text and label, line -> reason) of all rows."""
    source = _source(path, format_, **fields)
    good, bad = {}, {}
    for file in source_files(source):
        for batch in read_rows(source, file):
            for line, text, label in zip(batch.lines, batch.texts, batch.labels, strict=True):
                assert line not in good
                good[line] = (text, label)
            bad.update({row.line: row.reason for row in batch.rejected})
    assert not set(good) & set(bad)
    return good, bad


BROKEN_CSV = {
    b"only one cell": "wrong_column_count",
    b"a,b,c": "wrong_column_count",
    b'"never closed,greet': "broken_quotes",
    b'"closed" late,greet': "broken_quotes",
    b"caf\xe9,greet": "invalid_utf8",
    b"a\x00b,greet": "nul_character",
    b"": "blank_line",
    b"x" * (MAX_LINE_BYTES + 5) + b",greet": "oversize_line",
    b"x" * ((1 << 20) + 1) + b",greet": "oversize_cell",
}


@pytest.mark.parametrize("line", BROKEN_CSV, ids=lambda line: str(BROKEN_CSV[line]))
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_a_broken_csv_line_costs_itself_only(tmp_path, line, end):
    """One unclosed quote swallowed the rest of the file, and the run went on with 3 rows."""
    path = tmp_path / "rows.csv"
    path.write_bytes(
        b"\xef\xbb\xbf" + end.join([b"text,label", b"hello,greet", line, b"bye,leave", b""])
    )
    good, bad = _read(path, "csv")
    assert good == {2: ("hello", "greet"), 4: ("bye", "leave")}
    assert bad == {3: BROKEN_CSV[line]}


def test_csv_cells_may_hold_delimiters_quotes_and_line_ends(tmp_path):
    """Quoted cells were cut at their commas; line numbers drifted after a cell of two lines."""
    path = tmp_path / "rows.csv"
    path.write_bytes(
        b'label,text\ngreet,"hi, you"\ngreet,"say ""hi"""\ngreet,"two\nlines"\nleave,say "bye"\n'
    )
    good, bad = _read(path, "csv")
    assert good == {
        2: ("hi, you", "greet"),
        3: ('say "hi"', "greet"),
        4: ("two\nlines", "greet"),
        6: ('say "bye"', "leave"),
    }
    assert not bad


def test_tsv_reads_quotes_of_writers_who_do_not_quote(tmp_path):
    """Texts that begin with a quotation mark were thrown away."""
    path = tmp_path / "rows.tsv"
    path.write_bytes(b'text\tlabel\n"hello" she said\tgreet\n"bye\tleave\n')
    assert _read(path, "tsv") == ({2: ('"hello" she said', "greet"), 3: ('"bye', "leave")}, {})


BROKEN_JSON = {
    b"{": "malformed_json",
    b"[1, 2]": "malformed_json",
    b"not json": "malformed_json",
    b"[" * 100_000: "malformed_json",
    b'{"text": "a", "label": "b"} {}': "malformed_json",
    b'{"text": "a", "label": "b", "n": ' + b"9" * 5000 + b"}": "malformed_json",
    b'{"text": "a", "text": "b", "label": "c"}': "duplicate_keys",
    b'{"text": "a", "label": NaN}': "not_a_number",
    b'{"text": "a", "label": -Infinity}': "not_a_number",
    b'{"text": null, "label": "b"}': "missing_text",
    b'{"label": "b"}': "missing_text",
    b'{"text": 5, "label": "b"}': "wrong_type",
    b'{"text": ["a"], "label": "b"}': "wrong_type",
    b'{"text": "a", "label": 1.5}': "wrong_type",
    b'{"text": "a", "label": true}': "wrong_type",
    b'{"text": "a\\u0000", "label": "b"}': "nul_character",
    b'{"text": "\\ud800", "label": "b"}': "invalid_unicode",
    b'{"text": "\xff", "label": "b"}': "invalid_utf8",
    b"   ": "blank_line",
}


@pytest.mark.parametrize("line", BROKEN_JSON, ids=lambda line: repr(line[:24]))
def test_a_broken_json_line_costs_itself_only(tmp_path, line):
    """A NaN from pandas or half an emoji from JavaScript stopped a nightly run."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "hello", "label": 7}\n' + line + b'\n{"text": "bye"}')
    good, bad = _read(path, "jsonl")
    assert good == {1: ("hello", "7"), 3: ("bye", None)}
    assert bad == {2: BROKEN_JSON[line]}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b" ")), min_size=1))
def test_every_line_of_any_bytes_is_accounted_for(tmp_path_factory, lines):
    """Rows vanished without a count: nobody knew that a third of the data was never read."""
    path = tmp_path_factory.mktemp("fuzz") / "rows.jsonl"
    path.write_bytes(b"{}\n" + b"\n".join(lines) + b"\n{}\n")
    good, bad = _read(path, "jsonl")
    assert sorted([*good, *bad]) == list(range(1, len(lines) + 3))
    path.write_bytes(b"text,label\nfirst,x\n" + b"\n".join(lines) + b"\n")
    good, bad = _read(path, "csv")
    # A record of several lines counts as its first.
    assert set(good) | set(bad) <= set(range(2, len(lines) + 3))
    assert not any(b'"' in line for line in lines) or len(good) + len(bad) >= 1
    if not any(b'"' in line for line in lines):
        assert sorted([*good, *bad]) == list(range(2, len(lines) + 3))


def test_parquet_rows_are_counted_from_one_and_bad_cells_set_aside(tmp_path):
    """A cell of invalid UTF-8 made the whole file unreadable."""
    path = tmp_path / "rows.parquet"
    raw = pa.array([b"hello", b"caf\xe9", None, b"x" * ((1 << 20) + 1), b"bye"], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), 5, raw.buffers())
    pq.write_table(pa.table({"text": texts, "label": [1, 2, 3, 4, None]}), path)
    good, bad = _read(path, "parquet")
    assert good == {1: ("hello", "1"), 5: ("bye", None)}
    assert bad == {2: "invalid_utf8", 3: "missing_text", 4: "oversize_cell"}


WORDS = {"role": "transfer", "columns": {"words": "words"}}


def test_parquet_rows_of_lists_are_measured_row_by_row(tmp_path):
    """The bytes of 8,192 rows were counted as those of the first, which was set aside."""
    path = tmp_path / "rows.parquet"
    rows = [["wordsandwords"] * 20] * 8192 + [["x" * 1000] * 1100, ["bye"]]
    pq.write_table(pa.table({"words": rows}), path)
    good, bad = _read(path, "parquet", **WORDS)
    assert bad == {8193: "oversize_cell"}
    assert sorted(good) == [*range(1, 8193), 8194]


def test_a_bad_text_in_a_parquet_list_costs_its_row_only(tmp_path):
    """A file of a million sentences was damaged, it was said, for one byte in one word."""
    path = tmp_path / "rows.parquet"
    raw = pa.array([b"hello", b"caf\xe9", b"bye"], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), texts)
    pq.write_table(pa.table({"words": lists}), path)
    good, bad = _read(path, "parquet", **WORDS)
    assert good == {1: ("hello", None), 3: ("bye", None)}
    assert bad == {2: "invalid_utf8"}


@pytest.mark.parametrize(
    "scores",
    [
        pa.array([4.5, None, 0.25], pa.float64()),
        pa.array([4.5, None, 0.25], pa.float32()),
        pa.array([4, None, 0], pa.int8()),
        pa.array([4.5, None, 0.25], pa.float64()).dictionary_encode(),
        pa.array(["4.5", None, "0.25"]),
    ],
    ids=lambda scores: str(scores.type),
)
def test_scores_of_a_parquet_file_are_numbers_or_texts(tmp_path, scores):
    """STS-B as it is published has doubles: convert 'score', it was said."""
    path = tmp_path / "rows.parquet"
    texts = ["He runs", "She sings", "It rains"]
    pq.write_table(pa.table({"a": texts, "b": texts[::-1], "score": scores}), path)
    source = _source(
        path, "parquet", role="test", columns={"text": "a", "text_b": "b", "score": "score"}
    )
    (batch,) = read_rows(source, source_files(source)[0])
    assert batch.others["score"] == scores.to_pylist()
    assert batch.texts == texts


def test_a_parquet_bomb_is_refused_before_it_unfolds(tmp_path):
    """A file of a few kilobytes filled the memory with 20 GB of one repeated text."""
    path = tmp_path / "bomb.parquet"
    column = pa.DictionaryArray.from_arrays(
        pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 1_000_000])
    )
    pq.write_table(pa.table({"text": column, "label": ["a"] * 20_000}), path, compression="zstd")
    assert path.stat().st_size < 100_000
    before = pa.total_allocated_bytes()
    with pytest.raises(SourceError, match="unfolds"):
        _read(path, "parquet")
    assert pa.total_allocated_bytes() - before < 100_000_000


@pytest.mark.parametrize(
    ("format_", "content"),
    [
        ("csv", b"sentence,intent\nhello,greet\n"),
        ("tsv", b"sentence\tintent\nhello\tgreet\n"),
        ("jsonl", b'{"sentence": "hello", "intent": "greet"}\n'),
    ],
)
def test_a_missing_column_names_those_that_exist(tmp_path, format_, content):
    """`KeyError: 'text'` sent a user into our source code."""
    path = tmp_path / f"rows.{format_}"
    path.write_bytes(content)
    with pytest.raises(SourceError) as error:
        _read(path, format_)
    assert "'text'" in error.value.fact
    assert "sentence" in error.value.rule
    assert "intent" in error.value.rule


@pytest.mark.parametrize(
    "content",
    [
        b"",
        "text,label\na,b".encode("utf-16"),
        b"\x1f\x8b\x08\x00 packed",
        b"PK\x03\x04\x14\x00 a workbook",
        "Größe,label\na,b".encode("cp1252"),
    ],
)
def test_a_file_that_is_not_utf8_text_is_the_users_mistake(tmp_path, content):
    """An Excel export in UTF-16 became a quarantine of 40,000 rows."""
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(SourceError):
        _read(path, "csv")
    path.write_bytes(b"no parquet")
    with pytest.raises(SourceError):
        _read(path, "parquet")


def test_another_separator_is_told_as_such(tmp_path):
    """The remedy was to name one of the columns, of which there was one, called body;topic."""
    path = tmp_path / "rows.csv"
    path.write_text("body;topic\nhello;on\n", encoding="utf-8")
    with pytest.raises(SourceError, match=r"its header is one cell, 'body;topic'\n.*comma"):
        _read(path, "csv", columns={"text": "body", "label": "topic"})
    good, _ = _read(path, "csv", role="transfer", columns={"text": "body;topic"})
    assert good == {2: ("hello;on", None)}


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_a_column_that_is_there_twice_is_told(tmp_path, format_):
    """`KeyError: 'Column text does not exist in schema'` of a column that is, twice."""
    path = tmp_path / f"rows.{format_}"
    if format_ == "csv":
        path.write_text("text,label,text\nhello,a,bye\n")
    else:
        columns = [pa.array(["hello"]), pa.array(["a"]), pa.array(["bye"])]
        pq.write_table(pa.Table.from_arrays(columns, ["text", "label", "text"]), path)
    with pytest.raises(SourceError, match="has the column 'text' 2 times"):
        _read(path, format_)


def test_parquet_of_the_wrong_type_names_the_type(tmp_path):
    """Numbers were classified as if they were sentences."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": [1, 2], "label": ["a", "b"]}), path)
    with pytest.raises(SourceError, match="int64"):
        _read(path, "parquet")


def test_files_of_a_folder_are_told_apart_and_bookkeeping_is_left_out(tmp_path):
    """Line 7 of which of 365 files? And `_SUCCESS` was read as data."""
    for name in ("2026-01-02.csv", "2026-01-01.csv", "_SUCCESS"):
        (tmp_path / name).write_text(f"text,label\n{name},x\n")
    source = _source(tmp_path, "csv")
    assert [file.label for file in source_files(source)] == [
        "mine/2026-01-01.csv",
        "mine/2026-01-02.csv",
    ]
    assert [file.label for file in source_files(_source(tmp_path / "*-01.csv", "csv"))] == ["mine"]


@pytest.mark.parametrize(
    "fields",
    [
        {"columns": {"text": "text"}},  # train without labels
        {"parallel_language": "zh"},
        {"language": "English"},
        {"name": "../up"},
        {"surprise": 1},
    ],
)
def test_contradictory_sources_are_refused_when_the_recipe_is_read(fields):
    """A recipe without a label column failed after an hour, in the teacher's loss."""
    with pytest.raises(ValidationError):
        _source("rows.csv", "csv", **fields)


def test_mapped_parallel_text_is_read(tmp_path):
    """The teacher was shown the student's language because a column name was mistyped."""
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"zh": "你好", "en": "hello"}, ensure_ascii=False) + "\n")
    source = _source(
        path,
        "jsonl",
        role="transfer",
        language="zh",
        parallel_language="en",
        columns={"text": "zh", "parallel_text": "en"},
    )
    (batch,) = read_rows(source, source_files(source)[0])
    assert (batch.texts, batch.parallel_texts) == (["你好"], ["hello"])


def test_a_parallel_file_is_looked_into_as_well(tmp_path):
    """A recipe said to be valid, and an hour of fine-tuning before the key is missed."""
    (tmp_path / "zh.csv").write_text("text,row\n你好,1\n", encoding="utf-8")
    (tmp_path / "en.csv").write_text("text,number\nhello,1\n", encoding="utf-8")
    parallel = {"uri": str(tmp_path / "en.csv"), "key": "row"}
    fields = {"role": "transfer", "language": "zh", "parallel_language": "en"}
    columns = {"text": "text"}
    source = _source(tmp_path / "zh.csv", "csv", columns=columns, parallel=parallel, **fields)
    check_readable(source)
    with pytest.raises(SourceError, match=r"^source 'mine', parallel: en\.csv has no column 'row'"):
        check_parallel_readable(source)
    (tmp_path / "en.csv").write_text("text,row\n", encoding="utf-8")
    with pytest.raises(SourceError, match="'mine, parallel' has no rows"):
        check_parallel_readable(source)
    (tmp_path / "en.csv").write_text("text,row\nhello,1\n", encoding="utf-8")
    check_parallel_readable(source)


@pytest.mark.parametrize(
    ("format_", "content", "columns"),
    [
        ("jsonl", "text,label\nhello,on\n", {"text": "text", "label": "label"}),
        ("conll", "London B-LOC\n\n", {"words": "1", "tags": "9"}),
    ],
)
def test_a_file_of_which_no_row_can_be_read_is_told(tmp_path, format_, content, columns):
    """Valid, it was said, of a file in another format; then all of its rows were set aside."""
    path = tmp_path / "rows"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SourceError, match="none of the first"):
        check_readable(_source(path, format_, columns=columns))
