"""Parquet files are measured before they are unfolded, lists too."""

import tracemalloc
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.errors import SourceError
from tasks.corpus.readers import parquet_format
from tasks.corpus.readers.parquet_format import read_parquet
from tasks.corpus.readers.raw_rows import MAX_CELL_BYTES

TOO_MANY = [MAX_CELL_BYTES]


def lists(*lengths, letter="x", kind=pa.list_):
    """Rows of so many equal words, as a few bytes of a dictionary."""
    words = pa.DictionaryArray.from_arrays(np.zeros(sum(lengths), np.int8), [letter])
    array = pa.ListArray if kind is pa.list_ else pa.LargeListArray
    return array.from_arrays(np.cumsum([0, *lengths]), words)


def read(path, array, key="words", **options):
    """(lines of rows, reasons by line) of a file of one column; its pages know no limit."""
    texts = ["a text"] * len(array)
    pq.write_table(pa.table({"text": texts, key: array}), path, **options)
    columns = {key: key} if key == "words" else {"text": "text", key: key}
    batches = list(read_parquet(path, columns))
    return (
        [line for batch in batches for line in batch.lines],
        {row.line: (row.reason, row.detail) for batch in batches for row in batch.rejected},
    )


@pytest.mark.parametrize(
    ("letter", "column", "is_field"),
    [("x", "words", False), ("", "words", False), ("", "all.words", False), ("", "words", True)],
)
def test_a_file_of_millions_of_words_in_a_row_is_refused_before_it_is_read(
    tmp_path, letter, column, is_field
):
    """990 bytes that stand for 150 million words: not done after 100 seconds."""
    path = tmp_path / "bomb.parquet"
    table = pa.table({column: lists(40_000_000, letter=letter)})
    if is_field:
        table, column = pa.table({"all": table.to_struct_array()}), f"all.{column}"
    pq.write_table(table, path)
    assert path.stat().st_size < 2000
    before = pa.total_allocated_bytes()
    with pytest.raises(SourceError, match="40,000,000 values in lists"):
        next(read_parquet(path, {"words": column}))
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_row_groups_of_millions_of_words_are_counted_together(tmp_path):
    """Each row group is modest, but a batch of rows holds all of them."""
    path = tmp_path / "bomb.parquet"
    rows = lists(*[100_000] * 360, letter="")
    pq.write_table(pa.table({"words": rows}), path, row_group_size=90)
    with pytest.raises(SourceError, match="36,000,000 values in lists"):
        next(read_parquet(path, {"words": "words"}))


@contextmanager
def peak_of_arrow():
    """What Arrow holds at most, in bytes, as the function that is given."""
    pool, own = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(own)
    try:
        yield own.max_memory
    finally:
        pa.set_memory_pool(pool)


def test_a_column_with_a_dot_in_its_name_is_measured_before_it_unfolds(tmp_path):
    """293 bytes filled 3 GB: the column was taken for a field of a record, and its texts were not
    kept as a dictionary."""
    path = tmp_path / "bomb.parquet"
    texts = pa.DictionaryArray.from_arrays(np.zeros(300, np.int8), ["x" * 1_000_000])
    pq.write_table(pa.table({"all.text": texts}), path, compression="zstd", store_schema=False)
    with (
        peak_of_arrow() as peak,
        pytest.raises(SourceError, match="unfolds into 300,000,000 bytes"),
    ):
        next(read_parquet(path, {"text": "all.text"}))
    assert peak() < 20_000_000


@pytest.mark.parametrize("beside", [False, True])
def test_a_bomb_in_a_record_is_measured_before_it_unfolds(tmp_path, beside):
    """Texts that a dictionary page repeats, one level below where they were looked for; or in a
    column that shares its path with a harmless field."""
    path = tmp_path / "bomb.parquet"
    texts = pa.DictionaryArray.from_arrays(np.zeros(300, np.int8), ["x" * 1_000_000])
    small = pa.array(["a text"] * 300)
    record = pa.StructArray.from_arrays([small if beside else texts, small], ["en", "zh"])
    columns = {"all.en": texts, "all": record} if beside else {"all": record}
    pq.write_table(pa.table(columns), path, compression="zstd", store_schema=False)
    with (
        peak_of_arrow() as peak,
        pytest.raises(SourceError, match="unfolds into 300,000,000 bytes"),
    ):
        next(read_parquet(path, {"text": "all.en"}))
    assert peak() < 20_000_000
    (batch,) = read_parquet(path, {"text": "all.zh"})
    assert batch.texts == ["a text"] * 300


def test_fields_beside_those_that_are_wanted_are_not_read(tmp_path):
    """A record of two columns of a text and one of a whole page was read with its page."""
    path = tmp_path / "rows.parquet"
    pages = pa.array([f"{row}" * 100_000 for row in range(400)])
    texts = pa.array([f"text {row}" for row in range(400)])
    record = pa.StructArray.from_arrays([texts, pages], ["title", "page"])
    pq.write_table(pa.table({"of": record}), path, compression="none")
    with peak_of_arrow() as peak:
        (batch,) = read_parquet(path, {"text": "of.title"})
        assert batch.texts == texts.to_pylist()
    assert peak() < 5_000_000


def test_an_oversize_field_of_a_record_costs_its_row_only(tmp_path):
    """Texts above the limit, each many times: they are measured where they are kept once."""
    path = tmp_path / "rows.parquet"
    texts = pa.array(["short", *["x" * (MAX_CELL_BYTES + 1)] * 100, None, "last"])
    words = pa.array([["a"]] * 102 + [ITEMS])
    record = pa.StructArray.from_arrays([texts.dictionary_encode(), words], ["en", "words"])
    pq.write_table(pa.table({"all": record}), path, row_group_size=102, store_schema=False)
    first, last = read_parquet(path, {"text": "all.en", "labels": "all.words"})
    assert (first.lines, last.lines) == ([1], [])
    found = {row.line: (row.reason, row.detail) for row in first.rejected + last.rejected}
    told = ("oversize_cell", "1,048,577 bytes, at most 1,048,576")
    items = ("oversize_cell", "labels holds more than 1,048,576 bytes")
    missing = ("missing_text", "the text is null or absent")
    assert found == dict.fromkeys(range(2, 102), told) | {102: missing, 103: items}


@pytest.mark.parametrize("kind", ["lists", "records"])
def test_texts_in_lists_are_read_from_row_groups_of_any_size(tmp_path, kind):
    """The hub writes a thousand rows a group: SQuAD was a traceback of Arrow about chunked arrays,
    as one batch had the dictionaries of two groups."""
    path = tmp_path / "rows.parquet"
    texts = [f"text {row}" for row in range(100)]
    answers = [{"text": [text], "answer_start": [0]} for text in texts]
    cells = [[answer] for answer in texts] if kind == "lists" else answers
    pq.write_table(pa.table({"text": texts, "answers": cells}), path, row_group_size=7)
    batches = list(read_parquet(path, {"text": "text", "answers": "answers"}))
    assert [line for batch in batches for line in batch.lines] == list(range(1, 101))
    assert [text for batch in batches for text in batch.texts] == texts
    assert [answer for batch in batches for answer in batch.others["answers"]] == cells


def test_lists_are_counted_by_the_batch_in_which_they_are_read(tmp_path, monkeypatch):
    """A few long rows, padded so that the file is large enough for what it unfolds into."""
    monkeypatch.setattr(parquet_format, "_MAX_ROW_GROUP_BYTES", 1 << 20)
    few, many = lists(*[1000] * 200), lists(*[10] * 20_000)
    with pytest.raises(SourceError, match="200,000 values in lists of 200 rows"):
        read(tmp_path / "few.parquet", few)
    with pytest.raises(SourceError, match="140,000 values in lists of 140 rows"):
        read(tmp_path / "groups.parquet", few, row_group_size=20)
    assert len(read(tmp_path / "many.parquet", many)[0]) == 20_000


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
def test_a_cell_of_a_million_words_is_set_aside_before_it_unfolds(tmp_path, kind):
    """981 bytes filled 680 MB: each word was a Python text before its cell was measured."""
    rows = lists(3, *TOO_MANY * 4, 2, kind=kind)
    tracemalloc.start()
    try:
        good, bad = read(tmp_path / "rows.parquet", rows)
        assert tracemalloc.get_traced_memory()[1] < 8 * MAX_CELL_BYTES
    finally:
        tracemalloc.stop()
    assert good == [1, 6]
    told = ("oversize_cell", "words holds more than 1,048,576 bytes")
    assert bad == dict.fromkeys(range(2, 6), told)


ITEMS = ["x"] * MAX_CELL_BYTES
TEXT = pa.string()


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([[ITEMS], [["x"], ["x"]], None], pa.list_(pa.list_(TEXT))),
        ([{"text": ITEMS}, {"text": ["x"]}, None], pa.struct({"text": pa.list_(TEXT)})),
        (
            [[{"text": ITEMS}], [{"text": ["x"]}, None], None],
            pa.list_(pa.struct({"text": pa.list_(TEXT)})),
        ),
        ([[ITEMS[::2]] * 2, [], None], pa.list_(pa.list_(TEXT, MAX_CELL_BYTES // 2))),
    ],
    ids=["lists in a list", "record of lists", "list of records", "lists of one length"],
)
def test_values_are_counted_in_lists_of_any_form(tmp_path, cells, kind):
    """The same bomb in another column: answers are records of lists, spans lists of records."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["a", "b", "c"], "answers": pa.array(cells, kind)}), path)
    (batch,) = read_parquet(path, {"text": "text", "answers": "answers"})
    assert [(row.line, row.reason, row.detail) for row in batch.rejected] == [
        (1, "oversize_cell", "answers holds more than 1,048,576 bytes")
    ]
    assert batch.others["answers"] == cells[1:]


def test_a_cell_of_one_value_less_is_judged_as_ever(tmp_path):
    """A row that was read yesterday is set aside: other rows under the same key."""
    path = tmp_path / "rows.parquet"
    numbers = pa.ListArray.from_arrays(
        [0, MAX_CELL_BYTES - 1, MAX_CELL_BYTES], np.zeros(MAX_CELL_BYTES, np.int8)
    )
    pq.write_table(pa.table({"text": ["a", "b"], "labels": numbers}), path)
    (batch,) = read_parquet(path, {"text": "text", "labels": "labels"})
    assert batch.lines == [1, 2]
    assert not batch.rejected


def test_a_column_of_maps_is_the_users_mistake(tmp_path):
    """Forty lines of Arrow, which has no kernel for them, instead of the column and its type."""
    maps = pa.array([[("x", "1")]], pa.map_(TEXT, TEXT))
    with pytest.raises(SourceError, match="'answers' is of type map"):
        read(tmp_path / "rows.parquet", maps, key="answers")
