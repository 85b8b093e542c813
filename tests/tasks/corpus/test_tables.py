"""The one Parquet reader and writer."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.errors import CorruptArtifact
from tasks.corpus.readers.parquet_format import read_parquet
from tasks.corpus.tables import (
    ROWS_PER_GROUP,
    iter_batches,
    part_paths,
    read_table,
    write_table,
)


def _table(num_rows):
    return pa.table({"number": range(num_rows), "text": [f"text {i} 灯" for i in range(num_rows)]})


def test_bytes_depend_on_content_not_on_how_the_table_was_glued(tmp_path):
    """A corpus written by four workers got another digest than by one, and everything was rerun."""
    whole = _table(ROWS_PER_GROUP + 100)
    glued = pa.concat_tables([whole.slice(0, 7), whole.slice(7, 1000), whole.slice(1007)])
    write_table(whole, tmp_path / "whole.parquet")
    write_table(glued, tmp_path / "a" / "glued.parquet")
    assert (tmp_path / "whole.parquet").read_bytes() == (
        tmp_path / "a" / "glued.parquet"
    ).read_bytes()


@pytest.mark.parametrize("position", [0.02, 0.2, 0.4, 0.6])
def test_a_flipped_bit_is_noticed(tmp_path, position):
    """Default Parquet returns wrong texts without a word when one bit of a page flips."""
    path = tmp_path / "table.parquet"
    write_table(_table(5000), path)
    data = bytearray(path.read_bytes())
    data[int(len(data) * position)] ^= 4
    path.write_bytes(data)
    with pytest.raises(CorruptArtifact):
        read_table(path)
    with pytest.raises(CorruptArtifact):
        list(iter_batches(path))


def test_a_truncated_file_is_noticed(tmp_path):
    """Half of a part, left by a full disk, was read as an empty one."""
    path = tmp_path / "table.parquet"
    write_table(_table(5000), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptArtifact):
        read_table(path)


def test_batches_are_the_rows_in_order_with_the_columns_asked_for(tmp_path):
    """Texts met the labels of other rows because columns came back in file order."""
    table = _table(2500)
    write_table(table, tmp_path / "t.parquet")
    batches = list(iter_batches(tmp_path / "t.parquet", 1000, ["text", "number"]))
    assert [batch.num_rows for batch in batches] == [1000, 1000, 500]
    assert batches[0].schema.names == ["text", "number"]
    glued = pa.Table.from_batches(batches)
    assert glued["number"].to_pylist() == list(range(2500))
    assert read_table(tmp_path / "t.parquet", ["text"]).schema.names == ["text"]
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "absent.parquet")


def test_reading_batches_holds_some_row_groups_not_the_file(tmp_path):
    """Twenty bytes a row read ahead and kept to the end: 2 GB of 100 million short rows."""
    rng, path = np.random.default_rng(0), tmp_path / "texts.parquet"
    texts = [rng.bytes(40).hex() for _ in range(200_000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=8000, use_dictionary=False)
    plain, source = iter_batches(path, 8000), read_parquet(path, {"text": "text"})
    for batches, most in ((plain, 4 << 20), (source, 28 << 20)):  # 16 and 44 MiB otherwise
        before = held = pa.total_allocated_bytes()
        for _ in batches:
            held = max(held, pa.total_allocated_bytes())
        assert held - before < most


def test_parts_are_read_role_by_role_in_the_order_of_rows(tmp_path):
    """Labels joined to other rows: two readers of one artifact that list its files differently."""
    for name in ("test/part-00000", "train/part-00010", "train/part-00002", "transfer/part-00000"):
        write_table(_table(1), tmp_path / f"{name}.parquet")
    (tmp_path / "train" / "counts.json").write_text("{}")
    found = [path.relative_to(tmp_path).as_posix() for path in part_paths(
        tmp_path, ["transfer", "adapt", "train"]
    )]  # fmt: skip
    assert found == [
        "transfer/part-00000.parquet", "train/part-00002.parquet", "train/part-00010.parquet",
    ]  # fmt: skip
