"""CoNLL files: a word a line with its tag, a blank line between sentences.

    # sent_id = weblog-7                -DOCSTART- -X- -X- O
    1   Berlin   B-LOC   -   -
    2   regnet   O       -   -          EU      NNP  B-NP  B-ORG
                                        rejects VBZ  B-VP  O
    UNER: words 2, tags 3               CoNLL-2003: words 1, tags last

Cells are parted by tabs where a line has one, else by ASCII spaces: other white space (U+3000, a
no-break space) may be a word. Columns are numbered from 1, or named where the file begins with
`# global.columns = ID FORM ...` (CoNLL-U Plus). Lines with a range or a decimal as their number
(`3-4`, `5.1`: CoNLL-U) repeat other words and are passed over. A sentence with a broken line is one
broken row; its line is that of its first word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_contracts.errors import SourceError
from tasks.corpus.readers.raw_rows import BATCH_ROWS, MAX_CELL_BYTES, ColumnMapping, RawBatch
from tasks.corpus.readers.text_formats import Lines

_NAMES = "# global.columns ="
_LAST = "last"
_AT_END = -1
_REPEATED = re.compile(r"\d+[-.]\d+$")


@dataclass
class _Sentence:
    line: int
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    num_bytes: int = 0
    problem: tuple[str, str] | None = None


def read_conll(path: Path, columns: ColumnMapping) -> Iterator[RawBatch]:
    """Sentences of a CoNLL file as rows of `words` and, if mapped, `tags`.

    Raises: SourceError if a column is neither a number, `last`, nor a name that the file gives.
    """
    batch, width = RawBatch(), 0
    positions: dict[str, int] | None = None
    names: list[str] = []
    sentence: _Sentence | None = None
    for number, line in Lines(path):
        if line is not None and not line.strip():
            _add(batch, sentence, columns)
            sentence = None
            if batch.num_rows >= BATCH_ROWS:
                yield batch
                batch = RawBatch()
            continue
        try:
            text = line.decode() if line is not None else ""
        except UnicodeDecodeError as error:
            text = ""
            found = ("invalid_utf8", f"byte {error.start + 1} of line {number} is not UTF-8")
        else:
            found = ("oversize_line", f"line {number} is too long") if line is None else None
        cells = text.split("\t") if "\t" in text else re.split(" +", text.strip(" "))
        if sentence is None:
            if text.startswith(_NAMES):
                names = text.removeprefix(_NAMES).split()
                continue
            if _is_comment(text, cells, width) or text.startswith("-DOCSTART-"):
                continue
            sentence = _Sentence(number)
        positions = positions or _positions(path, columns, names)
        if found:
            sentence.problem = sentence.problem or found
        elif not (positions["words"] > 0 and _REPEATED.match(cells[0])):
            width = len(cells)
            _take(sentence, cells, positions, number)
    _add(batch, sentence, columns)
    yield batch


def _is_comment(text: str, cells: list[str], width: int) -> bool:
    """Whether a line before a sentence's first word is none itself, though words may begin with #.

    Args:
        width: cells of the last word's line, 0 before the first one: there a tab tells a word, and
            a space after the # tells a comment (`# ID<tab>FORM`).
    """
    if not text.startswith("#"):
        return False
    if " = " in text:
        return True
    return len(cells) != width if width else "\t" not in text or text.startswith("# ")


def _positions(path: Path, columns: ColumnMapping, names: list[str]) -> dict[str, int]:
    """Index of each mapped column in a line; `_AT_END` for the last."""
    positions: dict[str, int] = {}
    for key in ("words", "tags"):
        column = columns.get(key)
        if column is None:
            continue
        if column.isdecimal() and int(column) > 0:
            positions[key] = int(column) - 1
        elif column == _LAST:
            positions[key] = _AT_END
        elif column in names:
            positions[key] = names.index(column)
        else:
            given = f"the file names {', '.join(names)}" if names else "the file names none"
            raise SourceError(
                f"{path.name} has no column {column!r}: {given}",
                rule="columns of a CoNLL file are numbers from 1, `last`, or names of a line "
                f"{_NAMES!r}",
                remedy="correct `columns` of this source in the recipe, such as words: 1, "
                "tags: last",
            )
    return positions


def _take(sentence: _Sentence, cells: list[str], positions: dict[str, int], number: int) -> None:
    needed = max(max(positions.values()) + 1, 1)
    if len(positions) > 1 and _AT_END in positions.values():
        needed += 1  # the last cell is another than the one named by its number
    if len(cells) < needed:
        detail = f"line {number} has {len(cells)} cells, {needed} are needed"
        sentence.problem = sentence.problem or ("wrong_column_count", detail)
        return
    word = cells[positions["words"]]
    sentence.num_bytes += len(word.encode()) + 1
    if sentence.num_bytes > MAX_CELL_BYTES:
        detail = f"no blank line for {MAX_CELL_BYTES:,} bytes"
        sentence.problem = sentence.problem or ("oversize_cell", detail)
        return
    sentence.words.append(word)
    if "tags" in positions:
        sentence.tags.append(cells[positions["tags"]])


def _add(batch: RawBatch, sentence: _Sentence | None, columns: ColumnMapping) -> None:
    if sentence is None:
        return
    if sentence.problem:
        batch.reject(sentence.line, *sentence.problem, " ".join(sentence.words) or None)
    else:
        tags = {"tags": sentence.tags} if "tags" in columns else {}
        batch.add(sentence.line, {"words": sentence.words, **tags})
