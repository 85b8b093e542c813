"""Columns that are fields of records are read as if each were a column of its own."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Translation, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from data_contracts.errors import SourceError
from tasks.corpus.readers.raw_rows import BATCH_ROWS
from tasks.corpus.sources.files import check_readable, read_file, read_rows, source_files
from tasks.corpus.sources.source import FileSource, Source

FORMATS = ["parquet", "dictionary", "jsonl", "datasets"]
COLUMNS = {
    "text": "translation.en",
    "target_text": "translation.zh",
    "label": "about.topic.name",
    "domain": "about.year",
    "score": "about.topic.score",
    "key": "id",
}
KIND = pa.schema(
    {
        "id": pa.int64(),
        "translation": pa.struct({"en": pa.string(), "zh": pa.string(), "de": pa.string()}),
        "about": pa.struct(
            {
                "topic": pa.struct({"name": pa.string(), "score": pa.float64()}),
                "year": pa.int64(),
                "seen": pa.list_(pa.string()),
            }
        ),
    }
)


def _flat(row):
    """What COLUMNS name in a row, told by hand; a null record has null fields."""
    translation, about = row["translation"] or {}, row["about"] or {}
    topic = about.get("topic") or {}
    return {
        "translation.en": translation.get("en"),
        "translation.zh": translation.get("zh"),
        "about.topic.name": topic.get("name"),
        "about.year": about.get("year"),
        "about.topic.score": topic.get("score"),
        "id": row["id"],
    }


def _write(folder, format_, rows, kind=None):
    """A file of these rows; their types are those of `kind`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rows.{format_}"
    table = pa.Table.from_pylist(rows, kind)
    if format_ == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif format_ == "datasets":
        Dataset(table).save_to_disk(path)
    elif format_ == "dictionary":
        pq.write_table(table, path, row_group_size=3, store_schema=False)
    else:
        pq.write_table(table, path, use_dictionary=False)
    return path


def _read(path, format_, columns, where=None):
    """(cells by line, reasons by line, rows that were left)."""
    format_ = {"dictionary": "parquet"}.get(format_, format_)
    source = _source(path, format_, where=where or {})
    good, bad, left = {}, {}, 0
    for batch in read_file(format_, path, columns, source.row_filter):
        good |= dict(batch.rows())
        bad |= {row.line: (row.reason, row.detail, row.label) for row in batch.rejected}
        left += batch.num_not_taken
    return good, bad, left


def _source(path, format_, **fields) -> FileSource:
    entry = {
        "name": "mine",
        "format": format_,
        "uri": str(path),
        "role": "transfer",
        "language": "en",
        "columns": {"text": "translation.en", "target_text": "translation.zh"},
        **fields,
    }
    return TypeAdapter(Source).validate_python(entry)


TEXTS = st.none() | st.sampled_from(["", "one", "two", "灯", "a\0b", "x" * 300])
TOPICS = st.fixed_dictionaries(
    {"name": TEXTS, "score": st.none() | st.floats(-5, 5, allow_nan=False)}
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(0, 9),
            "translation": st.none()
            | st.fixed_dictionaries({"en": TEXTS, "zh": TEXTS, "de": TEXTS}),
            "about": st.none()
            | st.fixed_dictionaries(
                {
                    "topic": st.none() | TOPICS,
                    "year": st.none() | st.integers(0, 3),
                    "seen": st.none() | st.lists(st.just("x"), max_size=2),
                }
            ),
        }
    ),
    min_size=1,
    max_size=12,
)
WHOLE = {
    "id": 0,
    "translation": {"en": "a lamp", "zh": "灯", "de": "Lampe"},
    "about": {"topic": {"name": "home", "score": 0.5}, "year": 2, "seen": ["x"]},
}


@pytest.mark.parametrize("format_", FORMATS)
def test_rows_of_records_are_those_of_a_flat_copy_of_the_file(tmp_path_factory, format_):
    """OPUS-100 and nearly all of the hub's translation sets had to be written anew to be read."""

    @settings(max_examples=25, deadline=None)
    @given(rows=ROWS)
    def check(rows):
        rows = [WHOLE, *rows]  # objects of JSON have no schema: a whole one tells the fields
        folder = tmp_path_factory.mktemp("rows")
        nested = _write(folder / "nested", format_, rows, KIND)
        flat = _write(folder / "flat", format_, [_flat(row) for row in rows])
        for where in ({}, {"about.year": [1, 2]}):
            found = _read(nested, format_, COLUMNS, where)
            assert found == _read(flat, format_, COLUMNS, where)
            assert len(found[0]) + len(found[1]) + found[2] == len(rows)

    check()


@pytest.mark.parametrize("format_", FORMATS)
def test_a_column_of_that_very_name_comes_before_a_field(tmp_path, format_):
    """Columns that pandas' json_normalize wrote beside the records were read from the records."""
    rows = [
        {"translation": {"en": f"field {row}"}, "translation.en": f"own {row}", "id": row}
        for row in range(8)
    ]
    path = _write(tmp_path, format_, rows)
    good, _, _ = _read(path, format_, {"text": "translation.en", "key": "id"})
    assert [row.text for row in good.values()] == [f"own {row}" for row in range(8)]
    inner = [{"a.b": {"c": "outer"}, "a": {"b.c": "long", "b": {"c": "short", "d": "deep"}}}]
    path = _write(tmp_path / "inner", format_, inner)
    cells = {"text": "a.b.c", "domain": "a.b.d"}
    (row,) = _read(path, format_, cells)[0].values()
    assert (row.text, row.others["domain"]) == ("outer", "deep")
    path = _write(tmp_path / "long", format_, [{"a": inner[0]["a"]}])
    assert _read(path, format_, cells)[0][1].text == "long"


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("column", ["translation.fr", "translation.en.x", "list.x", "other.en"])
def test_a_missing_field_is_told_with_those_that_there_are(tmp_path, format_, column):
    """A misspelt language was a file of which every text was missing."""
    row = {"translation": {"en": "a", "zh": "b"}, "list": [{"x": "c"}]}
    path = _write(tmp_path, format_, [{**row, "translation": None}, row, row])
    source = _source(path, {"dictionary": "parquet"}.get(format_, format_))
    check_readable(source)
    columns = {"text": column, "target_text": "translation.zh"}
    with pytest.raises(SourceError, match=f"has no column '{column}'") as caught:
        check_readable(source.model_copy(update={"columns": type(source.columns)(**columns)}))
    told = caught.value.rule.removeprefix("its columns are: ").split(", ")
    assert sorted(told) == ["list", "translation", "translation.en", "translation.zh"]


def test_json_records_that_are_all_null_may_have_any_field(tmp_path):
    """A column that is null in the first batch is there; a record's field was said not to be."""
    rows = [{"text": "a", "about": None}] * (BATCH_ROWS + 1)
    rows.append({"text": "a", "about": {"name": "b"}})
    path = _write(tmp_path, "jsonl", rows)
    good, bad, _ = _read(path, "jsonl", {"text": "text", "domain": "about.name"})
    assert [row.others["domain"] for row in good.values()] == [None] * (BATCH_ROWS + 1) + ["b"]
    assert not bad


@pytest.mark.parametrize("format_", FORMATS)
def test_answers_are_one_column_whose_fields_are_their_own(tmp_path, format_):
    """SQuAD's answers are a record of lists, which is read as a whole."""
    answers = {"text": ["b"], "answer_start": [2]}
    rows = [{"text": "a b", "of": {"title": str(row), "answers": answers}} for row in range(8)]
    whole = [{**row, "answers": answers} for row in rows]
    path = _write(tmp_path, format_, whole)
    columns = {"text": "text", "answers": "answers", "domain": "of.title"}
    found = {line: row.others for line, row in _read(path, format_, columns)[0].items()}
    assert found == {row + 1: {"answers": answers, "domain": str(row)} for row in range(8)}
    path = _write(tmp_path / "inner", format_, rows)
    inner = _read(path, format_, {**columns, "answers": "of.answers"})[0]
    assert {line: row.others for line, row in inner.items()} == found


def test_a_translation_of_the_library_is_a_record_whose_other_fields_stay_unread(tmp_path):
    """Of a record of a caption and an image, the image was decoded by code that its bytes chose;
    a class in a record was a number."""
    record = {"image": Image(), "text": Value("string"), "class": ClassLabel(names=["no", "yes"])}
    broken = {"bytes": b"no image", "path": None}
    rows = [
        {"image": broken, "text": "a lamp", "class": 1},
        {"image": None, "text": "b", "class": -1},
    ]
    images = Dataset.from_dict({"of": rows}, features=Features({"of": record}))
    images.save_to_disk(tmp_path / "images")
    good, bad, _ = _read(tmp_path / "images", "datasets", {"text": "of.text", "label": "of.class"})
    assert [(row.text, row.label) for row in good.values()] == [("a lamp", "yes"), ("b", None)]
    assert not bad
    pairs = [{"en": "a lamp", "zh": "灯"}, {"en": "a door", "zh": "门"}]
    features = Features({"translation": Translation(["zh", "en"])})
    Dataset.from_dict({"translation": pairs}, features=features).save_to_disk(tmp_path / "set")
    columns = {"text": "translation.en", "target_text": "translation.zh"}
    good, _, _ = _read(tmp_path / "set", "datasets", columns)
    assert [{"en": row.text, "zh": row.others["target_text"]} for row in good.values()] == pairs
    with pytest.raises(SourceError, match="column 'translation' is of type") as caught:
        _read(tmp_path / "set", "datasets", {"text": "translation"})
    assert "such as translation.en" in caught.value.remedy


def test_the_parallel_file_is_joined_by_fields_of_records(tmp_path):
    """Its key and texts were looked for in columns alone."""
    from tasks.corpus.sources.parallel import ParallelTexts

    own = [{"meta": {"id": row}, "s": {"zh": f"zh {row}"}} for row in range(3)]
    other = [{"meta": {"id": row}, "s": {"en": f"en {row}"}} for row in (2, 0, 1)]
    path = _write(tmp_path / "zh", "parquet", own)
    parallel = {"uri": str(_write(tmp_path / "en", "parquet", other)), "key": "meta.id"}
    parallel["columns"] = {"text": "s.en"}
    source = _source(
        path, "parquet", columns={"text": "s.zh"}, parallel=parallel, parallel_language="fr"
    )
    texts = ParallelTexts(source, tmp_path / "texts.db")
    (batch,) = read_rows(source, source_files(source)[0])
    joined = texts.join(batch)
    texts.close()
    assert joined.parallel_texts == ["en 0", "en 1", "en 2"]


@pytest.mark.parametrize("format_", ["csv", "tsv"])
def test_a_dot_of_a_text_format_is_part_of_the_name(tmp_path, format_):
    """A cell of JSON is a text of such a file, no record."""
    path = tmp_path / f"rows.{format_}"
    path.write_text('translation.en\n"a"\n')
    assert _read(path, format_, {"text": "translation.en"})[0][2].text == "a"
    path.write_text('translation\n"{""en"": ""a""}"\n')
    with pytest.raises(SourceError, match=r"has no column 'translation\.en'"):
        _read(path, format_, {"text": "translation.en"})


def test_records_of_the_wrong_shape_have_no_field(tmp_path):
    """One row of another shape ended the run."""
    shapes = [{"en": "a"}, "en", 7, ["en"], [{"en": "a"}], {"en": {"en": "a"}}, {"en": 7}, {}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"translation": shape}) + "\n" for shape in shapes))
    good, bad, _ = _read(path, "jsonl", {"text": "translation.en"})
    assert {line: row.text for line, row in good.items()} == {1: "a"}
    reasons = {line: reason for line, (reason, _, _) in bad.items()}
    assert reasons == dict.fromkeys((2, 3, 4, 5, 8), "missing_text") | dict.fromkeys(
        (6, 7), "wrong_type"
    )


def test_fields_may_have_any_name_but_one_name_is_one_field(tmp_path):
    """A field named as an attribute of Arrow's types, or twice, was a traceback."""
    fields = ["type", "field", "", "a b", "中.文"]
    path = _write(tmp_path, "parquet", [{"r": {name: f"is {name}" for name in fields}}])
    for name in fields:
        assert _read(path, "parquet", {"text": f"r.{name}"})[0][1].text == f"is {name}"
    twice = pa.StructArray.from_arrays([pa.array(["a"]), pa.array(["b"])], ["en", "en"])
    pq.write_table(pa.table({"r": twice}), path)
    with pytest.raises(SourceError, match=r"has the column 'r.en' 2 times"):
        _read(path, "parquet", {"text": "r.en"})
