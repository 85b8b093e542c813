"""Which names loss terms may have beside what a student is trained with.

distillation.terms   student.matching   student.adversary   student.ema   mutual
        └───────────────────┴─────── loss_<name> ──┴─────────────┴──────────┘
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.recipe import Recipe


def check_names_of_terms(recipe: Recipe) -> None:
    """Refuse a term that is reported under the name of a companion, or of mutual learning.

    Raises: ValueError saying which, and to give the term another name.
    """
    taken = _names_beside(recipe)
    for number, term in enumerate(recipe.distillation.terms):
        if term.title in taken:
            raise ValueError(
                f"distillation.terms.{number} is reported as {term.title}, and so is "
                f"{taken[term.title]}: figures loss_{term.title}, weight_{term.title} and "
                f"share_{term.title} tell of one term each, so give the term another name"
            )


def _names_beside(recipe: Recipe) -> dict[str, str]:
    """What is reported beside the terms, by name, and the section that asks for it."""
    student = recipe.student
    found = {term.title: f"student.matching.{k}" for k, term in enumerate(student.matching)}
    sections = {
        "student.adversary": ("adversary", student.adversary),
        "student.ema": ("ema", student.ema),
        "mutual": ("mutual", recipe.mutual),
    }
    for section, (name, given) in sections.items():
        if given is not None:
            found[name] = section
    return found
