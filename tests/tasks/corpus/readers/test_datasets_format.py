"""Data sets saved by the library `datasets`: labels by name, and nothing is decoded."""

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value

from data_contracts.errors import SourceError
from tasks.corpus.readers.raw_rows import BATCH_ROWS
from tasks.corpus.sources.files import read_rows, source_files
from tasks.corpus.sources.source import Columns, FileSource

TEXTS = ["turn on the light", "switch it off", None, "what time is it"]
FEATURES = Features(
    {"sentence": Value("string"), "intent": ClassLabel(names=["on", "off"]), "vector":
     Sequence(Value("float32"))}
)  # fmt: skip


def saved(folder, texts=TEXTS, labels=(0, 1, 1, -1)):
    rows = {"sentence": texts, "intent": list(labels), "vector": [[0.5]] * len(texts)}
    return Dataset.from_dict(rows, features=FEATURES), folder


def source(folder, **columns):
    return FileSource(
        name="hub",
        format="datasets",
        uri=str(folder),
        role="transfer",
        language="en",
        columns=Columns(**{"text": "sentence", "label": "intent", **columns}),
    )


def read(chosen):
    (file,) = source_files(chosen)
    assert file.label == "hub"
    return list(read_rows(chosen, file))


def test_labels_are_names_and_their_absence_is_none(tmp_path):
    """Class 1 of this data set is not class 1 of that one: numbers would be mixed up."""
    dataset, folder = saved(tmp_path / "set")
    dataset.save_to_disk(folder)
    (batch,) = read(source(folder))
    assert batch.lines == [1, 2, 4]
    assert batch.texts == ["turn on the light", "switch it off", "what time is it"]
    assert batch.labels == ["on", "off", None]
    assert [(row.line, row.reason) for row in batch.rejected] == [(3, "missing_text")]


def test_several_arrow_files_are_one_source_in_order(tmp_path):
    """Rows counted anew in each file cannot be found again from the quarantine."""
    texts = [f"text {i}" for i in range(BATCH_ROWS + 10)]
    dataset, folder = saved(tmp_path / "set", texts, [i % 2 for i in range(len(texts))])
    dataset.save_to_disk(folder, num_shards=3)
    batches = read(source(folder))
    assert [text for batch in batches for text in batch.texts] == texts
    assert [line for batch in batches for line in batch.lines] == list(range(1, len(texts) + 1))
    assert max(batch.num_rows for batch in batches) <= BATCH_ROWS


def test_mistakes_are_told_in_words(tmp_path):
    """A traceback from inside the library names neither the source nor the remedy."""
    dataset, folder = saved(tmp_path / "set")
    dataset.save_to_disk(folder)
    with pytest.raises(SourceError, match="has no column 'text'"):
        read(source(folder, text="text"))
    with pytest.raises(SourceError, match="column 'vector' is of type"):
        read(source(folder, text="vector"))
    DatasetDict({"train": dataset, "test": dataset}).save_to_disk(tmp_path / "both")
    with pytest.raises(SourceError, match="holds the splits train, test") as splits:
        read(source(tmp_path / "both"))
    assert "both/train" in splits.value.remedy
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("x")
    with pytest.raises(SourceError, match="no data set saved by"):
        read(source(tmp_path / "empty"))


@pytest.mark.parametrize("kind", ["numpy", "arrow", "pandas"])
def test_the_format_that_a_data_set_was_saved_under_changes_nothing(tmp_path, kind):
    """Every row was set aside, as numpy.int64 is no label, or a traceback told of tables."""
    dataset, folder = saved(tmp_path / "set", TEXTS[:2], (0, -1))
    dataset.with_format(kind, columns=["intent"]).save_to_disk(folder)
    (batch,) = read(source(folder))
    assert (batch.texts, batch.labels, batch.rejected) == (TEXTS[:2], ["on", None], [])
