"""What every kind of row shares: how it is asked, what it answers, and the rules on plain texts.

    raw cells ── prepare ──► columns of a piece ── Ledger (label or annotation code, two hashes)
              corpus part ── tokens ──► columns of the tokens contract

A kind states facts about its rows (contracts, columns, what makes two rows copies) and judges one
row at a time; nothing here sees two rows.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from pydantic import Field

from data_contracts.artifacts import Frozen
from data_contracts.errors import ContractViolation
from tasks.corpus.changes import Changes
from tasks.corpus.filtering import FilterConfig, language_problem, length_problem
from tasks.corpus.readers.raw_rows import RawRow
from tasks.corpus.sources.columns import ProblemType
from tasks.corpus.sources.expansion import Expansion
from tasks.corpus.sources.label_maps import mapped
from tasks.corpus.text.languages import primary_subtag
from tasks.corpus.text.normalization import (
    NormalizationConfig,
    has_invisible,
    normalize,
    normalize_label,
)
from tasks.corpus.text.tags import split_tag
from tasks.corpus.tokenizers.encoding import readable_text
from tasks.corpus.tokenizers.tokenizer import unknown_id

if TYPE_CHECKING:
    import tokenizers

    from tasks.corpus.sources.source import Source

pc: Any = pyarrow.compute

MAX_LABEL_CHARACTERS = 256
_WHOLE_NUMBER = re.compile(r"(\d{1,18})(?:\.0*)?")
_NO_LABEL = frozenset({"-1", "-1.0"})
COMMON_FIELDS = (
    pa.field("line", pa.int64()),
    pa.field("text", pa.string()),
    pa.field("raw_text", pa.string()),  # null where normalising changed nothing
    pa.field("label", pa.string()),
    pa.field("parallel_text", pa.string()),
    pa.field("text_hash", pa.uint64()),
    pa.field("parallel_hash", pa.uint64()),  # 0 without parallel text
    pa.field("annotation", pa.int32()),  # code of an annotation that is no label, -1 for none
    pa.field("domain", pa.string()),
)
"""Columns that a prepared row of every kind has."""


class UnfitError(Exception):
    """A row breaks a rule on single rows; it goes to the quarantine, the run goes on."""

    def __init__(self, reason: str, detail: str) -> None:
        """Args: a code of `tasks.corpus.quarantine.REASONS`; the figures behind the verdict."""
        self.reason, self.detail = reason, detail
        super().__init__(reason, detail)


class RowRules(Frozen):
    """What a row of one file must be like."""

    problem: ProblemType
    source: str
    language: str
    parallel_language: str | None
    needs_label: bool
    label_names: tuple[str, ...] = ()
    label_map: Mapping[str, str] = Field(default={})
    label_separator: str | None = None
    focus_characters: int | None = None
    expand: Expansion | None = None
    target_language: str | None = None
    normalization: NormalizationConfig
    filters: FilterConfig
    keep_quarantined_text: bool


class PreparedRow(NamedTuple):
    """A row that passed every rule on a single row; `extra` as `RowKind.fields`."""

    text: str
    text_hash: int
    label: str | None = None
    parallel_text: str | None = None
    parallel_hash: int = 0
    annotation: int = -1
    extra: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Reading:
    """How a reader reads: what `RowKind.tokens` needs beside the rows."""

    tokenizer: tokenizers.Tokenizer
    languages: tuple[str, ...]
    labels: tuple[str, ...]
    max_length_tokens: int
    max_question_tokens: int | None
    window_stride_tokens: int | None
    max_target_tokens: int
    workers: int


@dataclass(frozen=True)
class Tokenized:
    """Rows of one part as token ids, and what they came to.

    Args:
        columns: of the tokens contract.
        texts: string, what was read of each row, for the statistics.
        lengths: int64, (rows,): tokens of each text uncut, special tokens included.
        num_truncated: rows that were cut.
        num_windows: rows of the table, where a text may have several.
        num_special: special tokens around a text.
        num_unknown: unknown tokens that remain after cutting.
    """

    columns: dict[str, Any]
    texts: pa.Array
    lengths: np.ndarray
    num_truncated: int
    num_special: int
    num_unknown: int
    num_windows: int | None = None


class RowKind(ABC):
    """One kind of row. Subclasses state what differs; the defaults are those of a plain text."""

    corpus_contract = "corpus"
    tokens_contract = "tokens"
    fields: tuple[pa.Field, ...] = ()
    """Columns of the corpus beyond the common ones, also in pieces."""

    repairs: tuple[str, ...] = ()
    """What `prepare` mends and counts, by source, in counts.json."""

    names_column: str | None = None
    """List column of class names; rows with names that no train row has are set aside."""

    unknown_reason = "unknown_label"
    """Reason code of those rows."""

    pairs_count = False
    """Whether both hashes make a copy in every role, and no two rows contradict each other."""

    classes_needed = 2
    """Classes that labels.json must have at least."""

    teachers_learn = True
    """Whether a teacher is fine-tuned on the train rows of its language."""

    decodes = False
    """Whether tokens are written: a tokenizer trained for them leads back to the text."""

    compared_columns: tuple[str, ...] = ("text", "parallel_text")
    """Columns of a piece that `compared` reads."""

    training_columns: tuple[str, ...] = ()
    """Columns of the corpus that `training_texts` reads beside the texts and their languages."""

    @abstractmethod
    def prepare(self, row: RawRow, rules: RowRules, changes: Changes) -> PreparedRow:
        """Normalise and judge a row; `changes` notes what was done to it.

        Raises: UnfitError if the row breaks a rule.
        """

    def ledger_labels(self, piece: pa.Table) -> list[str | None] | np.ndarray:
        """What rows of one text must agree on: names, or codes of annotations (-1 for none)."""
        return piece["annotation"].to_numpy()

    def compared(self, piece: pa.Table) -> tuple[list[str], list[str | None]]:
        """The two sides of each row whose likeness to other rows counts as a near copy or leak."""
        return piece["text"].to_pylist(), piece["parallel_text"].to_pylist()

    def second_language(self, source: Source, target_language: str) -> str | None:
        """Language of the second side, if it is a text that could leak from an evaluation row."""
        return source.parallel_language

    def evaluated_languages(self, source_language: str, target_language: str) -> tuple[str, ...]:
        """Languages of texts in which the teacher and the student are validated and tested."""
        return source_language, target_language

    def class_labels(self, names: Sequence[str]) -> list[str]:
        """The entries of labels.json, of the sorted names of classes."""
        return list(names)

    def training_texts(self, rows: pa.Table, languages: tuple[str, ...]) -> list[pa.Array]:
        """What a tokenizer for a reader of `languages` is trained on: string, no nulls."""
        return [readable_text(rows, languages)[0].drop_null()]

    def token_facts(self, reading: Reading) -> dict[str, int]:
        """Entries of tokens.json that other kinds of rows do not have."""
        return {}

    def tokens(self, rows: pa.Table, reading: Reading) -> Tokenized | None:
        """The columns of the tokens contract for the rows of one corpus part; None: a plain text.

        Plain texts go the fast way in `tasks.corpus.tokens.shards`, which knows no places of
        tokens.
        """
        return None


def question_limit(reading: Reading) -> int:
    """Tokens of a question that are read."""
    return reading.max_question_tokens or reading.max_length_tokens // 2


def text_hash(language: str, *texts: str) -> int:
    """64 bits of BLAKE2b over language and texts: what "the same text" means here.

    A text in zh-CN is the same text in zh, whose readers read both.
    """
    content = "\x1f".join((primary_subtag(language), *texts))
    digest = hashlib.blake2b(content.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def annotation_code(annotation: Any) -> int:
    """31 bits that stand for an annotation, JSON values, where annotations are compared.

    Two of one text are told apart with probability 1 - 5e-10.
    """
    content = json.dumps(annotation, ensure_ascii=False).encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=4).digest(), "little") >> 1


def text_cell(row: RawRow, name: str) -> str:
    """The text of another cell than the row's first; no text is an empty one."""
    value = row.others.get(name)
    if not isinstance(value, str | None):
        raise UnfitError("wrong_type", f"{name} is of type {type(value).__name__}")
    return value or ""


def normalized(text: str, rules: RowRules, removed: Counter[str]) -> str:
    """`text` in the corpus's form; `removed` counts the characters that were."""
    text, found = normalize(text, rules.normalization)
    removed.update(found)
    return text


def check_text(text: str, language: str, filters: FilterConfig, *, what: str = "") -> None:
    """Refuse a normalised text that is not what `filters` ask of one in `language`.

    Args:
        what: says in the detail which text is meant, unless it is the row's first.
    """
    complaint = length_problem(text, filters)
    if not complaint and filters.check_language:
        complaint = language_problem(text, language, filters)
    if complaint:
        reason, detail = complaint
        raise UnfitError(reason, f"{what}: {detail}" if what else detail)


def check_parallel(text: str, rules: RowRules, *, what: str = "parallel text") -> None:
    """Refuse a normalised parallel text that is missing or not in `rules.parallel_language`."""
    if not text:
        raise UnfitError("missing_parallel", f"{what}: none in {rules.parallel_language}")
    check_text(text, rules.parallel_language or "", rules.filters, what=what)


def class_name(
    raw: str | int,
    rules: RowRules,
    occurred: Counter[str],
    *,
    unknown: str = "unknown_label",
    is_tag: bool = False,
) -> str:
    """The name of a class as files have it: a name, or a number of `label_names`, then mapped.

    Where they are given, 1.0 is 1, as pandas writes a column in which a number is missing.

    Args:
        occurred: takes the keys of `label_map` that do.
        is_tag: whether the map is of what stands behind the tag's prefix.

    Raises: UnfitError if there are `label_names` and it is neither; an empty name passes.
    """
    name = _named(normalize_label(str(raw)), rules, unknown, is_tag)
    if not rules.label_map:  # asked of each word of a corpus
        return name
    prefix, said = split_tag(name) if is_tag else ("", name)
    return prefix + mapped(said, rules.label_map, occurred)


def _named(name: str, rules: RowRules, unknown: str, is_tag: bool) -> str:
    """`name`, or that of its number; a key of the map is a name too."""
    names = rules.label_names
    if not names or not name:
        return name
    if not name.isdecimal():
        said = split_tag(name)[1] if is_tag else name
        if name in _normalized_names(names) or said in rules.label_map:
            return name
    number = _WHOLE_NUMBER.fullmatch(name)
    if number is None or int(number[1]) >= len(names):
        raise UnfitError(
            unknown,
            f"{name[:64]!r} is neither a number from 0 to {len(names) - 1} nor one of "
            f"{len(names)} names",
        )
    return normalize_label(names[int(number[1])])


@lru_cache(maxsize=16)
def _normalized_names(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(normalize_label, names))


def check_name(name: str, rules: RowRules, *, unknown: str = "unknown_label") -> None:
    """Refuse the name of a class that is too long, invisible in parts, or not allowed."""
    if len(name) > MAX_LABEL_CHARACTERS:
        raise UnfitError("invalid_label", f"{len(name)} characters, at most {MAX_LABEL_CHARACTERS}")
    if has_invisible(name):
        raise UnfitError("invalid_label", "invisible characters in the label")
    if rules.filters.labels is not None and name not in rules.filters.labels:
        raise UnfitError(unknown, f"{name!r} is not one of {len(rules.filters.labels)} labels")


def prepared_label(raw: str | None, rules: RowRules, occurred: Counter[str]) -> str | None:
    """The checked name of a row's class, None if it has and needs none.

    With `label_names`, -1 is none, as `datasets` says so, unless it is a name or a key of the map.

    Args:
        occurred: as for `class_name`.
    """
    names = _normalized_names(rules.label_names)
    if names and raw is not None and (said := raw.strip()) in _NO_LABEL:
        raw = raw if said in names or said in rules.label_map else None
    label = class_name(raw, rules, occurred) if raw is not None else None
    if label:
        check_name(label, rules)
    elif rules.needs_label:
        raise UnfitError("missing_label", "no label")
    return label or None


def label_indices(names: Any, labels: tuple[str, ...], part: str = "a part") -> Any:
    """Index of each name in `labels`, int32, -1 where it is null.

    Args:
        part: what to call the corpus part in the message.

    Raises: ContractViolation if a name is not among them.
    """
    indices = pc.index_in(names, value_set=pa.array(labels, pa.string()))
    if indices.null_count != names.null_count:
        raise ContractViolation(
            f"{part}: {indices.null_count - names.null_count} rows carry a label that is not in "
            "labels.json",
            rule=f"labels.json names all {len(labels)} classes of the corpus",
            remedy="run the corpus stage again",
        )
    return pc.fill_null(indices, -1).cast(pa.int32())


def count_unknown(tokenizer: tokenizers.Tokenizer, input_ids: pa.ListArray) -> int:
    """Unknown tokens among `input_ids`."""
    unknown = unknown_id(tokenizer)
    if unknown is None:
        return 0
    return pc.sum(pc.equal(input_ids.flatten(), unknown)).as_py() or 0
