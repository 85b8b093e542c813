"""Training examples as flat files that are mapped, not read: memory does not grow with rows.

    tokens (+ teacher_signals) ──part by part──► examples
        token_ids.bin   uint16, int32 if the vocabulary has more than 65,536 entries; (tokens,)
        offsets.bin     int64, (rows + 1,)          lengths.bin   int32, (rows,)
        unit_offsets.bin, unit_positions.bin        int64, (rows + 1,); int32, (answers,)
        labels.bin      int64, (answers,)           (answers, classes) where several may be right
        logits.bin      float32, (answers, classes)
        teacher_token_ids.bin, teacher_offsets.bin  int32, int64: as the teacher reads the rows
        groups.bin      int64, (rows,)              where a text comes from, if asked for
        choices.bin     int64, as the labels: what the teacher decides
        examples.json   shapes, labels

A text is one answer; problems that answer for the units of a text have the unit files too.

Parquet must be decoded, so it cannot be mapped; this is the same content decoded once, 2 bytes a
token, 20 a row and 4 a class. It is an artifact of its own, keyed by tokens and signals: all seeds,
students and tuning trials share it, and its pages, which the kernel takes back whenever it wants.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from data_contracts.artifacts import Artifact, StageSummary
from data_contracts.errors import ContractViolation
from tasks.corpus.tables import part_paths, read_table
from tasks.corpus.text.languages import in_any_language
from tasks.corpus.tokens.facts import read_token_facts
from tasks.modeling.heads.units import Units
from tasks.problems import PROBLEMS, Answers
from tasks.problems.problem import TeacherOutput
from tasks.runtime.stages import Stage, StageConfig, Workspace, run_stage
from tasks.training.batching.examples import Examples, no_rows, read_labels
from tasks.training.batching.flat_files import FlatFiles
from tasks.training.batching.ragged import RaggedIds
from tasks.training.batching.signal_join import SignalJoin
from tasks.training.losses import IGNORE_INDEX

VERSION = 5
_UINT16_TOKENS = 65_536


class Config(StageConfig):
    """Which rows are mapped."""

    problem: str = Field(description="problem type: decides what the answers of a row are")
    roles: tuple[str, ...] = Field(description="roles of the rows, in order")
    languages: tuple[str, ...] = Field(
        (), description="keep only rows read in one of these; empty: all"
    )
    label_languages: tuple[str, ...] = Field(
        (), description="languages of the rows whose hard labels are kept; empty: all"
    )
    label_roles: tuple[str, ...] = Field(
        (), description="roles of the rows whose hard labels are kept; empty: all"
    )
    labelled_only: bool = Field(description="leave out rows without a hard label")
    groups: Literal["language", "role"] | None = Field(
        None, description="what is noted of where each text comes from; none: nothing"
    )


def map_examples(
    tokens: Artifact,
    roles: Sequence[str],
    *,
    problem: str,
    signals: Artifact | None,
    workspace: Workspace,
    languages: Sequence[str] = (),
    label_languages: Sequence[str] = (),
    label_roles: Sequence[str] = (),
    labelled_only: bool = False,
    groups: Literal["language", "role"] | None = None,
    teacher_tokens: Artifact | None = None,
) -> Examples:
    """Rows of `roles` in file order, with teacher logits if `signals` are given, mapped.

    Args:
        problem: a key of `tasks.problems.PROBLEMS`.
        languages: keep only rows read in one of these; all if empty.
        label_languages: keep hard labels only of rows read in one of these; all if empty.
        label_roles: keep hard labels only of rows of one of these; all if empty.
        labelled_only: leave out rows without a hard label.
        groups: what to note of where each text comes from.
        teacher_tokens: the same rows as the teacher reads them, if it reads beside the student.
        workspace: of the stage that trains; if that is forced, the rows are mapped again, once a
            run.
    Raises: ContractViolation if there are no such rows, a row has no signal, or the teacher knows
        other classes.
    """
    inputs = {"tokens": tokens} if signals is None else {"tokens": tokens, "signals": signals}
    if teacher_tokens is not None:
        inputs["teacher_tokens"] = teacher_tokens
    outcome = run_stage(
        STAGE,
        Config(
            problem=problem,
            roles=tuple(roles),
            languages=tuple(languages),
            label_languages=tuple(label_languages),
            label_roles=tuple(label_roles),
            labelled_only=labelled_only,
            groups=groups,
        ),
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

    answers, classes = int(facts["num_answers"]), int(facts["num_classes"])
    labels_shape = (answers, len(facts["labels"])) if facts["binary"] else (answers,)
    units = None
    if facts["has_units"]:
        units = Units(
            mapped("unit_offsets", np.int64, rows + 1), mapped("unit_positions", np.int32, answers)
        )
    return Examples(
        example_ids=None,
        input_ids=RaggedIds(
            mapped("token_ids", facts["token_dtype"], facts["num_tokens"]),
            mapped("offsets", np.int64, rows + 1),
            mapped("lengths", np.int32, rows),
        ),
        labels=mapped("labels", np.int64, *labels_shape),
        teacher_logits=mapped("logits", np.float32, answers, classes) if classes else None,
        label_names=tuple(facts["labels"]),
        teacher_choices=mapped("choices", np.int64, *labels_shape) if classes else None,
        units=units,
        distribution=PROBLEMS[facts["problem"]].distribution,
        groups=mapped("groups", np.int64, rows) if facts["groups"] else None,
        group_names=tuple(facts["groups"]),
        teacher_ids=RaggedIds(
            mapped("teacher_token_ids", np.int32, facts["num_teacher_tokens"]),
            mapped("teacher_offsets", np.int64, rows + 1),
        )
        if facts["num_teacher_tokens"]
        else None,
        teacher_pad_id=facts["teacher_pad_id"],
    )


def write_examples(
    config: Config, inputs: Mapping[str, Artifact], workspace: Workspace
) -> StageSummary:
    """Decode the parts of tokens and signals into flat files."""
    problem = PROBLEMS[config.problem]
    tokens, output = inputs["tokens"].path, workspace.output
    labels = read_labels(tokens)
    vocab_size = read_token_facts(tokens)["vocab_size"]
    dtype = np.dtype(np.uint16 if vocab_size <= _UINT16_TOKENS else np.int32)
    join = SignalJoin(inputs["signals"].path, labels) if "signals" in inputs else None
    beside, teacher_pad_id = None, 0
    if "teacher_tokens" in inputs:
        folder = inputs["teacher_tokens"].path
        beside = SignalJoin(folder, labels, key=problem.row_key)
        teacher_pad_id = read_token_facts(folder)["pad_token_id"]
    key = problem.row_key if beside else ()
    columns = list(dict.fromkeys((*problem.token_columns, *key, "language")))
    parts = part_paths(tokens, config.roles)
    num_teacher_tokens = num_read = num_rows = num_tokens = num_answers = num_classes = 0
    has_units = False
    groups: dict[str, int] = {}  # name → number, in order of appearance
    with FlatFiles(output) as files:
        files.put("offsets", np.zeros(1, np.int64))
        workspace.progress.start("mapping examples", total=len(parts), unit="parts")
        for path in parts:
            table = read_table(path, columns)
            num_read += len(table)
            if config.languages:
                table = table.filter(in_any_language(table["language"], config.languages))
            answers = problem.answers(table, num_labels=len(labels))
            if config.labelled_only:
                table = table.filter(pa.array(have_labels(answers)))
                answers = problem.answers(table, num_labels=len(labels))
            if config.label_languages:
                known = np.asarray(in_any_language(table["language"], config.label_languages))
                answers = _labelled_where(answers, known)
            if config.label_roles and path.parent.name not in config.label_roles:
                answers = _labelled_where(answers, np.zeros(len(table), dtype=bool))
            if not len(table):
                workspace.progress.advance(1)
                continue
            if join:
                signals = join.rows(path.relative_to(tokens).as_posix(), table)
                logits, answers = problem.soft_targets(table, signals, answers, order=join.order)
                num_classes = logits.shape[1]
                files.put("logits", logits.astype(np.float32, copy=False))
                from_teacher = TeacherOutput(table, signals, logits, answers, join.thresholds)
                files.put("choices", problem.decisions(from_teacher))
            ids = RaggedIds.from_arrow(table["input_ids"])
            values = ids.values[ids.offsets[0] : ids.offsets[-1]]
            files.put("token_ids", values.astype(dtype, copy=False))
            files.put("offsets", num_tokens + np.cumsum(ids.lengths, dtype=np.int64))
            files.put("lengths", ids.lengths.astype(np.int32, copy=False))
            files.put("labels", answers.labels)
            if answers.units is not None:
                if not has_units:
                    files.put("unit_offsets", np.zeros(1, np.int64))
                has_units = True
                files.put("unit_offsets", num_answers + answers.units.offsets[1:])
                files.put("unit_positions", answers.units.positions)
            if beside:
                own = beside.rows(path.relative_to(tokens).as_posix(), table)
                theirs = RaggedIds.from_arrow(own["input_ids"])
                if not num_rows:
                    files.put("teacher_offsets", np.zeros(1, np.int64))
                files.put(
                    "teacher_token_ids", theirs.values[theirs.offsets[0] : theirs.offsets[-1]]
                )
                ends = num_teacher_tokens + np.cumsum(theirs.lengths, dtype=np.int64)
                files.put("teacher_offsets", ends)
                num_teacher_tokens = int(ends[-1])
            if config.groups:
                names = [path.parent.name] * len(ids)
                if config.groups == "language":
                    names = table["language"].to_pylist()
                numbers = [groups.setdefault(name, len(groups)) for name in names]
                files.put("groups", np.array(numbers, np.int64))
            num_rows += len(ids)
            num_tokens += int(ids.lengths.sum())
            num_answers += len(answers.labels)
            workspace.progress.advance(1)
    if not num_rows:
        raise _no_labels(num_read) if num_read else no_rows(config.roles)
    facts = {
        "problem": config.problem,
        "num_rows": num_rows,
        "num_tokens": num_tokens,
        "num_answers": num_answers,
        "num_classes": num_classes,
        "has_units": has_units,
        "binary": problem.distribution == "binary",
        "token_dtype": dtype.name,
        "labels": labels,
        "groups": list(groups),
        "num_teacher_tokens": num_teacher_tokens,
        "teacher_pad_id": teacher_pad_id,
    }
    text = json.dumps(facts, ensure_ascii=False, indent=1)
    (output / "examples.json").write_text(text + "\n", encoding="utf-8")
    return StageSummary(facts={"rows": num_rows, "tokens": num_tokens})


STAGE = Stage("examples", VERSION, write_examples)


def _labelled_where(answers: Answers, known: np.ndarray) -> Answers:
    """`answers` with hard labels only for the texts in the boolean `known`."""
    if answers.units is not None:
        known = np.repeat(known, np.diff(answers.units.offsets))
    labels = answers.labels.copy()
    labels[~known] = IGNORE_INDEX
    return replace(answers, labels=labels)


def have_labels(answers: Answers) -> np.ndarray:
    """Which texts have a hard label for any of their answers."""
    labels = answers.labels if answers.labels.ndim == 1 else answers.labels[:, 0]
    known = labels != IGNORE_INDEX
    if answers.units is None:
        return known
    offsets = answers.units.offsets
    return np.diff(np.concatenate([[0], np.cumsum(known)])[offsets]) > 0


def _no_labels(num_rows: int) -> ContractViolation:
    return ContractViolation(
        f"none of {num_rows} rows to train on has a gold label",
        rule="hard_labels: gold with alpha 0 learns from gold labels alone",
        remedy="map a label column for these rows, or set baselines.supervised to false",
    )
