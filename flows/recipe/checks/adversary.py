"""Which adversaries a recipe may have: there is something to tell apart, and somebody to hide it.

What the recipe says by itself is refused when it is read. What only rows can tell, such as parallel
text that all of them lack, is refused where the training begins (`adversary_of`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from data_contracts.errors import RecipeError
from flows.recipe.checks.tokenization import WITHOUT_TEXT_VECTORS
from flows.recipe.multi_teacher import place_of
from tasks.corpus.sources.source import Source
from tasks.corpus.text.languages import covers
from tasks.training.auxiliary.adversary_config import (
    AdversaryConfig,
    lacks_groups,
    lacks_vectors,
    noted_groups,
)
from tasks.training.optimization.config import TrainingConfig

if TYPE_CHECKING:
    from flows.recipe.recipe import Recipe


class _Reader(NamedTuple):
    """A network that may have an adversary.

    Args:
        languages: that it reads, the preferred one first.
        roles: of the rows it is trained on with one.
    """

    adversary: AdversaryConfig | None
    training: TrainingConfig
    languages: Sequence[str]
    roles: Sequence[str]


def check_adversaries(recipe: Recipe) -> None:
    """Refuse an adversary of the student or a teacher that would have no effect, or cannot be.

    Raises: ValueError saying what to change.
    """
    student, roles = recipe.student, recipe.distillation.train_on
    readers = {
        "student": _Reader(student.adversary, student.training, recipe.student_languages, roles)
    }
    for name, section in recipe.teachers.items():
        fields = dict(section)
        if fields["training"] is not None:
            readers[place_of(name)] = _Reader(
                fields["adversary"],
                fields["training"],
                recipe.languages_of(name),
                ("train", "transfer"),
            )
    for name, reader in readers.items():
        if reader.adversary is not None:
            _check(name, reader, reader.adversary, recipe)


def _check(name: str, reader: _Reader, adversary: AdversaryConfig, recipe: Recipe) -> None:
    if not reader.training.trains_encoder:
        raise ValueError(
            f"{name}.adversary is given with {name}.training.trainable: head: what it hides is in "
            "the text vectors, which lie below the head and are frozen; train more (such as "
            "embedding_updates: dense), or leave adversary out"
        )
    if recipe.problem in WITHOUT_TEXT_VECTORS:
        raise _told(name, lacks_vectors(f"network of {recipe.problem}"))
    try:
        noted_groups(adversary, reader.training.language_temperature)
    except RecipeError as error:
        raise _told(name, error) from None
    sources = [one for one in recipe.corpus_config().sources if one.role in reader.roles]
    found = _groups(adversary, sources, reader.languages)
    if len(found) < 2:
        raise _told(name, lacks_groups(adversary.groups, found))


def _told(name: str, error: RecipeError) -> ValueError:
    return ValueError(f"{name}.adversary: {error.fact}; {error.rule}; {error.remedy}")


def _groups(
    adversary: AdversaryConfig, sources: Sequence[Source], languages: Sequence[str]
) -> list[str]:
    """What rows of `sources` may be told apart by, as a reader of `languages` takes them."""
    read = [(source.role, tag) for source in sources for tag in _tags_read(source, languages)]
    is_role = adversary.groups == "role"
    return list(dict.fromkeys(role if is_role else tag for role, tag in read))


def _tags_read(source: Source, languages: Sequence[str]) -> list[str]:
    """Languages that rows of `source` may be read in; parallel text may be missing in some."""
    offered = [tag for tag in (source.language, source.parallel_language) if tag]
    preferred = [tag for language in languages for tag in offered if covers(language, tag)]
    if source.language not in preferred:
        return preferred
    return preferred[: preferred.index(source.language) + 1]
