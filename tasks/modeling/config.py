"""What a student is made of, as recipe fields: a shape of its own, or layers of another model.

Light: imports no torch.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from data_contracts.artifacts import Frozen, WithLaterFields

EncoderProblem = Literal[
    "text_classification",
    "multilabel_classification",
    "matching",
    "token_classification",
    "question_answering",
    "sentence_embedding",
]
Pooling = Literal["mean", "cls"]
PairReading = Literal["together", "apart"]
Trainable = Literal["all", "lora", "last_layers", "head", "bias"]


class LoraAdapters(Frozen):
    """Low-rank updates of frozen matrices: W + (alpha / rank) B A.

    References: Hu et al. 2022, arXiv:2106.09685, section 4.1; Dettmers et al. 2023,
        arXiv:2305.14314, figure 2 (every linear layer needs one to match full fine-tuning).
    """

    rank: int = Field(8, ge=1, le=1024, description="columns of B and rows of A")
    alpha: float = Field(16.0, gt=0, le=4096, description="updates are scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout of what enters A")
    target_modules: tuple[str, ...] = Field(
        (),
        description="linear layers that get an update, by the last part of their name, such as "
        "query and value; empty: every linear layer of the Transformer layers",
    )


class StudentArchitecture(Frozen):
    """A BERT-shaped Transformer encoder with random initial weights.

    Parameters are `num_encoder_weights` plus vocabulary * (embedding_size or hidden_size), and some
    biases and norms.

    References: Lan et al. 2020, arXiv:1909.11942, section 3.1 (factorised embeddings).
    """

    init: Literal["random"] = Field(
        "random", description="initial weights: drawn at random, in the shape given here"
    )
    num_layers: int = Field(2, ge=1, le=48, description="Transformer layers")
    hidden_size: int = Field(192, ge=8, le=4096, description="width of the hidden states")
    embedding_size: int | None = Field(
        None,
        ge=8,
        le=4096,
        description="width of the embeddings, projected to hidden_size (an ELECTRA encoder): fewer "
        "parameters with a large vocabulary; not given: hidden_size, without a projection",
    )
    num_heads: int = Field(4, ge=1, le=64, description="attention heads; divides hidden_size")
    intermediate_size: int = Field(
        768, ge=8, le=16384, description="width of the feed-forward layers"
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="dropout probability in the encoder and before the head"
    )
    pooling: Pooling = Field(
        "mean", description="text vector: mean over tokens, or the first token's state"
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> StudentArchitecture:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}"
            )
        return self

    @property
    def num_encoder_weights(self) -> int | None:
        """Weights of the matrices that every token is multiplied by; None where a file says."""
        width, inner = self.hidden_size, self.intermediate_size
        projection = (self.embedding_size or 0) * width
        return self.num_layers * (4 * width**2 + 2 * width * inner) + projection

    @property
    def depth(self) -> int:
        """Transformer layers of the student."""
        return self.num_layers

    @property
    def weights_from(self) -> str | None:
        """None: weights are drawn."""
        return None

    @property
    def copies_teacher(self) -> bool:
        """It does not."""
        return False


class PretrainedArchitecture(WithLaterFields):
    """Some layers of a pretrained encoder, with the rows of its embeddings that the student reads.

    The student's tokens must be tokens of that model: a tokenizer of kind `pretrained` or
    `trimmed`, taken from the same model.

    References: Sanh et al. 2019, arXiv:1910.01108, section 3 (every other layer of the teacher);
        Abdaoui et al. 2020, arXiv:2010.05609 (a multilingual vocabulary cut to the languages
        read); Chen et al. 2021, "DRONE" (low_rank).
    """

    later_fields: ClassVar[tuple[str, ...]] = ("low_rank",)

    init: Literal["pretrained"] = Field(
        description="initial weights: copied from `model`, layers and embeddings"
    )
    model: str = Field(
        "teacher",
        min_length=1,
        description="`teacher`, for the fine-tuned teacher of this run, or the URI of a pretrained "
        "encoder: pkg://, hf://, s3:// or a path",
    )
    layers: Literal["uniform", "first", "last"] | tuple[Annotated[int, Field(ge=0)], ...] = Field(
        "uniform",
        description="layers to copy, in this order: numbers from 0, or num_layers of them spread "
        "from the first to the last (uniform), from the bottom (first) or from the top (last)",
    )
    num_layers: int | None = Field(
        None, ge=1, le=128, description="layers to copy, unless `layers` lists them"
    )
    hidden_size: int | None = Field(
        None,
        ge=8,
        description="keep this many dimensions of the hidden states, and as many heads as fill "
        "them; those of largest weights. Not given: all",
    )
    intermediate_size: int | None = Field(
        None,
        ge=8,
        description="keep this many neurons of each feed-forward layer, those of largest weights; "
        "not given: all",
    )
    low_rank: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="make each matrix of the layers a product of two thinner ones with this share "
        "of its weights, those that come closest to it on texts the student is trained on; one "
        "that has all layers of its own teacher starts with the teacher's head, too. Not given: "
        "matrices stay whole",
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="dropout before the head; the encoder keeps its own"
    )
    pooling: Pooling = Field(
        "mean", description="text vector: mean over tokens, or the first token's state"
    )

    @model_validator(mode="after")
    def _number_of_layers_is_given_once(self) -> PretrainedArchitecture:
        if isinstance(self.layers, str) == (self.num_layers is None):
            raise ValueError(
                "give num_layers with layers: uniform, first or last, and not with a list of them"
            )
        if self.layers == ():
            raise ValueError("layers is empty: a student has at least one")
        return self

    @property
    def num_encoder_weights(self) -> int | None:
        """None: known when the model is read, and no such encoder is small."""
        return None

    @property
    def depth(self) -> int:
        """Transformer layers of the student, those of the model it comes from not being known."""
        return self.num_layers or len(self.layers)

    @property
    def weights_from(self) -> str | None:
        """URI of the model that weights are copied from; None if that is this run's teacher."""
        return None if self.copies_teacher else self.model

    @property
    def copies_teacher(self) -> bool:
        """Whether the weights come from this run's own teacher."""
        return self.model == "teacher"


class StaticArchitecture(Frozen):
    """A vector a token, whatever stands beside it; a text is their mean. For extreme speed.

    It knows no word order: good for topics, poor where "not" matters. Vectors start at random, or
    from `model` as model2vec does: the state of each token read alone, reduced by principal
    components, rare tokens weighing more than frequent ones. The student's tokens must then be
    tokens of that model.

    References: Tulkens and van Dongen 2024 (model2vec, github.com/MinishLab/model2vec); Arora et
        al. 2017, "A simple but tough-to-beat baseline for sentence embeddings" (the weights).
    """

    init: Literal["static"] = Field(description="a vector a token instead of an encoder")
    hidden_size: int = Field(256, ge=8, le=4096, description="width of the vectors")
    model: str | None = Field(
        None,
        min_length=1,
        description="where vectors start from: `teacher`, for the fine-tuned teacher of this run, "
        "or the URI of a pretrained encoder; not given: at random",
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="dropout of the vectors and before the head"
    )
    pooling: Literal["mean"] = Field("mean", description="text vector: mean over tokens")

    @property
    def num_encoder_weights(self) -> int | None:
        """None by which a token is multiplied: vectors are looked up."""
        return 0

    @property
    def depth(self) -> int:
        """None: its vectors are layer 0."""
        return 0

    @property
    def weights_from(self) -> str | None:
        """URI of the model that vectors come from; None if drawn, or from this run's teacher."""
        return None if self.copies_teacher else self.model

    @property
    def copies_teacher(self) -> bool:
        """Whether the vectors come from this run's own teacher."""
        return self.model == "teacher"


def _init(value: Any) -> str:
    found = value.get("init") if isinstance(value, dict) else getattr(value, "init", None)
    return found if found in ("pretrained", "static") else "random"


Architecture = Annotated[
    Annotated[StudentArchitecture, Tag("random")]
    | Annotated[PretrainedArchitecture, Tag("pretrained")]
    | Annotated[StaticArchitecture, Tag("static")],
    Discriminator(_init),
]
"""What a recipe may give as a student's architecture; a shape unless `init` says otherwise."""
