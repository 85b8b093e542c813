"""Rows, texts and logits are joined by example id, whatever the order of the files."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.errors import ContractViolation, CorruptArtifact
from tasks.comparison.material import Material
from tasks.comparison.timing.timing import spread
from tasks.corpus.tables import write_table

IDS = [f"{i:032x}" for i in range(4)]


def write_labels(folder, names):
    (folder / "labels.json").write_text(json.dumps({"labels": names}))


@pytest.fixture
def material(store, publish):
    """Signals in another row and class order than the tokens; one row without a signal."""

    def corpus(out):
        table = pa.table(
            {
                "example_id": IDS,
                "text": ["一", "two", "三", "四"],
                "language": ["zh", "en", "zh", "zh"],
                "parallel_text": pa.array([None, "二", None, None], pa.string()),
            }
        )
        write_table(table.slice(0, 2), out / "rows" / "test" / "part-00000.parquet")
        write_table(table.slice(2), out / "rows" / "test" / "part-00001.parquet")

    def tokens(out):
        table = pa.table(
            {
                "example_id": [IDS[3], IDS[1], IDS[0]],
                "input_ids": pa.array([[3], [1], [0]], pa.list_(pa.int32())),
                "label": pa.array([1, -1, 0], pa.int32()),
                "language": ["zh", "zh", "en"],
            }
        )
        write_table(table, out / "test" / "part-00000.parquet")
        write_labels(out, ["off", "on"])

    def signals(out):
        logits = pa.FixedSizeListArray.from_arrays(
            pa.array([1.0, 10.0, 3.0, 30.0], pa.float32()), 2
        )
        table = pa.table({"example_id": [IDS[1], IDS[3]], "logits": logits})
        write_table(table, out / "test" / "part-00000.parquet")
        write_labels(out, ["on", "off"])

    inputs = {
        "corpus": publish(store, "corpus", corpus),
        "student_tokens": publish(store, "tokens", tokens),
        "teacher_signals": publish(store, "teacher_signals", signals),
    }
    return Material(inputs, "en", "zh")


def test_logits_follow_the_ids_and_the_class_names(material):
    """Another order of classes would swap `on` and `off` in every answer of the teacher."""
    found = material.teacher_logits(pa.chunked_array([[IDS[3], IDS[1], IDS[3]]]))
    assert found.tolist() == [[30.0, 3.0], [10.0, 1.0], [30.0, 3.0]]
    assert material.has_signal(pa.chunked_array([IDS])).to_pylist() == [False, True, False, True]


def test_a_row_without_a_signal_is_refused(material):
    """A null index read as row 0 lends an example another one's logits."""
    with pytest.raises(ContractViolation, match="1 of 2 rows have no teacher signal"):
        material.teacher_logits(pa.chunked_array([[IDS[1], IDS[2]]]))


@pytest.fixture
def written(store, publish):
    """Signals of written texts in three parts; id i wrote `text i` and has bytes of its own."""

    def signals(out):
        for part, numbers in {
            "transfer/part-00000": [5, 0, 4],
            "test/part-00000": [3, 1],
            "test/part-00001": [2],
        }.items():
            table = pa.table(
                {
                    "example_id": [f"{i:032x}" for i in numbers],
                    "topk": [bytes([i]) * 64 for i in numbers],
                    "hypotheses": [[f"text {i}"] for i in numbers],
                }
            )
            write_table(table, out / f"{part}.parquet")

    return Material({"teacher_signals": publish(store, "teacher_signals", signals)}, "en", "zh")


def spoil(path, name):
    """Flip the bits of a byte in the last page of a column: whoever reads it is refused."""
    facts = pq.read_metadata(path)
    [number] = [i for i in range(facts.num_columns) if facts.schema.column(i).path.startswith(name)]
    column = facts.row_group(0).column(number)
    start = column.dictionary_page_offset or column.data_page_offset
    content = bytearray(path.read_bytes())
    content[start + column.total_compressed_size - 1] ^= 0xFF
    path.chmod(0o644)
    path.write_bytes(content)


def test_signals_of_several_parts_come_in_the_order_asked(written):
    """A test set spread over parts gets another text's answers, or those of the parts' order."""
    for numbers in ([1, 5, 2, 1, 0, 3], [4], [3, 1], [5, 4, 3, 2, 1, 0], []):
        ids = pa.chunked_array([[f"{i:032x}" for i in numbers]], pa.string())
        found = written.signals(ids, ["hypotheses", "topk"])
        assert found["example_id"].to_pylist() == ids.to_pylist()
        assert found["hypotheses"].to_pylist() == [[f"text {i}"] for i in numbers]
        assert found["topk"].to_pylist() == [bytes([i]) * 64 for i in numbers]


def test_what_nobody_asks_for_is_not_read(written):
    """Evaluation after days of training: the predictions on every token of all roles overflowed the
    2 GiB of a column, for the texts of a few test rows."""
    folder = written.path("teacher_signals")
    for path in folder.glob("*/*.parquet"):
        spoil(path, "topk")
    spoil(folder / "transfer" / "part-00000.parquet", "hypotheses")
    ids = pa.chunked_array([[f"{i:032x}" for i in (1, 2)]])
    found = written.signals(ids, ["hypotheses"])
    assert found["hypotheses"].to_pylist() == [["text 1"], ["text 2"]]
    with pytest.raises(CorruptArtifact):
        written.signals(ids, ["topk"])
    with pytest.raises(CorruptArtifact):
        written.signals(pa.chunked_array([["0" * 32]]), ["hypotheses"])


def test_texts_are_in_the_readers_language_and_in_the_order_asked(material):
    """A parallel row holds both languages: the student must be timed on its own."""
    ids = pa.chunked_array([[IDS[3], IDS[1], IDS[0]]])
    assert material.texts("student", ["test"], ids) == ["四", "二", "一"]


def test_rows_of_other_languages_and_without_labels_are_left_out(material):
    """A multilingual token set must not leak its other languages into a student's score."""
    assert material.rows("student", ["test"])["example_id"].to_pylist() == [IDS[3], IDS[1]]
    assert material.test_rows("student")["example_id"].to_pylist() == [IDS[3]]


def test_seeds_are_counted_from_zero(material):
    """`student_10` sorts before `student_2` as text: seed 0 must stay the delivered one."""
    some = material.inputs["corpus"]
    inputs = {**material.inputs, **{f"student_{i}": some for i in (10, 2, 0, 1)}}
    assert len(Material(inputs, "en", "zh").seeds("student")) == 3
    assert Material(inputs, "en", "zh").seeds("supervised") == []


def test_timed_texts_are_spread_over_a_sorted_file():
    """The first hundred rows of a file sorted by class are all of one length."""
    texts = [str(i) for i in range(1000)]
    chosen = [int(text) for text in spread(texts, 5)]
    assert chosen == [0, 249, 499, 749, 999]
    assert spread(texts[:3], 5) == texts[:3]
    assert np.array(spread(texts, 100)).size == 100
