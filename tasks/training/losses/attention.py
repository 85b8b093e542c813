"""Where tokens look: attention scores, attention distributions, relations of Q, K and V.

Each token that looks counts once, whatever the length of its text: means over the tokens looked at
and over heads, a sum over the tokens that look, divided by the number of valid tokens.

Scores are the pre-softmax products, scaled, before any mask is added. A fused attention never forms
them: `tasks.training.auxiliary.layer_views` multiplies recorded queries and keys.

Shapes: B texts, L tokens, H heads, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.training.losses.positions import (
    at_least_float32,
    check_mask,
    check_same_shape,
    constant,
    full_precision,
    valid_sum,
)


def attention_score_loss(
    student_scores_BHLL: Tensor,
    teacher_scores_BHLL: Tensor,
    mask_BL: Tensor,
    *,
    normalizer: float | Tensor,
) -> Tensor:
    """Squared difference of pre-softmax attention scores.

    Args:
        student_scores_BHLL, teacher_scores_BHLL: float, (texts, heads, looking, looked at). Where
            the numbers of heads differ, give means over the heads, one head each.
        mask_BL: bool, (texts, tokens): which of them count.
        normalizer: number of valid tokens in the whole step.
    Returns: scalar, squared scores per token.
    Raises: ValueError if the shapes differ or do not fit the mask.
    References: Jiao et al. 2020, arXiv:1909.10351, equation 7. TextBrewer's att_mse_sum_loss adds
        the heads up: of H heads H**2 times this loss of means, and no scale that networks of
        different numbers of heads share.
    """
    student, teacher, pairs_BLL = _checked(student_scores_BHLL, teacher_scores_BHLL, mask_BL)
    squares_BLL = (student - teacher).square().mean(1)
    num_keys_B = pairs_BLL.any(-2).sum(-1).clamp(min=1)
    return (squares_BLL.sum(-1) / num_keys_B.unsqueeze(-1)).sum() / normalizer


def attention_probability_loss(
    student_scores_BHLL: Tensor,
    teacher_scores_BHLL: Tensor,
    mask_BL: Tensor,
    *,
    normalizer: float | Tensor,
) -> Tensor:
    """KL(teacher || student) of where each token looks; takes scores, as `attention_score_loss`.

    Returns: scalar, nats per token, averaged over heads.
    References: Wang et al. 2020, arXiv:2002.10957, equation 6. TextBrewer's att_ce_loss is this
        loss and the teacher's entropy, but for padding: that stays in its softmax. att_ce_mean_loss
        softens the mean of the heads' scores, which no head looks by; where numbers of heads
        differ, layers are compared here by the mean of the heads' distributions.
    """
    student, teacher, pairs_BLL = _checked(student_scores_BHLL, teacher_scores_BHLL, mask_BL)
    return _looking_kl(student, teacher, pairs_BLL, mask_BL) / normalizer


@full_precision
def relation_loss(
    student_states_BLD: Tensor,
    teacher_states_BLD: Tensor,
    mask_BL: Tensor,
    *,
    num_relation_heads: int,
    normalizer: float | Tensor,
) -> Tensor:
    """KL of the relations of one kind of vectors: all queries, all keys or all values of a layer.

    The heads' vectors are joined and cut anew into `num_relation_heads` pieces, so that student and
    teacher need neither equal widths nor equal heads. MiniLMv2 adds the losses of the three kinds.

    Args:
        student_states_BLD, teacher_states_BLD: float, (texts, tokens, width): all heads' vectors
            side by side; the widths may differ.
        mask_BL: bool, (texts, tokens): which of them count.
        num_relation_heads: divides both widths.
        normalizer: number of valid tokens in the whole step.
    Returns: scalar, nats per token, averaged over relation heads.
    Raises: ValueError if texts or tokens differ, or a width is not divisible.
    References: Wang et al. 2021, arXiv:2012.15828, section 3.1. There each text counts the same;
        here each token.
    """
    student = _relations(student_states_BLD, mask_BL, num_relation_heads, "student")
    teacher = _relations(teacher_states_BLD, mask_BL, num_relation_heads, "teacher")
    student, teacher, pairs_BLL = _checked(student, teacher, mask_BL)
    return _looking_kl(student, teacher, pairs_BLL, mask_BL) / normalizer


def _relations(states_BLD: Tensor, mask_BL: Tensor, num_heads: int, whose: str) -> Tensor:
    """Scaled products of every two tokens' vectors, (texts, heads, tokens, tokens)."""
    check_mask(mask_BL, states_BLD)
    width = states_BLD.shape[-1]
    if width % num_heads:
        raise ValueError(
            f"{num_heads} relation heads do not divide the {whose}'s width {width}: "
            "choose a divisor of both widths"
        )
    states = at_least_float32(states_BLD).masked_fill(~mask_BL.unsqueeze(-1), 0.0)
    pieces_BHLD = states.unflatten(-1, (num_heads, width // num_heads)).transpose(1, 2)
    return pieces_BHLD @ pieces_BHLD.mT / (width // num_heads) ** 0.5


def _checked(student: Tensor, teacher: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores cleared where either token is masked, and the pairs of valid tokens."""
    check_same_shape(student, teacher, what="attention scores")
    if student.dim() != 4:
        raise ValueError(
            f"scores of shape {tuple(student.shape)}: give (texts, heads, tokens, tokens)"
        )
    check_mask(mask_BL, student[:, 0])
    pairs_BLL = mask_BL.unsqueeze(-1) & mask_BL.unsqueeze(-2)
    outside = ~pairs_BLL.unsqueeze(1)
    student = at_least_float32(student).masked_fill(outside, 0.0)
    teacher = at_least_float32(constant(teacher)).masked_fill(outside, 0.0)
    return student, teacher, pairs_BLL


def _looking_kl(student: Tensor, teacher: Tensor, pairs_BLL: Tensor, mask_BL: Tensor) -> Tensor:
    """KL over the valid tokens looked at: a sum over those that look, a mean over heads."""
    unseen = ~pairs_BLL.unsqueeze(1)
    lowest = torch.finfo(student.dtype).min
    log_q = student.masked_fill(unseen, lowest).log_softmax(-1)
    log_p = teacher.masked_fill(unseen, lowest).log_softmax(-1)
    divergence = (log_p.exp() * (log_p - log_q)).masked_fill(unseen, 0.0)
    return valid_sum(divergence.sum(-1).mean(1), mask_BL)
