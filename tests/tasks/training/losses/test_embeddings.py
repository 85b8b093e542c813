"""Sentence embeddings against numpy in float64."""

from functools import partial

import numpy as np
import pytest
import torch

from tasks.training.losses.embeddings import contrastive_loss, embedding_distance_loss


@pytest.fixture
def embeddings(promises):
    return promises.draw(6, 4, seed=91), promises.draw(6, 4, seed=92)


def squared_distance(student, teacher):
    return ((student - teacher) ** 2).sum()


def test_the_distance_of_unit_vectors_is_that_of_their_angle(embeddings):
    """Averaged over a width of 384 its gradient is lost beside that of any other term."""
    student, teacher = (torch.nn.functional.normalize(one, dim=-1) for one in embeddings)
    a, b = student.double().numpy(), teacher.double().numpy()
    expected = (2 - 2 * (a * b).sum(1)).sum() / 3.5
    found = embedding_distance_loss(student, teacher, normalizer=3.5)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    mse = torch.nn.functional.mse_loss(student.double(), teacher.double())
    whole = embedding_distance_loss(student, teacher, normalizer=6)
    assert whole.item() == pytest.approx(4 * mse.item(), rel=1e-5)


def test_a_pair_is_drawn_to_the_source_sentence(promises, embeddings):
    """One column of labels given to two columns of texts: half of them learned nothing."""
    source, teacher = embeddings
    target = promises.draw(6, 4, seed=93)
    rows = torch.cat([source, target])
    found = embedding_distance_loss(rows, torch.cat([teacher, teacher]), normalizer=12)
    # Sentence Transformers' MSELoss: the mean over both columns and the width.
    columns = [(one - teacher).double().square().mean().item() for one in (source, target)]
    assert found.item() == pytest.approx(4 * np.mean(columns), rel=1e-5)


def test_the_distance_keeps_what_losses_promise(promises, embeddings):
    """A pass of two texts weighed like one of six; differences of vectors taken in 16 bits."""
    loss = embedding_distance_loss
    promises.equals(loss, squared_distance, *embeddings)
    promises.has_the_gradient_of_finite_differences(loss, *embeddings)
    promises.ignores_what_is_masked(loss, *embeddings)
    promises.adds_up_over_passes(loss, *embeddings)
    promises.does_not_mind_axes(loss, *embeddings)
    promises.leaves_the_teacher_alone(loss, *embeddings)
    promises.is_the_same_under_autocast(loss, *embeddings)
    promises.computes_sixteen_bits_in_float32(loss, *embeddings)
    promises.stays_finite(loss, 1e3 * embeddings[0], -1e3 * embeddings[1])
    with pytest.raises(ValueError, match="embeddings"):
        loss(embeddings[0][:, :2], embeddings[1], normalizer=1)


def test_contrast_picks_the_right_teacher_embedding(embeddings):
    """Padded rows among the wrong answers, or counted as questions."""
    student, teacher = embeddings
    mask = torch.tensor([True, False, True, True, True, True])
    a, b = (x[mask].double().numpy() for x in embeddings)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    expected = 0.0
    for i in range(5):
        scores = [np.exp(a[i] @ b[j] / 0.1) for j in range(5)]
        expected -= np.log(scores[i] / sum(scores))
    found = contrastive_loss(student, teacher, mask, normalizer=5, similarity_temperature=0.1)
    assert found.item() == pytest.approx(expected / 5, rel=1e-4)


def test_contrast_keeps_what_losses_of_a_pass_promise(promises, embeddings):
    promises.has_the_gradient_of_finite_differences(contrastive_loss, *embeddings)
    promises.ignores_what_is_masked(contrastive_loss, *embeddings)
    promises.leaves_the_teacher_alone(contrastive_loss, *embeddings)
    promises.is_the_same_under_autocast(contrastive_loss, *embeddings)
    promises.computes_sixteen_bits_in_float32(contrastive_loss, *embeddings)
    promises.stays_finite(contrastive_loss, 1e4 * embeddings[0], -1e4 * embeddings[1])
    promises.stays_finite(contrastive_loss, torch.zeros(2, 3), torch.zeros(2, 3))


def contrast(student, teacher):
    """Mean over the texts, which are one another's wrong answers, in float64."""
    a, b = (x.double().numpy() for x in (student, teacher))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    scores = np.exp(a @ b.T / 0.05)
    return -np.log(np.diag(scores) / scores.sum(1)).mean()


def test_passes_of_contrast_count_by_their_texts(embeddings):
    """A pass of two texts that counted as one of four. What a text is told apart from is its own
    pass, so a step in passes is the mean of theirs over texts, and another value than in one.
    """
    student, teacher = embeddings
    cuts = (slice(2), slice(2, 6))
    parts = sum(contrastive_loss(student[c], teacher[c], normalizer=6).item() for c in cuts)
    expected = sum(len(student[c]) * contrast(student[c], teacher[c]) for c in cuts) / 6
    assert parts == pytest.approx(expected, rel=1e-4)
    whole = contrastive_loss(student, teacher, normalizer=6).item()
    assert whole == pytest.approx(contrast(student, teacher), rel=1e-4)
    assert whole > parts


def test_a_collapsed_student_guesses_blindly(embeddings):
    """All texts at one point must look as bad as they are: log B."""
    blind = contrastive_loss(torch.ones(6, 4), torch.ones(6, 4), normalizer=6)
    assert blind.item() == pytest.approx(np.log(6), rel=1e-5)
    perfect = partial(contrastive_loss, embeddings[1], embeddings[1], normalizer=6)
    assert perfect(similarity_temperature=0.01).item() < 0.01


def test_what_cannot_be_compared_is_refused(embeddings):
    student, teacher = embeddings
    with pytest.raises(ValueError, match="embeddings"):
        contrastive_loss(student[:, :2], teacher, normalizer=1)
    with pytest.raises(ValueError, match="similarity_temperature"):
        contrastive_loss(student, teacher, normalizer=1, similarity_temperature=0)
