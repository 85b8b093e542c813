"""Which weights a recipe may train of networks whose depth it says: layers that they have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.modeling.config import Architecture, StaticArchitecture
from tasks.training.optimization.config import TrainingConfig

if TYPE_CHECKING:
    from flows.recipe.recipe import Recipe


def check_trainable(recipe: Recipe) -> None:
    """Refuse to train layers that the student, or a peer, does not have.

    Raises: ValueError saying what to change.
    """
    student = recipe.student
    _check("student.training", student.training, "the student", student.architecture)
    for k, peer in enumerate(recipe.mutual.peers if recipe.mutual else ()):  # trained alike
        _check("student.training", student.training, f"mutual.peers.{k}", peer.architecture)
    if recipe.adaptation is not None and "student" in recipe.adaptation.models:
        training = dict(recipe.adaptation)["training"]
        _check("adaptation.training", training, "the student", student.architecture)


def _check(field: str, training: TrainingConfig, who: str, architecture: Architecture) -> None:
    in_layers = training.trainable in ("lora", "last_layers")
    if isinstance(architecture, StaticArchitecture) and in_layers:
        raise ValueError(
            f"{field}.trainable is {training.trainable}, which trains Transformer layers, but "
            f"{who} is static and has layer 0 alone: set it to all"
        )
    wanted = training.num_trainable_layers or 0
    if wanted > architecture.depth:
        raise ValueError(
            f"{field}.num_trainable_layers is {wanted}, but {who} has {architecture.depth} layers: "
            "lower it, or set trainable to all"
        )
