"""Which names loss terms may have beside what a student is trained with.

distillation.terms   student.matching   student.adversary   student.ema   mutual
        └───────────────────┴─────── loss_<name> ──┴─────────────┴──────────┘
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.recipe.recipe import Recipe


def check_names_of_terms(recipe: Recipe) -> None:
    """Refuse a term that is reported under the name of another, or of what is beside it.

    Raises: ValueError saying which, and to give the term another name.
    """
    taken: dict[str, str] = {}
    for title, place in _reported(recipe):
        if title in taken:
            raise ValueError(
                f"{place} is reported as {title}, and so is {taken[title]}: figures loss_{title}, "
                f"weight_{title} and share_{title} tell of one term each, so give the term another "
                "name"
            )
        taken[title] = place


def _reported(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """What is reported, and the part of the recipe that asks for it; what can be named comes last.

    Terms of `distillation` have been compared with one another.
    """
    student, distillation = recipe.student, recipe.distillation
    sections = {
        "student.adversary": ("adversary", student.adversary),
        "student.ema": ("ema", student.ema),
        "mutual": ("mutual", recipe.mutual),
    }
    yield from ((name, section) for section, (name, given) in sections.items() if given is not None)
    if not distillation.terms:  # the short form, whose terms have names of their own
        yield from ((term.title, "distillation") for term in distillation.objective.loss_terms)
    yield from ((term.title, f"student.matching.{k}") for k, term in enumerate(student.matching))
    yield from (
        (term.title, f"distillation.terms.{k}") for k, term in enumerate(distillation.terms)
    )
