"""Signals of a teacher that writes texts: what it would write, and its prediction of each token.

    teacher, tokens → teacher_signals
        <role>/part-NNNNN.parquet   contract teacher_signals_seq2seq
        topk.json                   how the bytes of the predictions are laid out, and whose tokens
        labels.json                 empty: a text has no class

For each row the teacher reads the source; where texts of its own are wanted (see `targets`; always
on validation and test rows, where it is measured by them) it writes some by beam search; then it is
asked about every token of one target text. At k = 64 that is some 260 bytes a token.

Each part is an artifact of its own, as in `tasks.teacher_signals`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from data_contracts.artifacts import Artifact, StageSummary
from tasks.modeling.encoder_decoder.config import DecodingConfig
from tasks.runtime.shards import Shard, run_shards
from tasks.runtime.stages import Stage, StageConfig, Workspace

VERSION = 2

Role = Literal["train", "transfer", "validation", "test"]
AskedTargets = Literal["gold", "sequence", "interpolation"]
_SIGNAL_FACTS = "topk.json"


class Config(StageConfig):
    """What the teacher is asked."""

    roles: tuple[Role, ...] = Field(
        default=("train", "transfer", "validation", "test"),
        min_length=1,
        description="rows the teacher reads",
    )
    target_language: str = Field(description="BCP-47 tag of the texts that are written")
    targets: AskedTargets = Field(
        default="interpolation",
        description="the text whose tokens the teacher is asked about: the corpus's own (gold), "
        "its favourite hypothesis (sequence), or the hypothesis closest to the corpus's own "
        "(interpolation); where the corpus has none, the favourite",
    )
    similarity: Literal["bleu", "chrf"] = Field(
        default="chrf", description="what closest means for interpolation"
    )
    k: int = Field(
        default=64,
        ge=1,
        le=1 << 20,
        description="likeliest tokens kept one by one, the whole vocabulary at most; all others "
        "share a tail",
    )
    decoding: DecodingConfig = Field(
        default=DecodingConfig(num_beams=4), description="how the teacher writes its texts"
    )
    batch_texts: int = Field(
        default=64, ge=1, le=65536, description="texts a forward pass: bounds memory"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="arithmetic in which the teacher is asked about a text; auto is bf16 where the "
        "hardware multiplies it natively. Texts are written in fp32: one rounding step by step "
        "would choose other words",
    )


class PartConfig(StageConfig):
    """One part of the tokens: all that defines its signals beside the teacher."""

    asked: Config = Field(description="as in Config; its roles do not matter here")
    part: str = Field(description="path of the part inside the tokens artifact")
    part_sha256: str = Field(description="digest of that part: the tokens a row was read as")


def read_signals(
    config: Config, inputs: Mapping[str, Artifact], workspace: Workspace
) -> StageSummary:
    """Ask the teacher about the rows of `config.roles`, part by part."""
    import json
    import shutil

    from tasks.corpus.tables import part_paths
    from tasks.training.sequences.mapping import tokenizer_digest
    from tasks.training.sequences.tokens import read_seq2seq_tokens
    from tasks.training.sequences.topk_signals import TopKCodec

    teacher, tokens = inputs["teacher"], inputs["tokens"]
    digests = {entry.path: entry.sha256 for entry in tokens.manifest.files}
    names = [
        path.relative_to(tokens.path).as_posix() for path in part_paths(tokens.path, config.roles)
    ]
    one = config.model_copy(update={"roles": ("train",)})
    shards = [
        Shard(
            Stage("teacher_signals_part", VERSION, _ask_about(tokens.path)),
            PartConfig(asked=one, part=name, part_sha256=digests[name]),
            {"teacher": teacher},
        )
        for name in names
    ]
    num_rows = num_tokens = num_reused = 0
    outcomes = run_shards(shards, workspace, progress=workspace.progress)
    for name, outcome in zip(names, outcomes, strict=True):
        target = workspace.output / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(outcome.artifact.path / "part.parquet", target)
        num_rows += int(outcome.artifact.manifest.facts["rows"])
        num_tokens += int(outcome.artifact.manifest.facts["target_tokens"])
        num_reused += outcome.cached
    size = read_seq2seq_tokens(tokens.path).vocab_size
    codec = TopKCodec(size, min(config.k, size))
    facts = {
        "vocab_size": size,
        "k": codec.k,
        "token_bytes": codec.token_bytes,
        "tokenizer": tokenizer_digest(tokens.path / "tokenizer"),
        "targets": config.targets,
    }
    text = json.dumps(facts, indent=2, sort_keys=True) + "\n"
    (workspace.output / _SIGNAL_FACTS).write_text(text, encoding="utf-8")
    shutil.copyfile(teacher.path / "model" / "labels.json", workspace.output / "labels.json")
    return StageSummary(
        facts={
            "rows": num_rows,
            "target_tokens": num_tokens,
            "bytes_per_token": codec.token_bytes,
            "parts_reused": num_reused,
        }
    )


def _ask_about(tokens: Path):
    """The function of one part's stage; `tokens` is where the part lies, which defines nothing."""

    def ask(
        config: PartConfig, inputs: Mapping[str, Artifact], workspace: Workspace
    ) -> StageSummary:
        from data_contracts.tables import check_table
        from tasks.corpus.tables import read_table, write_table
        from tasks.modeling.encoder_decoder.network import load_seq2seq
        from tasks.problems.seq2seq import Seq2SeqProblem
        from tasks.runtime.machine.device import resolve_precision
        from tasks.training.engine.loop import place
        from tasks.training.engine.precision_probe import precision_facts
        from tasks.training.sequences.inference import ask_about_rows
        from tasks.training.sequences.mapping import check_same_tokens

        folder = inputs["teacher"].path / "model"
        check_same_tokens(folder, tokens)
        table = read_table(tokens / config.part, columns=list(Seq2SeqProblem.token_columns))
        workspace.progress.start(f"teacher reads {config.part}", total=len(table), unit="texts")
        asked = config.asked
        precision = resolve_precision(asked.precision)
        is_measured = config.part.split("/")[0] in ("validation", "test")
        signals = ask_about_rows(
            load_seq2seq(folder).to(place()),  # pyright: ignore[reportArgumentType]
            table,
            tokens,
            targets=asked.targets,
            writes_all=is_measured,
            similarity=asked.similarity,
            language=asked.target_language,
            k=asked.k,
            decoding=asked.decoding,
            batch_texts=asked.batch_texts,
            precision=precision,
            progress=workspace.progress,
        )
        check_table(signals, Seq2SeqProblem.signals_contract)
        write_table(signals, workspace.output / "part.parquet")
        num_tokens = sum(map(len, signals["target_ids"].to_pylist()))
        facts = {"rows": len(table), "target_tokens": num_tokens, **precision_facts(precision)}
        return StageSummary(facts=facts)

    return ask


STAGE = Stage("teacher_signals", VERSION, read_signals)
