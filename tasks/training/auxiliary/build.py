"""A student with the companions that its recipe gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from tasks.modeling.heads.classifier import EncoderWithHead
from tasks.training.auxiliary.adversary import adversary_of
from tasks.training.auxiliary.adversary_config import AdversaryConfig
from tasks.training.auxiliary.ema import running_average
from tasks.training.auxiliary.ema_config import EMAConfig
from tasks.training.auxiliary.layer_matching import matched_layers
from tasks.training.auxiliary.matching_config import AnyMatchingTerm
from tasks.training.auxiliary.objective import AccompaniedObjective, Companion, joined
from tasks.training.batching.examples import Examples
from tasks.training.objectives.objective import Objective


def accompanied(
    student: EncoderWithHead,
    examples: Examples,
    task: Objective,
    *,
    adversary: AdversaryConfig | None,
    matching: tuple[EncoderWithHead, Sequence[AnyMatchingTerm]] | None,
    ema: EMAConfig | None,
    seed: int,
    trained_on: np.ndarray | None = None,
) -> tuple[nn.Module, Objective | AccompaniedObjective]:
    """`student` with the companions that are given, and what they minimise.

    Args:
        examples: with what the companions read.
        task: what the student minimises alone.
        adversary, matching, ema: as `fitting.fit` takes them.
        seed: of the run.
        trained_on: numbers of those `examples` that are; all if not given.
    """
    companions: list[Companion] = []
    if matching is not None:
        companions.append(matched_layers(student, *matching, examples.input_ids.lengths))
    if adversary is not None:
        met = examples
        if trained_on is not None and examples.groups is not None:
            met = replace(examples, groups=examples.groups[trained_on])
        companions.append(adversary_of(student, met, adversary, seed=seed))
    if ema is not None:
        companions.append(running_average(student, ema, is_binary=task.is_binary))
    return joined(student, task, companions)
