"""Distillation: a small student learns from teacher signals on text in its own language.

    tokens (transfer, validation) + teacher_signals (+ teacher, to start from) → student
        model/  history.json  training.json        as in tasks.teacher

loss = alpha · T² · KL(teacher || student) + (1 - alpha) · CE(hard labels), or whatever weighted
terms the objective lists. The hard labels are the
teacher's own choices unless the objective asks for gold ones, so a student needs no label in its
language. The baselines are this stage with other objectives: alpha 0 with the teacher's labels is
"hard pseudo-labels" (no distillation), alpha 0 with gold labels the supervised bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from data_contracts.artifacts import Artifact, StageSummary
from tasks.modeling.config import (
    Architecture,
    EncoderProblem,
)
from tasks.problems import score_version
from tasks.runtime.machine.device import is_small_step, trains_on_one_thread
from tasks.runtime.stages import Stage, StageConfig, Workspace
from tasks.training.auxiliary.adversary_config import AdversaryConfig, noted_groups
from tasks.training.auxiliary.ema_config import EMAConfig
from tasks.training.auxiliary.matching_config import AnyMatchingTerm
from tasks.training.fitting.batch_terms import processes_for
from tasks.training.objectives.config import ObjectiveConfig
from tasks.training.optimization.config import TrainingConfig

if TYPE_CHECKING:
    from tasks.modeling.heads.classifier import EncoderWithHead

VERSION = 9


class Config(StageConfig):
    """What defines a student."""

    problem: EncoderProblem = Field(
        "text_classification", description="problem type: decides head, loss and metrics"
    )
    architecture: Architecture = Field(
        description="the student's encoder: a shape, or layers of a pretrained model"
    )
    objective: ObjectiveConfig = Field(description="what the student is trained to match")
    train_on: tuple[Literal["transfer", "train"], ...] = Field(
        ("transfer",), min_length=1, description="roles of the rows the student is trained on"
    )
    source_language: str | None = Field(
        None, description="language whose labels hard_labels: source takes"
    )
    languages: tuple[str, ...] = Field(
        (), description="languages of the rows the student is trained on; empty: all it reads"
    )
    validation_language: str | None = Field(
        None, description="language of the rows that choose the step; none: all it reads"
    )
    training: TrainingConfig = Field(description="optimisation")
    adversary: AdversaryConfig | None = Field(
        None, description="a classifier of languages or roles that the encoder learns to mislead"
    )
    matching: tuple[AnyMatchingTerm, ...] = Field(
        (),
        description="layers of the teacher that the student's layers are compared with: text "
        "vectors, token states, relations or attention",
    )
    ema: EMAConfig | None = Field(
        None, description="what the student learns from the running average of its own weights"
    )
    seed: int = Field(0, ge=0, description="seed of the weights, order and dropout")

    def locations(self) -> tuple[str, ...]:
        """The bytes of a pretrained encoder that the student starts from are part of the key."""
        start = self.architecture.weights_from
        return (start,) if start else ()


def distill(config: Config, inputs: Mapping[str, Artifact], workspace: Workspace) -> StageSummary:
    """Train a student on `inputs["tokens"]`, guided by `inputs["signals"]` if given.

    `inputs["teacher"]` is given if the student starts from its layers or is compared with them, in
    that case with `inputs["teacher_tokens"]`, as it reads the same rows; `inputs["adapted"]` if the
    student starts from an encoder that has read unlabelled text (tasks.adaptation).
    """
    terms = (*config.objective.loss_terms, *config.matching)
    if not _is_small(config) and (processes := processes_for(terms, workspace.progress)) > 1:
        from tasks.training.distributed.launching import run_in_ranks

        function = "tasks.distillation:distill"
        return run_in_ranks(function, config, inputs, workspace, processes=processes)
    from tasks.problems import load_model
    from tasks.training.auxiliary.token_alignment import check_same_tokens
    from tasks.training.batching import examples as rows
    from tasks.training.batching.mapped_examples import map_examples
    from tasks.training.engine.diagnostics import diagnose_reading
    from tasks.training.fitting.fit import fit
    from tasks.training.objectives.class_weights import class_weights
    from tasks.training.objectives.objective import Objective

    tokens = inputs["tokens"].path
    examples = map_examples(
        inputs["tokens"],
        config.train_on,
        problem=config.problem,
        languages=config.languages,
        label_languages=_label_languages(config),
        signals=inputs["signals"] if config.objective.needs_teacher else None,
        # Gold labels alone teach nothing on rows that have none.
        labelled_only=config.objective.label_source == "gold"
        and not config.objective.reads_teacher_logits,
        groups=noted_groups(config.adversary, config.training.language_temperature),
        teacher_tokens=inputs["teacher_tokens"] if config.matching else None,
        workspace=workspace,
    )
    if any(term.reads_tokens for term in config.matching):
        check_same_tokens(examples, tokens, inputs["teacher_tokens"].path)
    if config.objective.label_source == "teacher":
        examples = rows.pseudo_labels(examples)
    elif config.objective.label_source == "none":
        examples = rows.unlabelled(examples)
    model = untrained_student(config, tokens, inputs, num_labels=examples.num_outputs)
    objective = Objective(
        config.objective.loss_terms,
        is_binary=examples.distribution == "binary",
        label_smoothing=config.training.label_smoothing,
        class_weights_C=class_weights(
            examples.labels,
            num_labels=len(examples.label_names),
            kind=config.training.class_weights,
        ),
    )
    return fit(
        model,
        examples,
        objective,
        config.training,
        problem=config.problem,
        tokens=tokens,
        seed=config.seed,
        workspace=workspace,
        num_threads=1 if on_one_thread(config) else None,
        language=config.validation_language,
        findings=diagnose_reading(
            inputs["tokens"],
            inputs.get("signals"),
            config.train_on,
            artifacts=workspace.store.root / "artifacts",
        ),
        signals=inputs["signals"].path if examples.distribution == "vectors" else None,
        adversary=config.adversary,
        ema=config.ema,
        matching=(load_model(inputs["teacher"].path / "model"), config.matching)
        if config.matching
        else None,
    )


def _label_languages(config: Config) -> tuple[str, ...]:
    """Languages of the rows whose hard labels are kept; empty: all."""
    if config.objective.label_source != "source":
        return ()
    assert config.source_language, "the recipe names the source language"
    return (config.source_language,)


def untrained_student(
    config: Config, tokens: Path, inputs: Mapping[str, Artifact], *, num_labels: int
) -> EncoderWithHead:
    """The student before its first step: the same weights for the same seed, every time.

    Args:
        tokens: folder of the tokens artifact, with the student's tokenizer.
        inputs: `teacher` if the student starts from its layers; `adapted` if it starts from an
            encoder of its architecture that has read unlabelled text.
    """
    from tasks.corpus.tokens.facts import read_token_facts
    from tasks.modeling.heads.classifier import initialise
    from tasks.problems import PROBLEMS
    from tasks.runtime.seeding import derive_seed
    from tasks.training.fitting.student_backbone import copy_teachers_head, student_backbone

    initialise(derive_seed(config.seed, "weights"))
    student = PROBLEMS[config.problem].build_model(
        student_backbone(config.architecture, tokens, inputs, read_roles=config.train_on),
        num_labels=num_labels,
        pooling=config.architecture.pooling,
        dropout=config.architecture.dropout,
        pairs=read_token_facts(tokens)["pairs"],
    )
    copy_teachers_head(student, config.architecture, inputs)
    return student


def _is_small(config: Config) -> bool:
    """Whether a step is worth neither a second thread nor a second process; see `device`."""
    weights = config.architecture.num_encoder_weights
    return weights is not None and is_small_step(weights, config.training.batch_size)


def on_one_thread(config: Config) -> bool:
    """Whether the student is so small that several are trained side by side, a thread each."""
    weights = config.architecture.num_encoder_weights
    return weights is not None and trains_on_one_thread(weights, config.training.batch_size)


STAGE = Stage("student", VERSION, distill, on_one_thread=on_one_thread, score_version=score_version)
