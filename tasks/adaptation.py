"""Adaptation: an encoder reads on, in the target language or domain, before its task.

corpus + tokens (of the reader, for its tokenizer) (+ teacher, to start from) → adapted
    model/        encoder and tokenizer, without a head
    history.json  training.json        as in tasks.teacher

Continued masked language modelling on unlabelled text: words are hidden whole (Chinese ones by a
dictionary) and told from their context. A teacher is fine-tuned from the result, or a student
distilled; nothing else of them changes. Text costs nothing, labels do: what this is worth depends
on how far the texts are from what the encoder has read before.

References: Gururangan et al. 2020, arXiv:2004.10964 (adaptation to domain and task); Pfeiffer et
    al. 2020, arXiv:2005.00052 (to a language).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from data_contracts.artifacts import Artifact, StageSummary
from tasks.modeling.config import Architecture
from tasks.runtime.machine.device import process_count
from tasks.runtime.stages import Stage, StageConfig, Workspace
from tasks.training.optimization.config import TrainingConfig

VERSION = 5

AdaptationRole = Literal["train", "transfer", "adapt"]


class Config(StageConfig):
    """What defines an adapted encoder."""

    model: str | None = Field(
        None,
        description="URI of the encoder that reads on as it is: pkg://, hf://, s3:// or a path",
    )
    architecture: Architecture | None = Field(
        None, description="the student's encoder that reads on, instead of `model`"
    )
    roles: tuple[AdaptationRole, ...] = Field(
        ("adapt", "transfer"), min_length=1, description="roles of the rows whose text is read"
    )
    languages: tuple[str, ...] = Field(
        min_length=1, description="languages of the text that is read, the preferred one first"
    )
    mask_share: float = Field(
        0.15, gt=0, lt=1, description="share of a text's tokens that are hidden, in whole words"
    )
    held_out_share: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="share of the texts that are not learned from: their loss chooses the step, "
        "unless that is to be the last",
    )
    training: TrainingConfig = Field(description="optimisation")
    seed: int = Field(0, ge=0, description="seed of the weights, masks, order and dropout")

    @model_validator(mode="after")
    def _one_encoder(self) -> Config:
        if (self.model is None) == (self.architecture is None):
            raise ValueError("give model or architecture: one encoder is adapted")
        if self.training.selection not in ("auto", "loss", "last"):
            raise ValueError(
                f"adaptation.training.selection is {self.training.selection}: nothing but the loss "
                "of hidden words is measured: set it to auto, loss or last"
            )
        if self.training.class_weights != "none":
            raise ValueError("adaptation.training.class_weights: hidden words have no classes")
        if self.training.label_smoothing or self.training.language_temperature is not None:
            raise ValueError(
                "adaptation.training has label_smoothing or language_temperature: hidden words are "
                "told as they are, from texts as often as they occur; leave both out"
            )
        if self.training.trainable == "head":
            raise ValueError(
                "adaptation.training.trainable is head: the head that names hidden words is left "
                "out of what is adapted, so nothing would change"
            )
        return self

    def locations(self) -> tuple[str, ...]:
        """The pretrained encoder's bytes are part of the key."""
        if self.model is not None:
            return (self.model,)
        start = self.architecture.weights_from if self.architecture else None
        return (start,) if start else ()


def adapt(config: Config, inputs: Mapping[str, Artifact], workspace: Workspace) -> StageSummary:
    """Let the encoder read the texts of `inputs["corpus"]` with the tokenizer of `["tokens"]`.

    `inputs["teacher"]` is given if the architecture takes its layers.
    """
    if (processes := process_count()) > 1:
        from tasks.training.distributed.launching import run_in_ranks

        function = "tasks.adaptation:adapt"
        return run_in_ranks(function, config, inputs, workspace, processes=processes)
    from tasks.corpus.tokens.facts import read_token_facts
    from tasks.modeling.backbones.encoder import load_backbone
    from tasks.modeling.backbones.positions import check_length
    from tasks.modeling.heads.classifier import initialise
    from tasks.runtime.files.locations import local_folder
    from tasks.runtime.seeding import derive_seed
    from tasks.training.adaptation import mapped_texts
    from tasks.training.adaptation.masked_language import fit_language
    from tasks.training.fitting.student_backbone import student_backbone

    tokens = inputs["tokens"].path
    learned, held_out = mapped_texts.map_texts(
        mapped_texts.Config(
            roles=config.roles,
            languages=config.languages,
            max_length_tokens=read_token_facts(tokens)["max_length_tokens"],
            held_out_share=config.held_out_share,
        ),
        corpus=inputs["corpus"],
        tokens=inputs["tokens"],
        mask_share=config.mask_share,
        seed=config.seed,
        workspace=workspace,
    )
    initialise(derive_seed(config.seed, "weights"))
    pretrained = None if config.model is None else local_folder(config.model)
    if pretrained is not None:
        backbone = load_backbone(pretrained)
        longest = read_token_facts(tokens)["max_length_tokens"]
        check_length(backbone, longest, section="teacher")
    else:
        assert config.architecture is not None
        roles = ("transfer", "train")  # tokens hold no rows that are read for adaptation alone
        backbone = student_backbone(config.architecture, tokens, inputs, read_roles=roles)
    return fit_language(
        backbone,
        learned,
        held_out,
        config.training,
        pretrained_head=pretrained,
        tokens=tokens,
        seed=config.seed,
        workspace=workspace,
    )


STAGE = Stage("adapted", VERSION, adapt)
