"""Distillation losses: pure functions of tensors, no model inside. One family a file.

    positions.py     what all share: which positions count, at which precision, what is refused
    hard.py          cross-entropy with class indices: gold labels, pseudo-labels, teachers' texts
    divergences.py   forward and reverse KL, generalised JSD, skew KL, TVD, soft cross-entropy
    logits.py        MSE of logits, standardised logits, decoupled KD (DKD)
    correlations.py  DIST: Pearson within and between classes
    multi_label.py   one yes or no a class: Bernoulli KL, and its cross-entropy
    topk.py          teachers stored as top-k and a tail: word-level distillation by divergences
    teachers.py      several teachers as one
    hidden.py        MSE and cosine of hidden states (bridged by companions/projections.py)
    attention.py     attention scores, attention distributions, MiniLMv2 relations
    geometry.py      how texts lie to one another: linear CKA, RKD distances and angles
    embeddings.py    sentence embeddings: the teacher's place, in-batch contrast

Students come first, teachers second, then a bool mask of the positions that count. One rule for
all, which the tests hold against float64 references:

* float32 log-space inside, whatever type comes in (float64 stays float64);
* `temperature**2` always, where distributions are softened. For KL it keeps the gradient's size;
  what is linear in the difference (TVD) or blind to its scale (DIST) grows with the temperature;
* the *sum* over valid positions, divided by `normalizer`: their number in the whole step, all
  passes and ranks, so that splitting a step never changes its gradient. What compares the texts of
  a pass (DIST, CKA, RKD, contrast) counts by the texts it saw: their mean is exact, not the value;
* the teacher is a constant: no gradient flows into it.

Recipes reach them through `distillation.terms` (hard, divergences, logits, correlations,
multi_label, embeddings; `tasks.training.objectives.unit_distributions` makes answer spans such
distributions), `distillation.terms` of written texts (hard, topk), `combination` (teachers) and
`student.matching` (hidden, attention, geometry, contrast of embeddings).
tests/tasks/training/losses/TRAPS.md tells which test holds which trap that another toolkit fell
into.
"""

from tasks.training.losses.divergences import soft_target_loss
from tasks.training.losses.hard import IGNORE_INDEX, hard_label_loss
from tasks.training.losses.multi_label import binary_hard_label_loss, binary_soft_target_loss

__all__ = [
    "IGNORE_INDEX",
    "binary_hard_label_loss",
    "binary_soft_target_loss",
    "hard_label_loss",
    "soft_target_loss",
]
