"""Answers over the units of a text as answers over classes, so that every loss applies to them.

In question answering a softmax runs over the units of a window, once for its start and once for its
end. Each becomes one row whose classes are the units' numbers, filled up to the longest window with
a logit so low that its probability is exactly 0 in float32:

    window 0: 3 units      logits (5, 2)  →  start 0   . . . _        labels   1
    window 1: 2 units                        start 1   . . _ _                 0
                                             end 0     . . . _                 2
                                             end 1     . . _ _                 1

Units that one token joins are one class: a class of its own for each would let the network give a
long token twice what it gives a short one.

Shapes: A answers (units), N texts, W units of the longest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.training.losses import IGNORE_INDEX

# exp(-1e4) is 0 in float32, and p·(log p − log q) of two such classes is 0 times a finite number.
ABSENT = -1e4


def as_distributions(
    logits_A2: Tensor,
    labels_A: Tensor,
    teacher_logits_A2: Tensor | None,
    text_of_answer_A: Tensor,
    *,
    joined_A: Tensor | None = None,
    shape: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Starts, then ends, of N texts: logits (2N, W), labels (2N,), teacher logits (2N, W).

    Args:
        logits_A2: float, (A, 2).
        labels_A: int64: bit 1 marks a start, bit 2 an end; IGNORE_INDEX in unlabelled texts.
        teacher_logits_A2: float, (A, 2), or None.
        text_of_answer_A: int64, ascending from 0 without a gap.
        joined_A: bool, which units are read at the token of the unit before them; none if not
            given.
        shape: (N, W); a GPU is waited for to count them if they are not given.
    """
    num_texts, longest = shape or shape_of(text_of_answer_A)
    nowhere = torch.zeros_like(text_of_answer_A, dtype=torch.bool)
    is_first_A = ~(nowhere if joined_A is None else joined_A)
    tokens = is_first_A.cumsum(0) - 1
    texts = torch.arange(num_texts, device=text_of_answer_A.device)
    first = torch.searchsorted(text_of_answer_A, texts)
    column = tokens - tokens[first][text_of_answer_A]
    # Under dropout the logits of joined units differ: all but the first are put aside.
    written = column.where(is_first_A, longest)

    def arranged(logits: Tensor) -> Tensor:
        filled = logits.float().new_full((2, num_texts, longest + 1), ABSENT)
        filled[:, text_of_answer_A, written] = logits.float().T
        return filled[:, :, :longest].flatten(0, 1)

    labels = labels_A.new_full((2, num_texts), IGNORE_INDEX)
    for which, bit in enumerate((1, 2)):
        marked = (labels_A > 0) & (labels_A & bit > 0)
        # The largest, as IGNORE_INDEX is below all columns: which are marked need not be known.
        labels[which].scatter_reduce_(
            0, text_of_answer_A, column.where(marked, IGNORE_INDEX), "amax"
        )
    teacher = None if teacher_logits_A2 is None else arranged(teacher_logits_A2)
    return arranged(logits_A2), labels.flatten(), teacher


def shape_of(text_of_answer_A: Tensor) -> tuple[int, int]:
    """(N, W): the texts and the units of the longest, by the text of each answer."""
    counts = torch.bincount(text_of_answer_A)
    return len(counts), int(counts.max())
