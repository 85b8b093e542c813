"""Several teachers of one recipe: their names, and the step that makes one of them.

    teacher ──► teacher-signals          ┐
    teacher-german ──► teacher-signals-german ├► teacher-signals-combined ──► students, evaluation
    teacher-japanese ──► ...             ┘

With one teacher nothing is combined, and keys are as if this were not here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from flows.recipe.base import fields_of
from tasks import combined_signals, teacher
from tasks.combined_signals import Combination
from tasks.modeling.config import EncoderProblem

if TYPE_CHECKING:
    from flows.recipe.recipe import Recipe

FIRST = "teacher"
_NAME = r"[a-z][a-z0-9_]{0,30}"
# Steps are called teacher-<name> and teacher-signals-<name>: these would be other steps' names.
_TAKEN = (FIRST, "tokens", "signals", "combined")


# Labels of these are decided by thresholds, tuned on rows that a teacher's tokens hold.
DECIDED_BY_THRESHOLDS: frozenset[EncoderProblem] = frozenset(
    {"multilabel_classification", "question_answering"}
)


def place_of(name: str) -> str:
    """Where a recipe has the section of the teacher `name`."""
    return name if name == FIRST else f"co_teachers.{name}"


def check_teachers(names: Collection[str], combination: Combination) -> None:
    """Refuse to weigh teachers of whom there is one, and names that steps cannot be called after.

    Args:
        names: of the teachers beside the first.
    Raises: ValueError saying what to leave out, or naming the first such name.
    """
    if not names and combination != Combination.model_validate({}):
        raise ValueError(
            "combination is given, but there is one teacher, whose word counts alone: name others "
            "in co_teachers, or leave it out"
        )
    for name in names:
        if not re.fullmatch(_NAME, name) or name in _TAKEN:
            raise ValueError(
                f"a co-teacher is called {name!r}: steps are named after it, so use lowercase "
                f"letters, digits and _, and none of {', '.join(_TAKEN)}"
            )


def teacher_seed(recipe: Recipe, name: str) -> int:
    """The seed that the teacher `name` is trained with.

    Of teachers that read and learn alike, the first and then by name, each has the next one, or one
    network would be counted several times.
    """
    described = {
        one: (recipe.teacher_tokens_config(one), fields_of(section, teacher.Config))
        for one, section in recipe.teachers.items()
    }
    order = sorted(described, key=lambda one: (one != FIRST, one))
    before = order[: order.index(name)]
    return recipe.seed + sum(described[one] == described[name] for one in before)


def combined_config(
    combination: Combination,
    *,
    problem: EncoderProblem,
    languages: Mapping[str, tuple[str, ...]],
    target_language: str,
    encoder: str,
    seed: int,
) -> combined_signals.Config:
    """Configuration of the step teacher-signals-combined: only what its weighting reads.

    Args:
        languages: of each teacher, by name.
        encoder: compares languages if the combination names none.
        seed: of the training that learns to tell them apart, if one does.
    """
    compared = combination.weighting == "similarity"
    chosen = (combination.encoder or encoder) if compared else None
    return combined_signals.Config(
        problem=problem,
        teachers=tuple(languages),
        combination=combination.model_copy(update={"encoder": chosen}),
        languages=tuple(languages.values()) if compared else (),
        target_language=target_language if compared else None,
        seed=seed if combination.similarity == "learned" else 0,
    )
