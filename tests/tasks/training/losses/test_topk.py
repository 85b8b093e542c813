"""Sparse teachers against whole ones, numpy, and TRL."""

import numpy as np
import pytest
import torch

from tasks.training.losses.divergences import soft_cross_entropy_loss, soft_target_loss
from tasks.training.losses.topk import retempered, topk_kl_loss, word_level_loss


def stored(teacher, k, temperature=1.0):
    log_probs = (teacher / temperature).log_softmax(-1)
    top = log_probs.topk(k)
    return top.indices, top.values


@pytest.fixture
def logits(promises):
    return promises.draw(6, 8, seed=51), promises.draw(6, 8, seed=52)


def test_all_tokens_stored_are_the_whole_divergence(logits):
    """k = V must be the dense loss: else the sparse one is another objective."""
    student, teacher = logits
    dense = {topk_kl_loss: soft_target_loss, word_level_loss: soft_cross_entropy_loss}
    for temperature in (1.0, 2.0):
        options = {"temperature": temperature, "normalizer": 6}
        for sparse, whole in dense.items():
            found = sparse(student, *stored(teacher, 8, temperature), **options)
            expected = whole(student, teacher, **options)
            assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_rest_is_one_event(logits):
    """The teacher renormalised over k and the student not: the student is asked for too much."""
    student, teacher = logits
    ids, log_probs = stored(teacher, 3)
    mask = torch.tensor([True, False, True, True, False, True])
    kl = entropy = 0.0
    for row in mask.nonzero().flatten().tolist():
        p, q = (np.exp(z[row].double().numpy()) for z in (teacher, student))
        chosen = ids[row].numpy()
        p, q = p / p.sum(), q / q.sum()
        p, q = (np.append(x[chosen], np.delete(x, chosen).sum()) for x in (p, q))
        kl += (p * np.log(p / q)).sum()
        entropy += -(p * np.log(q)).sum()
    found = topk_kl_loss(student, ids, log_probs, mask, temperature=1.0, normalizer=4)
    assert found.item() == pytest.approx(kl / 4, rel=1e-5)
    found = word_level_loss(student, ids, log_probs, mask, temperature=1.0, normalizer=4)
    assert found.item() == pytest.approx(entropy / 4, rel=1e-5)


@pytest.mark.parametrize(
    ("temperature", "expected"), [(1.0, 1.03392021519328), (2.0, 0.3120104747294963)]
)
def test_it_is_trl_s_times_the_squared_temperature(pinned, temperature, expected):
    """TRL 1.16.0, server distillation, forward KL over the top 2 and _add_tail_bucket; no T²."""
    student, teacher = pinned
    ids, log_probs = stored(teacher, 2, temperature)
    found = topk_kl_loss(student, ids, log_probs, temperature=temperature, normalizer=3)
    assert found.item() == pytest.approx(expected * temperature**2, rel=1e-6)


@pytest.mark.parametrize("k", [3, 8])
def test_it_keeps_what_losses_promise(promises, logits, k):
    """Masking, passes, axes and the teacher's peace; the teacher comes as logits here."""

    def loss(student, teacher, mask, *, normalizer):
        ids, log_probs = stored(teacher, k)
        return topk_kl_loss(student, ids, log_probs, mask, temperature=1.0, normalizer=normalizer)

    promises.has_the_gradient_of_finite_differences(loss, *logits)
    promises.ignores_what_is_masked(loss, *logits)
    promises.adds_up_over_passes(loss, *logits)
    promises.does_not_mind_axes(loss, *logits)
    promises.leaves_the_teacher_alone(loss, *logits)


@pytest.mark.parametrize("k", [1, 3, 4])
@pytest.mark.parametrize("loss", [topk_kl_loss, word_level_loss])
def test_a_sure_student_or_teacher_keeps_the_gradient_finite(promises, extremes, loss, k):
    """log(1 - the sum of k probabilities) is -inf once they sum to 1 in float32."""

    def of_logits(student, teacher, mask, *, normalizer):
        ids, log_probs = stored(teacher.float(), k)
        return loss(student, ids, log_probs, mask, temperature=1.0, normalizer=normalizer)

    promises.stays_finite(of_logits, *extremes)


def test_a_student_that_is_its_teacher_has_no_loss(promises):
    teacher = promises.draw(2, 20_000, seed=53).bfloat16()
    ids, log_probs = stored(teacher.float(), 16)
    value = topk_kl_loss(teacher.clone(), ids, log_probs, temperature=1.0, normalizer=2).item()
    assert -1e-6 <= value <= 1e-5


def test_few_bits_may_not_store_more_than_certainty(logits):
    """k probabilities in 8 bits that sum to 1.01: a negative tail, NaN."""
    student, teacher = logits
    ids, log_probs = stored(10 * teacher, 3)
    value = topk_kl_loss(student, ids, log_probs + 0.02, temperature=1.0, normalizer=6)
    assert torch.isfinite(value)
    expected = topk_kl_loss(student, ids, log_probs, temperature=1.0, normalizer=6)
    assert value.item() == pytest.approx(expected.item(), rel=0.05)


def test_stored_probabilities_move_to_another_temperature(promises):
    """`p^(1/T)` without its sum, or without a tail, is no distribution."""
    teacher = promises.draw(3, 10, seed=54).double()
    ids, log_probs = stored(teacher, 10)
    exact = (teacher / 2).log_softmax(-1).gather(-1, ids)
    torch.testing.assert_close(retempered(log_probs, temperature=2.0, vocab_size=10), exact)
    even = torch.cat([teacher[:, :3] + 4, torch.zeros(3, 7)], 1).double()
    ids, log_probs = stored(even, 3)
    exact = (even / 2).log_softmax(-1).gather(-1, ids)
    torch.testing.assert_close(retempered(log_probs, temperature=2.0, vocab_size=10), exact)
    unmoved = retempered(log_probs, temperature=1.0, vocab_size=10)
    torch.testing.assert_close(unmoved, log_probs)


def test_what_does_not_fit_is_refused(logits):
    student, teacher = logits
    ids, log_probs = stored(teacher, 3)
    with pytest.raises(ValueError, match="token ids"):
        topk_kl_loss(student, ids[:2], log_probs, temperature=1.0, normalizer=1)
    with pytest.raises(ValueError, match="temperature"):
        word_level_loss(student, ids, log_probs, temperature=0.0, normalizer=1)
