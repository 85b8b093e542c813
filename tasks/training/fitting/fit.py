"""From examples and an untrained network to a model folder: what every training stage shares.

    fit: train on rows, choose the step by the validation rows, write
        model/ (weights, tokenizer, labels)   history.json   training.json

Nothing written here depends on the clock or on how the machine lays steps out, so two runs of one
recipe give the same bytes; seconds and layout go into the manifest's facts.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from data_contracts.artifacts import THRESHOLDS_FILE, StageSummary
from data_contracts.errors import RecipeError
from tasks.corpus.tokens.facts import read_token_facts
from tasks.modeling.heads.classifier import EncoderWithHead, num_parameters, save_classifier
from tasks.modeling.initialization.adapters import merge_adapters
from tasks.problems import PROBLEMS, Problem
from tasks.problems.seq2seq import Seq2SeqProblem
from tasks.runtime.machine.device import resolve_precision
from tasks.runtime.stages import Workspace
from tasks.training.auxiliary.adversary_config import AdversaryConfig
from tasks.training.auxiliary.build import accompanied
from tasks.training.auxiliary.ema_config import EMAConfig
from tasks.training.auxiliary.matching_config import AnyMatchingTerm
from tasks.training.batching.batches import num_steps
from tasks.training.batching.examples import Examples
from tasks.training.batching.language_sampling import language_facts
from tasks.training.engine.diagnostics import Findings, TrainingProbe, collapsed, teacher_certainty
from tasks.training.engine.loop import TrainingResult, train
from tasks.training.engine.precision_probe import precision_facts
from tasks.training.fitting.held_out import HeldOut
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.adamw import prepare_weights
from tasks.training.optimization.config import TrainingConfig


def fit(
    model: EncoderWithHead,
    examples: Examples,
    objective: Objective,
    config: TrainingConfig,
    *,
    problem: str,
    tokens: Path,
    seed: int,
    workspace: Workspace,
    num_threads: int | None = None,
    language: str | None = None,
    findings: Findings | None = None,
    signals: Path | None = None,
    adversary: AdversaryConfig | None = None,
    matching: tuple[EncoderWithHead, Sequence[AnyMatchingTerm]] | None = None,
    ema: EMAConfig | None = None,
) -> StageSummary:
    """Train `model` and write its folder into `workspace.output`.

    Args:
        language: of the validation rows; all that were read if not given.
        problem: problem type, a key of `tasks.problems.PROBLEMS`.
        tokens: directory of the tokens artifact: validation rows, tokenizer and labels.
        seed: of order and dropout.
        num_threads: for arithmetic on a CPU; all that this process may use if not given.
        findings: what is known of a student's texts; then its training is looked into, too.
        signals: folder of the teacher's, of the validation rows too, where answers are vectors.
        adversary: that tells where a text comes from; `examples` then hold that.
        matching: a teacher that reads beside `model`, whose tokens `examples` then hold, and what
            of its layers is compared.
        ema: what is learned from the running average of the weights.
    Raises: ContractViolation if there are no labelled validation rows.
    """
    task = PROBLEMS[problem]
    config = config.model_copy(update={"selection": selection_of(task, config)})
    pad_token_id = read_token_facts(tokens)["pad_token_id"]
    precision = resolve_precision(config.precision)
    held_out = HeldOut(
        task,
        tokens,
        language=language,
        pad_token_id=pad_token_id,
        precision=precision,
        signals=signals,
    )

    def validate(candidate: nn.Module) -> dict[str, float]:
        return held_out.score(*held_out.said_by(candidate))

    measured = precision_facts(precision, workspace.progress)
    prepare_weights(model.backbone, config, seed=seed)
    network, minimised = accompanied(
        model, examples, objective, adversary=adversary, matching=matching, ema=ema, seed=seed
    )
    probe = None
    if findings is not None:
        findings.add(teacher_certainty(examples, objective))
        probe = TrainingProbe(
            examples,
            objective,
            config.model_copy(update={"precision": precision}),
            pad_token_id=pad_token_id,
            planned_steps=num_steps(len(examples), config.batch_size) * config.num_epochs,
            seed=seed,
            beside=None if isinstance(minimised, Objective) else minimised,
        )
    result = train(
        network,
        examples,
        minimised,
        config,
        pad_token_id=pad_token_id,
        validate=validate,
        seed=seed,
        work=workspace.work,
        progress=workspace.progress,
        num_threads=num_threads,
        probe=probe,
    )
    num_trained = num_parameters(model, trainable=True)
    deliver(model, workspace.output, task, tokens, held_out)
    state = result.state
    if findings is not None:
        findings.add(collapsed(state.validations, state.best_step))
        for warning in findings.warnings:
            workspace.progress.say(f"warning: {warning}")
    write_record(
        workspace.output,
        result,
        num_parameters=num_parameters(model),
        num_examples=len(examples),
        precision=precision,
        seed=seed,
    )
    return StageSummary(
        facts={
            f"validation_{task.metrics[0]}": round(state.best_validation[task.metrics[0]], 4),
            "steps": state.step,
            "parameters": num_parameters(model),
            "trained_parameters": num_trained,
            "train_seconds": state.train_seconds,
            **measured,
            **language_facts(examples.groups, examples.group_names, config.language_temperature),
            **result.layout.facts(),
            "loader_wait_seconds": result.loader_wait_seconds,
            "threads": result.num_threads,
            **(findings.figures if findings is not None else {}),
        }
    )


def deliver(
    model: EncoderWithHead, output: Path, task: Problem, tokens: Path, held_out: HeldOut
) -> None:
    """Write a trained network's folder into `output`: model/, and what decides beside its logits.

    Args:
        held_out: rows on which thresholds are tuned, if the problem has them.
    """
    merge_adapters(model.backbone)
    folder = output / "model"
    write_model(model, folder, task, tokens)
    if task.has_thresholds:
        write_json(folder / THRESHOLDS_FILE, held_out.thresholds(model))


def write_model(model: EncoderWithHead, folder: Path, task: Problem, tokens: Path) -> None:
    """Write a trained network with the tokenizer and the labels of its tokens into `folder`."""
    save_classifier(model, folder, problem=task.name)
    copy_tokenizer(tokens, folder)
    shutil.copyfile(tokens / "labels.json", folder / "labels.json")


def copy_tokenizer(tokens: Path, folder: Path) -> None:
    """Put the tokenizer of a tokens artifact into a model's folder."""
    for source in sorted((tokens / "tokenizer").iterdir()):
        shutil.copyfile(source, folder / source.name)


def write_record(
    output: Path,
    result: TrainingResult,
    *,
    num_parameters: int,
    num_examples: int,
    precision: str,
    seed: int,
    **more: object,
) -> None:
    """Write history.json (learning curves) and training.json (what was run) into `output`.

    Args:
        more: what else training.json tells.
    """
    state = result.state
    write_json(output / "history.json", result.history())
    write_json(
        output / "training.json",
        {
            "steps_done": state.step,
            "steps_planned": result.steps_planned,
            "best_step": state.best_step,
            "stopped_early": state.stopped_early,
            "precision": precision,
            "num_parameters": num_parameters,
            "num_examples": num_examples,
            "seed": seed,
            **more,
        },
    )


def selection_of(problem: Problem | Seq2SeqProblem, config: TrainingConfig) -> str:
    """The validation figure that chooses the step; `auto` is the problem's primary one."""
    if config.selection == "auto":
        return problem.metrics[0]
    if config.selection not in (*problem.metrics, "loss", "last"):
        raise RecipeError(
            f"training.selection is {config.selection!r}, which {problem.name} does not measure",
            rule=f"one of: auto, loss, last, {', '.join(problem.metrics)}",
            remedy="choose one of these",
        )
    return config.selection


def write_json(path: Path, value: object) -> None:
    """Write `value` for people and programs: indented, keys sorted."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
