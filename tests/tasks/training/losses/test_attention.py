"""Attention and relations, token by token in numpy, and TextBrewer."""

from functools import partial

import numpy as np
import pytest
import torch

from tasks.training.losses.attention import (
    attention_probability_loss,
    attention_score_loss,
    relation_loss,
)

LENGTHS = (4, 2, 1)
MASK = torch.arange(4) < torch.tensor(LENGTHS).unsqueeze(1)


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def squares(student, teacher):
    return ((student - teacher) ** 2).mean()


def divergence(student, teacher):
    p, q = softmax(teacher), softmax(student)
    return (p * np.log(p / q)).sum()


def naive(student, teacher, compare):
    """Every head of every real token that looks, over the real tokens it looks at; 7 tokens."""
    total = 0.0
    for text, length in enumerate(LENGTHS):
        for looking in range(length):
            rows = (one[text, :, looking, :length].double().numpy() for one in (student, teacher))
            total += np.mean([compare(*heads) for heads in zip(*rows, strict=True)])
    return total / sum(LENGTHS)


def relations(states, num_heads):
    """Q Qᵀ / √d of each piece of the width, a loop a number."""
    texts, tokens, width = states.shape
    size = width // num_heads
    scores = torch.zeros(texts, num_heads, tokens, tokens, dtype=torch.float64)
    for head in range(num_heads):
        piece = states[..., head * size : (head + 1) * size].double()
        for i in range(tokens):
            for j in range(tokens):
                scores[:, head, i, j] = (piece[:, i] * piece[:, j]).sum(-1) / size**0.5
    return scores


LOSSES = {
    "scores": attention_score_loss,
    "probabilities": attention_probability_loss,
    "relations": partial(relation_loss, num_relation_heads=2),
}
each_loss = pytest.mark.parametrize("name", LOSSES)


@pytest.fixture
def made(promises):
    def make(name, tokens=4):
        shape = (3, tokens, 6) if name == "relations" else (3, 2, tokens, tokens)
        return promises.draw(*shape, seed=71, scale=1.0), promises.draw(*shape, seed=72, scale=1.0)

    return make


@each_loss
def test_each_real_token_counts_once(made, name):
    """Padding seen or looking; texts weighed by the square of their length."""
    student, teacher = made(name)
    found = LOSSES[name](student, teacher, MASK, normalizer=7).item()
    if name == "relations":
        student, teacher = relations(student, 2), relations(teacher, 2)
    compare = squares if name == "scores" else divergence
    assert found == pytest.approx(naive(student, teacher, compare), rel=1e-5)


def test_relations_need_no_equal_widths(promises):
    """MiniLMv2 cuts a width of 6 and one of 10 into two heads each."""
    student, teacher = promises.draw(3, 4, 6, seed=73), promises.draw(3, 4, 10, seed=74)
    found = relation_loss(student, teacher, MASK, num_relation_heads=2, normalizer=7)
    expected = naive(relations(student, 2), relations(teacher, 2), divergence)
    assert found.item() == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="4 relation heads do not divide the student's width 6"):
        relation_loss(student, teacher, MASK, num_relation_heads=4, normalizer=7)


@each_loss
def test_gradients_are_those_of_finite_differences(made, name):
    student, teacher = (one.double() for one in made(name))
    assert torch.autograd.gradcheck(
        lambda s: LOSSES[name](s, teacher, MASK, normalizer=7.0), (student.requires_grad_(),)
    )


@each_loss
def test_more_padding_changes_nothing(made, name):
    """NaN in the padding must reach neither value nor gradient."""
    leaf, teacher = made(name)
    leaf.requires_grad_()
    expected = LOSSES[name](leaf, teacher, MASK, normalizer=7)
    expected.backward()
    longer, wide_teacher = (torch.full_like(one, torch.nan) for one in made(name, tokens=6))
    kept = (slice(None), slice(4)) if name == "relations" else (..., slice(4), slice(4))
    longer[kept], wide_teacher[kept] = leaf.detach(), teacher
    longer.requires_grad_()
    mask = torch.cat([MASK, torch.zeros(3, 2, dtype=torch.bool)], 1)
    found = LOSSES[name](longer, wide_teacher, mask, normalizer=7)
    found.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(longer.grad[kept], leaf.grad)
    assert longer.grad.isfinite().all()


@each_loss
def test_passes_of_a_step_add_up(made, name):
    student, teacher = made(name)
    whole = LOSSES[name](student, teacher, MASK, normalizer=7).item()
    parts = [
        LOSSES[name](student[i : i + 1], teacher[i : i + 1], MASK[i : i + 1], normalizer=7).item()
        for i in range(3)
    ]
    assert sum(parts) == pytest.approx(whole, rel=1e-5)
    nothing = LOSSES[name](student, teacher, torch.zeros_like(MASK), normalizer=7)
    assert nothing.item() == 0.0


@each_loss
def test_extremes_a_fixed_teacher_and_autocast(promises, made, name):
    """Matrix products under autocast go back to 16 bits, in the midst of a loss."""

    def loss(student, teacher, _, *, normalizer):
        return LOSSES[name](student, teacher, MASK, normalizer=normalizer)

    student, teacher = made(name)
    scale = 100 if name == "relations" else 1e4
    promises.stays_finite(loss, scale * student, -scale * teacher)
    promises.leaves_the_teacher_alone(loss, student, teacher)
    promises.is_the_same_under_autocast(loss, student, teacher)
    assert -1e-6 <= loss(teacher.bfloat16(), teacher.bfloat16(), None, normalizer=7).item() <= 1e-6


@pytest.fixture
def heads(pinned):
    """Scores of one text of three tokens, two heads: (1, 2, 3, 3), student and teacher."""
    student, teacher = pinned
    return (
        torch.stack([student[:, :3], teacher[:, 1:]])[None],
        torch.stack([teacher[:, :3], student[:, 1:]])[None] * 0.5,
    )


def two_of_three():
    """The last of the three tokens is padding."""
    return torch.tensor([[True, True, False]])


def test_scores_are_text_brewer_s_for_texts_of_one_length(heads):
    """TextBrewer 0.2.1.post1 att_mse_loss, a mask given: 2.0596875. Where lengths differ it counts
    pairs of tokens, so a text of twice the length four times; here each token counts once.
    """
    found = attention_score_loss(*heads, two_of_three(), normalizer=2)
    assert found.item() == pytest.approx(2.0596875, rel=1e-9)


def test_scores_over_heads_are_text_brewer_s_sums_by_the_square_of_the_heads(heads):
    """TextBrewer 0.2.1.post1 att_mse_sum_loss, a mask given: sums over two heads are twice the
    means, so four times our loss; of two heads against twelve they would be on two scales.
    """
    means = [one.mean(1, keepdim=True) for one in heads]
    found = attention_score_loss(*means, two_of_three(), normalizer=2)
    assert 2**2 * found.item() == pytest.approx(7.9156249999999995, rel=1e-9)
    found = attention_score_loss(*means, torch.ones(1, 3, dtype=torch.bool), normalizer=3)
    assert 2**2 * found.item() == pytest.approx(7.912222222222223, rel=1e-9)


def entropy(scores, length=3, seen=3):
    """Mean over heads and looking tokens, of softmaxes over the first `seen` tokens."""
    rows = [scores[0, head, i, :seen].numpy() for head in range(scores.shape[1])
            for i in range(length)]  # fmt: skip
    return np.mean([-(softmax(row) * np.log(softmax(row))).sum() for row in rows])


@pytest.mark.parametrize(
    ("over_heads", "brewed"), [(False, 1.7310597014687852), (True, 1.6864096408431468)]
)
def test_distributions_of_texts_of_one_length_are_text_brewer_s(heads, over_heads, brewed):
    """TextBrewer 0.2.1.post1 att_ce_loss and, of means over heads, att_ce_mean_loss, all of a mask
    true: cross-entropies, so our KL and the teacher's entropy, which a perfect student keeps.
    """
    if over_heads:
        heads = [one.mean(1, keepdim=True) for one in heads]
    found = attention_probability_loss(*heads, torch.ones(1, 3, dtype=torch.bool), normalizer=3)
    assert found.item() + entropy(heads[1]) == pytest.approx(brewed, rel=1e-9)


@pytest.mark.parametrize(
    ("over_heads", "brewed"), [(False, 1.3090388129890473), (True, 1.2781377872660205)]
)
def test_padding_has_no_part_of_the_distributions_unlike_text_brewer_s(heads, over_heads, brewed):
    """TextBrewer 0.2.1.post1 att_ce_loss, att_ce_mean_loss: the mask leaves padding in the softmax
    and takes it out of the sum, so that what is left is no cross-entropy of distributions.
    """
    if over_heads:
        heads = [one.mean(1, keepdim=True) for one in heads]
    student, teacher = (one[0].numpy() for one in heads)
    theirs = np.mean([
        -(softmax(b)[:2] * np.log(softmax(a)[:2])).sum()
        for mine, others in zip(student, teacher, strict=True)
        for a, b in zip(mine[:2], others[:2], strict=True)
    ])  # fmt: skip
    assert theirs == pytest.approx(brewed, rel=1e-9)
    found = attention_probability_loss(*heads, two_of_three(), normalizer=2)
    ours = found.item() + entropy(heads[1], length=2, seen=2)
    assert ours != pytest.approx(brewed, rel=5e-3)


def test_what_cannot_be_compared_is_refused(made):
    student, teacher = made("scores")
    with pytest.raises(ValueError, match="attention scores"):
        attention_score_loss(student, teacher[:, :1], MASK, normalizer=1)
    with pytest.raises(ValueError, match="give \\(texts, heads"):
        attention_score_loss(student[0], teacher[0], MASK, normalizer=1)
    with pytest.raises(ValueError, match="a mask of shape"):
        attention_score_loss(student, teacher, MASK[:, :2], normalizer=1)
