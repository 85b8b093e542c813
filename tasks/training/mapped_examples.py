"""Training examples as flat files that are mapped, not read: memory does not grow with rows.

    tokens (+ teacher_signals) ──part by part──► examples
        token_ids.bin   uint16, int32 if the vocabulary has more than 65,536 entries; (tokens,)
        offsets.bin     int64, (rows + 1,)          lengths.bin   int32, (rows,)
        labels.bin      int64, (rows,)
        logits.bin      float32, (rows, classes)    choices.bin   int64, (rows,): their argmax
        examples.json   shapes, labels

Parquet must be decoded, so it cannot be mapped; this is the same content decoded once, 2 bytes a
token, 20 a row and 4 a class. It is an artifact of its own, keyed by tokens and signals: all seeds,
students and tuning trials share it, and its pages, which the kernel takes back whenever it wants.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from pydantic import Field

from data_contracts.artifacts import Artifact, StageSummary
from data_contracts.errors import ContractViolation
from tasks.corpus.tables import read_table
from tasks.runtime.stages import Stage, StageConfig, Workspace, run_stage
from tasks.training.examples import Examples, RaggedIds, no_rows, read_labels
from tasks.training.losses import IGNORE_INDEX
from tasks.training.signal_join import SignalJoin

VERSION = 1
_UINT16_TOKENS = 65_536


class Config(StageConfig):
    """Which rows are mapped."""

    roles: tuple[str, ...] = Field(description="roles of the rows, in order")
    labelled_only: bool = Field(description="leave out rows without a hard label")


def map_examples(
    tokens: Artifact,
    roles: Sequence[str],
    *,
    signals: Artifact | None,
    workspace: Workspace,
    labelled_only: bool = False,
) -> Examples:
    """Rows of `roles` in file order, with teacher logits if `signals` are given, mapped.

    Args:
        labelled_only: leave out rows without a hard label.
        workspace: of the stage that trains; if that is forced, the rows are mapped again, once a
            run.
    Raises: ContractViolation if there are no such rows, a row has no signal, or the teacher knows
        other classes.
    """
    inputs = {"tokens": tokens} if signals is None else {"tokens": tokens, "signals": signals}
    outcome = run_stage(
        STAGE,
        Config(roles=tuple(roles), labelled_only=labelled_only),
        inputs,
        store=workspace.store,
        progress=workspace.progress,
        force=workspace.force,
        run_id=workspace.run_id,
    )
    return open_examples(outcome.artifact.path)


def open_examples(folder: Path) -> Examples:
    """The examples that were written to `folder`."""
    facts = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    rows = int(facts["num_rows"])

    def mapped(name: str, dtype: Any, *shape: int) -> np.ndarray:
        return np.memmap(folder / f"{name}.bin", dtype, mode="r", shape=shape).view(np.ndarray)

    has_signals = bool(facts["num_classes"])
    return Examples(
        example_ids=None,
        input_ids=RaggedIds(
            mapped("token_ids", facts["token_dtype"], facts["num_tokens"]),
            mapped("offsets", np.int64, rows + 1),
            mapped("lengths", np.int32, rows),
        ),
        labels=mapped("labels", np.int64, rows),
        teacher_logits=mapped("logits", np.float32, rows, facts["num_classes"])
        if has_signals
        else None,
        label_names=tuple(facts["labels"]),
        teacher_choices=mapped("choices", np.int64, rows) if has_signals else None,
    )


def write_examples(
    config: Config, inputs: Mapping[str, Artifact], workspace: Workspace
) -> StageSummary:
    """Decode the parts of tokens and signals into flat files."""
    tokens, output = inputs["tokens"].path, workspace.output
    labels = read_labels(tokens)
    vocab_size = json.loads((tokens / "tokens.json").read_text(encoding="utf-8"))["vocab_size"]
    dtype = np.dtype(np.uint16 if vocab_size <= _UINT16_TOKENS else np.int32)
    join = SignalJoin(inputs["signals"].path, labels) if "signals" in inputs else None
    parts = [path for role in config.roles for path in sorted((tokens / role).glob("*.parquet"))]
    names = ["token_ids", "offsets", "lengths", "labels"] + (["logits", "choices"] if join else [])
    files = {name: (output / f"{name}.bin").open("wb") for name in names}
    num_read = num_rows = num_tokens = 0
    try:
        files["offsets"].write(np.zeros(1, np.int64).tobytes())
        workspace.progress.start("mapping examples", total=len(parts), unit="parts")
        for path in parts:
            table = read_table(path, ["example_id", "input_ids", "label"])
            num_read += len(table)
            if config.labelled_only:
                table = table.filter(pa.array(table["label"].to_numpy() != IGNORE_INDEX))
            ids = RaggedIds.from_arrow(table["input_ids"])
            _put(files["token_ids"], ids.values[ids.offsets[0] : ids.offsets[-1]], dtype)
            _put(files["offsets"], num_tokens + np.cumsum(ids.lengths), np.int64)
            _put(files["lengths"], ids.lengths, np.int32)
            _put(files["labels"], table["label"].to_numpy(), np.int64)
            if join:
                name = path.relative_to(tokens).as_posix()
                logits = join.logits(name, table["example_id"])
                _put(files["logits"], logits, np.float32)
                _put(files["choices"], logits.argmax(1), np.int64)
            num_rows += len(ids)
            num_tokens += int(ids.lengths.sum())
            workspace.progress.advance(1)
    finally:
        for file in files.values():
            file.close()
    if not num_rows:
        raise _no_labels(num_read) if num_read else no_rows(config.roles)
    if join:
        _patch(output, *join.strays())
    facts = {
        "num_rows": num_rows,
        "num_tokens": num_tokens,
        "num_classes": join.num_classes if join else 0,
        "token_dtype": dtype.name,
        "labels": labels,
    }
    text = json.dumps(facts, ensure_ascii=False, indent=1)
    (output / "examples.json").write_text(text + "\n", encoding="utf-8")
    return StageSummary(facts={"rows": num_rows, "tokens": num_tokens})


STAGE = Stage("examples", VERSION, write_examples)


def _put(file: BinaryIO, values: np.ndarray, dtype: Any) -> None:
    file.write(np.ascontiguousarray(values, dtype).data)


def _patch(output: Path, rows: np.ndarray, logits: np.ndarray) -> None:
    """Write the logits of the rows whose signals lay in another part."""
    width = logits.shape[1] * logits.itemsize
    with (
        (output / "logits.bin").open("r+b") as values,
        (output / "choices.bin").open("r+b") as choices,
    ):
        for row, scores in zip(rows.tolist(), logits, strict=True):
            values.seek(row * width)
            values.write(scores.tobytes())
            choices.seek(row * 8)
            choices.write(np.int64(scores.argmax()).tobytes())


def _no_labels(num_rows: int) -> ContractViolation:
    return ContractViolation(
        f"none of {num_rows} rows to train on has a gold label",
        rule="hard_labels: gold with alpha 0 learns from gold labels alone",
        remedy="map a label column for these rows, or set baselines.supervised to false",
    )
