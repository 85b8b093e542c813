"""Divergences against numpy and scipy in float64, other packages, and the traps they fell into."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr

from tasks.training.losses.divergences import (
    jsd_loss,
    reverse_kl_loss,
    skew_kl_loss,
    skew_reverse_kl_loss,
    soft_cross_entropy_loss,
    soft_target_loss,
    total_variation_loss,
)


def softmax(logits, temperature):
    powers = np.exp(logits / temperature)
    return powers / powers.sum()


def kl(p, q):
    return rel_entr(p, q).sum()


def of_probabilities(divergence):
    """A divergence of (p, q) as a reference over logits at a temperature, with T²."""

    def reference(student, teacher, temperature):
        p, q = softmax(teacher, temperature), softmax(student, temperature)
        return divergence(p, q) * temperature**2

    return reference


def jsd(p, q, beta):
    mixture = beta * p + (1 - beta) * q
    return beta * kl(p, mixture) + (1 - beta) * kl(q, mixture)


CASES = {
    "kl": (soft_target_loss, of_probabilities(kl)),
    "reverse_kl": (reverse_kl_loss, of_probabilities(lambda p, q: kl(q, p))),
    "jsd_half": (jsd_loss, of_probabilities(lambda p, q: jensenshannon(p, q) ** 2)),
    "jsd_0.2": (partial(jsd_loss, beta=0.2), of_probabilities(lambda p, q: jsd(p, q, 0.2))),
    "skew_kl": (skew_kl_loss, of_probabilities(lambda p, q: kl(p, 0.1 * p + 0.9 * q))),
    "skew_reverse_kl": (
        partial(skew_reverse_kl_loss, skew=0.3),
        of_probabilities(lambda p, q: kl(q, 0.3 * q + 0.7 * p)),
    ),
    "total_variation": (
        total_variation_loss,
        of_probabilities(lambda p, q: np.maximum(p - q, 0).sum()),
    ),
    "soft_cross_entropy": (
        soft_cross_entropy_loss,
        of_probabilities(lambda p, q: -(p * np.log(q)).sum()),
    ),
}
DIVERGENCES = {name: loss for name, (loss, _) in CASES.items() if name != "soft_cross_entropy"}
each_loss = pytest.mark.parametrize("loss", [loss for loss, _ in CASES.values()], ids=CASES)
each_divergence = pytest.mark.parametrize("loss", DIVERGENCES.values(), ids=DIVERGENCES)


@pytest.fixture
def logits(promises):
    return promises.draw(6, 5, seed=1), promises.draw(6, 5, seed=2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("name", CASES)
def test_a_divergence_is_that_of_its_definition(promises, logits, name, temperature):
    """A KL with probabilities where logarithms belong runs, and trains on nonsense."""
    loss, reference = CASES[name]
    promises.equals(
        partial(loss, temperature=temperature),
        partial(reference, temperature=temperature),
        *logits,
    )


@each_loss
def test_gradients_are_those_of_finite_differences(promises, logits, loss):
    """A value may be right and what is learned from it wrong."""
    promises.has_the_gradient_of_finite_differences(partial(loss, temperature=2.0), *logits)


@each_loss
def test_padding_changes_neither_loss_nor_gradient(promises, logits, loss):
    """With padding counted, one method looked better than another in a published comparison."""
    promises.ignores_what_is_masked(partial(loss, temperature=2.0), *logits)


@each_loss
def test_passes_of_a_step_add_up(promises, logits, loss):
    """Means of passes weigh short passes more; a masked pass that divides 0 by 0 gives NaN."""
    promises.adds_up_over_passes(partial(loss, temperature=2.0), *logits)


@each_loss
def test_sequences_and_flattened_tokens_give_one_value(promises, logits, loss):
    """`batchmean` of (B, L, V) divides by B alone: long texts would count more."""
    promises.does_not_mind_axes(partial(loss, temperature=2.0), *logits)


@each_loss
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_extreme_logits_keep_loss_and_gradient_finite(promises, extremes, loss, temperature):
    """Reverse KL over a softmax, log(softmax) in two steps: a finite loss, and NaN gradients."""
    promises.stays_finite(partial(loss, temperature=temperature), *extremes)


@each_loss
def test_no_gradient_flows_into_the_teacher(promises, logits, loss):
    """A teacher that is trained too meets its student halfway, and both forget."""
    promises.leaves_the_teacher_alone(partial(loss, temperature=2.0), *logits)


@each_loss
def test_sixteen_bits_are_computed_in_float32(promises, logits, loss):
    """Softmaxes of 16 bits have two to three digits, and a gradient made of their differences."""
    promises.computes_sixteen_bits_in_float32(partial(loss, temperature=2.0), *logits)


@each_divergence
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_student_that_is_its_teacher_has_no_loss(promises, loss, dtype):
    """A floor above 0 misleads early stopping; a sum in bf16 over a vocabulary falls below 0."""
    teacher = promises.draw(2, 50_000, seed=5, scale=3.0, dtype=dtype)
    value = loss(teacher.clone(), teacher, temperature=1.5, normalizer=2).item()
    assert -1e-6 <= value <= 1e-5


@each_divergence
def test_near_its_teacher_no_loss_is_negative_in_bf16(promises, loss):
    """A negative divergence is a reward for being wrong."""
    teacher = promises.draw(4, 20_000, seed=6, scale=3.0)
    student = (teacher + 0.01 * promises.draw(4, 20_000, seed=7)).bfloat16()
    assert loss(student, teacher.bfloat16(), temperature=1.0, normalizer=4).item() >= -1e-6


@each_divergence
def test_training_on_it_finds_the_teacher(logits, loss):
    """A student and a teacher swapped, or another tensor altogether: nothing is distilled."""
    student, teacher = logits[0].clone().requires_grad_(), logits[1]
    optimizer = torch.optim.Adam([student], lr=0.1)
    first = loss(student, teacher, temperature=1.0, normalizer=6).item()
    for _ in range(200):
        optimizer.zero_grad()
        value = loss(student, teacher, temperature=1.0, normalizer=6)
        value.backward()
        optimizer.step()
    assert value.item() < 0.1 * first
    assert torch.equal(student.argmax(1), teacher.argmax(1))


@each_loss
def test_a_temperature_is_never_ignored(logits, loss):
    """A configured temperature that one trainer never passed on to its loss."""
    values = [loss(*logits, temperature=t, normalizer=6).item() for t in (1.0, 2.0, 4.0)]
    assert len({round(value, 4) for value in values}) == 3


@pytest.mark.parametrize("name", [name for name in DIVERGENCES if name != "total_variation"])
def test_the_gradient_hardly_depends_on_the_temperature(promises, name):
    """Without T² it falls as 1/T², and the weight of the term silently means something else."""
    norms = []
    for temperature in (4.0, 8.0, 16.0):
        student = promises.draw(6, 5, seed=1, scale=1.0).requires_grad_()
        teacher = promises.draw(6, 5, seed=2, scale=1.0)
        DIVERGENCES[name](student, teacher, temperature=temperature, normalizer=6).backward()
        norms.append(student.grad.norm().item())
    assert max(norms) / min(norms) < 1.3


@each_loss
def test_classes_without_mass_change_nothing(logits, loss):
    """`reduction="mean"` divides by the vocabulary: many classes learn slower."""
    impossible = torch.full((6, 7), -1e4)
    wide = (torch.cat([one, impossible], 1) for one in logits)
    narrow = loss(*logits, temperature=1.0, normalizer=6)
    assert loss(*wide, temperature=1.0, normalizer=6).item() == pytest.approx(narrow.item())


@each_loss
def test_the_normalizer_divides_once(logits, loss):
    """Divided per token and again at the end, a loss is thousands of times too small."""
    once, twice = (loss(*logits, temperature=1.0, normalizer=n).item() for n in (1, 2))
    assert twice == pytest.approx(once / 2)
    tensor = loss(*logits, temperature=1.0, normalizer=torch.tensor(2.0))
    assert tensor.item() == pytest.approx(twice)


@each_divergence
def test_classes_in_another_order_are_another_loss(logits, loss):
    """Teacher and student with other label orders train a student that is wrong by rule."""
    student, teacher = logits
    order = torch.tensor([2, 0, 1, 4, 3])
    value = loss(student, teacher, temperature=1.0, normalizer=6)
    both = loss(student[:, order], teacher[:, order], temperature=1.0, normalizer=6)
    assert both.item() == pytest.approx(value.item(), rel=1e-5)
    one = loss(student, teacher[:, order], temperature=1.0, normalizer=6)
    assert one.item() != pytest.approx(value.item(), rel=1e-2)


def test_only_the_tokens_of_the_answer_count(promises):
    """Masks of labels and logits shifted apart by one: off by one at every border."""
    student, teacher = promises.draw(1, 5, 4, seed=3), promises.draw(1, 5, 4, seed=4)
    labels = torch.tensor([[-1, -1, 2, 3, -1]])  # prompt, two tokens of the answer, padding
    found = soft_target_loss(student, teacher, labels != -1, temperature=1.0, normalizer=2)
    valid = [soft_target_loss(student[0, i], teacher[0, i], temperature=1.0, normalizer=1)
             for i in (2, 3)]  # fmt: skip
    assert found.item() == pytest.approx(sum(valid).item() / 2, rel=1e-5)


def test_the_ends_of_beta_are_the_two_kls_and_no_limits(logits):
    """One toolkit's beta is another's 1 - beta, and near the ends the loss is not near the KL."""
    logits = [one.double() for one in logits]
    at = partial(jsd_loss, *logits, temperature=1.0, normalizer=6)
    forward = soft_target_loss(*logits, temperature=1.0, normalizer=6).item()
    backward = reverse_kl_loss(*logits, temperature=1.0, normalizer=6).item()
    assert at(beta=0).item() == pytest.approx(forward)
    assert at(beta=1).item() == pytest.approx(backward)
    epsilon = 1e-5
    assert at(beta=epsilon).item() / epsilon == pytest.approx(forward, rel=1e-2)
    assert at(beta=1 - epsilon).item() / epsilon == pytest.approx(backward, rel=1e-2)
    swapped = jsd_loss(*logits[::-1], temperature=1.0, normalizer=6, beta=0.5)
    assert swapped.item() == pytest.approx(at(beta=0.5).item())


def test_skew_bounds_the_loss_of_a_student_that_is_wrong(extremes):
    """KL has no bound: one wrong example outweighs a batch."""
    value = skew_kl_loss(*extremes, temperature=1.0, normalizer=3).item()
    assert value <= np.log(10) + 1e-5
    assert soft_target_loss(*extremes, temperature=1.0, normalizer=3).item() > 1000


def test_soft_cross_entropy_is_kl_and_the_teacher_s_entropy(logits):
    """Its floor is the entropy: two teachers' curves cannot be compared by it."""
    softened = [softmax(row, 2.0) for row in logits[1].double().numpy()]
    entropy = 4 * np.mean([-(p * np.log(p)).sum() for p in softened])
    both = [
        loss(*logits, temperature=2.0, normalizer=6).item()
        for loss in (soft_cross_entropy_loss, soft_target_loss)
    ]
    assert both[0] - both[1] == pytest.approx(entropy, rel=1e-5)


# Of the fixture `pinned`, by GKDTrainer.generalized_jsd_loss of TRL 1.16.0 with labels, so that its
# "batchmean" is per token. It has no T²; ours is T² times that.
TRL_JSD = {
    (0, 1.0): 1.121866401345484, (0.1, 1.0): 0.09719858421558276, (0.5, 1.0): 0.2620750772950411,
    (0.9, 1.0): 0.1086438577266519, (1, 1.0): 1.3334460355964668, (0, 2.0): 0.36075919846371596,
    (0.1, 2.0): 0.03218835977977528, (0.5, 2.0): 0.08925260625993202,
    (0.9, 2.0): 0.03380083734576433, (1, 2.0): 0.3845934348131237,
}  # fmt: skip


@pytest.mark.parametrize(("beta", "temperature"), TRL_JSD)
def test_jsd_is_trl_s_times_the_squared_temperature(pinned, beta, temperature):
    """A paper's beta = 0.9 that trains as 0.1 here could not be reproduced."""
    found = jsd_loss(*pinned, temperature=temperature, normalizer=3, beta=beta)
    expected = TRL_JSD[beta, temperature] * temperature**2
    assert found.item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(
    ("temperature", "expected"), [(1.0, 1.121866401345484), (2.0, 1.4430367938548632)]
)
def test_kl_is_torchdistill_s(pinned, temperature, expected):
    """torchdistill 1.1.5 KDLoss with targets, its soft part (without targets it drops T²)."""
    found = soft_target_loss(*pinned, temperature=temperature, normalizer=3)
    assert found.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("temperature", "brewed"), [(1.0, 1.977765501205157), (2.0, 1.5751819391050776)]
)
def test_soft_cross_entropy_is_text_brewer_s_times_the_squared_temperature(
    pinned, temperature, brewed
):
    """TextBrewer 0.2.1.post1 kd_ce_loss has no T²: its gradient falls as 1/T²."""
    found = soft_cross_entropy_loss(*pinned, temperature=temperature, normalizer=3)
    assert found.item() == pytest.approx(brewed * temperature**2, rel=1e-9)


@each_loss
def test_what_cannot_be_compared_is_refused(logits, loss):
    """Broadcasting trains every row on the first teacher row; padded vocabularies shift classes."""
    student, teacher = logits
    with pytest.raises(ValueError, match="differ in shape"):
        loss(student, teacher[:1], temperature=1.0, normalizer=6)
    with pytest.raises(ValueError, match="differ in shape"):
        loss(student, torch.cat([teacher, teacher[:, :1]], 1), temperature=1.0, normalizer=6)
    with pytest.raises(ValueError, match="give bool"):
        loss(student, teacher, torch.ones(6), temperature=1.0, normalizer=6)
    with pytest.raises(ValueError, match="one entry a position"):
        loss(student, teacher, torch.ones(5, dtype=torch.bool), temperature=1.0, normalizer=6)
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="temperature"):
            loss(student, teacher, temperature=temperature, normalizer=6)


def test_shares_outside_their_range_are_refused(logits):
    """log of a negative share: NaN from the first step."""
    with pytest.raises(ValueError, match="beta is 2"):
        jsd_loss(*logits, temperature=1.0, normalizer=6, beta=2)
    for loss in (skew_kl_loss, skew_reverse_kl_loss):
        with pytest.raises(ValueError, match="skew is 0"):
            loss(*logits, temperature=1.0, normalizer=6, skew=0)
