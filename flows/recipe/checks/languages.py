"""Languages that a recipe's readers name, against those that its sources are in.

A language without a source is a misspelt one (jp for ja, cn for zh) or one whose data were
forgotten: nothing would be read in it, and nobody would hear of that.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from flows.recipe.checks.tokenization import readers_of
from tasks.corpus.sources.source import Source

if TYPE_CHECKING:
    from flows.recipe.recipe import Recipe


def languages_offered(sources: Iterable[Source]) -> str:
    """What there is to read, for errors: `there are en (train, test) and zh (transfer)`."""
    roles: dict[str, dict[str, None]] = {}
    for source in sources:
        for language in (source.language, source.parallel_language):
            if language is not None:
                roles.setdefault(language, {})[source.role] = None
    told = [f"{language} ({', '.join(given)})" for language, given in roles.items()]
    return f"there are {' and '.join(filter(None, (', '.join(told[:-1]), told[-1])))}"


def check_readers(recipe: Recipe) -> None:
    """Refuse a recipe whose teachers, student or peers name a language that no source is in.

    Raises: ValueError.
    """
    readers = readers_of(recipe)
    named = {f"{name}.languages": dict(reader)["languages"] for name, reader in readers.items()}
    check_languages(named, recipe.corpus_config().sources)


def check_languages(readers: Mapping[str, Sequence[str]], sources: Sequence[Source]) -> None:
    """Refuse readers of a language that no source is in.

    Args:
        readers: languages by the field that names them; none named, none checked.

    Raises: ValueError.
    """
    known = {one for s in sources for one in (s.language, s.parallel_language) if one}
    for field, languages in readers.items():
        for language in languages:
            if language not in known:
                close = difflib.get_close_matches(language, sorted(known), n=1, cutoff=0.5)
                meant = f"did you mean {close[0]}, or " if close else ""
                raise ValueError(
                    f"{field} has {language}, but no source is in that language; "
                    f"{languages_offered(sources)}: {meant}add a source, or take it out"
                )
