"""Text that a recipe's encoders read on in: what is to be read is there, what is there is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.recipe.base import words_are_lent

if TYPE_CHECKING:
    from flows.recipe.recipe import Recipe


def check_adaptation(recipe: Recipe) -> None:
    """Refuse text that nobody would read, and reading without text.

    Raises: ValueError saying what to add or leave out.
    """
    sources = recipe.corpus_config().sources
    roles = () if recipe.adaptation is None else dict(recipe.adaptation)["roles"]
    peers = () if recipe.mutual is None else recipe.mutual.peers
    lends_words = words_are_lent([recipe.student.tokenizer, *(p.tokenizer for p in peers)], sources)
    offered = [source.name for source in sources if source.role == "adapt"]
    if offered and "adapt" not in roles and not lends_words:
        raise ValueError(
            f"source {offered[0]} has the role adapt, but no section adaptation reads it: add "
            "one, let a trimmed tokenizer keep its words (student.tokenizer.roles), or leave "
            "the source out"
        )
    if recipe.adaptation is None:
        return
    config = recipe.adaptation_config("teacher")
    read = [s.name for s in sources if s.role in config.roles
            and {s.language, s.parallel_language} & set(config.languages)]  # fmt: skip
    if not read:
        raise ValueError(
            f"no source has the role {' or '.join(config.roles)} and the language "
            f"{' or '.join(config.languages)}: adaptation would have nothing to read"
        )
    foreign = set(config.languages) - set(recipe.student_languages)
    if "student" in recipe.adaptation.models and foreign:
        raise ValueError(
            f"adaptation.languages has {', '.join(sorted(foreign))}, which the student does "
            "not read: name it in student.languages, or adapt the teacher alone"
        )
