"""The tokens of one part of a corpus, as an artifact of its own.

It is named by the digests of its corpus part and tokenizer, and by its labels: it does not depend
on the other parts of the corpus it came in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from data_contracts.artifacts import Artifact, StageSummary
from tasks.corpus.sources.columns import ProblemType
from tasks.corpus.tokens.counts import ShardCounts
from tasks.runtime.stages import Stage, StageConfig, Workspace

if TYPE_CHECKING:
    import tokenizers

VERSION = 2
PART = "tokens.parquet"
COUNTS = "counts.json"


class ShardConfig(StageConfig):
    """What defines the tokens of one part."""

    problem: ProblemType
    corpus_part: str = Field(description="SHA-256 of the corpus part")
    tokenizer: str = Field(description="SHA-256 of tokenizer.json")
    languages: tuple[str, ...]
    max_length_tokens: int
    max_question_tokens: int | None
    window_stride_tokens: int | None
    max_target_tokens: int
    labels: tuple[str, ...] = Field(description="class names in order: labels become indices")


def shard_stage(corpus_part: Path, tokenizer: tokenizers.Tokenizer) -> Stage:
    """The stage of the part in the file `corpus_part`, whose tokenizer and bytes `ShardConfig`
    names by their digests: it writes PART and COUNTS."""

    def tokenize_shard(
        config: ShardConfig, inputs: Mapping[str, Artifact], workspace: Workspace
    ) -> StageSummary:
        counts = _write_shard(config, corpus_part, tokenizer, workspace)
        (workspace.output / COUNTS).write_text(counts.model_dump_json(), encoding="utf-8")
        return StageSummary()

    return Stage("tokens_shard", VERSION, tokenize_shard)


def _write_shard(
    config: ShardConfig, corpus_part: Path, tokenizer: tokenizers.Tokenizer, workspace: Workspace
) -> ShardCounts:
    import pyarrow as pa
    import pyarrow.compute

    from data_contracts.tables import arrow_schema, check_table, load_contract
    from tasks.corpus.rows import ROW_KINDS
    from tasks.corpus.rows.kind import Reading, label_indices
    from tasks.corpus.rows.written import write_tokenized
    from tasks.corpus.tables import read_table, write_table
    from tasks.corpus.tokenizers.encoding import Encoder, readable_text
    from tasks.corpus.tokenizers.tokenizer import special_token_names

    pc: Any = pyarrow.compute
    rows = read_table(corpus_part)
    kind = ROW_KINDS[config.problem]
    check_table(rows, kind.corpus_contract, name=corpus_part.name)
    reading = Reading(
        tokenizer,
        config.languages,
        config.labels,
        max_length_tokens=config.max_length_tokens,
        max_question_tokens=config.max_question_tokens,
        window_stride_tokens=config.window_stride_tokens,
        max_target_tokens=config.max_target_tokens,
        workers=workspace.workers,
    )
    if (tokenized := kind.tokens(rows, reading)) is not None:
        return write_tokenized(tokenized, kind, workspace.output / PART, num_rows=rows.num_rows)
    texts, languages = readable_text(rows, config.languages)
    read = pc.is_valid(texts)
    texts = texts.filter(read)
    unknown = special_token_names(tokenizer).get("unk_token")
    encoder = Encoder(
        tokenizer,
        max_length_tokens=config.max_length_tokens,
        unknown_id=None if unknown is None else tokenizer.token_to_id(unknown),
        workers=workspace.workers,
    )
    encoded = encoder.encode(pa.chunked_array([texts], pa.string()))
    tokens = pa.table(
        [
            rows["example_id"].filter(read),
            encoded.input_ids,
            label_indices(rows["label"].filter(read), config.labels, corpus_part.name),
            languages.filter(read),
        ],
        schema=arrow_schema(load_contract("tokens")),
    )
    check_table(tokens, "tokens", name=corpus_part.name)
    write_table(tokens, workspace.output / PART)
    return ShardCounts(
        num_rows=tokens.num_rows,
        num_unread=rows.num_rows - tokens.num_rows,
        num_tokens=len(encoded.input_ids.flatten()),
        num_truncated=int((encoded.lengths > config.max_length_tokens).sum()),
        num_unknown=encoded.num_unknown,
        num_uncut_tokens=int(encoded.lengths.sum()) - encoder.num_special * tokens.num_rows,
        num_characters=pc.sum(pc.utf8_length(texts)).as_py() or 0,
        num_words=pc.sum(pc.list_value_length(pc.utf8_split_whitespace(texts))).as_py() or 0,
        longest=int(encoded.lengths.max(initial=0)),
    )
