"""Terms that compare the texts of a pass with one another: contrast, CKA, correlations.

Processes that share a step would each compare their own texts alone, and the student would tell how
many they were. The number of processes defines no result, so such students are trained in one.
"""

from __future__ import annotations

from collections.abc import Iterable

from tasks.runtime.machine.device import process_count
from tasks.runtime.progress import Progress
from tasks.training.auxiliary.matching_config import AnyMatchingTerm
from tasks.training.objectives.config import DISTTerm, LossTerm

_COMPARING = ("embedding_contrast", "contrastive", "cka", "distances", "angles")


def compare_texts(terms: Iterable[LossTerm | AnyMatchingTerm]) -> tuple[str, ...]:
    """Kinds of those `terms` whose value depends on which texts share a pass."""
    return tuple(
        dict.fromkeys(
            term.kind
            for term in terms
            if (term.gamma > 0 if isinstance(term, DISTTerm) else term.kind in _COMPARING)
        )
    )


def processes_for(terms: Iterable[LossTerm | AnyMatchingTerm], progress: Progress) -> int:
    """How many processes train a network that minimises `terms`; says so if it is one for them."""
    wanted = process_count()
    if wanted > 1 and (kinds := compare_texts(terms)):
        progress.say(
            f"trained in one process instead of {wanted}: {', '.join(kinds)} compares the texts of "
            "a pass, of which each process would see its own part"
        )
        return 1
    return wanted
