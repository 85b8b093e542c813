"""Tokens of the kinds of rows that make their own -> a table under its contract, and its counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute

from data_contracts.tables import arrow_schema, check_table, load_contract
from tasks.corpus.rows.kind import RowKind, Tokenized
from tasks.corpus.tables import write_table
from tasks.corpus.tokens.counts import ShardCounts

pc: Any = pyarrow.compute


def write_tokenized(
    tokenized: Tokenized, kind: RowKind, path: Path, *, num_rows: int
) -> ShardCounts:
    """Write tokens to `path` under the contract of their kind.

    Args:
        num_rows: of the corpus part, read or not.
    """
    schema = arrow_schema(load_contract(kind.tokens_contract))
    tokens = pa.table(tokenized.columns, schema=schema)
    check_table(tokens, kind.tokens_contract, name=path.name)
    write_table(tokens, path)
    texts, lengths = tokenized.texts, tokenized.lengths
    writes = "target_ids" in tokens.column_names
    return ShardCounts(
        num_rows=len(texts),
        num_windows=tokenized.num_windows or 0,
        num_unread=num_rows - len(texts),
        num_tokens=len(tokens["input_ids"].combine_chunks().flatten()),
        num_target_tokens=len(tokens["target_ids"].combine_chunks().flatten()) if writes else 0,
        num_truncated=tokenized.num_truncated,
        num_unknown=tokenized.num_unknown,
        num_uncut_tokens=int(lengths.sum()) - tokenized.num_special * len(texts),
        num_characters=pc.sum(pc.utf8_length(texts)).as_py() or 0,
        num_words=pc.sum(pc.list_value_length(pc.utf8_split_whitespace(texts))).as_py() or 0,
        longest=int(lengths.max(initial=0)),
    )
