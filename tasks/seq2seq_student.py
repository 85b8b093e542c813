"""Distillation of texts: a small encoder-decoder learns to write what a teacher would.

    tokens (transfer, validation) + teacher_signals (+ teacher) → student
        model/  history.json  training.json        as in tasks.seq2seq_teacher

    word level      alpha > 0, or terms that compare distributions: the teacher's prediction of each
                    token of the target text
    sequence level  targets teacher: its own texts are the targets, and need no gold ones
    interpolation   the same, if the signals were taken of the hypothesis closest to gold
    on policy       some steps are on texts that the student writes itself

They combine. The twin without distillation is alpha 0 on gold texts; alpha 0 on the teacher's texts
is sequence-level distillation alone.

References: Kim & Rush 2016, arXiv:1606.07947; Agarwal et al. 2024, arXiv:2306.13649 (on policy).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from data_contracts.artifacts import Artifact, Frozen, StageSummary
from tasks.modeling.encoder_decoder.config import (
    DecodingConfig,
    PretrainedSeq2Seq,
    Seq2SeqArchitecture,
    Seq2SeqProblemName,
)
from tasks.runtime.machine.device import process_count
from tasks.runtime.stages import Stage, StageConfig, Workspace
from tasks.training.objectives.config import Temperature, check_one_form, check_terms
from tasks.training.optimization.config import TrainingConfig
from tasks.training.optimization.schedules import Schedule, values_of
from tasks.training.sequences.objective_config import Share, TokenTerm, token_blend

VERSION = 5


class OnPolicyConfig(Frozen):
    """Steps on the student's own texts."""

    share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the steps: lambda; each costs a sampling and a pass of the teacher",
    )
    temperature: float = Field(
        default=1.0, gt=0, le=10, description="of the student's samples; unitless"
    )
    k: int = Field(
        default=64, ge=1, le=4096, description="likeliest tokens of the teacher kept one by one"
    )


_SHORT_FORM = ("alpha", "temperature")


class ObjectiveConfig(Frozen):
    """What the student is trained to match: a blend of two terms over tokens, or a list of them."""

    alpha: Share = Field(
        default=0.5,
        description="weight of the teacher's distributions over tokens, number or schedule; "
        "1 - alpha goes to the target text",
    )
    temperature: Temperature = Field(
        default=1.0,
        description="softens both distributions, number or schedule; 1 leaves them as is",
    )
    terms: tuple[TokenTerm, ...] = Field(
        default=(), description="weighted loss terms over tokens, instead of alpha and temperature"
    )
    targets: Literal["gold", "teacher"] = Field(
        default="teacher",
        description="target texts: the corpus's own, or those that the teacher was asked about "
        "(teacher.signals.targets)",
    )
    on_policy: OnPolicyConfig = Field(
        default=OnPolicyConfig(), description="steps on the student's own texts"
    )

    @model_validator(mode="after")
    def _one_form(self) -> ObjectiveConfig:
        check_one_form(self.model_fields_set, _SHORT_FORM, len(self.terms))
        return self

    @model_validator(mode="after")
    def _terms_say_something(self) -> ObjectiveConfig:
        check_terms(self.terms)
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_used(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Written as one of the two forms, so that it can be read again, and keys stay apart."""
        unused = _SHORT_FORM if self.terms else ("terms",)
        return {name: value for name, value in serialize(self).items() if name not in unused}

    @property
    def loss_terms(self) -> tuple[TokenTerm, ...]:
        """The terms of either form."""
        return self.terms or token_blend(self.alpha, self.temperature)

    @property
    def is_told(self) -> bool:
        """Whether the history tells weights, temperatures and shares of the terms.

        It does not of two numbers: such students have the bytes they had before there were terms.
        """
        return bool(self.terms) or any(
            isinstance(value, Schedule) for value in (self.alpha, self.temperature)
        )

    @property
    def compares_distributions(self) -> bool:
        """Whether the student learns from the teacher's distributions over tokens."""
        return any(
            term.reads_teacher_logits and max(values_of(term.weight)) > 0
            for term in self.loss_terms
        )

    @property
    def needs_signals(self) -> bool:
        """Whether training reads teacher signals at all."""
        return self.compares_distributions or self.targets == "teacher"


class Config(StageConfig):
    """What defines a student."""

    problem: Seq2SeqProblemName = Field(description="problem type: decides metrics")
    target_language: str = Field(description="BCP-47 tag of the texts that are written")
    architecture: Seq2SeqArchitecture = Field(
        description="a shape with random weights, or layers of the teacher or another model"
    )
    objective: ObjectiveConfig = Field(description="what the student is trained to match")
    train_on: tuple[Literal["transfer", "train"], ...] = Field(
        default=("train",), min_length=1, description="roles of the rows the student is trained on"
    )
    decoding: DecodingConfig = Field(
        default=DecodingConfig(), description="how it writes: kept in the folder"
    )
    validation_texts: int = Field(
        default=500,
        ge=1,
        le=100_000,
        description="validation rows for which texts are written, greedily, at each validation",
    )
    training: TrainingConfig = Field(description="optimisation")
    seed: int = Field(default=0, ge=0, description="seed of the weights, order and dropout")

    @model_validator(mode="after")
    def _own_texts_need_a_divergence(self) -> Config:
        if self.objective.on_policy.share > 0 and not self.objective.compares_distributions:
            raise ValueError(
                "on_policy.share is above 0, but no term compares distributions: the student's own "
                "texts are learnt from through the teacher's distributions alone; set alpha above "
                "0, or add a term such as kl"
            )
        return self

    @property
    def needs_teacher(self) -> bool:
        """Whether the teacher itself is an input, beside its signals."""
        return self.architecture.copies_teacher or self.objective.on_policy.share > 0

    def locations(self) -> tuple[str, ...]:
        """The bytes of a pretrained model that the student starts from are part of the key."""
        start = self.architecture
        if isinstance(start, PretrainedSeq2Seq) and not start.copies_teacher:
            return (start.model,)
        return ()


def distill(config: Config, inputs: Mapping[str, Artifact], workspace: Workspace) -> StageSummary:
    """Train a student on `inputs["tokens"]`, guided by `inputs["signals"]` if given.

    `inputs["teacher"]` is given if the student starts from its layers or learns on policy.
    """
    if (processes := process_count()) > 1:
        from tasks.training.distributed.launching import run_in_ranks

        function = "tasks.seq2seq_student:distill"
        return run_in_ranks(function, config, inputs, workspace, processes=processes)
    from tasks.modeling.encoder_decoder.network import Seq2SeqNetwork, check_tokens, load_seq2seq
    from tasks.problems import SEQ2SEQ_PROBLEMS
    from tasks.training.sequences.fit import fit_seq2seq
    from tasks.training.sequences.initialization import untrained_seq2seq
    from tasks.training.sequences.mapping import check_same_tokens, map_seq2seq_examples
    from tasks.training.sequences.objective import OnPolicy, Seq2SeqObjective
    from tasks.training.sequences.tokens import longest_target, read_seq2seq_tokens

    tokens, objective = inputs["tokens"].path, config.objective
    teacher = inputs["teacher"].path / "model" if "teacher" in inputs else None
    examples = map_seq2seq_examples(
        inputs["tokens"],
        config.train_on,
        targets=objective.targets,
        signals=inputs["signals"] if objective.needs_signals else None,
        with_topk=objective.compares_distributions,
        workspace=workspace,
    )
    if teacher is not None:
        check_same_tokens(teacher, tokens)
    network = Seq2SeqNetwork(
        untrained_seq2seq(
            config.architecture,
            tokens=tokens,
            decoding=config.decoding,
            longest_target=max(
                int(examples.target_ids.lengths.max()), longest_target(tokens, ["validation"])
            ),
            seed=config.seed,
            role="student",
            teacher=teacher,
        )
    )
    on_policy = None
    if objective.on_policy.share > 0:
        assert teacher is not None, "on-policy steps ask the teacher itself"
        asked = load_seq2seq(teacher)
        written = replace(
            read_seq2seq_tokens(tokens), max_length_tokens=config.decoding.max_length_tokens
        )
        check_tokens(asked, written, role="teacher of on-policy steps")
        on_policy = OnPolicy(
            share=objective.on_policy.share,
            teacher=asked,
            decoding=config.decoding,
            temperature=objective.on_policy.temperature,
            k=objective.on_policy.k,
            seed=config.seed,
        )
    return fit_seq2seq(
        network,
        examples,
        Seq2SeqObjective(
            network=network,
            vocab_size=read_seq2seq_tokens(tokens).vocab_size,
            loss_terms=objective.loss_terms,
            label_smoothing=config.training.label_smoothing,
            on_policy=on_policy,
            is_told=objective.is_told,
        ),
        config.training,
        problem=SEQ2SEQ_PROBLEMS[config.problem],
        language=config.target_language,
        decoding=config.decoding,
        validation_texts=config.validation_texts,
        tokens=tokens,
        seed=config.seed,
        workspace=workspace,
    )


STAGE = Stage("student", VERSION, distill)
