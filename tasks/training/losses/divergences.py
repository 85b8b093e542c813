"""Divergences between the softened distributions of teacher (p) and student (q).

    soft_target_loss         KL(p || q)       covers all that the teacher deems likely
    reverse_kl_loss          KL(q || p)       keeps to what the teacher deems likely
    jsd_loss                 beta KL(p || m) + (1-beta) KL(q || m), m = beta p + (1-beta) q
    skew_kl_loss             KL(p || skew p + (1-skew) q): bounded, however wrong the student is
    skew_reverse_kl_loss     KL(q || skew q + (1-skew) p)
    total_variation_loss     half the sum of |p - q|
    soft_cross_entropy_loss  KL(p || q) + H(p): not 0 for a perfect student

All are 0 for a student that equals its teacher, but the last. All take (student_logits_BC,
teacher_logits_BC, mask_B) and return a scalar in nats per position (total variation: unitless),
scaled by temperature**2.

Shapes: B positions, one axis or several (texts, units or tokens); C classes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.training.losses.positions import softened_log_probs, valid_sum


def soft_target_loss(
    student_logits_BC: Tensor,
    teacher_logits_BC: Tensor,
    mask_B: Tensor | None = None,
    *,
    temperature: float,
    normalizer: float | Tensor,
) -> Tensor:
    """KL(teacher || student) of temperature-softened distributions, scaled by temperature**2.

    Args:
        student_logits_BC, teacher_logits_BC: float, (positions, classes), unnormalized, finite.
        mask_B: bool, (positions): which of them count; all if not given.
        temperature: > 0, unitless.
        normalizer: number of valid positions in the whole step.
    Returns: scalar, nats per position.
    Raises: ValueError if the shapes differ or the temperature is not positive.
    References: Hinton et al. 2015, arXiv:1503.02531, section 2 (the T**2 factor).
    """
    log_q, log_p = softened_log_probs(student_logits_BC, teacher_logits_BC, mask_B, temperature)
    return _scaled(_kl(log_p, log_q), mask_B, temperature, normalizer)


def reverse_kl_loss(
    student_logits_BC: Tensor,
    teacher_logits_BC: Tensor,
    mask_B: Tensor | None = None,
    *,
    temperature: float,
    normalizer: float | Tensor,
) -> Tensor:
    """KL(student || teacher), otherwise as `soft_target_loss`.

    References: Gu et al. 2024, arXiv:2306.08543, section 2 (here by position, not by sequence).
    """
    log_q, log_p = softened_log_probs(student_logits_BC, teacher_logits_BC, mask_B, temperature)
    return _scaled(_kl(log_q, log_p), mask_B, temperature, normalizer)


def jsd_loss(
    student_logits_BC: Tensor,
    teacher_logits_BC: Tensor,
    mask_B: Tensor | None = None,
    *,
    temperature: float,
    normalizer: float | Tensor,
    beta: float = 0.5,
) -> Tensor:
    """Generalised Jensen-Shannon divergence; 0 <= beta <= 1 is the teacher's part of the mixture.

    beta 0 is KL(teacher || student) and beta 1 KL(student || teacher) by definition. They are not
    the limits: those are 0, and loss / beta, or loss / (1 - beta), tends to these divergences.

    Raises: ValueError as `soft_target_loss`, and if beta is outside [0, 1].
    References: Agarwal et al. 2024, arXiv:2306.13649, equation 1 and the remark below it.
    """
    _check_share(beta, "beta", closed=True)
    log_q, log_p = softened_log_probs(student_logits_BC, teacher_logits_BC, mask_B, temperature)
    if beta == 0:
        divergence = _kl(log_p, log_q)
    elif beta == 1:
        divergence = _kl(log_q, log_p)
    else:
        log_m = _log_mixture(log_p, log_q, beta)
        divergence = beta * _kl(log_p, log_m) + (1 - beta) * _kl(log_q, log_m)
    return _scaled(divergence, mask_B, temperature, normalizer)


def skew_kl_loss(
    student_logits_BC: Tensor,
    teacher_logits_BC: Tensor,
    mask_B: Tensor | None = None,
    *,
    temperature: float,
    normalizer: float | Tensor,
    skew: float = 0.1,
) -> Tensor:
    """KL(p || skew p + (1-skew) q): at most log(1/skew) a position, before temperature**2.

    Raises: ValueError as `soft_target_loss`, and if skew is outside (0, 1).
    References: Ko et al. 2024, arXiv:2402.03898, equation 2 (skew 0.1 as there).
    """
    _check_share(skew, "skew", closed=False)
    log_q, log_p = softened_log_probs(student_logits_BC, teacher_logits_BC, mask_B, temperature)
    divergence = _kl(log_p, _log_mixture(log_p, log_q, skew))
    return _scaled(divergence, mask_B, temperature, normalizer)


def skew_reverse_kl_loss(
    student_logits_BC: Tensor,
    teacher_logits_BC: Tensor,
    mask_B: Tensor | None = None,
    *,
    temperature: float,
    normalizer: float | Tensor,
    skew: float = 0.1,
) -> Tensor:
    """KL(q || skew q + (1-skew) p), otherwise as `skew_kl_loss`."""
    _check_share(skew, "skew", closed=False)
    log_q, log_p = softened_log_probs(student_logits_BC, teacher_logits_BC, mask_B, temperature)
    divergence = _kl(log_q, _log_mixture(log_q, log_p, skew))
    return _scaled(divergence, mask_B, temperature, normalizer)


def total_variation_loss(
    student_logits_BC: Tensor,
    teacher_logits_BC: Tensor,
    mask_B: Tensor | None = None,
    *,
    temperature: float,
    normalizer: float | Tensor,
) -> Tensor:
    """Half the L1 distance of the distributions, in [0, temperature**2].

    Linear in their difference, so its gradient grows with the temperature: 1 is a good choice.

    References: Wen et al. 2023, arXiv:2307.15190, section 3.
    """
    log_q, log_p = softened_log_probs(student_logits_BC, teacher_logits_BC, mask_B, temperature)
    return _scaled((log_p.exp() - log_q.exp()).abs() / 2, mask_B, temperature, normalizer)


def soft_cross_entropy_loss(
    student_logits_BC: Tensor,
    teacher_logits_BC: Tensor,
    mask_B: Tensor | None = None,
    *,
    temperature: float,
    normalizer: float | Tensor,
) -> Tensor:
    """Cross-entropy with soft targets: the gradient of `soft_target_loss`, and the floor H(p).

    Curves of several teachers or temperatures cannot be compared by it; the KL's can.
    """
    log_q, log_p = softened_log_probs(student_logits_BC, teacher_logits_BC, mask_B, temperature)
    return _scaled(-log_p.exp() * log_q, mask_B, temperature, normalizer)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q), class by class."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True)


def _log_mixture(log_a: Tensor, log_b: Tensor, share: float) -> Tensor:
    """log(share a + (1 - share) b)."""
    return torch.logaddexp(log_a + math.log(share), log_b + math.log1p(-share))


def _scaled(
    divergence_BC: Tensor,
    mask_B: Tensor | None,
    temperature: float,
    normalizer: float | Tensor,
) -> Tensor:
    return valid_sum(divergence_BC, mask_B) * temperature**2 / normalizer


def _check_share(share: float, name: str, *, closed: bool) -> None:
    if not (0 <= share <= 1 if closed else 0 < share < 1):
        raise ValueError(f"{name} is {share}: it must lie in {'[0, 1]' if closed else '(0, 1)'}")
