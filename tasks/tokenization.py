"""Corpus -> token ids, once for each reader: the teacher in its language, the student in its own.

corpus → tokens
    <role>/part-NNNNN.parquet   the corpus's parts and row order, less the rows that the reader has
                                no language for
    tokenizer/                  tokenizer.json, tokenizer_config.json
    labels.json                 as in the corpus: `label` is an index into it, -1 for none
    tokens.json                 sizes, counts, fertility: `tasks.corpus.tokens.facts`

What a row is (a text, a pair, a window, a text with its target) is the problem's, in
`tasks.corpus.rows`.

Each part is an artifact of its own (`tasks.corpus.tokens.shards`), named by the digests of its
corpus part, the tokenizer and the labels. So a run that was killed goes on at the next part, and a
new day of data tokenizes its own parts only, as long as the tokenizer stays: a *trained* or
*trimmed* one changes with its texts, so pin it (`kind: pretrained`, with an earlier run's tokenizer
folder) where that matters.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from data_contracts.artifacts import Artifact, RowCounts, StageSummary, WithLaterFields
from tasks.corpus.sources.columns import ProblemType
from tasks.corpus.tokenizers.config import PretrainedTokenizer, Tokenizer, TrimmedTokenizer
from tasks.corpus.tokens.counts import ShardCounts, check_limits
from tasks.corpus.tokens.facts import common_facts, write_token_facts
from tasks.corpus.tokens.shards import COUNTS, PART, ShardConfig, shard_stage
from tasks.modeling.config import PairReading
from tasks.runtime.shards import Shard, run_shards
from tasks.runtime.stages import Stage, StageConfig, Workspace

if TYPE_CHECKING:
    import tokenizers

    from tasks.corpus.rows.kind import Reading

VERSION = 1
Role = Literal["train", "transfer", "validation", "test"]
_TRAINED_ON: tuple[Role, ...] = ("train", "transfer")


class Config(StageConfig, WithLaterFields):
    """What one reader reads, and how it cuts texts into tokens."""

    later_fields: ClassVar[tuple[str, ...]] = ("max_answer_units",)

    problem: ProblemType = Field(
        default="text_classification", description="problem type: decides what a row is"
    )
    languages: tuple[str, ...] = Field(
        min_length=1,
        max_length=256,
        description="BCP-47 tags in order of preference: a row is read in the first it offers",
    )
    tokenizer: Tokenizer = Field(
        description="taken over whole (pretrained), in part (trimmed), or trained (bpe, wordpiece)"
    )
    max_length_tokens: int = Field(
        default=64,
        ge=3,
        le=1_048_576,
        description="tokens a text keeps, special tokens included; attention costs its square",
    )
    max_question_tokens: int | None = Field(
        default=None,
        ge=1,
        le=1_048_576,
        description="question_answering: tokens of a question that are read; the rest of "
        "max_length_tokens is for the context. Not set: half of max_length_tokens",
    )
    window_stride_tokens: int | None = Field(
        default=None,
        ge=1,
        le=1_048_576,
        description="question_answering: tokens of the context from the beginning of a window to "
        "that of the next; what is left of a window overlaps. Beside a long question a window may "
        "hold fewer: then they touch. Not set: half a window",
    )
    max_answer_units: int | None = Field(
        default=None,
        ge=1,
        le=1_048_576,
        description="question_answering: words (characters, in scripts without spaces) of an "
        "answer at most, wherever one is chosen: in validation, for pseudo-labels, in the report "
        "and in service. The time that choosing takes grows with it. Not set: 30",
    )
    pairs: PairReading = Field(
        default="together",
        description="matching: both texts of a pair in one sequence (together: a cross-encoder), "
        "or each by itself (apart: a bi-encoder); max_length_tokens is for both of them",
    )
    max_target_tokens: int = Field(
        default=64,
        ge=2,
        le=1_048_576,
        description="translation, summarization, generation: tokens that a target keeps, the end "
        "token included",
    )
    roles: tuple[Role, ...] = Field(
        default=("train", "transfer", "validation", "test"),
        min_length=1,
        description="roles to tokenize",
    )
    max_truncated_rate: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="the run fails if a larger share of texts is cut: a reader of halves was not "
        "asked for",
    )
    max_unknown_rate: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="the run fails if a larger share of tokens is unknown: the vocabulary is one "
        "of another language",
    )

    @model_validator(mode="after")
    def _windows_hold_context(self) -> Config:
        if self.max_question_tokens and self.max_question_tokens >= self.max_length_tokens:
            raise ValueError(
                f"max_question_tokens {self.max_question_tokens} leaves no room in "
                f"max_length_tokens {self.max_length_tokens}: the context follows the question"
            )
        if self.window_stride_tokens and self.window_stride_tokens >= self.max_length_tokens:
            raise ValueError(
                f"window_stride_tokens {self.window_stride_tokens} is no less than "
                f"max_length_tokens {self.max_length_tokens}: no token may lie between two windows"
            )
        return self

    @field_validator("languages", "roles")
    @classmethod
    def _without_copies(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError(f"{', '.join(names)}: each may be named once")
        return names

    def locations(self) -> tuple[str, ...]:
        """The pretrained tokenizer's bytes are part of the key."""
        if isinstance(self.tokenizer, PretrainedTokenizer | TrimmedTokenizer):
            return (self.tokenizer.uri,)
        return ()


def tokenize(config: Config, inputs: Mapping[str, Artifact], workspace: Workspace) -> StageSummary:
    """Tokenize the corpus for one reader.

    Raises: RecipeError if the limits on truncated texts or unknown tokens are passed, or the corpus
        has no text for the reader.
    """
    from tasks.corpus.rows import ROW_KINDS
    from tasks.corpus.tokenizers.tokenizer import save_tokenizer
    from tasks.corpus.tokens.pair_encoding import framed_apart

    corpus, output = inputs["corpus"], workspace.output
    tokenizer = _tokenizer(config, corpus, workspace)
    if config.pairs == "apart":
        framed_apart(tokenizer)
    save_tokenizer(tokenizer, output / "tokenizer", max_length_tokens=config.max_length_tokens)
    shutil.copyfile(corpus.path / "labels.json", output / "labels.json")
    labels = json.loads((output / "labels.json").read_text(encoding="utf-8"))["labels"]
    tokenizer_bytes = (output / "tokenizer" / "tokenizer.json").read_bytes()
    parts = _parts(corpus, config.roles)
    workspace.progress.start("tokenizing", total=len(parts), unit="parts")
    totals: dict[str, ShardCounts] = {role: ShardCounts() for role in config.roles}
    shards = [
        Shard(
            shard_stage(corpus.path / "rows" / role / file, tokenizer),
            ShardConfig(
                problem=config.problem,
                corpus_part=sha256,
                tokenizer=hashlib.sha256(tokenizer_bytes).hexdigest(),
                languages=config.languages,
                max_length_tokens=config.max_length_tokens,
                max_question_tokens=config.max_question_tokens,
                window_stride_tokens=config.window_stride_tokens,
                max_target_tokens=config.max_target_tokens,
                labels=tuple(labels),
            ),
            {},
        )
        for role, file, sha256 in parts
    ]
    for (role, file, _), outcome in zip(parts, run_shards(shards, workspace), strict=True):
        done = outcome.artifact
        _link(done.path / PART, output / role / file)
        counted = (done.path / COUNTS).read_text(encoding="utf-8")
        totals[role] += ShardCounts.model_validate_json(counted)
        workspace.progress.advance(1)
    total = sum(totals.values(), start=ShardCounts())
    check_limits(
        total,
        languages=config.languages,
        limits=_limits(config, decodes=ROW_KINDS[config.problem].decodes),
        max_truncated_rate=config.max_truncated_rate,
        max_unknown_rate=config.max_unknown_rate,
    )
    facts = {
        **common_facts(
            tokenizer,
            totals,
            max_length_tokens=config.max_length_tokens,
            languages=config.languages,
        ),
        **ROW_KINDS[config.problem].token_facts(_reading(config, tokenizer)),
        **({} if config.pairs == "together" else {"pairs": config.pairs}),
        **({} if (longest := config.max_answer_units) is None else {"max_answer_units": longest}),
    }
    write_token_facts(output, facts)
    return StageSummary(
        row_counts=RowCounts(
            rows_in=total.num_rows + total.num_unread,
            rows_out=total.num_rows,
            quarantined={"other_language": total.num_unread} if total.num_unread else {},
        ),
        facts={
            "vocab_size": facts["vocab_size"],
            "tokens_per_character": facts["fertility"]["tokens_per_character"],
            "truncated": total.num_truncated,
            "unknown": total.num_unknown,
        },
    )


STAGE = Stage("tokens", VERSION, tokenize)


def _parts(corpus: Artifact, roles: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """(role, file name, SHA-256) of the corpus's parts, role by role, in order."""
    found = []
    for role in roles:
        for entry in sorted(corpus.manifest.files, key=lambda entry: entry.path):
            folder, _, file = entry.path.rpartition("/")
            if folder == f"rows/{role}" and file.endswith(".parquet"):
                found.append((role, file, entry.sha256))
    return found


def _tokenizer(config: Config, corpus: Artifact, workspace: Workspace) -> tokenizers.Tokenizer:
    import pyarrow as pa

    from tasks.corpus.rows import ROW_KINDS
    from tasks.corpus.tables import read_table
    from tasks.corpus.tokenizers.sampling import sample_texts
    from tasks.corpus.tokenizers.tokenizer import load_tokenizer, train_tokenizer
    from tasks.corpus.tokenizers.trimming import trim_tokenizer

    if isinstance(config.tokenizer, PretrainedTokenizer):
        return load_tokenizer(config.tokenizer)
    kind = ROW_KINDS[config.problem]
    columns = ["text", "language", "parallel_text", "parallel_language", *kind.training_columns]
    roles: tuple[str, ...] = _TRAINED_ON
    if isinstance(config.tokenizer, TrimmedTokenizer):
        roles = config.tokenizer.roles

    def chunks() -> Iterator[pa.Array]:
        for role, file, _ in _parts(corpus, roles):
            table = read_table(corpus.path / "rows" / role / file, columns)
            yield from kind.training_texts(table, config.languages)

    texts = sample_texts(chunks(), config.tokenizer.max_training_texts)
    if isinstance(config.tokenizer, TrimmedTokenizer):
        whole = load_tokenizer(config.tokenizer)
        trimmed = trim_tokenizer(
            whole,
            pa.array(texts, pa.string()),
            keep=config.tokenizer.keep,
            vocab_size=config.tokenizer.vocab_size,
            workers=workspace.workers,
        )
        workspace.progress.say(
            f"trimmed the tokenizer from {whole.get_vocab_size():,} to "
            f"{trimmed.get_vocab_size():,} tokens, for {len(texts):,} texts"
        )
        return trimmed
    workspace.progress.say(f"training a tokenizer on {len(texts):,} texts")
    return train_tokenizer(config.tokenizer, texts, decodes=kind.decodes)


def _limits(config: Config, *, decodes: bool) -> dict[str, int]:
    """Fields that say where texts were cut, and at how many tokens."""
    if config.problem == "question_answering":
        return {"max_question_tokens": config.max_question_tokens or config.max_length_tokens // 2}
    targets = {"max_target_tokens": config.max_target_tokens} if decodes else {}
    return {"max_length_tokens": config.max_length_tokens, **targets}


def _reading(config: Config, tokenizer: tokenizers.Tokenizer) -> Reading:
    from tasks.corpus.rows.kind import Reading

    return Reading(
        tokenizer,
        config.languages,
        labels=(),
        max_length_tokens=config.max_length_tokens,
        max_question_tokens=config.max_question_tokens,
        window_stride_tokens=config.window_stride_tokens,
        max_target_tokens=config.max_target_tokens,
        workers=1,
    )


def _link(source: Path, target: Path) -> None:
    """The same bytes at `target` without a copy where the file system can; both are read-only."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
