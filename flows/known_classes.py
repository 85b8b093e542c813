"""How many classes a network of a recipe answers with, as far as it is known before it is built.

labels.json of the tokens or the corpus   where the store has them
data.filters.labels                       the only ones that rows may have
label_names of the train sources          if each of them lists what its numbers mean
the problem                               two logits a unit, where an answer begins and ends
nothing of these                          two are assumed, which is said
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from data_contracts.artifacts import Artifact
from flows.recipe_base import RecipeBase
from tasks.corpus.sources import FileSource

_ASSUMED = 2
# Problems whose label_names are the classes; those of named entities are tags.
_NAMED = ("text_classification", "multilabel_classification", "matching")


class KnownClasses(NamedTuple):
    """Outputs of the network's head, and where their number is from."""

    num_outputs: int
    note: str


def known_classes(recipe: RecipeBase, cached: Sequence[Artifact | None]) -> KnownClasses:
    """Classes of the networks of `recipe`.

    Args:
        cached: artifacts that have a labels.json, where the store has them.
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
    if recipe.problem_name in _NAMED:
        train = [source for source in config.sources if source.role == "train"]
        named = [source.label_names for source in train if isinstance(source, FileSource)]
        if len(named) == len(train) and all(named):
            count = len({name for names in named for name in names})
            return KnownClasses(count, f"{count} classes of the sources' label_names")
    if recipe.problem_name == "question_answering":
        outputs = kind.class_labels([])
        return KnownClasses(len(outputs), f"{len(outputs)} outputs: {', '.join(outputs)}")
    return KnownClasses(_ASSUMED, f"classes unknown before ingestion: {_ASSUMED} assumed")
