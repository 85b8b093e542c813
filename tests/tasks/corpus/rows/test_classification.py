"""Classes of texts as files have them: names, numbers of `label_names`, or none."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import ingestion
from tasks.corpus.preparation.rows import prepare
from tasks.corpus.sources.files import read_rows, source_files

NAMES = ["neg", "pos"]
TEXTS = ["The room was cold", "The view was lovely", "They open at nine", "Nobody came back"]


def prepared(path, role, **fields):
    """(classes of the rows that pass, reason and detail of the others) of a file of texts."""
    source = {"name": "s", "format": path.suffix[1:], "uri": str(path), "role": role}
    columns = {"text": "text", "label": "label"}
    given = {"language": "en", "columns": columns, "label_names": NAMES, **source, **fields}
    config = ingestion.Config.model_validate(
        {"source_language": "en", "target_language": "zh", "sources": [given]}
    )
    (source,) = config.sources
    (file,) = source_files(source)
    (batch,) = read_rows(source, file)
    found = prepare(batch, ingestion.row_rules(config, source, file.label))
    told = [(row["reason"], row["detail"]) for row in found.quarantine.to_pylist()]
    return found.rows["label"].to_pylist(), told


def written(path, labels):
    """A CSV file of a text for each of `labels`, as they are spelt there."""
    rows = zip(TEXTS, labels, strict=False)
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


def test_minus_one_is_no_label_where_numbers_have_names(tmp_path):
    """A third class called -1: that is what a test set of the hub has in place of labels."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": TEXTS, "label": [0, -1, 1, -1]}), path)
    assert prepared(path, "train") == (["neg", "pos"], [("missing_label", "no label")] * 2)
    assert prepared(path, "transfer") == (["neg", None, "pos", None], [])


def test_whole_numbers_with_a_point_are_those_numbers(tmp_path):
    """Classes 0.0 and 1.0: pandas writes floats where one label of a column is missing."""
    path = written(tmp_path / "rows.csv", ["0.0", "1.0", "", "-1.0"])
    assert prepared(path, "train") == (["neg", "pos"], [("missing_label", "no label")] * 2)
    assert prepared(path, "transfer") == (["neg", "pos", None, None], [])


def test_what_is_neither_a_number_nor_a_name_is_set_aside(tmp_path):
    """A misspelt name, or the number of a class too many, became a class without a word."""
    labels = [" pos", "Pos", "2", "0.5"]
    found, told = prepared(written(tmp_path / "rows.csv", labels), "train")
    assert found == ["pos"]
    rule = "is neither a number from 0 to 1 nor one of 2 names"
    assert told == [("unknown_label", f"{label!r} {rule}") for label in labels[1:]]


def test_a_name_that_looks_like_a_number_is_a_name(tmp_path):
    """A name 1.0, the third of them, was read as the number of the second."""
    path = written(tmp_path / "rows.csv", ["0.0", "0.5", "-1.0", "1"])
    names = ["-1.0", "0.5", "0.0"]
    assert prepared(path, "train", label_names=names) == (["0.0", "0.5", "-1.0", "0.5"], [])


@pytest.mark.parametrize("label", ["-1", "0.0", "1.0"])
def test_without_names_a_label_is_its_own_name(tmp_path, label):
    """Scales from -1 to 1 lost a class of their own."""
    path = written(tmp_path / "rows.csv", [label])
    assert prepared(path, "train", label_names=[]) == ([label], [])


def test_other_names_are_led_to_those_of_the_recipe(tmp_path):
    """`Pos` beside pos: a class of its own, or a row that is set aside."""
    path = written(tmp_path / "rows.csv", ["Pos", " good ", "neg", "Neg"])
    spelt = {"Pos": "pos", "good": "pos"}
    assert prepared(path, "train", label_names=[], label_map=spelt) == (
        ["pos", "pos", "neg", "Neg"],
        [],
    )


def test_numbers_get_their_name_before_it_is_mapped(tmp_path):
    """Number 1 looked up as the text `1`, or its name left as the file's."""
    path = written(tmp_path / "rows.csv", ["0", "1.0", "NEG", "2"])
    leads = {"neg": "negative", "NEG": "negative"}
    found, told = prepared(path, "train", label_map=leads)
    # A key is a name too, where label_names would set it aside.
    assert found == ["negative", "pos", "negative"]
    assert [reason for reason, _ in told] == ["unknown_label"]


def test_minus_one_is_a_class_where_the_map_says_so(tmp_path):
    """A scale of -1 and 1 lost its lower end: -1 is no label where numbers have names."""
    path = written(tmp_path / "rows.csv", ["-1", "1"])
    assert prepared(path, "train", label_map={"-1": "neg"}) == (["neg", "pos"], [])
    assert prepared(path, "train", label_names=[], label_map={"-1": "neg", "1": "pos"}) == (
        ["neg", "pos"],
        [],
    )
