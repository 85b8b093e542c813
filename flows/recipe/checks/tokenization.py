"""Which fields of how a text is read a problem's rows can use: of pairs, questions, targets.

One that is passed over would look as if it had worked, and give the same tokens another key.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from flows.recipe.base import Reading
from flows.recipe.multi_teacher import place_of
from tasks.metrics.answer_spans import MAX_ANSWER_UNITS
from tasks.modeling.config import EncoderProblem
from tasks.problems import SEQ2SEQ_PROBLEMS

if TYPE_CHECKING:
    from flows.recipe.recipe import Recipe

WITHOUT_TEXT_VECTORS: frozenset[EncoderProblem] = frozenset(
    {"token_classification", "question_answering"}
)
"""Their networks answer for units of a text, so nothing stands for the whole of it."""


class _Use(NamedTuple):
    """The problems whose rows a field is for, and what the others' rows lack."""

    problems: Collection[str]
    lack: str


_OF_QUESTIONS = _Use(("question_answering",), "have no questions")
_USES = {
    "pairs": _Use(("matching",), "are no pairs of texts to be matched"),
    "max_question_tokens": _OF_QUESTIONS,
    "window_stride_tokens": _OF_QUESTIONS,
    "max_answer_units": _OF_QUESTIONS,
    "max_target_tokens": _Use(SEQ2SEQ_PROBLEMS, "have no target texts"),
}


def check_reading(recipe: Recipe) -> None:
    """Refuse what a section asks of rows that the problem does not have.

    Raises: ValueError saying what to leave out, or to set alike.
    """
    readers = readers_of(recipe)
    for name, reader in readers.items():
        fields = dict(reader)
        check_uses(name, fields, recipe.problem)
        shape = fields.get("architecture")
        pooling = fields["pooling"] if shape is None else shape.pooling
        if pooling != "mean" and recipe.problem in WITHOUT_TEXT_VECTORS:
            place = name if shape is None else f"{name}.architecture"
            raise ValueError(
                f"{place}.pooling is {pooling}, but networks of {recipe.problem} answer for units "
                "of a text, and nothing is pooled: leave it out"
            )
    longest = {
        name: dict(reader)["max_answer_units"] or MAX_ANSWER_UNITS
        for name, reader in readers.items()
    }
    if len(set(longest.values())) > 1:
        told = ", ".join(f"{name} {units}" for name, units in longest.items())
        raise ValueError(
            f"max_answer_units differs ({told}): answers of one length at most would be compared "
            "with those of another; give all of them the same"
        )


def check_uses(name: str, fields: Mapping[str, Any], problem: str) -> None:
    """Refuse a field of the section `name` that the problem's rows have no use for.

    Raises: ValueError naming it.
    """
    for field, use in _USES.items():
        is_set = fields[field] != Reading.model_fields[field].default
        if is_set and problem not in use.problems:
            raise ValueError(
                f"{name}.{field} is {fields[field]}, but rows of {problem} {use.lack}: leave it out"
            )


def readers_of(recipe: Recipe) -> dict[str, Reading]:
    """The sections of all that read texts, by their places in the recipe."""
    peers = recipe.mutual.peers if recipe.mutual else ()
    return {
        **{place_of(name): section for name, section in recipe.teachers.items()},
        "student": recipe.student,
        **{f"mutual.peers.{k}": peer for k, peer in enumerate(peers)},
    }
