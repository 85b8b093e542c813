"""How many classes a network of a recipe answers with, as far as it is known before it is built.

labels.json of the tokens or the corpus   where the store has them
data.filters.labels                       the only ones that rows may have
the problem                               two logits a unit, where an answer begins and ends
train sources                             their label_names, or else the rows that are here
nothing of these                          two are assumed, which is said
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from data_contracts.artifacts import Artifact
from flows.preflight.source_classes import SourceClasses, source_classes
from flows.recipe.base import RecipeBase

_ASSUMED = 2


class KnownClasses(NamedTuple):
    """Outputs of the network's head, where their number is from, and whether it is a guess."""

    num_outputs: int
    note: str
    assumed: bool = False


def known_classes(recipe: RecipeBase, cached: Sequence[Artifact | None]) -> KnownClasses:
    """Classes of the networks of `recipe`.

    Args:
        cached: artifacts that have a labels.json, where the store has them.

    Raises: SourceError if a train source is on this machine and is not what the recipe says.
    """
    from tasks.corpus.rows import ROW_KINDS

    for artifact in cached:
        if artifact is not None:
            text = (artifact.path / "labels.json").read_text(encoding="utf-8")
            count = len(json.loads(text)["labels"])
            return KnownClasses(count, f"{count} classes of the cached corpus")
    kind = ROW_KINDS[recipe.problem_name]
    config = recipe.corpus_config()
    if config.filters.labels is not None:
        count = len(kind.class_labels(sorted(set(config.filters.labels))))
        return KnownClasses(count, f"{count} classes of data.filters.labels")
    if recipe.problem_name == "question_answering":
        outputs = kind.class_labels([])
        return KnownClasses(len(outputs), f"{len(outputs)} outputs: {', '.join(outputs)}")
    train = [source for source in config.sources if source.role == "train"]
    found = [source_classes(config, source) for source in train]
    known = [classes for classes in found if classes is not None]
    names = {name for classes in known for name in classes.names}
    if names and len(known) == len(train):
        count = len(kind.class_labels(sorted(names)))
        return KnownClasses(count, f"{count} classes {_where_from(known)}")
    return KnownClasses(
        _ASSUMED, f"classes unknown before ingestion: {_ASSUMED} assumed", assumed=True
    )


def _where_from(known: Sequence[SourceClasses]) -> str:
    num_rows = sum(classes.num_rows for classes in known)
    if not num_rows:
        return "of the sources' label_names"
    first = "" if all(classes.is_all for classes in known) else "first "
    named = "" if all(classes.num_rows for classes in known) else " and label_names"
    return f"in the {first}{num_rows:,} train rows of the sources{named}"
