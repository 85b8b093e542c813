"""Mutual learning: two or more networks teach one another while they learn.

    tokens_0, tokens_1, ... (+ teacher_signals) (+ teacher) → student
        model/  history.json  training.json     as in tasks.distillation, of the first peer

Each peer minimises what a student would alone (`objective`: soft targets, hard labels), plus
weight · mean over the others of T² · KL(other || it). A peer may be a student of any architecture
and tokenizer, or the fine-tuned teacher itself: then distillation goes both ways, and history and
training.json tell how far the teacher has drifted from what it was. With soft targets in the
objective the teacher's own former signals hold it back. The first peer may have companions, as it
would alone: the teacher's layers, an adversary, its own running average.

References: Zhang et al. 2018, arXiv:1706.00384.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from data_contracts.artifacts import Artifact, Frozen, StageSummary
from tasks.modeling.config import Architecture, EncoderProblem
from tasks.problems import score_version
from tasks.runtime.stages import Stage, StageConfig, Workspace
from tasks.training.auxiliary.adversary_config import AdversaryConfig
from tasks.training.auxiliary.ema_config import EMAConfig
from tasks.training.auxiliary.matching_config import AnyMatchingTerm
from tasks.training.fitting.batch_terms import processes_for
from tasks.training.mutual.config import MutualTerm
from tasks.training.objectives.config import ObjectiveConfig
from tasks.training.optimization.config import TrainingConfig

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.training.batching.examples import Examples
    from tasks.training.mutual.fit import Peer

VERSION = 7


class PeerConfig(Frozen):
    """One of the networks."""

    architecture: Architecture | None = Field(
        None, description="the peer's encoder; none: the peer is the fine-tuned teacher itself"
    )
    validation_language: str | None = Field(
        None, description="language of the rows that it is examined on; none: all it reads"
    )


class Config(StageConfig):
    """What defines networks that teach one another."""

    problem: EncoderProblem = Field(
        "text_classification", description="problem type: decides head, loss and metrics"
    )
    peers: tuple[PeerConfig, ...] = Field(
        min_length=2, max_length=8, description="the networks; the first is delivered"
    )
    mutual: MutualTerm = Field(description="what they learn from one another")
    objective: ObjectiveConfig = Field(description="what each is trained to match beside that")
    train_on: tuple[Literal["transfer", "train"], ...] = Field(
        ("transfer",), min_length=1, description="roles of the rows they are trained on"
    )
    source_language: str | None = Field(
        None, description="language whose labels hard_labels: source takes"
    )
    training: TrainingConfig = Field(description="optimisation of all of them together")
    adversary: AdversaryConfig | None = Field(
        None, description="a classifier of languages or roles that the first peer misleads"
    )
    matching: tuple[AnyMatchingTerm, ...] = Field(
        (), description="layers of the fine-tuned teacher that the first peer's are compared with"
    )
    ema: EMAConfig | None = Field(
        None, description="what the first peer learns from the running average of its own weights"
    )
    seed: int = Field(0, ge=0, description="seed of the weights, order and dropout")

    @model_validator(mode="after")
    def _can_be_compared(self) -> Config:
        if self.problem == "question_answering":
            raise ValueError(
                "mutual learning compares answers to the same units, but readers of questions "
                "have windows of their own: leave mutual out"
            )
        if self.peers[0].architecture is None:
            raise ValueError("the first peer is delivered: it must be a student")
        return self

    def locations(self) -> tuple[str, ...]:
        """The bytes of pretrained encoders that peers start from are part of the key."""
        starts = (peer.architecture.weights_from for peer in self.peers if peer.architecture)
        return tuple(dict.fromkeys(start for start in starts if start))


def learn_together(
    config: Config, inputs: Mapping[str, Artifact], workspace: Workspace
) -> StageSummary:
    """Train the peers, each on its own `inputs["tokens_<k>"]`, and keep the first.

    `inputs["signals"]` are given if the objective reads them, `inputs["teacher"]` if a peer is the
    teacher, starts from its layers or is compared with them, in that case with
    `inputs["teacher_tokens"]`, as it reads the same rows; `inputs["adapted"]` if the first peer
    starts from an encoder that has read unlabelled text.
    """
    terms = (*config.objective.loss_terms, *config.matching)
    if (processes := processes_for(terms, workspace.progress)) > 1:
        from tasks.training.distributed.launching import run_in_ranks

        function = "tasks.mutual:learn_together"
        return run_in_ranks(function, config, inputs, workspace, processes=processes)
    from tasks.corpus.tokens.facts import read_token_facts
    from tasks.problems import load_model
    from tasks.training.auxiliary.token_alignment import check_same_tokens
    from tasks.training.mutual.fit import fit_peers
    from tasks.training.mutual.objective import MutualObjective, shared_rows
    from tasks.training.objectives.class_weights import class_weights
    from tasks.training.objectives.objective import Objective

    tokens = [inputs[f"tokens_{k}"] for k in range(len(config.peers))]
    examples = [_examples(config, k, own, inputs, workspace) for k, own in enumerate(tokens)]
    if any(term.reads_tokens for term in config.matching):
        check_same_tokens(examples[0], tokens[0].path, inputs["teacher_tokens"].path)
    rows = shared_rows(
        examples,
        [_example_ids(own, config.train_on) for own in tokens],
        [read_token_facts(own.path)["pad_token_id"] for own in tokens],
    )
    tasks = tuple(
        Objective(
            config.objective.loss_terms,
            is_binary=own.distribution == "binary",
            label_smoothing=config.training.label_smoothing,
            class_weights_C=class_weights(
                own.labels, num_labels=len(own.label_names), kind=config.training.class_weights
            ),
        )
        for own in examples
    )
    num_labels = len(examples[0].label_names)
    peers = [_peer(config, k, own, inputs, num_labels) for k, own in enumerate(tokens)]
    return fit_peers(
        peers,
        rows,
        MutualObjective(tasks, rows, config.mutual),
        config.training,
        problem=config.problem,
        seed=config.seed,
        workspace=workspace,
        adversary=config.adversary,
        ema=config.ema,
        matching=(load_model(inputs["teacher"].path / "model"), config.matching)
        if config.matching
        else None,
    )


def _examples(
    config: Config, k: int, tokens: Artifact, inputs: Mapping[str, Artifact], workspace: Workspace
) -> Examples:
    """All rows that peer k could be trained on, labelled as the objective asks.

    Those of the first with what its companions read beside that.
    """
    from tasks.training.batching import examples as rows
    from tasks.training.batching.mapped_examples import map_examples

    source = config.objective.label_source
    if source == "source":
        assert config.source_language, "the recipe names the source language"
    found = map_examples(
        tokens,
        config.train_on,
        problem=config.problem,
        label_languages=(config.source_language or "",) if source == "source" else (),
        signals=inputs["signals"] if config.objective.needs_teacher else None,
        groups=config.adversary.groups if config.adversary and k == 0 else None,
        teacher_tokens=inputs["teacher_tokens"] if config.matching and k == 0 else None,
        workspace=workspace,
    )
    if source == "teacher":
        return rows.pseudo_labels(found)
    return rows.unlabelled(found) if source == "none" else found


def _example_ids(tokens: Artifact, roles: Sequence[str]) -> pa.ChunkedArray:
    """Ids of the rows of `roles`, in the order in which they are mapped."""
    import pyarrow as pa

    from tasks.corpus.tables import part_paths, read_table

    tables = [read_table(path, ["example_id"]) for path in part_paths(tokens.path, roles)]
    return pa.concat_tables(tables)["example_id"]


def _peer(
    config: Config, k: int, tokens: Artifact, inputs: Mapping[str, Artifact], num_labels: int
) -> Peer:
    """Peer k before its first step; the first is the student that would be trained alone."""
    from tasks.corpus.tokens.facts import read_token_facts
    from tasks.modeling.heads.classifier import initialise
    from tasks.problems import PROBLEMS, load_model
    from tasks.runtime.seeding import derive_seed
    from tasks.training.fitting.student_backbone import copy_teachers_head, student_backbone
    from tasks.training.mutual.fit import Peer

    own = config.peers[k]
    if own.architecture is None:
        model = load_model(inputs["teacher"].path / "model")
    else:
        initialise(derive_seed(config.seed, "weights", *((k,) if k else ())))
        starts = {name: one for name, one in inputs.items() if k == 0 or name != "adapted"}
        model = PROBLEMS[config.problem].build_model(
            student_backbone(own.architecture, tokens.path, starts, read_roles=config.train_on),
            num_labels=num_labels,
            pooling=own.architecture.pooling,
            dropout=own.architecture.dropout,
            pairs=read_token_facts(tokens.path)["pairs"],
        )
        copy_teachers_head(model, own.architecture, starts)
    return Peer(model, tokens.path, own.validation_language, is_teacher=own.architecture is None)


STAGE = Stage("student", VERSION, learn_together, score_version=score_version)
