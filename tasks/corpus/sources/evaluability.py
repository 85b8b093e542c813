"""Whether sources can bring validation and test rows, by what they say of themselves.

Selection cuts what a language lacks from its labelled train and transfer rows, and refuses a corpus
that has none (`tasks.corpus.selection.selection`). Where no source names any, that is certain
before a row is read. What rows really hold is still selection's to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.corpus.sources.source import FileSource, Role, Source

if TYPE_CHECKING:
    from tasks.corpus.sources.columns import ProblemType

_EVALUATED: tuple[Role, ...] = ("validation", "test")
_CUT_FROM: tuple[Role, ...] = ("train", "transfer")


def lacking_roles(problem: ProblemType, sources: Sequence[Source], language: str) -> list[Role]:
    """Those of validation and test that no source of `language` brings, nor can be cut from one."""
    roles = {
        source.role
        for source in sources
        if source.language == language and _has_answers(problem, source)
    }
    if roles.intersection(_CUT_FROM):
        return []
    return [role for role in _EVALUATED if role not in roles]


def _has_answers(problem: ProblemType, source: Source) -> bool:
    """Whether rows of `source` say what the right answer is."""
    if problem == "sentence_embedding":  # the sentence that is to be found
        return source.parallel_language is not None
    return not isinstance(source, FileSource) or bool(source.columns.annotations)
