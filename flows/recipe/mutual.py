"""Mutual learning of one recipe: its configurations, and the steps around it.

student-tokens, peer-tokens-1, ... (signal-tokens, if the teacher takes part) ─► student-seed-i
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.recipe.base import Reading, fields_of, with_precision
from tasks import mutual, tokenization
from tasks.mutual import PeerConfig
from tasks.training.mutual.config import MutualTerm

if TYPE_CHECKING:
    from flows.recipe.recipe import Recipe


def check_mutual(recipe: Recipe) -> None:
    """Refuse what networks that teach one another cannot do.

    Raises: ValueError saying what to leave out.
    """
    if recipe.mutual is None:
        return
    if recipe.student.training.language_temperature is not None:
        raise ValueError(
            "mutual is given with student.training.language_temperature: peers may read a row in "
            "different languages, so rows are not drawn by language; leave one of them out"
        )
    if recipe.mutual.teacher and recipe.target_language not in recipe.teacher_languages:
        # It is examined on the rows that choose the student's step.
        raise ValueError(
            f"mutual.teacher: the teacher reads {', '.join(recipe.teacher_languages)}, but is to "
            f"learn from texts in {recipe.target_language}: name that in teacher.languages"
        )


def peer_tokens_config(recipe: Recipe, k: int) -> tokenization.Config:
    """For the step peer-tokens-k; peer 0 is the student, 1 the first of mutual.peers."""
    assert recipe.mutual is not None
    peer = recipe.mutual.peers[k - 1]
    return tokenization.Config(
        problem=recipe.problem,
        languages=peer.languages or recipe.student_languages,
        tokenizer=peer.tokenizer,
        **fields_of(peer, Reading),
    )


def mutual_config(recipe: Recipe, i: int) -> mutual.Config:
    """For the step student-seed-i."""
    assert recipe.mutual is not None
    alone = recipe.student_config(i)
    target, chosen_by = recipe.target_language, alone.validation_language
    peers = [PeerConfig(architecture=alone.architecture, validation_language=chosen_by)]
    for peer in recipe.mutual.peers:
        reads_target = target in (peer.languages or recipe.student_languages)
        language = chosen_by if reads_target else None
        peers.append(PeerConfig(architecture=peer.architecture, validation_language=language))
    if recipe.mutual.teacher:
        peers.append(PeerConfig(architecture=None, validation_language=target))
    return mutual.Config(
        problem=recipe.problem,
        peers=tuple(peers),
        mutual=MutualTerm.model_validate(fields_of(recipe.mutual, MutualTerm)),
        objective=alone.objective,
        train_on=alone.train_on,
        source_language=alone.source_language,
        adversary=alone.adversary,
        matching=alone.matching,
        ema=alone.ema,
        training=with_precision(recipe.student.training),
        seed=alone.seed,
    )


def reads_teacher(recipe: Recipe) -> bool:
    """Whether a peer is the teacher, or starts from its layers."""
    assert recipe.mutual is not None
    starts = (peer.architecture.copies_teacher for peer in recipe.mutual.peers)
    return recipe.mutual.teacher or any(starts)
