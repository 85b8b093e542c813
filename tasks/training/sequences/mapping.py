"""Training rows of encoder-decoders as flat files that are mapped, not read; see `mapped_examples`.

    tokens (+ teacher_signals) ──part by part──► seq2seq_examples
        sources.bin, targets.bin                  int32, (tokens,)
        source_offsets.bin, target_offsets.bin    int64, (rows + 1,)
        groups.bin                                int64, (rows,): number of a row's language
        topk.bin                                  uint8, (target tokens, bytes of a token)
        examples.json                             counts; languages; vocab_size and k of topk

What a row's target is:

    gold       the text of the corpus; rows without one are left out
    teacher    the text that the teacher was asked about: one that it wrote (sequence-level
               distillation, interpolation), or gold if it was asked about that

Word-level signals belong to tokens of one text in one vocabulary: both are compared, row by row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute
from pydantic import Field

from data_contracts.artifacts import Artifact, StageSummary
from data_contracts.errors import ContractViolation
from tasks.corpus.tables import part_paths, read_table
from tasks.corpus.tokens.facts import read_token_facts
from tasks.problems.seq2seq import Seq2SeqProblem
from tasks.runtime.stages import Stage, StageConfig, Workspace, run_stage
from tasks.training.batching.examples import no_rows
from tasks.training.batching.flat_files import FlatFiles
from tasks.training.batching.ragged import RaggedIds
from tasks.training.batching.signal_join import SignalJoin
from tasks.training.sequences.examples import Seq2SeqExamples
from tasks.training.sequences.generation import load_reader
from tasks.training.sequences.tokens import read_seq2seq_tokens
from tasks.training.sequences.topk_signals import TopKCodec

pc: Any = pyarrow.compute

VERSION = 3
Targets = Literal["gold", "teacher"]
SIGNAL_FACTS = "topk.json"
"""File of a signals artifact that says how its bytes are laid out and whose tokens they name."""


class Config(StageConfig):
    """Which rows are mapped, and what is to be written for them."""

    roles: tuple[str, ...] = Field(description="roles of the rows, in order")
    targets: Targets = Field(description="gold texts, or those that the teacher was asked about")
    with_topk: bool = Field(description="whether the teacher's distributions are mapped too")


def map_seq2seq_examples(
    tokens: Artifact,
    roles: Sequence[str],
    *,
    targets: Targets,
    signals: Artifact | None,
    with_topk: bool,
    workspace: Workspace,
) -> Seq2SeqExamples:
    """Rows of `roles` in file order, mapped.

    Args:
        signals: needed for the teacher's texts and for its distributions.
        with_topk: whether students learn from distributions.
        workspace: of the stage that trains; if that is forced, the rows are mapped again.
    Raises: ContractViolation if there are no such rows, a row has no signal, or a signal is about
        another text or other tokens.
    """
    inputs = {"tokens": tokens} if signals is None else {"tokens": tokens, "signals": signals}
    outcome = run_stage(
        STAGE,
        Config(roles=tuple(roles), targets=targets, with_topk=with_topk),
        inputs,
        store=workspace.store,
        progress=workspace.progress,
        force=workspace.force,
        run_id=workspace.run_id,
    )
    return open_seq2seq_examples(outcome.artifact.path)


def open_seq2seq_examples(folder: Path) -> Seq2SeqExamples:
    """The examples that were written to `folder`."""
    facts = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    rows = int(facts["num_rows"])

    def mapped(name: str, dtype: Any, *shape: int) -> np.ndarray:
        return np.memmap(folder / f"{name}.bin", dtype, mode="r", shape=shape).view(np.ndarray)

    def ragged(name: str) -> RaggedIds:
        values = mapped(f"{name}s", np.int32, int(facts[f"num_{name}_tokens"]))
        return RaggedIds(values, mapped(f"{name}_offsets", np.int64, rows + 1))

    topk, codec = None, None
    if facts["k"]:
        codec = TopKCodec(int(facts["vocab_size"]), int(facts["k"]))
        topk = mapped("topk", np.uint8, int(facts["num_target_tokens"]), codec.token_bytes)
    return Seq2SeqExamples(
        ragged("source"),
        ragged("target"),
        topk,
        codec,
        groups=mapped("groups", np.int64, rows),
        group_names=tuple(facts["languages"]),
    )


def write_seq2seq_examples(
    config: Config, inputs: Mapping[str, Artifact], workspace: Workspace
) -> StageSummary:
    """Decode the parts of tokens and signals into flat files."""
    tokens, output = inputs["tokens"].path, workspace.output
    signals = _Signals(inputs["signals"].path, tokens, config) if "signals" in inputs else None
    parts = part_paths(tokens, config.roles)
    num_read = num_rows = 0
    counts = {"source": 0, "target": 0}
    languages: dict[str, int] = {}  # name → number, in order of appearance
    with FlatFiles(output) as files:
        for name in counts:
            files.put(f"{name}_offsets", np.zeros(1, np.int64))
        workspace.progress.start("mapping examples", total=len(parts), unit="parts")
        for path in parts:
            workspace.progress.advance(1)
            table = read_table(path, [*Seq2SeqProblem.token_columns, "language"])
            num_read += len(table)
            if config.targets == "gold":
                table = table.filter(pc.is_valid(table["target_ids"]))
            if not len(table):
                continue
            targets = RaggedIds.from_arrow(table["target_ids"])
            if signals is not None:
                found = signals.join.rows(path.relative_to(tokens).as_posix(), table)
                targets = signals.targets(found, targets, path.name)
                if config.with_topk:
                    files.put("topk", np.frombuffer(b"".join(found["topk"].to_pylist()), np.uint8))
            for name, ids in (
                ("source", RaggedIds.from_arrow(table["input_ids"])),
                ("target", targets),
            ):
                files.put(f"{name}s", ids.values[ids.offsets[0] : ids.offsets[-1]].astype(np.int32))
                files.put(f"{name}_offsets", counts[name] + np.cumsum(ids.lengths, dtype=np.int64))
                counts[name] += int(ids.lengths.sum())
            names = table["language"].to_pylist()
            numbers = [languages.setdefault(name, len(languages)) for name in names]
            files.put("groups", np.array(numbers, np.int64))
            num_rows += len(table)
    if not num_rows:
        raise _no_targets(num_read) if num_read else no_rows(config.roles)
    facts = {
        "num_rows": num_rows,
        "num_source_tokens": counts["source"],
        "num_target_tokens": counts["target"],
        "languages": list(languages),
        "vocab_size": signals.vocab_size if signals else 0,
        "k": signals.k if signals and config.with_topk else 0,
    }
    text = json.dumps(facts, indent=1, sort_keys=True)
    (output / "examples.json").write_text(text + "\n", encoding="utf-8")
    return StageSummary(facts={"rows": num_rows, "target_tokens": counts["target"]})


STAGE = Stage("seq2seq_examples", VERSION, write_seq2seq_examples)


class _Signals:
    """A teacher's signals beside the tokens of a reader."""

    def __init__(self, folder: Path, tokens: Path, config: Config) -> None:
        facts = _read_json(folder / SIGNAL_FACTS)
        self.vocab_size, self.k = int(facts["vocab_size"]), int(facts["k"])
        self.join = SignalJoin(folder, ())
        self._config = config
        self._end = read_seq2seq_tokens(tokens).eos_token_id
        reader = read_token_facts(tokens)
        assert "max_target_tokens" in reader, "whoever writes texts has a limit for them"
        self._limit = reader["max_target_tokens"]
        self._reader = load_reader(tokens / "tokenizer")
        self._same_tokens = facts["tokenizer"] == tokenizer_digest(tokens / "tokenizer")
        if config.with_topk and not self._same_tokens:
            raise ContractViolation(
                "the teacher's signals name tokens of another tokenizer than the student's",
                rule="word-level distillation (alpha > 0) needs one vocabulary for both",
                remedy="give the student the teacher's tokenizer, or set alpha to 0: the student "
                "then learns the teacher's texts",
            )

    def targets(self, found: pa.Table, gold: RaggedIds, part: str) -> RaggedIds:
        """What is to be written for the rows of `found`."""
        if self._config.targets == "teacher":
            if self._same_tokens:
                return RaggedIds.from_arrow(found["target_ids"])
            encoded = self._reader.encode_batch_fast(
                found["target_text"].to_pylist(), add_special_tokens=False
            )
            lists = [[*one.ids[: self._limit - 1], self._end] for one in encoded]
            return RaggedIds.from_arrow(pa.array(lists, pa.list_(pa.int32())))
        asked = RaggedIds.from_arrow(found["target_ids"])
        a, b = (ids.values[ids.offsets[0] : ids.offsets[-1]] for ids in (asked, gold))
        same = np.array_equal(asked.lengths, gold.lengths) and np.array_equal(a, b)
        if self._config.with_topk and not same:
            raise ContractViolation(
                f"in {part} the teacher was asked about other texts than the gold ones",
                rule="a token's signal belongs to the tokens before it",
                remedy="set teacher.signals.targets to gold, or distillation.targets to teacher; "
                "teacher and student must cut texts at the same max_length_tokens",
            )
        return gold


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def tokenizer_digest(folder: Path) -> str:
    """SHA-256 of the tokenizer in a folder: whether two vocabularies are one."""
    return hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()


def _no_targets(num_rows: int) -> ContractViolation:
    return ContractViolation(
        f"none of {num_rows} rows to train on has a target text",
        rule="distillation.targets: gold learns from gold texts alone",
        remedy="map a target_text column for these rows, or set distillation.targets to teacher",
    )


def check_same_tokens(model: Path, tokens: Path) -> None:
    """Refuse tokens that a model was not trained on.

    Args:
        model: folder of a model with its tokenizer.json.
        tokens: directory of a tokens artifact.
    Raises: ContractViolation if the tokenizers differ.
    """
    if tokenizer_digest(model) != tokenizer_digest(tokens / "tokenizer"):
        raise ContractViolation(
            "the teacher was trained on another tokenizer's tokens",
            rule="a teacher is asked, on policy or for its layers, in its own tokens",
            remedy="give the student the teacher's tokenizer",
        )
