"""Losses against float64 references, and the traps that other toolkits fell into."""

import math

import pytest
import torch
import torch.nn.functional as F

from tasks.training.losses import IGNORE_INDEX, hard_label_loss, soft_target_loss


def logits(rows=6, classes=5, seed=0, scale=3.0):
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed)) * scale


def naive_kl(student, teacher, temperature):
    """sum_c p (log p - log q) * T² / rows, one term at a time, in Python floats."""
    total = 0.0
    for student_row, teacher_row in zip(student.tolist(), teacher.tolist(), strict=True):
        q = [math.exp(value / temperature) for value in student_row]
        p = [math.exp(value / temperature) for value in teacher_row]
        q = [value / sum(q) for value in q]
        p = [value / sum(p) for value in p]
        total += sum(b * (math.log(b) - math.log(a)) for a, b in zip(q, p, strict=True))
    return total * temperature**2 / len(student)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 8.0])
def test_soft_target_loss_is_the_kl_of_the_definition(temperature):
    """The article's formula and code are not a KL divergence; this one must be."""
    student, teacher = logits(seed=1), logits(seed=2)
    loss = soft_target_loss(student, teacher, temperature=temperature, normalizer=len(student))
    assert loss.item() == pytest.approx(naive_kl(student, teacher, temperature), rel=1e-5)


def test_feeding_probabilities_as_the_article_does_gives_another_value():
    """`KLDivLoss(softmax, softmax)` runs without an error and trains on nonsense."""
    student, teacher = logits(seed=1), logits(seed=2)
    ours = soft_target_loss(student, teacher, temperature=1.0, normalizer=len(student))
    article = torch.nn.KLDivLoss(reduction="batchmean")(student.softmax(1), teacher.softmax(1))
    assert abs(ours.item() - article.item()) > 0.1


def test_the_teacher_is_the_reference_distribution_of_the_divergence():
    """A student swapped with its teacher gives reverse KL: same shape, another minimum."""
    student, teacher = logits(seed=1), logits(seed=2)
    forward = soft_target_loss(student, teacher, temperature=1.0, normalizer=1)
    backward = soft_target_loss(teacher, student, temperature=1.0, normalizer=1)
    assert forward.item() != pytest.approx(backward.item(), rel=1e-2)
    assert forward.item() == pytest.approx(naive_kl(student, teacher, 1.0) * len(student), rel=1e-5)


def test_loss_is_zero_when_the_student_equals_the_teacher():
    """A floor above zero (soft cross-entropy) misleads early stopping and comparisons."""
    teacher = logits()
    loss = soft_target_loss(teacher.clone(), teacher, temperature=3.0, normalizer=len(teacher))
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_gradient_norm_hardly_depends_on_temperature():
    """Without the T² factor it falls as 1/T², and alpha silently means something else."""
    norms = []
    for temperature in (4.0, 8.0, 16.0):
        student = logits(seed=1, scale=1.0).requires_grad_()
        soft_target_loss(
            student, logits(seed=2, scale=1.0), temperature=temperature, normalizer=6
        ).backward()
        norms.append(student.grad.norm().item())
    assert max(norms) / min(norms) < 1.3


def test_classes_without_mass_do_not_change_the_loss():
    """`reduction="mean"` divides by the number of classes: many classes learn slower."""
    student, teacher = logits(seed=1), logits(seed=2)
    impossible = torch.full((len(student), 7), -1e4)
    narrow = soft_target_loss(student, teacher, temperature=1.0, normalizer=6)
    wide = soft_target_loss(
        torch.cat([student, impossible], 1),
        torch.cat([teacher, impossible], 1),
        temperature=1.0,
        normalizer=6,
    )
    assert wide.item() == pytest.approx(narrow.item(), rel=1e-6)


def test_gradient_is_that_of_finite_differences():
    student = logits(3, 4, seed=3).double().requires_grad_()
    teacher = logits(3, 4, seed=4).double()
    # The loss computes in float32, so the check steps and tolerates at its resolution.
    assert torch.autograd.gradcheck(
        lambda s: soft_target_loss(s, teacher, temperature=2.0, normalizer=3),
        (student,),
        eps=1e-2,
        atol=1e-2,
        rtol=1e-2,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_keep_loss_and_gradient_finite(dtype):
    """log(softmax) taken in two steps gives NaN here, and one NaN ends a training."""
    student = torch.tensor([[1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4, 0.0]], dtype=dtype)
    loss = soft_target_loss(student, teacher, temperature=1.0, normalizer=1)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_divergence_is_not_negative_in_bf16_over_a_large_vocabulary():
    """Reducing 50,000 bf16 terms gives a negative KL in other toolkits."""
    teacher = logits(2, 50_000, seed=5).bfloat16()
    loss = soft_target_loss(teacher.clone(), teacher, temperature=1.0, normalizer=2)
    assert loss.item() >= -1e-6


def test_splitting_a_step_leaves_its_gradient_unchanged():
    """Averaging micro-batch means weighs examples of small micro-batches more."""
    teacher = logits(7, 5, seed=2)
    labels = torch.tensor([0, 1, IGNORE_INDEX, 3, IGNORE_INDEX, IGNORE_INDEX, 4])
    gradients = []
    for cuts in ([7], [4, 3], [1, 5, 1]):
        student = logits(7, 5, seed=1).requires_grad_()
        start = 0
        for size in cuts:
            part = slice(start, start + size)
            soft = soft_target_loss(
                student[part], teacher[part], temperature=2.0, normalizer=len(student)
            )
            hard = hard_label_loss(student[part], labels[part], normalizer=4)
            (soft + hard).backward()
            start += size
        gradients.append(student.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(gradients[2], gradients[0], rtol=1e-6, atol=1e-7)


def test_unlabelled_rows_add_nothing_to_the_hard_loss():
    """Rows of IGNORE_INDEX that count in the mean dilute the labelled ones."""
    student = logits(4, 5)
    labelled = hard_label_loss(student[:2], torch.tensor([1, 2]), normalizer=2)
    padded = hard_label_loss(
        student, torch.tensor([1, 2, IGNORE_INDEX, IGNORE_INDEX]), normalizer=2
    )
    assert padded.item() == pytest.approx(labelled.item(), rel=1e-6)


def test_hard_loss_with_smoothing_is_the_mixture_of_gold_and_uniform():
    student, labels, share = logits(4, 5).double(), torch.tensor([0, 4, 2, 1]), 0.2
    target = F.one_hot(labels, 5).double() * (1 - share) + share / 5
    expected = -(target * student.log_softmax(1)).sum(1).mean()
    loss = hard_label_loss(student, labels, normalizer=4, label_smoothing=share)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_shapes_that_differ_are_refused():
    """Broadcasting (B, C) against (1, C) would train every row on the first teacher row."""
    with pytest.raises(ValueError, match="differ in shape"):
        soft_target_loss(logits(3), logits(1), temperature=1.0, normalizer=3)
    with pytest.raises(ValueError, match="labels"):
        hard_label_loss(logits(3), torch.tensor([1]), normalizer=1)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_cannot_divide_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature"):
        soft_target_loss(logits(), logits(), temperature=temperature, normalizer=6)
