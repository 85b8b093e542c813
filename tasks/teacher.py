"""Teacher fine-tuning: a pretrained encoder learns the labelled rows of the source language.

tokens (train, validation) → teacher
    model/        encoder, head, tokenizer, labels (see tasks.modeling.heads.classifier)
    history.json  learning curves
    training.json what was run: steps, best step, precision, parameters

An encoder whose sentence embeddings are to be learned is used as it is: nothing is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from data_contracts.artifacts import Artifact, StageSummary
from tasks.modeling.config import EncoderProblem, Pooling
from tasks.problems import score_version
from tasks.runtime.machine.device import process_count
from tasks.runtime.stages import Stage, StageConfig, Workspace
from tasks.training.auxiliary.adversary_config import AdversaryConfig, noted_groups
from tasks.training.optimization.config import TrainingConfig

VERSION = 8


class Config(StageConfig):
    """What defines a fine-tuned teacher."""

    problem: EncoderProblem = Field(
        "text_classification", description="problem type: decides head, loss and metrics"
    )
    model: str = Field(description="URI of the pretrained encoder: pkg://, hf://, s3:// or a path")
    pooling: Pooling = Field("mean", description="text vector: mean over tokens or the first state")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout before the linear head")
    training: TrainingConfig | None = Field(
        None,
        description="optimisation; left out for sentence_embedding, whose teacher is used as it is",
    )
    adversary: AdversaryConfig | None = Field(
        None,
        description="a classifier of languages or roles that the encoder learns to mislead; it "
        "reads transfer rows beside the train rows, without their labels",
    )
    seed: int = Field(0, ge=0, description="seed of the head's weights, order and dropout")

    def locations(self) -> tuple[str, ...]:
        """The pretrained encoder's bytes are part of the key."""
        return (self.model,)


def fine_tune(config: Config, inputs: Mapping[str, Artifact], workspace: Workspace) -> StageSummary:
    """Fine-tune `config.model` on the labelled train rows, keeping the best validated weights.

    Without `config.training` its embeddings are those it came with: weights are copied.
    `inputs["adapted"]` is given if it has read unlabelled text before (tasks.adaptation).
    """
    if config.training is None:
        return _as_it_is(config, inputs["tokens"].path, workspace)
    if (processes := process_count()) > 1:
        from tasks.training.distributed.launching import run_in_ranks

        function = "tasks.teacher:fine_tune"
        return run_in_ranks(function, config, inputs, workspace, processes=processes)
    from tasks.corpus.tokens.facts import read_token_facts
    from tasks.modeling.backbones.encoder import load_backbone
    from tasks.modeling.backbones.positions import check_length
    from tasks.modeling.heads.classifier import initialise
    from tasks.problems import PROBLEMS
    from tasks.runtime.files.locations import local_folder
    from tasks.runtime.seeding import derive_seed
    from tasks.training.batching.mapped_examples import map_examples
    from tasks.training.fitting.fit import fit
    from tasks.training.objectives.class_weights import class_weights
    from tasks.training.objectives.config import blend
    from tasks.training.objectives.objective import Objective

    tokens = inputs["tokens"].path
    train = map_examples(
        inputs["tokens"],
        ["train", "transfer"] if config.adversary else ["train"],
        problem=config.problem,
        signals=None,
        label_roles=("train",) if config.adversary else (),
        groups=noted_groups(config.adversary, config.training.language_temperature),
        workspace=workspace,
    )
    initialise(derive_seed(config.seed, "weights"))
    backbone = load_backbone(
        inputs["adapted"].path / "model" if "adapted" in inputs else local_folder(config.model)
    )
    facts = read_token_facts(tokens)
    check_length(backbone, facts["max_length_tokens"], section="teacher")
    model = PROBLEMS[config.problem].build_model(
        backbone,
        num_labels=len(train.label_names),
        pooling=config.pooling,
        dropout=config.dropout,
        pairs=facts["pairs"],
    )
    return fit(
        model,
        train,
        Objective(
            blend(alpha=0.0, labels="gold"),
            is_binary=train.distribution == "binary",
            label_smoothing=config.training.label_smoothing,
            class_weights_C=class_weights(
                train.labels,
                num_labels=len(train.label_names),
                kind=config.training.class_weights,
            ),
        ),
        config.training,
        problem=config.problem,
        tokens=tokens,
        seed=config.seed,
        workspace=workspace,
        adversary=config.adversary,
    )


def _as_it_is(config: Config, tokens: Path, workspace: Workspace) -> StageSummary:
    """Write the folder of a teacher of vectors that is not trained."""
    from tasks.corpus.tokens.facts import read_token_facts
    from tasks.modeling.backbones.encoder import load_backbone
    from tasks.modeling.backbones.positions import check_length
    from tasks.modeling.heads.classifier import EncoderEmbedder, num_parameters
    from tasks.problems import PROBLEMS
    from tasks.runtime.files.locations import local_folder
    from tasks.training.fitting.fit import write_json, write_model

    backbone = load_backbone(local_folder(config.model))
    check_length(backbone, read_token_facts(tokens)["max_length_tokens"], section="teacher")
    problem = PROBLEMS[config.problem]
    width = backbone.config.hidden_size
    model = problem.build_model(
        backbone, num_labels=width, pooling=config.pooling, dropout=config.dropout
    )
    assert isinstance(model, EncoderEmbedder), "other problems have a head to train"
    model.keep_pooled()
    write_model(model, workspace.output / "model", problem, tokens)
    parameters = num_parameters(backbone)
    write_json(workspace.output / "history.json", {"steps": [], "validations": [], "best_step": 0})
    record = {"steps_done": 0, "steps_planned": 0, "best_step": 0, "stopped_early": False}
    record |= {"num_parameters": parameters, "num_examples": 0, "seed": config.seed}
    write_json(workspace.output / "training.json", record)
    return StageSummary(facts={"width": width, "parameters": parameters, "trained_parameters": 0})


def _score_version(config: Config) -> int:
    # One that is used as it is was chosen by no figure.
    return score_version(config) if config.training else 1


STAGE = Stage("teacher", VERSION, fine_tune, score_version=_score_version)
