"""TSV files of writers who quote and of writers who do not."""

import csv

import pytest

from tasks.corpus.readers.text_formats import read_delimited

ORDERS = {"text first": (0, 1), "label first": (1, 0), "between": (1, 0, 2), "last": (2, 1, 0)}
NAMES = ("text", "label", "note")


def read(path):
    """(line -> text and label, lines of rows that could not be read) of a TSV file."""
    good, bad = {}, []
    for batch in read_delimited(path, {"text": "text", "label": "label"}, delimiter="\t"):
        rows = zip(batch.texts, batch.labels, strict=True)
        good.update(zip(batch.lines, rows, strict=True))
        bad += [row.line for row in batch.rejected]
    return good, bad


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize(
    "text", ["first\nsecond", 'say "a"\n\n"b"', '"\n', "three tabs\t\t\t\nand\n\n\nmore"]
)
def test_quoted_cells_may_hold_line_ends(tmp_path, order, text):
    """Of a text of two lines one was read, with the label of both, and nothing was said of it."""
    path = tmp_path / "rows.tsv"
    rows = [NAMES, (text, "b", "n"), (text, "c", "n"), ("after", "d", "n")]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerows([row[place] for place in order] for row in rows)
    lines = text.count("\n") + 1
    good = {2: (text, "b"), 2 + lines: (text, "c"), 2 + 2 * lines: ("after", "d")}
    assert read(path) == (good, [])


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_lines_that_are_rows_by_themselves_stay_rows(tmp_path, order):
    """A speech that a writer without quoting had put in three rows became one, with one label."""
    texts = ['"I went home.', "It rained.", 'Then I slept."', '"No', 'Yes"']
    rows = [NAMES, *((text, f"l{place}", "n") for place, text in enumerate(texts))]
    path = tmp_path / "rows.tsv"
    lines = ("\t".join(row[place] for place in order) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    good = {place + 2: (text, f"l{place}") for place, text in enumerate(texts)}
    assert read(path) == (good, [])


def test_a_broken_line_does_not_make_one_record_of_the_rows_around_it(tmp_path):
    """Twenty good rows were swallowed by a quotation mark in front of them."""
    path = tmp_path / "rows.tsv"
    path.write_text('text\tlabel\n"no label\ngood\ta\n\nalso good\tb\nend"\tc\n')
    good = {3: ("good", "a"), 5: ("also good", "b"), 6: ('end"', "c")}
    assert read(path) == (good, [2, 4])
