"""Classes of train sources, told before ingestion: those that ingestion then finds."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.errors import SourceError
from flows.preflight.known_classes import known_classes
from flows.preflight.source_classes import check_label_maps, source_classes
from flows.recipe.loading.files import read_recipe
from tasks import ingestion
from tasks.corpus.readers.raw_rows import BATCH_ROWS

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def told(problem, **source):
    """What is told of one train source of `problem`."""
    config = ingestion.Config(
        problem=problem,
        source_language="en",
        target_language="zh",
        sources=[{"name": "train", "role": "train", "language": "en", **source}],
    )
    return source_classes(config, config.sources[0])


def test_tags_that_a_source_lists_are_counted_by_what_they_mean(tmp_path):
    """B-LOC and I-LOC taken for two kinds of entities, each with a B and an I of its own."""
    columns = {"words": "words", "tags": "tags"}
    given = {"format": "parquet", "columns": columns, "label_names": TAGS}
    found = told("token_classification", uri=str(tmp_path / "not-here.parquet"), **given)
    assert found == ({"LOC", "PER"}, 0, True)


def test_sets_of_classes_that_tags_name_are_counted_by_their_types(tmp_path):
    """A head of five decisions in a design, one a tag, where the corpus has two classes."""
    columns = {"words": "words", "tags": "tags"}
    given = {"format": "parquet", "columns": columns, "label_names": TAGS}
    uri = str(tmp_path / "not-here.parquet")
    found = told("multilabel_classification", uri=uri, **given, label_map={"PER": "person"})
    assert found == ({"LOC", "person"}, 0, True)
    names = {"format": "parquet", "columns": {"labels": "labels"}, "label_names": ["B-cell", "O"]}
    assert told("multilabel_classification", uri=uri, **names) == ({"B-cell", "O"}, 0, True)


def test_classes_that_a_source_lists_are_counted_as_its_map_calls_them(tmp_path):
    """A head with a class for `PER` and one for `person`, which the corpus makes one."""
    columns = {"words": "words", "tags": "tags"}
    given = {"format": "parquet", "columns": columns, "label_names": TAGS}
    leads = {"PER": "person", "Person": "person", "Place": "place"}
    uri = str(tmp_path / "not-here.parquet")
    found = told("token_classification", uri=uri, **given, label_map=leads)
    assert found == ({"LOC", "person", "place"}, 0, True)


def test_classes_that_a_source_lists_are_counted_in_the_form_in_which_rows_have_them(tmp_path):
    """A head of three classes: the corpus takes the name `Heat ` for the key `Heat`."""
    given = {"format": "csv", "columns": {"text": "text", "label": "label"}}
    given |= {"label_names": ["Heat ", "light"], "label_map": {"Heat": "heat"}}
    found = told("text_classification", uri=str(tmp_path / "not-here.csv"), **given)
    assert found == ({"heat", "light"}, 0, True)


def test_classes_of_pairs_that_are_made_are_known_without_a_file(tmp_path):
    """A design for an assumed number of classes, where there are two whatever is read."""
    source = {
        "format": "parquet",
        "uri": str(tmp_path / "nobody.parquet"),
        "language": "de",
        "columns": {"text": "q", "text_b": "c", "answers": "a"},
        "expand": "answer_sentences",
        "label_map": {"no": "not_entailment"},
    }
    assert told("matching", **source).names == {"yes", "not_entailment"}


def mapped_sources(tmp_path, labels, **changes):
    """A corpus of one train file with these labels, whose map has `Heat` and `Light`."""
    path = tmp_path / "train.csv"
    path.write_text("".join(["text,label\n", *(f"text {n},{x}\n" for n, x in enumerate(labels))]))
    source = {"name": "train", "role": "train", "language": "en", "format": "csv"}
    source |= {"uri": str(path), "columns": {"text": "text", "label": "label"}}
    source |= {"label_map": {"Heat": "heat", "Light": "light"}} | changes
    return ingestion.Config(
        problem="text_classification", source_language="en", target_language="zh", sources=[source]
    )


def test_a_misspelt_key_of_a_map_is_told_before_anything_runs(tmp_path):
    """`decant validate` calls a recipe valid that the first step refuses."""
    check_label_maps(mapped_sources(tmp_path, ["Heat", "Light", "cool"]))
    with pytest.raises(SourceError, match=r"label_map of source 'train' has 'Light', which no"):
        check_label_maps(mapped_sources(tmp_path, ["Heat", "Ligth", "cool"]))


def test_a_key_that_unread_rows_may_have_is_not_judged(tmp_path, monkeypatch):
    """A sound recipe refused: its rare class comes late in a long file, or lies on a server."""
    monkeypatch.setattr("flows.preflight.source_classes._MOST_BATCHES", 1)
    late = ["Heat"] * BATCH_ROWS + ["Light"]
    check_label_maps(mapped_sources(tmp_path, late))
    check_label_maps(mapped_sources(tmp_path, [], uri="s3://bucket/train.csv"))


def test_the_keys_of_a_map_are_looked_for_without_identifying_a_language(tmp_path, monkeypatch):
    """Half a minute of `decant validate` for a key that is misspelt, nearly all of it for verdicts
    that nobody asked for: a row in another language has its label all the same."""
    given = mapped_sources(tmp_path, ["Heat"])
    foreign = "这一行不是英文，它的标签仍然算数"
    (tmp_path / "train.csv").write_text(f"text,label\nhello there,Heat\n{foreign},Light\n")
    monkeypatch.delattr("tasks.corpus.rows.kind.language_problem")
    check_label_maps(given)


def test_a_network_for_named_entities_has_a_class_for_outside_and_two_for_each_type():
    """A head of two classes in the design of the shipped recipe, which lists seven tags."""
    said = "7 classes of the sources' label_names"
    assert known_classes(read_recipe("ner"), ()) == (7, said, False)


def test_entities_are_found_in_rows_that_are_here(tmp_path):
    """Two classes assumed beside a file on the same disk that shows five."""
    path = tmp_path / "train.conll"
    path.write_text(
        "Ada B-PER\nLovelace I-PER\nwrote O\n\nIn O\nBerlin B-LOC\n\nrain O\n", encoding="utf-8"
    )
    given = {"format": "conll", "columns": {"words": "1", "tags": "last"}}
    found = told("token_classification", uri=str(path), **given)
    assert found == ({"LOC", "PER"}, 3, True)
    assert told("multilabel_classification", uri=str(path), **given) == found


def test_lists_of_labels_count_each_label_once(tmp_path):
    """Every combination of labels taken for a class, or none of them."""
    rows = [("good sound", "a;b"), ("bad sound", "b; c "), ("no word", "")]
    path = tmp_path / "train.jsonl"
    path.write_text(
        "".join(json.dumps({"text": t, "label": label}) + "\n" for t, label in rows),
        encoding="utf-8",
    )
    given = {"format": "jsonl", "columns": {"label": "label"}, "label_separator": ";"}
    found = told("multilabel_classification", uri=str(path), **given)
    assert found == ({"a", "b", "c"}, 3, True)


def test_of_a_long_file_the_first_rows_are_read_and_no_more(tmp_path):
    """Minutes over a file of millions of rows, or a class of its end said to be counted."""
    num_rows = 70_000
    labels = [f"class {number % 5}" for number in range(num_rows - 1)] + ["the last one"]
    texts = [f"text {number}" for number in range(num_rows)]
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"text": texts, "label": labels}), path)
    given = {"format": "parquet", "columns": {"label": "label"}}
    found = told("text_classification", uri=str(path), **given)
    assert found == ({f"class {number}" for number in range(5)}, 8 * 8192, False)


@pytest.mark.parametrize("uri", ["not-here.csv", "hf://datasets/org/name@abc/train.csv"])
def test_what_is_not_here_is_not_fetched(tmp_path, monkeypatch, uri):
    """A minute of retries for a figure that nobody asked for, or an error in its place."""
    monkeypatch.chdir(tmp_path)
    assert told("text_classification", format="csv", uri=uri, columns={"label": "label"}) is None


def test_a_collection_in_a_package_that_is_not_installed_is_not_here():
    """A design refused for a collection that a run would need, and it does not."""
    given = {"format": "home_assistant_intents", "uri": "pkg://no_such_package/data"}
    assert told("text_classification", **given) is None


def test_a_file_that_is_not_what_the_recipe_says_is_refused(tmp_path):
    """A design of two classes, where the column of the label is misspelt."""
    path = tmp_path / "train.csv"
    path.write_text("text,label\nhello,on\n", encoding="utf-8")
    with pytest.raises(SourceError, match="has no column 'topik'"):
        told("text_classification", format="csv", uri=str(path), columns={"label": "topik"})
