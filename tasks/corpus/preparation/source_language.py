"""Whether the texts of a source are in the language it declares, where no row by itself can say.

Rows below `min_identified_characters` are judged by their script alone (`tasks.corpus.filtering`),
so two columns of short texts in one script can be named the wrong way round, or a file be another
language's, and every row passes. Here the first short texts of each column are asked together.
What is wrong with a declaration shows in the first rows: no corpus is read to its end for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING

from data_contracts.errors import SourceError
from tasks.corpus.filtering import FoundLanguage, found_otherwise, language_problem
from tasks.corpus.preparation.expanded_rows import expanded
from tasks.corpus.sources.files import parallel_files, read_parallel_rows, read_rows, source_files
from tasks.corpus.sources.source import FileSource
from tasks.corpus.text.languages import primary_subtag
from tasks.corpus.text.normalization import normalize

if TYPE_CHECKING:
    from tasks.corpus.readers.raw_rows import RawBatch, RawRow
    from tasks.corpus.rows.kind import RowRules

_SAMPLE_TEXTS = 200
_SAMPLE_ROWS = 2_000
# Normalising takes white space and marks away, hardly ever three quarters of a text.
_MAX_RAW_LENGTHS = 4


def check_source_language(
    source: FileSource, rules: RowRules, *, with_parallel: bool = True
) -> None:
    """Refuse a source of which a column is clearly in another language than it declares.

    Args:
        rules: of its rows; without `check_language` nothing is read.
        with_parallel: whether the files of `source.parallel` are read too.

    Raises: SourceError, also if a file is not what the source says.
    """
    if not rules.filters.check_language:
        return
    languages = {"text": rules.language, "text_b": rules.language, "question": rules.language}
    if rules.parallel_language is not None:
        languages["parallel_text"] = languages["parallel_text_b"] = rules.parallel_language
    # A summary is in a language; a reply may be a name, a command or code.
    if rules.problem in ("translation", "summarization"):
        languages["target_text"] = rules.target_language or rules.language
    batches = (batch for file in source_files(source) for batch in read_rows(source, file))
    # What is judged by itself is what is made of a row, which may be short where that is long.
    rows = expanded(_rows(batches), rules, [], Counter())
    _check(source, (row for _, row in rows), languages, rules)
    if source.parallel is None or rules.parallel_language is None or not with_parallel:
        return
    languages = {"text": rules.parallel_language, "text_b": rules.parallel_language}
    batches = (read_parallel_rows(source, file) for file in parallel_files(source))
    rows = _rows(chain.from_iterable(batches))
    _check(source, (row for _, row in rows), languages, rules, inside="parallel.")


def _rows(batches: Iterable[RawBatch]) -> Iterator[tuple[int, RawRow]]:
    return (row for batch in batches for row in batch.rows())


def _check(
    source: FileSource,
    rows: Iterable[RawRow],
    languages: dict[str, str],
    rules: RowRules,
    *,
    inside: str = "",
) -> None:
    """Judge the columns that `languages` names, by the first of `rows`."""
    samples: dict[str, list[str]] = {name: [] for name in languages}
    for row in islice(rows, _SAMPLE_ROWS):
        wanting = [name for name, texts in samples.items() if len(texts) < _SAMPLE_TEXTS]
        for name in wanting:
            text = _short_text(_cell(row, name), languages[name], rules)
            if text is not None:
                samples[name].append(text)
        if not wanting:
            break
    for name, texts in samples.items():
        found = found_otherwise(texts, languages[name])
        if found is not None:
            raise _refusal(source, f"{inside}columns.{name}", languages[name], found, texts)


def _cell(row: RawRow, name: str) -> object:
    return dict(text=row.text, parallel_text=row.parallel_text).get(name, row.others.get(name))


def _short_text(cell: object, language: str, rules: RowRules) -> str | None:
    """The normalised text of `cell` if it was judged by its script alone, and passed."""
    limit = rules.filters.min_identified_characters
    if not isinstance(cell, str) or not 0 < len(cell) < _MAX_RAW_LENGTHS * limit:
        return None
    text, _ = normalize(cell, rules.normalization)
    if not text or len(text) >= limit or language_problem(text, language, rules.filters):
        return None
    return text


def _refusal(
    source: FileSource, column: str, declared: str, found: FoundLanguage, texts: list[str]
) -> SourceError:
    others = {source.language, source.parallel_language, source.target_language} - {None, declared}
    known = {primary_subtag(other) for other in others if other is not None}
    change = (
        "name the columns of the two languages the other way round, or swap the two languages"
        if found.language in known
        else f"name the column that holds {declared}, or the file that does, or say in which "
        "language this one is"
    )
    return SourceError(
        f"source {source.name!r}: {column} is declared as {declared}, but its first {len(texts)} "
        f"short texts are in {found.language}: together identified with confidence "
        f"{found.confidence:.3f}, and one by one {found.num_texts} of them are likelier "
        f"{found.language} than {declared}",
        rule="texts below data.filters.min_identified_characters are too short to identify one by "
        "one, so the first of each column are identified together",
        remedy=f"{change}; if they are in {declared} all the same, set "
        "data.filters.check_language: false",
    )
