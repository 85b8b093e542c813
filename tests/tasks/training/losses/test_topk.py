"""Sparse teachers against whole ones, numpy, and TRL."""

import math

import numpy as np
import pytest
import torch

from tasks.training.losses.divergences import (
    jsd_loss,
    reverse_kl_loss,
    skew_kl_loss,
    skew_reverse_kl_loss,
    soft_target_loss,
    total_variation_loss,
)
from tasks.training.losses.topk import (
    COARSE_LOSSES,
    SparseTargets,
    coarse_loss,
    coarsened,
    topk_kl_loss,
)


def stored(teacher, k, temperature=1.0):
    """The k likeliest and the rest, as a teacher at `temperature` says them, at temperature 1.

    What the loss softens to just that, if the rest is taken as even.
    """
    log_probs = (teacher / temperature).log_softmax(-1)
    top = log_probs.topk(k)
    num_others = teacher.shape[-1] - k
    if not num_others:
        return SparseTargets(top.indices, top.values * temperature,
                             torch.full_like(top.values[..., 0], -torch.inf))  # fmt: skip
    tail = log_probs.scatter(-1, top.indices, -torch.inf).logsumexp(-1)
    even = math.log(num_others)
    tail = even + (tail - even) * temperature
    return SparseTargets(top.indices, top.values * temperature, tail)


@pytest.fixture
def logits(promises):
    return promises.draw(6, 8, seed=51), promises.draw(6, 8, seed=52)


@pytest.mark.parametrize("k", [7, 8])
def test_all_tokens_stored_are_the_whole_divergence(logits, k):
    """k = V must be the dense loss, and so must a tail of one token: else another objective."""
    student, teacher = logits
    for temperature in (1.0, 2.0):
        options = {"temperature": temperature, "normalizer": 6}
        found = topk_kl_loss(student, stored(teacher, k), **options)
        expected = soft_target_loss(student, teacher, **options)
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_rest_is_one_event(logits, temperature):
    """The teacher renormalised over k and the student not: the student is asked for too much."""
    student, teacher = logits
    targets = stored(teacher, 3)
    mask = torch.tensor([True, False, True, True, False, True])
    kl = 0.0
    for row in mask.nonzero().flatten().tolist():
        whole, chosen = np.exp(teacher[row].double().numpy()), targets.ids_NK[row].numpy()
        p = whole / whole.sum()
        rest = np.delete(p, chosen).sum()
        # The rest is divided evenly among its five tokens before it is softened.
        p = np.append(p[chosen], np.full(5, rest / 5)) ** (1 / temperature)
        p = np.append(p[:3], p[3:].sum()) / p.sum()
        q = np.exp(student[row].double().numpy() / temperature)
        q = np.append(q[chosen], np.delete(q, chosen).sum()) / q.sum()
        kl += (p * np.log(p / q)).sum() * temperature**2
    found = topk_kl_loss(student, targets, mask, temperature=temperature, normalizer=4)
    assert found.item() == pytest.approx(kl / 4, rel=1e-5)


def test_its_gradient_is_that_of_word_level_distillation(logits):
    """Cross-entropy with the teacher's distribution, as Kim & Rush write it, without a T²."""
    student, teacher = (one.double() for one in logits)
    targets, gradients = stored(teacher, 8), []
    for loss in (
        lambda z: topk_kl_loss(z, targets, temperature=1.0, normalizer=6),
        lambda z: -(teacher.softmax(-1) * z.log_softmax(-1)).sum() / 6,
    ):
        leaf = student.clone().requires_grad_()
        loss(leaf).backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("temperature", "expected"), [(1.0, 1.03392021519328), (2.0, 0.3120104747294963)]
)
def test_it_is_trl_s_times_the_squared_temperature(pinned, temperature, expected):
    """TRL 1.16.0, server distillation, forward KL over the top 2 and _add_tail_bucket; no T²."""
    student, teacher = pinned
    targets = stored(teacher, 2, temperature)
    found = topk_kl_loss(student, targets, temperature=temperature, normalizer=3)
    assert found.item() == pytest.approx(expected * temperature**2, rel=1e-6)


@pytest.mark.parametrize("k", [3, 8])
def test_it_keeps_what_losses_promise(promises, logits, k):
    """Masking, passes, axes and the teacher's peace; the teacher comes as logits here."""

    def loss(student, teacher, mask, *, normalizer):
        targets = stored(teacher, k)
        return topk_kl_loss(student, targets, mask, temperature=1.0, normalizer=normalizer)

    promises.has_the_gradient_of_finite_differences(loss, *logits)
    promises.ignores_what_is_masked(loss, *logits)
    promises.adds_up_over_passes(loss, *logits)
    promises.does_not_mind_axes(loss, *logits)
    promises.leaves_the_teacher_alone(loss, *logits)


@pytest.mark.parametrize("k", [1, 3, 4])
def test_a_sure_student_or_teacher_keeps_the_gradient_finite(promises, extremes, k):
    """log(1 - the sum of k probabilities) is -inf once they sum to 1 in float32."""

    def of_logits(student, teacher, mask, *, normalizer):
        targets = stored(teacher.float(), k)
        return topk_kl_loss(student, targets, mask, temperature=1.0, normalizer=normalizer)

    promises.stays_finite(of_logits, *extremes)


def test_a_teacher_without_a_rest_leaves_nothing_to_the_student_s(logits):
    """0 times minus infinity: NaN in every weight from one sure token on."""
    student, teacher = logits
    targets = stored(teacher, 3)
    sure = SparseTargets(targets.ids_NK, targets.log_probs_NK, torch.full((6,), -torch.inf))
    leaf = student.clone().requires_grad_()
    value = topk_kl_loss(leaf, sure, temperature=2.0, normalizer=6)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(leaf.grad).all()


def test_a_student_that_is_its_teacher_has_no_loss(promises):
    teacher = promises.draw(2, 20_000, seed=53).bfloat16()
    targets = stored(teacher.float(), 16)
    value = topk_kl_loss(teacher.clone(), targets, temperature=1.0, normalizer=2).item()
    assert -1e-6 <= value <= 1e-5


def test_few_bits_may_not_store_more_than_certainty(logits):
    """k probabilities in 8 bits that sum to 1.01: a negative divergence."""
    student, teacher = logits
    exact = stored(10 * teacher, 3)
    rough = SparseTargets(exact.ids_NK, exact.log_probs_NK + 0.02, exact.tail_N)
    value = topk_kl_loss(student, rough, temperature=1.0, normalizer=6)
    expected = topk_kl_loss(student, exact, temperature=1.0, normalizer=6)
    assert value.item() == pytest.approx(expected.item(), rel=0.05)


def test_what_does_not_fit_is_refused(logits):
    student, teacher = logits
    targets = stored(teacher, 3)
    fewer = SparseTargets(targets.ids_NK[:2], targets.log_probs_NK[:2], targets.tail_N[:2])
    with pytest.raises(ValueError, match="token ids"):
        topk_kl_loss(student, fewer, temperature=1.0, normalizer=1)
    with pytest.raises(ValueError, match="temperature"):
        topk_kl_loss(student, targets, temperature=0.0, normalizer=1)


def kl(p, q):
    return float((p * np.log(p / q)).sum())


def mixture(p, q, share):
    return share * p + (1 - share) * q


# kind, its parameters, the loss over the whole vocabulary, and the divergence written by hand
KINDS = {
    "kl": ({}, soft_target_loss, kl),
    "reverse_kl": ({}, reverse_kl_loss, lambda p, q: kl(q, p)),
    "jsd": (
        {"beta": 0.3}, jsd_loss,
        lambda p, q: 0.3 * kl(p, mixture(p, q, 0.3)) + 0.7 * kl(q, mixture(p, q, 0.3)),
    ),
    "skew_kl": ({"skew": 0.2}, skew_kl_loss, lambda p, q: kl(p, mixture(p, q, 0.2))),
    "skew_reverse_kl": (
        {"skew": 0.2}, skew_reverse_kl_loss, lambda p, q: kl(q, mixture(q, p, 0.2)),
    ),
    "total_variation": ({}, total_variation_loss, lambda p, q: float(np.abs(p - q).sum() / 2)),
}  # fmt: skip


def coarse(kind, student, targets, mask=None, *, temperature=1.0, normalizer):
    """A divergence of logits and signals, as training computes it."""
    both = coarsened(student, targets, mask, temperature=temperature)
    options = {"temperature": temperature, "normalizer": normalizer, **KINDS[kind][0]}
    return coarse_loss(kind, *both, mask, **options)


def test_every_kind_is_tested():
    """A divergence added to the table alone: no test below would know it."""
    assert set(KINDS) == set(COARSE_LOSSES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_divergence_of_all_tokens_is_the_dense_one(logits, kind, temperature):
    """k = V is the check on everything else: a difference there is a bias everywhere."""
    student, teacher = (one.double() for one in logits)
    parameters, dense, _ = KINDS[kind]
    options = {"temperature": temperature, "normalizer": 5}
    for k in (8, 7):  # a tail of one token is that token
        found = coarse(kind, student, stored(teacher, k), **options)
        expected = dense(student, teacher, **options, **parameters)
        assert found.item() == pytest.approx(expected.item(), rel=1e-9), k


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_divergence_sees_the_rest_as_one_event(promises, logits, kind, temperature):
    """In float64 by hand, token by token: the T², the direction, the tail of each side."""

    def by_hand(student, teacher):
        order = np.argsort(-teacher)
        p = np.exp(teacher) / np.exp(teacher).sum()
        rest = p[order[3:]].sum()
        p = np.append(p[order[:3]], np.full(5, rest / 5)) ** (1 / temperature)
        p = np.append(p[:3], p[3:].sum()) / p.sum()
        q = np.exp(student / temperature) / np.exp(student / temperature).sum()
        q = np.append(q[order[:3]], q[order[3:]].sum())
        return KINDS[kind][2](p, q) * temperature**2

    def loss(student, teacher, mask, *, normalizer):
        options = {"temperature": temperature, "normalizer": normalizer}
        return coarse(kind, student, stored(teacher, 3), mask, **options)

    promises.equals(loss, by_hand, *logits)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 3, 7])
def test_no_divergence_grows_when_tokens_are_put_together(logits, kind, k):
    """A sum over events that are none, or over one twice, exceeds the divergence of all tokens."""
    student, teacher = (one.double() for one in logits)
    parameters, dense, _ = KINDS[kind]
    whole = dense(student, teacher, temperature=1.0, normalizer=1, **parameters).item()
    found = coarse(kind, student, stored(teacher, k), normalizer=1).item()
    assert -1e-12 <= found <= whole * (1 + 1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [3, 8])
def test_every_divergence_keeps_what_losses_promise(promises, logits, kind, k):
    def loss(student, teacher, mask, *, normalizer):
        targets = stored(teacher, k)
        return coarse(kind, student, targets, mask, temperature=2.0, normalizer=normalizer)

    promises.has_the_gradient_of_finite_differences(loss, *logits)
    promises.ignores_what_is_masked(loss, *logits)
    promises.adds_up_over_passes(loss, *logits)
    promises.does_not_mind_axes(loss, *logits)
    promises.leaves_the_teacher_alone(loss, *logits)
    promises.is_the_same_under_autocast(loss, *logits)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 3, 4])
def test_every_divergence_stays_finite_in_16_bits(promises, extremes, kind, k):
    """Logits of ±1e4 in bfloat16: inf - inf in one position ends a training of days."""

    def of_logits(student, teacher, mask, *, normalizer):
        return coarse(kind, student, stored(teacher.float(), k), mask, normalizer=normalizer)

    promises.stays_finite(of_logits, *extremes)


@pytest.mark.parametrize("kind", KINDS)
def test_every_divergence_bears_a_teacher_that_rules_out_the_rest(logits, kind):
    """KL(student || teacher) is infinite there: the floor of the teacher keeps it a number."""
    student, teacher = logits
    targets = stored(teacher, 3)
    sure = SparseTargets(targets.ids_NK, targets.log_probs_NK, torch.full((6,), -torch.inf))
    leaf = student.clone().requires_grad_()
    value = coarse(kind, leaf, sure, temperature=2.0, normalizer=6)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(leaf.grad).all()
    assert leaf.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_no_divergence_of_a_student_from_itself(promises, kind):
    teacher = promises.draw(2, 20_000, seed=53).bfloat16()
    value = coarse(kind, teacher.clone(), stored(teacher.float(), 16), normalizer=2).item()
    assert -1e-6 <= value <= 1e-5
