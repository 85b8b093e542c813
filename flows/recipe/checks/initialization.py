"""What a recipe's models start from: tokens they know, layers, widths and positions they have.

What the recipe says by itself is refused when it is read (`check_starts`); what config.json of a
pretrained model says, where that is on this machine, when the recipe is to be run
(`check_known_starts`). Otherwise a student is refused when its teacher has been trained, and a
teacher that reads longer texts than it has positions ends with an index out of range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_contracts.errors import RecipeError
from flows.recipe.multi_teacher import place_of
from tasks.corpus.tokenizers.config import TrainedTokenizer
from tasks.modeling.backbones.known_shape import KnownShape, known_shape
from tasks.modeling.config import Architecture, PretrainedArchitecture, StudentArchitecture
from tasks.training.optimization.config import TrainingConfig

if TYPE_CHECKING:
    from flows.recipe.recipe import Recipe
    from flows.recipe.sections import Peer, Student


def check_starts(recipe: Recipe) -> None:
    """Refuse a vocabulary of its own for a student, or peer, that starts from another's weights.

    Raises: ValueError naming the tokenizer that the weights know.
    """
    for name, reader in _learners(recipe).items():
        model = _model(recipe, reader.architecture)
        if model is not None and isinstance(reader.tokenizer, TrainedTokenizer):
            raise ValueError(
                f"{name}.tokenizer is {reader.tokenizer.kind}, but {name}.architecture starts from "
                f"the weights of {model}, which know its own tokens alone: set {name}.tokenizer to "
                f"{{kind: trimmed, uri: {model}}} (or kind: pretrained), or {name}.architecture to "
                "a shape of its own"
            )


def check_known_starts(recipe: Recipe) -> None:
    """Refuse layers, widths and lengths that a pretrained model does not have, if it is here.

    Raises: RecipeError with the model's figures.
    """
    for name, section in recipe.teachers.items():
        fields, place = dict(section), place_of(name)
        if shape := known_shape(fields["model"]):
            _check_length(place, fields["max_length_tokens"], fields["model"], shape)
            _check_trained(f"{place}.training", fields["training"], fields["model"], shape)
    if recipe.adaptation is not None and "teacher" in recipe.adaptation.models:
        model = recipe.teacher_config().model
        if shape := known_shape(model):
            _check_trained("adaptation.training", dict(recipe.adaptation)["training"], model, shape)
    for name, reader in _learners(recipe).items():
        start = reader.architecture
        model = _model(recipe, start)
        if model is None or (shape := known_shape(model)) is None:
            continue
        if isinstance(start, PretrainedArchitecture):
            _check_length(name, dict(reader)["max_length_tokens"], model, shape)
            _check_layers(f"{name}.architecture", start, model, shape)
        _check_width(f"{name}.architecture", start, model, shape)


def _learners(recipe: Recipe) -> dict[str, Student | Peer]:
    peers = recipe.mutual.peers if recipe.mutual else ()
    return {"student": recipe.student, **{f"mutual.peers.{k}": one for k, one in enumerate(peers)}}


def _model(recipe: Recipe, start: Architecture) -> str | None:
    """URI of the model whose weights `start` takes; of this run's teacher what it was made from."""
    return dict(recipe.teacher)["model"] if start.copies_teacher else start.weights_from


def _check_length(name: str, max_length_tokens: int, model: str, shape: KnownShape) -> None:
    if shape.num_positions is not None and max_length_tokens > shape.num_positions:
        raise RecipeError(
            f"{name}.max_length_tokens is {max_length_tokens}, but {model} reads "
            f"{shape.num_positions} tokens",
            rule="a model reads no longer texts than it has positions",
            remedy=f"set {name}.max_length_tokens to {shape.num_positions} or less",
        )


def _check_trained(
    place: str, training: TrainingConfig | None, model: str, shape: KnownShape
) -> None:
    wanted = (training and training.num_trainable_layers) or 0
    if shape.num_layers is not None and wanted > shape.num_layers:
        raise RecipeError(
            f"{place}.num_trainable_layers is {wanted}, but {model} has {shape.num_layers} layers",
            rule="the topmost layers of a model are trained",
            remedy="lower it, or set trainable to all",
        )


def _check_layers(place: str, start: PretrainedArchitecture, model: str, shape: KnownShape) -> None:
    listed = start.layers if isinstance(start.layers, tuple) else None
    wanted = max(listed) + 1 if listed else start.depth
    if shape.num_layers is not None and wanted > shape.num_layers:
        field, given = ("layers", list(listed)) if listed else ("num_layers", wanted)
        raise RecipeError(
            f"{place}.{field} is {given}, but {model} has {shape.num_layers} layers",
            rule=f"layers are numbered 0 to {shape.num_layers - 1}",
            remedy=f"correct {place}.{field}",
        )


def _check_width(place: str, start: Architecture, model: str, shape: KnownShape) -> None:
    assert not isinstance(start, StudentArchitecture), "it starts from no model"
    wanted = start.hidden_size or 0
    if shape.width is not None and wanted > shape.width:
        raise RecipeError(
            f"{place}.hidden_size is {wanted}, but the states of {model} are {shape.width} wide",
            rule="dimensions are taken out of a model, none are added",
            remedy=f"set it to {shape.width} or less",
        )
