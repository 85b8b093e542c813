"""Rows set aside: a reason code each, the version of the rule, and where they came from.

The table is for people: `source` and `line` lead to the row, `detail` holds the figures behind the
verdict and never the text, which may be personal. Its hash is kept, so that a text someone asks
about can be looked up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.tables import arrow_schema, check_table, load_contract
from tasks.corpus.tables import ROWS_PER_PART, read_table, write_table

REASONS: dict[str, tuple[int, str]] = {
    "blank_line": (1, "a line without any character"),
    "invalid_utf8": (1, "bytes that are not UTF-8"),
    "invalid_unicode": (1, "half of a surrogate pair, which no encoding can write"),
    "nul_character": (1, "a NUL character: binary data, or UTF-16 read as UTF-8"),
    "wrong_column_count": (1, "more or fewer cells than the header has"),
    "broken_quotes": (1, "a quoted cell that does not end, or goes on after its end"),
    "malformed_json": (1, "not one JSON object"),
    "duplicate_keys": (1, "a JSON object with one key twice: which value is meant is unknown"),
    "not_a_number": (1, "NaN or Infinity, which are not JSON"),
    "wrong_type": (1, "a cell that is not of the type that its column should have"),
    "oversize_line": (1, "a line longer than 4 MiB"),
    "oversize_cell": (1, "a cell longer than 1 MiB"),
    "missing_text": (1, "no text: the cell is null or the key is absent"),
    "empty_text": (1, "nothing visible is left of the text after normalisation"),
    "too_short": (1, "fewer characters than filters.min_length_characters"),
    "too_long": (1, "more characters than filters.max_length_characters"),
    "missing_parallel": (1, "no text in the parallel language"),
    "ambiguous_parallel": (1, "two texts in the parallel language with the row's key"),
    "missing_label": (1, "no label, in a role that needs one"),
    "invalid_label": (1, "a label longer than 256 characters or with invisible ones"),
    "unknown_label": (
        1,
        "a label that is not in filters.labels, that no train row has, or that is neither a name "
        "nor a number of label_names",
    ),
    "missing_question": (1, "no question is asked of the context"),
    "malformed_answers": (1, "answers that are not records of text and answer_start"),
    "answer_not_found": (1, "an answer that is not where it should be, and not once elsewhere"),
    "missing_target": (1, "no text to write, in a role that needs one"),
    "tags_length_mismatch": (1, "more or fewer tags than words"),
    "unknown_tag": (
        1,
        "a tag that is not O, B-X or I-X, of a type not in filters.labels or in no train row, or "
        "neither a name nor a number of label_names",
    ),
    "malformed_spans": (1, "spans that are not records of start, end and label"),
    "span_out_of_bounds": (1, "a span that does not lie inside its text, or is empty"),
    "spans_overlap": (1, "a span that begins before the one in front of it ends"),
    "empty_span": (1, "nothing visible is left of a span after normalisation"),
    "span_splits_character": (1, "a span or word that ends inside a letter and its accent"),
    "language_mismatch": (1, "another language or script than the source declares"),
    "contradiction": (
        1,
        "the same text with two labels or annotations: all its rows are set aside",
    ),
    "leak_exact": (1, "a text that is also a validation or test text"),
    "leak_near": (1, "nearly the same text as a validation or test text"),
}
"""Reason code -> (version of the rule, what it means)."""


class Rejected(NamedTuple):
    """One row to set aside; `raw` is its text, or the bytes of its line if there is no text.

    `label` is its label where that could be read: batch scoring has the row's id there.
    """

    line: int
    reason: str
    detail: str
    raw: str | bytes | None
    label: str | None = None


def quarantine_table(
    rejected: Iterable[Rejected], *, source: str, language: str, keep_text: bool
) -> pa.Table:
    """The quarantine rows of one source, in the given order, under the contract `quarantine`."""
    rows = list(rejected)
    return pa.table(
        {
            "source": [source] * len(rows),
            "line": [row.line for row in rows],
            "language": [language] * len(rows),
            "reason": [row.reason for row in rows],
            "rule_version": [REASONS[row.reason][0] for row in rows],
            "detail": [row.detail[:2000] for row in rows],
            "text_sha256": [_digest(row.raw) for row in rows],
            "text": [_shown(row.raw) if keep_text else None for row in rows],
        },
        schema=arrow_schema(load_contract("quarantine")),
    )


def write_quarantine(
    pieces: Iterable[tuple[str, Sequence[Path]]], folder: Path, *, copy: Path
) -> None:
    """Write pieces of the quarantine as parts, one source file after the other, each by line.

    What is held at once is the quarantine of one source file.

    Args:
        pieces: label and tables of each source file.
        folder: gets part-NNNNN.parquet, at least one.
        copy: gets all rows in one table.
    """
    schema = arrow_schema(load_contract("quarantine"))
    waiting, number = schema.empty_table(), 0
    with pq.ParquetWriter(copy, schema) as whole:
        for label, paths in pieces:
            if not paths:
                continue
            table = pa.concat_tables([read_table(path) for path in paths])
            table = table.sort_by("line").cast(schema)
            check_table(table, "quarantine", name=f"quarantine of {label}")
            whole.write_table(table)
            waiting = pa.concat_tables([waiting, table])
            while waiting.num_rows > ROWS_PER_PART:
                part = waiting.slice(0, ROWS_PER_PART)
                write_table(part, folder / f"part-{number:05d}.parquet")
                waiting, number = waiting.slice(ROWS_PER_PART), number + 1
    write_table(waiting, folder / f"part-{number:05d}.parquet")


def _digest(raw: str | bytes | None) -> str | None:
    if raw is None:
        return None
    data = raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()


def _shown(raw: str | bytes | None) -> str | None:
    if isinstance(raw, str):
        raw = raw.encode("utf-8", "surrogatepass")
    return None if raw is None else raw.decode("utf-8", "backslashreplace")
