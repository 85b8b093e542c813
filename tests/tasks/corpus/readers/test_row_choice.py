"""One file may hold the rows of several sources, and more of them than are wanted."""

import json
from collections import Counter
from itertools import combinations

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from pydantic import TypeAdapter, ValidationError

from data_contracts.errors import SourceError
from tasks.corpus.readers.row_choice import Draw
from tasks.corpus.sources.files import check_readable, read_rows, source_files, start_draw
from tasks.corpus.sources.source import FileSource, Source
from tasks.evaluation import data_counts
from tests.tasks.small_corpus import counts_of, ingest, quarantine_of, rows_of, source_of

LANGUAGES = ["en", "zh", "de", "zh", None, "en", "zh"] * 3
FORMATS = ["parquet", "dictionary", "jsonl", "csv", "tsv", "datasets"]


def _table():
    """Texts of three languages and one of none, with a class, a number and a yes or no."""
    rows = range(len(LANGUAGES))
    return {
        "text": [None if row in (0, 1) else f"text {row}" for row in rows],
        "label": ["yes" if row % 2 else "no" for row in rows],
        "language": LANGUAGES,
        "stars": [row % 5 for row in rows],
        "checked": [row % 3 == 0 for row in rows],
    }


def _write(folder, format_):
    table = pa.table(_table())
    path = folder / f"all.{format_}"
    if format_ in ("csv", "tsv"):
        options = pa.csv.WriteOptions(delimiter="," if format_ == "csv" else "\t")
        pa.csv.write_csv(table, path, options)
    elif format_ == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    elif format_ == "datasets":
        Dataset.from_dict(_table()).save_to_disk(path)
    else:
        path = folder / "all.parquet"
        if format_ == "dictionary":  # as pandas writes a category
            language = table["language"].combine_chunks().dictionary_encode()
            table = table.set_column(2, "language", language)
        pq.write_table(table, path, row_group_size=4)
    return path


def _source(path, format_="parquet", **fields):
    entry = {
        "name": "mine",
        "format": {"dictionary": "parquet"}.get(format_, format_),
        "uri": str(path),
        "role": "train",
        "language": "en",
        "columns": {"text": "text", "label": "label"},
        **fields,
    }
    return TypeAdapter(Source).validate_python(entry)


def _lines(source, *, draw=False):
    """Numbers of rows taken and set aside, 0 the first; rows left."""
    files = source_files(source)
    drawing = start_draw(source, files) if draw else None
    taken, aside, left = [], [], 0
    first = 2 if source.format in ("csv", "tsv") else 1
    for file in files:
        for batch in read_rows(source, file, drawing):
            assert all(label in ("yes", "no") for label in batch.labels)
            assert not set(batch.others) - {"domain"}
            taken += [line - first for line in batch.lines]
            aside += [row.line - first for row in batch.rejected]
            left += batch.num_not_taken
    return taken, aside, left


@pytest.mark.parametrize("format_", FORMATS)
def test_a_source_takes_the_rows_of_its_languages_alone(tmp_path, format_):
    """The Chinese source had the rows of sixteen languages, each set aside for being no Chinese."""
    path = _write(tmp_path, format_)
    for wanted in (["zh"], ["en", "de"], ["zh", "de", "en"]):
        rows = [row for row, language in enumerate(LANGUAGES) if language in wanted]
        taken, aside, left = _lines(_source(path, format_, where={"language": wanted}))
        broken = [row for row in rows if row in (0, 1)]
        if format_ in ("csv", "tsv"):  # which have no null: an empty text is judged later
            taken, broken = [row for row in taken if row not in (0, 1)], []
        assert (taken, aside) == ([row for row in rows if row not in (0, 1)], broken)
        assert left == len(LANGUAGES) - len(rows)


@pytest.mark.parametrize("format_", FORMATS)
def test_numbers_and_truth_values_are_compared_by_how_they_are_written(tmp_path, format_):
    """`where: {stars: [4]}` took nothing, as 4 is not the text 4."""
    path = _write(tmp_path, format_)
    source = _source(path, format_, where={"stars": [3, 4], "checked": True})
    wanted = [row for row in range(len(LANGUAGES)) if row % 5 in (3, 4) and row % 3 == 0]
    assert _lines(source)[0] == wanted
    assert len(wanted) == 3


def test_rows_of_a_source_that_has_few_are_told_from_the_first_batches(tmp_path):
    """Plan and design read eight batches for the classes of a source, and found none in them."""
    rare = pa.table(
        {"text": ["x"] * 90, "label": ["no"] * 90, "language": ["fr"] * 80 + ["zh"] * 10}
    )
    pq.write_table(rare, tmp_path / "rare.parquet", row_group_size=5)
    source = _source(tmp_path / "rare.parquet", where={"language": "zh"})
    (file,) = source_files(source)
    assert [(b.num_rows, b.num_not_taken) for b in read_rows(source, file)] == [(5, 80), (5, 0)]
    source = _source(tmp_path / "rare.parquet", where={"language": "fr"})
    assert [b.num_not_taken for b in read_rows(source, file)] == [0] * 16 + [10]


def test_a_column_may_be_chosen_by_and_read(tmp_path):
    """A filter on the class took the class away from the rows."""
    path = _write(tmp_path, "parquet")
    source = _source(path, where={"label": "yes"}, columns={"text": "text", "label": "label"})
    assert _lines(source)[0] == [row for row in range(2, len(LANGUAGES)) if row % 2]


def test_a_source_without_any_row_is_told_what_there_is(tmp_path):
    """`zho` for zh: nothing came of it, and the report was of one language."""
    _write(tmp_path, "parquet")
    pq.write_table(pa.table(_table()).slice(2, 1), tmp_path / "german.parquet")
    source = _source(tmp_path / "*.parquet", where={"language": "zho"})
    with pytest.raises(SourceError, match="none of the 22 rows of source 'mine'") as caught:
        check_readable(source)
    # Of four row groups of four rows, without two that have no text, and the German one.
    assert "language: zh (6), en (4), de (3), None (2)" in caught.value.rule
    check_readable(_source(tmp_path / "*.parquet", where={"language": "zh"}))  # one file has none


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_a_broken_line_is_no_row_of_the_source(tmp_path, sources, store, format_):
    """A file of other sources' rows and one broken line: decant validate refused the recipe for it,
    and a run with a misspelt value ended with a corpus of that line alone."""
    (folder := tmp_path / "mine").mkdir()
    for path, language in ((folder / f"1.{format_}", "de"), (folder / f"2.{format_}", "en")):
        rows = [(f"open the door {row:03d}", "open", language) for row in range(30)]
        if format_ == "csv":
            lines, broken = ["text,label,language", *map(",".join, rows)], "a,b,c,d"
        else:
            named = (dict(zip(("text", "label", "language"), row, strict=True)) for row in rows)
            lines, broken = [*map(json.dumps, named)], "{broken"
        path.write_text("\n".join(lines + [broken] * (language == "de")))
    fields = {"format": format_, "where": {"language": "en"}}
    mine = source_of("mine", folder, "train", "en", **fields)
    check_readable(FileSource.model_validate(mine))
    for drawn in ({}, {"max_rows": 1}):  # with max_rows: perhaps of the broken lines
        counts = counts_of(ingest([{**mine, **drawn}, *sources], store))["sources"]["mine"]
        assert counts["rows_in"] + counts["rows_not_taken"] == 61
        nobody = {**mine, **drawn, "where": {"language": "eng"}}
        with pytest.raises(SourceError, match="none of the 60 rows of source 'mine' has language"):
            check_readable(FileSource.model_validate(nobody))
        with pytest.raises(SourceError, match="none of the 60 rows of source 'mine' has language"):
            ingest([nobody, *sources], store)


def test_a_column_that_is_not_there_is_told(tmp_path):
    """A misspelt column passed as one that no row has a value in."""
    for format_ in ("parquet", "jsonl", "csv", "datasets"):
        path = _write(tmp_path, format_)
        with pytest.raises(SourceError, match="has no column 'lang'") as caught:
            check_readable(_source(path, format_, where={"lang": "zh"}))
        assert "`where`" in caught.value.remedy
    pq.write_table(pa.table({**_table(), "share": [0.5] * len(LANGUAGES)}), tmp_path / "f.parquet")
    with pytest.raises(SourceError, match="column 'share' is of type double") as caught:
        check_readable(_source(tmp_path / "f.parquet", where={"share": "0.5"}))
    assert "columns of where are strings, integers or booleans" in caught.value.rule


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 3},
        {"where": {"language": []}},
        {"where": {"language": [""]}},
        {"where": {"": ["zh"]}},
        {"where": {"score": [0.5]}},
        {"where": {"language": None}},
        {"where": ["zh"]},
        {"where": {"language": ["en", False]}},  # YAML's reading of [en, no]: Norwegian
        {"max_rows": 0},
        {"format": "conll", "columns": {"words": "1", "tags": "2"}, "where": {"3": ["x"]}},
    ],
)
def test_a_choice_that_would_do_nothing_is_refused(fields):
    """A seed without a draw looked as if it drew."""
    with pytest.raises(ValidationError):
        _source("rows.parquet", **fields)


def test_sources_without_a_choice_keep_their_keys():
    """A release with a new field made every corpus again."""
    plain = _source("rows.parquet").model_dump(mode="json")
    assert not {"where", "max_rows", "seed"} & set(plain)
    chosen = _source("rows.parquet", where={"language": "zh"}, max_rows=5, seed=1)
    assert chosen.model_dump(mode="json") == {
        **plain,
        "where": {"language": ["zh"]},
        "max_rows": 5,
        "seed": 1,
    }


def test_each_choice_of_rows_is_as_likely_as_another():
    """The first rows of a table sorted by data set were a sample of one data set."""
    seen = Counter()
    for seed in range(4_500):
        draw = Draw(6, 2, seed)
        seen[tuple(row for row in range(6) if draw.takes_next())] += 1
    assert set(seen) == set(combinations(range(6), 2))  # exactly two, each pair
    expected = 4_500 / 15
    chi_squared = sum((count - expected) ** 2 / expected for count in seen.values())
    assert chi_squared < 36.1  # 14 degrees of freedom: exceeded once in a thousand


def test_rows_are_drawn_from_all_files_together_and_keep_their_order(tmp_path):
    """Ten rows of each of a hundred files were a thousand rows."""
    for number in range(3):
        table = pa.table({"text": [f"{number} {row}" for row in range(40)], "label": ["no"] * 40})
        pq.write_table(table, tmp_path / f"part-{number}.parquet", row_group_size=7)
    taken = {}
    for seed in (0, 1):
        source = _source(tmp_path, max_rows=25, seed=seed)
        files = source_files(source)
        draw = start_draw(source, files)
        batches = [batch for file in files for batch in read_rows(source, file, draw)]
        taken[seed] = [text for batch in batches for text in batch.texts]
        assert len(taken[seed]) == 25 == len(set(taken[seed]))
        assert taken[seed] == sorted(taken[seed], key=lambda text: tuple(map(int, text.split())))
        assert {text[0] for text in taken[seed]} == set("012")
        assert sum(batch.num_not_taken for batch in batches) == 95
    assert taken[0] != taken[1]
    assert _lines(_source(tmp_path, max_rows=1_000), draw=True)[2] == 0


def test_null_takes_a_filter_away():
    """A recipe that extends another had no way to read all rows of its own file."""
    assert _source("rows.parquet", where=None) == _source("rows.parquet")


def test_the_corpus_counts_rows_that_were_not_taken(sources, store, tmp_path):
    """Half of a file was missing from the corpus, and no figure said so; or it was quarantined."""
    path = tmp_path / "all.jsonl"
    lines = [
        {"text": None if row == 1 else f"open the door {row:04d} {'gate fan'[row % 7 :]}",
         "label": "open" if row % 3 else "close", "language": "en" if row % 2 else "fr"}
        for row in range(600)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    fields = {"where": {"language": "en"}, "label_map": {"close": "shut", "open": "open it"}}
    every = source_of("mine", path, "train", "en", **fields)
    counts = counts_of(ingest([every, *sources], store))["sources"]["mine"]
    assert (counts["rows_in"], counts["rows_not_taken"]) == (300, 300)
    assert counts["quarantined"]["missing_text"] == 1
    some = every | {"max_rows": 40, "label_map": {"close": "shut", "never there": "open"}}
    drawn = ingest([some, *sources], store)
    counts = counts_of(drawn)["sources"]["mine"]
    assert (counts["rows_in"], counts["rows_not_taken"]) == (40, 560)
    again = ingest([some, *sources], store, workers=2, force=True)
    assert rows_of(again, "train") == rows_of(drawn, "train")
    assert quarantine_of(again) == quarantine_of(drawn)
    assert "rows_not_taken" not in counts_of(drawn)["sources"]["train"]
    # The report does not take them for something that was mended in rows that stayed.
    told = {one.source: (one.rows_not_taken, one.repairs) for one in data_counts(drawn.path)}
    assert told == {"mine": (560, {})} | {one["name"]: (0, {}) for one in sources}


def test_a_corpus_of_a_source_without_any_row_is_refused(sources, store, tmp_path):
    """The step ended with a corpus that lacked a source of its recipe."""
    _write(tmp_path, "parquet")
    mine = source_of("mine", tmp_path / "all.parquet", "train", "en", where={"language": "xx"})
    with pytest.raises(SourceError, match="has language: xx"):
        ingest([mine, *sources], store)


def test_a_filter_is_of_the_sources_own_files_alone(tmp_path):
    """The file of the other language was asked for the column, too."""
    fields = {"role": "transfer", "language": "zh", "parallel_language": "en"}
    other = {"uri": str(tmp_path / "en.csv"), "key": "id"}
    source = _source("zh.csv", "csv", where={"region": "cn"}, parallel=other, **fields)
    assert isinstance(source, FileSource)
    assert source.parallel is not None
    assert "region" not in source.parallel.mapping.values()
