"""What a student will cost, before it is trained: size, operations and time beside its teacher's.

Networks of the recipe's shapes are built with random weights; nothing is trained or downloaded that
a run would not need. The vocabulary and the length of texts are those of the tokens if the store
has them, and otherwise the recipe's limits, which is said; so is where the number of classes is
from (`known_classes`). Bytes are those of weights: fp32 counts four each; int8 one for each weight
of a matrix or table, as exported. What a run measures of the exported files is what counts in the
end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.artifacts import Artifact
from data_contracts.errors import DecantError
from flows.orchestration.partial import Node, step_of
from flows.preflight.known_classes import KnownClasses, known_classes
from flows.recipe.recipe import Recipe
from flows.studies.costs import costs_of_network, flops_of_network, validation_texts
from tasks.corpus.tokenizers.config import PretrainedTokenizer, TrimmedTokenizer
from tasks.corpus.tokenizers.tokenizer import load_tokenizer
from tasks.corpus.tokens.facts import read_token_facts
from tasks.modeling.config import PretrainedArchitecture, StaticArchitecture
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.files.locations import local_folder
from tasks.runtime.stages import key_parts

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel

    from tasks.modeling.heads.classifier import EncoderWithHead

_MEASURABLE = 1_000_000_000  # weights; a larger network takes more than a moment to build
_TIMED_TEXTS = 50
_TIMED_SECONDS = 1.0


@dataclass(frozen=True)
class SystemDesign:
    """One network before it is trained.

    Args:
        num_embeddings: weights of tables that are looked up.
        num_encoder: all others.
        fp32_bytes, int8_bytes: of weights.
        length: tokens of the text that `flops` and `latency_ms_p50` are of.
        flops: of matrix products.
        latency_ms_p50: of the network alone, at batch 1; None if it is too large to try.
        notes: where vocabulary, length and number of classes come from.
    """

    name: str
    num_embeddings: int
    num_encoder: int
    fp32_bytes: int
    int8_bytes: int
    length: int
    flops: int
    latency_ms_p50: float | None
    notes: tuple[str, ...]

    @property
    def num_parameters(self) -> int:
        """All weights."""
        return self.num_embeddings + self.num_encoder


@dataclass(frozen=True)
class Reading:
    """What one system reads: from its tokens artifact, or from the recipe."""

    vocab_size: int
    max_length_tokens: int
    texts: list[np.ndarray]
    notes: tuple[str, ...]


def design(recipe: Recipe, store: ArtifactStore) -> tuple[SystemDesign, SystemDesign]:
    """Student and teacher of `recipe`, as they would be built.

    Raises: SourceError if a model that a shape is taken from cannot be found, or a train source
        that is here is not what the recipe says.
    """
    goal = step_of(recipe, "student-seed-0")
    steps = {node.name: node for node in goal.needs()}
    known: dict[str, Artifact | None] = {}
    for node in steps.values():
        _look_up(node, store, known)
    if recipe.problem == "sentence_embedding":
        width = _teacher_width(recipe)
        classes = KnownClasses(width, f"vectors of the teacher's width, {width}")
    else:
        classes = known_classes(recipe, (known.get("student-tokens"), known.get("corpus")))
    threads = recipe.evaluation_config().speed.num_threads
    student = _reading(recipe, "student", known.get("student-tokens"))
    teacher = _reading(recipe, "teacher", known.get("teacher-tokens"))
    return (
        _design(recipe, "student", student, classes, threads),
        _design(recipe, "teacher", teacher, classes, threads),
    )


def _look_up(node: Node, store: ArtifactStore, known: dict[str, Artifact | None]) -> None:
    inputs: Mapping[str, Artifact | None] = {
        key: known.get(needed.name) for key, needed in node.inputs.items()
    }
    found = {key: artifact for key, artifact in inputs.items() if artifact is not None}
    known[node.name] = None
    if len(found) == len(inputs):
        try:
            known[node.name] = store.lookup(key_parts(node.stage, node.config, found))
        except DecantError:  # sources that are not here, a damaged artifact: nothing is known
            return


def _teacher_width(recipe: Recipe) -> int:
    from tasks.modeling.backbones.encoder import load_config

    return load_config(_teacher(recipe)).hidden_size


def _reading(recipe: Recipe, who: str, tokens: Artifact | None) -> Reading:
    import numpy as np

    config = recipe.student_tokens_config() if who == "student" else recipe.teacher_tokens_config()
    if tokens is not None:
        facts = read_token_facts(tokens.path)
        texts = validation_texts(tokens.path)[:_TIMED_TEXTS]
        note = f"vocabulary and lengths of the cached {who}-tokens"
        return Reading(facts["vocab_size"], facts["max_length_tokens"], texts, (note,))
    tokenizer, length = config.tokenizer, config.max_length_tokens
    if isinstance(tokenizer, PretrainedTokenizer | TrimmedTokenizer):
        vocab_size = load_tokenizer(tokenizer).get_vocab_size()
        note = f"whole vocabulary of {tokenizer.uri}"
        if isinstance(tokenizer, TrimmedTokenizer):
            vocab_size = min(vocab_size, tokenizer.vocab_size or vocab_size)
            note = (
                f"{vocab_size:,} tokens of {tokenizer.uri} at most, of which only those of the "
                f"texts{'' if tokenizer.keep == 'tokens' else ' and their scripts'} will stay"
            )
    else:
        vocab_size = tokenizer.vocab_size
        note = "vocabulary as large as the recipe allows"
    texts = [np.full(length, 1, dtype=np.int64)] * _TIMED_TEXTS
    return Reading(vocab_size, length, texts, (note, f"texts of the length limit, {length} tokens"))


def _design(
    recipe: Recipe, who: str, reading: Reading, classes: KnownClasses, num_threads: int
) -> SystemDesign:
    import numpy as np
    import torch

    with torch.device("meta"):
        shape = _network(recipe, who, reading, classes.num_outputs)
    tables = sum(
        table.weight.numel() for table in shape.modules() if isinstance(table, torch.nn.Embedding)
    )
    total = sum(parameter.numel() for parameter in shape.parameters())
    in_eight_bits = sum(p.numel() for p in shape.parameters() if p.ndim == 2)
    length = max(1, round(float(np.mean([len(text) for text in reading.texts]))))
    latency, notes = None, (*reading.notes, _told(classes, shape))
    if total <= _MEASURABLE:
        torch.manual_seed(0)
        network = _network(recipe, who, reading, classes.num_outputs)
        latency = costs_of_network(
            network, reading.texts, num_threads=num_threads, max_seconds=_TIMED_SECONDS
        ).latency_ms_p50
    else:
        notes = (*notes, "too large to try its latency here")
    return SystemDesign(
        name=who,
        num_embeddings=tables,
        num_encoder=total - tables,
        fp32_bytes=4 * total,
        int8_bytes=in_eight_bits + 4 * (total - in_eight_bits),
        length=length,
        flops=flops_of_network(shape, length),
        latency_ms_p50=latency,
        notes=notes,
    )


def _told(classes: KnownClasses, network: EncoderWithHead) -> str:
    """Where the number of classes is from; of a guess, what another number would change."""
    if not classes.assumed:
        return classes.note
    return f"{classes.note}, each further one adds {network.head.in_features + 1:,} weights"


def _network(recipe: Recipe, who: str, reading: Reading, num_labels: int) -> EncoderWithHead:
    from tasks.problems import PROBLEMS

    backbone = _student(recipe, reading) if who == "student" else _of_folder(_teacher(recipe))
    reads = recipe.student if who == "student" else recipe.teacher
    return PROBLEMS[recipe.problem].build_model(
        backbone, num_labels=num_labels, pooling="mean", dropout=0.0, pairs=dict(reads)["pairs"]
    )


def _student(recipe: Recipe, reading: Reading) -> PreTrainedModel:
    from tasks.modeling.backbones.encoder import build_student_backbone
    from tasks.modeling.backbones.static_embeddings import build_static_backbone

    architecture = recipe.student.architecture
    sizes = {
        "vocab_size": reading.vocab_size,
        "pad_token_id": 0,
        "max_length_tokens": reading.max_length_tokens,
    }
    if isinstance(architecture, StaticArchitecture):
        return build_static_backbone(architecture, **sizes)
    if not isinstance(architecture, PretrainedArchitecture):
        return build_student_backbone(architecture, **sizes)
    start = architecture.weights_from
    folder = local_folder(start) if start else _teacher(recipe)
    return _of_folder(folder, cut=architecture, vocab_size=reading.vocab_size)


def _teacher(recipe: Recipe) -> Path:
    return local_folder(recipe.teacher_config().model)


def _of_folder(
    folder: Path, *, cut: PretrainedArchitecture | None = None, vocab_size: int | None = None
) -> PreTrainedModel:
    """A network of the shape that `folder` describes, with random weights."""
    import torch
    from transformers import AutoModel

    from tasks.modeling.backbones.encoder import load_config

    config = load_config(folder)
    if cut is not None:
        from tasks.modeling.initialization.layers import chosen_layers

        layers = chosen_layers(cut, config.num_hidden_layers)
        config.num_hidden_layers, config.vocab_size = len(layers), vocab_size
        if isinstance(kinds := getattr(config, "layer_types", None), list):
            config.layer_types = [kinds[number] for number in layers]
        if cut.hidden_size:
            head_size = config.hidden_size // config.num_attention_heads
            config.hidden_size = cut.hidden_size
            config.num_attention_heads = max(1, cut.hidden_size // head_size)
        config.intermediate_size = cut.intermediate_size or config.intermediate_size
        if config.pad_token_id is not None and config.pad_token_id >= config.vocab_size:
            config.pad_token_id = 0
    # As training loads it, whatever precision the folder was saved in.
    backbone = AutoModel.from_config(config, attn_implementation="sdpa", dtype=torch.float32)
    share = cut.low_rank if cut is not None else getattr(config, "low_rank", None)
    if share:
        from tasks.modeling.backbones.low_rank import low_rank_shape

        low_rank_shape(backbone, share)
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None  # never loaded, see tasks.modeling.backbones.encoder
    return backbone
