"""Several teachers' predictions of the same answers as those of one, whatever a softmax runs
over: the classes of an answer, each class alone, or the units of a context.

    classes   a row of (A, C) is a distribution
    binary    a number is one: of yes and no, with the logits (x, 0); the result is their difference
    units     a column of a context's rows is one: its start, and its end

A teacher counts for the answers it has read: of a text that one cut off earlier, the end is the
others' alone.

Shapes: K teachers, N texts, A answers, C classes, U answers of one context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tasks.problems.problem import Distribution
from tasks.training.losses.teachers import averaged_teacher_logits

Average = Literal["probabilities", "logits"]


@dataclass(frozen=True)
class SoftLabels:
    """What several teachers said of some texts.

    Args:
        logits_KAC: float32; anything where a teacher has not read.
        read_KA: bool, which answers each teacher has read; each answer is read by one at least.
        counts: int64, (N,), answers of each text.
    """

    logits_KAC: np.ndarray
    read_KA: np.ndarray
    counts: np.ndarray


def averaged(
    soft_labels: SoftLabels,
    weights_K: np.ndarray,
    *,
    distribution: Distribution,
    by_confidence: bool = False,
    average: Average = "probabilities",
) -> tuple[np.ndarray, np.ndarray]:
    """The logits that stand for all teachers, and what each of them counted.

    Args:
        weights_K: >= 0, of each teacher; only ratios count.
        by_confidence: multiply them by exp(-entropy) of each distribution, 1 for a teacher that is
            sure, 1/C for one that knows nothing.
        average: of `probabilities` (then the result is their logarithm, up to a constant), or of
            `logits`: a geometric mean, which the surest teacher dominates.
    Returns: float32, (A, C); and the mean share of each teacher, float64, (K,), 0 without answers.
    """
    logits_KAC = torch.from_numpy(soft_labels.logits_KAC).double()
    read_KA = torch.from_numpy(soft_labels.read_KA)
    base_K = torch.from_numpy(np.asarray(weights_K, dtype=np.float64))

    def one(logits_KPC: Tensor, read_KP: Tensor) -> tuple[Tensor, Tensor]:
        """Of P distributions, whose classes are last."""
        weights_KP = base_K[:, None] * read_KP
        if by_confidence:
            weights_KP = weights_KP * (-_entropy(logits_KPC)).exp()
        # Of an answer that only teachers of weight 0 have read, those are all there is.
        weights_KP = torch.where(weights_KP.sum(0) > 0, weights_KP, read_KP.to(weights_KP))
        shares_KP = weights_KP / weights_KP.sum(0, keepdim=True)
        return (
            averaged_teacher_logits(logits_KPC, shares_KP, temperature=1.0, average=average),
            shares_KP,
        )

    if distribution == "classes":
        found_AC, shares_KA = one(logits_KAC, read_KA)
    elif distribution == "binary":
        yes_no = torch.stack([logits_KAC, torch.zeros_like(logits_KAC)], -1)
        num_classes = logits_KAC.shape[2]
        pairs, shares_KA = one(yes_no.flatten(1, 2), read_KA.repeat_interleave(num_classes, dim=1))
        found_AC = (pairs[:, 0] - pairs[:, 1]).view(logits_KAC.shape[1:])
    else:
        parts = [torch.empty((0, logits_KAC.shape[2]), dtype=torch.float64)]
        shares = [torch.empty((len(base_K), 0), dtype=torch.float64)]
        sizes = soft_labels.counts.tolist()
        for logits_KUC, read_KU in zip(
            logits_KAC.split(sizes, 1), read_KA.split(sizes, 1), strict=True
        ):
            columns = logits_KUC.transpose(1, 2)
            found_CU, shares_KC = one(columns, read_KU[:, :1].expand(columns.shape[:2]))
            parts.append(found_CU.T)
            shares.append(shares_KC)
        found_AC, shares_KA = torch.cat(parts), torch.cat(shares, 1)
    mean_shares_K = shares_KA.sum(1) / max(1, shares_KA.shape[1])
    return found_AC.float().numpy(), mean_shares_K.numpy()


def _entropy(logits_KPC: Tensor) -> Tensor:
    """Nats of each distribution, (K, P)."""
    log_probs = logits_KPC.log_softmax(-1)
    return -(log_probs.exp() * log_probs).sum(-1)
