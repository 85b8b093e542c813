"""The identifier of languages against gradients derived by hand, and cases of a known answer."""

import numpy as np
import pytest
import torch

from tasks.runtime.seeding import generator
from tasks.training.multi_teacher.language_identification import (
    learned_language_weights,
    mean_shares,
)


def drawn(num_texts, width, *, seed, towards=0.0):
    """Vectors of texts around a point of their own, float64."""
    rng = np.random.default_rng(seed)
    point = rng.normal(size=width)
    return torch.from_numpy(rng.normal(size=(num_texts, width)) * 0.4 + point * towards)


def by_hand(sources, target, *, seed, num_steps):
    """The same in NumPy: gradients written out, Adam written out, a loop over nothing but steps."""
    width, num = target.shape[1], len(sources)
    start = generator(seed, "language-identification").normal(
        scale=width**-0.5, size=(2, min(64, width), width)
    )
    u, v, mu = start[0], start[1], np.stack([texts.mean(0) for texts in sources])
    texts = np.concatenate(sources)
    gold = np.concatenate([np.full(len(rows), k) for k, rows in enumerate(sources)])
    share = np.concatenate([np.full(len(rows), 1 / num / len(rows)) for rows in sources])

    def scores_of(rows):
        return (rows @ u.T) @ (mu @ v.T).T

    def softmax(x):
        powers = np.exp(x - x.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    means = [np.zeros_like(value) for value in (u, v, mu)]
    squares = [np.zeros_like(value) for value in (u, v, mu)]
    for step in range(1, num_steps + 1):
        pull = share[:, None] * (softmax(scores_of(texts)) - np.eye(num)[gold])
        between = texts.T @ pull  # (D, K): d loss / d (Uᵀ V muᵀ)
        gradients = [
            (mu @ v.T).T @ between.T,
            (u @ between) @ mu,
            between.T @ u.T @ v + 0.01 * 4 * mu @ (mu.T @ mu - np.eye(width)),
        ]
        moved = []
        for i, (value, gradient) in enumerate(zip((u, v, mu), gradients, strict=True)):
            means[i] = 0.9 * means[i] + 0.1 * gradient
            squares[i] = 0.999 * squares[i] + 0.001 * gradient**2
            ahead = means[i] / (1 - 0.9**step)
            moved.append(value - 1e-3 * ahead / (np.sqrt(squares[i] / (1 - 0.999**step)) + 1e-8))
        u, v, mu = moved
    told = scores_of(target)
    tau = np.var(told) * told.size / (told.size - 1)
    right = share[scores_of(texts).argmax(1) == gold].sum()
    return softmax(told / tau).mean(0), tau, right


@pytest.mark.parametrize("width", [6, 80])
def test_training_is_that_of_the_formula(width):
    """A sign of the regulariser, a transposed product: trained all the same, to something else.

    Of the regulariser the reference takes the other product of M, D x D: the same gradient.
    """
    sources = [drawn(num, width, seed=k, towards=0.3) for k, num in enumerate((9, 5, 14))]
    target = drawn(7, width, seed=9, towards=0.2)
    found = learned_language_weights(sources, target, seed=3, num_steps=40)
    weights, tau, right = by_hand(
        [texts.numpy() for texts in sources], target.numpy(), seed=3, num_steps=40
    )
    assert found.weights_K.numpy() == pytest.approx(weights, rel=1e-6)
    assert found.tau == pytest.approx(tau, rel=1e-6)
    assert found.accuracy == pytest.approx(right)
    assert np.ptp(weights) > 0.05


def test_scores_are_divided_by_their_variance():
    """By the deviation, or by the variance of each text: scores of another size, other weights."""
    # Variance of (a, 0, 0, 0) is a² / 4; a = 4 / ln 3 makes a / variance ln 3, and 3 : 1 of it.
    scores = torch.zeros(2, 2, dtype=torch.float64)
    scores[0, 0] = 4 / np.log(3)
    weights, tau = mean_shares(scores)
    assert weights.numpy() == pytest.approx([(3 / 4 + 1 / 2) / 2, (1 / 4 + 1 / 2) / 2])
    assert tau == pytest.approx(4 / np.log(3) ** 2)


def test_scores_that_do_not_differ_weigh_all_the_same():
    """0/0 for weights, and a student of NaN."""
    weights, tau = mean_shares(torch.full((3, 4), 2.0, dtype=torch.float64))
    assert weights.tolist() == [0.25] * 4
    assert tau == 0.0


def test_languages_that_cannot_be_told_apart_weigh_the_same():
    """Noise of the start that decides which of two equal teachers is believed."""
    texts = drawn(12, 10, seed=1, towards=0.5)
    found = learned_language_weights([texts, texts, texts], drawn(6, 10, seed=2), seed=0)
    assert found.weights_K.numpy() == pytest.approx([1 / 3] * 3, abs=1e-9)
    assert found.accuracy == pytest.approx(1 / 3)


@pytest.mark.parametrize("near", [0, 1, 2])
def test_the_language_whose_texts_they_are_weighs_most(near):
    """A target in German, and the Japanese teacher is believed."""
    sources = [drawn(40, 20, seed=k, towards=1.0) for k in range(3)]
    target = drawn(80, 20, seed=near, towards=1.0)[40:]
    found = learned_language_weights(sources, target, seed=0)
    assert found.weights_K.argmax() == near
    assert found.accuracy == pytest.approx(1.0)
    assert found.weights_K.sum().item() == pytest.approx(1.0)


def test_weights_go_with_languages_and_not_with_places():
    """The first language wins by being the first."""
    sources = [drawn(num, 12, seed=num, towards=0.5) for num in (9, 5, 14)]
    target = drawn(7, 12, seed=0, towards=0.3)
    one = learned_language_weights(sources, target, seed=0).weights_K
    other = learned_language_weights([sources[k] for k in (2, 0, 1)], target, seed=0).weights_K
    assert other.numpy() == pytest.approx(one[[2, 0, 1]].numpy(), abs=1e-9)
    assert one.max() - one.min() > 0.01


def test_a_language_with_more_texts_does_not_count_more_for_that():
    """English wins wherever its corpus is the larger one."""
    sources = [drawn(8, 12, seed=k, towards=0.2) for k in range(2)]
    target = drawn(9, 12, seed=5)
    once = learned_language_weights(sources, target, seed=0)
    often = learned_language_weights([sources[0].repeat(6, 1), sources[1]], target, seed=0)
    assert often.weights_K.numpy() == pytest.approx(once.weights_K.numpy(), abs=1e-6)
    assert often.accuracy == pytest.approx(once.accuracy)


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before():
    """Students trained again because another stage drew a number first."""
    sources = [drawn(8, 12, seed=k, towards=0.2) for k in range(2)]
    target = drawn(9, 12, seed=5)
    found = [
        learned_language_weights(sources, target, seed=seed).weights_K.tolist() for seed in (0, 1)
    ]
    torch.rand(3)
    assert learned_language_weights(sources, target, seed=0).weights_K.tolist() == found[0]
    assert found[0] != found[1]


def test_one_language_cannot_be_told_from_others():
    """A weight of 1 that says nothing."""
    with pytest.raises(ValueError, match="1 source language"):
        learned_language_weights([drawn(3, 4, seed=0)], drawn(3, 4, seed=1), seed=0)
