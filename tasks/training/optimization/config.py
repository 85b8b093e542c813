"""How a model is trained, as recipe fields. Light: imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from data_contracts.artifacts import Frozen
from tasks.modeling.config import LoraAdapters, Trainable

EmbeddingUpdates = Literal["dense", "rows", "frozen"]


_PATIENCE = 5


class TrainingConfig(Frozen):
    """Optimisation of one model; every field defines the result and enters the cache key."""

    num_epochs: int = Field(ge=1, le=1000, description="passes over the training examples at most")
    batch_size: int = Field(
        32, ge=1, le=65536, description="texts a step: the loss is averaged over all of them"
    )
    group_by_length: bool = Field(
        True,
        description="texts of similar length share a step: on a CPU attention computes little that "
        "is thrown away, and what has to be padded little too; switch off for large steps on a "
        "GPU, which packs texts of any lengths",
    )
    language_temperature: float | None = Field(
        None,
        ge=1,
        le=100,
        description="how evenly languages are drawn: an epoch has as many rows as there are, of a "
        "language in proportion to its rows to the power 1/T (3.33 as in XLM-R); 1 or none: every "
        "row once",
    )
    learning_rate: float = Field(gt=0, le=1, description="peak AdamW learning rate")
    weight_decay: float = Field(
        0.01, ge=0, le=1, description="decoupled decay; not applied to biases and norms"
    )
    warmup_share: float = Field(
        0.1, ge=0, lt=1, description="share of all steps over which the rate rises from 0"
    )
    schedule: Literal["linear", "cosine"] = Field(
        "linear", description="decay of the learning rate to 0 after warm-up"
    )
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this L2 norm")
    adam_beta2: float = Field(0.999, gt=0, lt=1, description="decay of AdamW's second moment")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of hard-label mass spread over all classes"
    )
    class_weights: Literal["none", "sqrt", "balanced"] = Field(
        "none",
        description="what a hard label counts: the same for all, or more in rare classes: by one "
        "over the (square root of the) class's share of the rows, where several may be right that "
        "of a yes to it; question answering has none",
    )
    trainable: Trainable = Field(
        "all",
        description="weights that training may change: all, low-rank updates of the matrices "
        "(lora), the topmost layers (last_layers), none but the head, or biases (bias: BitFit). "
        "The head is always trained, and what is saved is a plain model in any case",
    )
    lora: LoraAdapters | None = Field(
        None, description="low-rank updates, if trainable is lora; none: rank 8 in every layer"
    )
    num_trainable_layers: int | None = Field(
        None, ge=1, le=128, description="layers from the top, if trainable is last_layers"
    )
    embedding_updates: Literal["auto"] | EmbeddingUpdates = Field(
        "auto",
        description="token embeddings: all updated (dense), only those that occur in a step (rows: "
        "for vocabularies of 50,000 and more), or kept as they are (frozen: fastest); auto is "
        "dense if trainable is all, else frozen",
    )
    validations_per_epoch: int = Field(
        1, ge=1, le=100, description="how often an epoch the validation rows are scored"
    )
    patience: int = Field(
        _PATIENCE,
        ge=1,
        description="validations without improvement before training stops; a lower loss at the "
        "same score is one; not with `selection: last`, which never stops early",
    )
    selection: str = Field(
        "auto",
        pattern="^[a-z0-9_]+$",
        description="validation figure by which the best step is chosen: auto (the problem's "
        "primary one, such as accuracy or entity_f1), loss, or another that the problem measures; "
        "of steps with the same score that of the lowest loss. Or last, the last step, where "
        "validation rows are too few to tell steps apart: they are scored for the curves then",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="arithmetic; auto is bf16 where the hardware multiplies it natively"
    )

    @model_validator(mode="after")
    def _parts_belong_to_what_is_trained(self) -> TrainingConfig:
        if self.lora is not None and self.trainable != "lora":
            raise ValueError(f"lora is given, but trainable is {self.trainable}: set it to lora")
        if (self.num_trainable_layers is None) == (self.trainable == "last_layers"):
            raise ValueError(
                "num_trainable_layers is given with trainable: last_layers, and only then"
            )
        return self

    @model_validator(mode="after")
    def _patience_waits_for_something(self) -> TrainingConfig:
        if self.selection == "last" and self.patience != _PATIENCE:
            raise ValueError(
                f"patience is {self.patience}, but selection: last never stops early: leave "
                f"patience out, or set it to {_PATIENCE}, its default"
            )
        return self

    @property
    def embeddings(self) -> EmbeddingUpdates:
        """How token embeddings are updated, `auto` resolved."""
        if self.embedding_updates != "auto":
            return self.embedding_updates
        return "dense" if self.trainable == "all" else "frozen"

    @property
    def trains_encoder(self) -> bool:
        """Whether anything below the head may change."""
        return self.trainable != "head" or self.embeddings != "frozen"
