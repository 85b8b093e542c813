"""The weighted sum of soft and hard losses, against torch's own in float64."""

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from tasks.training.losses import IGNORE_INDEX, binary_hard_label_loss, binary_soft_target_loss
from tasks.training.objectives.config import ObjectiveConfig, blend
from tasks.training.objectives.objective import Objective

torch.manual_seed(4)
STUDENT, TEACHER = torch.randn(6, 3), 3 * torch.randn(6, 3)
LABELS = torch.tensor([0, 2, IGNORE_INDEX, 1, 1, IGNORE_INDEX])


def terms(objective, rows=slice(None), teacher=TEACHER, labels=LABELS):
    student = STUDENT[rows].clone().requires_grad_()
    found = objective(
        student,
        labels[rows],
        None if teacher is None else teacher[rows],
        num_examples=6,
        num_labelled=int((labels != IGNORE_INDEX).sum()),
    )
    return student, found


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_loss_is_the_weighted_sum_the_recipe_states(alpha):
    """A forgotten T² or a swapped weight trains something, and nobody sees what."""
    _, found = terms(Objective(blend(alpha, 2.0)))
    student, teacher = STUDENT.double(), TEACHER.double()
    soft = 4 * kl_div(log_softmax(student / 2, -1), softmax(teacher / 2, -1), reduction="batchmean")
    hard = cross_entropy(student, LABELS, ignore_index=IGNORE_INDEX)
    expected = alpha * soft + (1 - alpha) * hard
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_micro_batches_add_up_to_the_whole_step():
    """Means of means weigh a half-empty micro-batch like a full one."""
    objective = Objective(blend(0.5, 2.0))
    whole, found = terms(objective)
    found["loss"].backward()
    total, gradients = 0.0, []
    for rows in (slice(0, 2), slice(2, 6)):
        part, found_part = terms(objective, rows)
        found_part["loss"].backward()
        total += found_part["loss"].item()
        gradients.append(part.grad)
    assert total == pytest.approx(found["loss"].item(), rel=1e-5)
    torch.testing.assert_close(torch.cat(gradients), whole.grad)


def test_a_step_without_a_label_has_a_gradient_of_zero():
    """`nan` from a division by no labels ends the training of a whole night."""
    none = torch.full((6,), IGNORE_INDEX)
    student, found = terms(Objective(blend(0.0)), teacher=None, labels=none)
    found["loss"].backward()
    assert found["loss"].item() == 0.0
    assert torch.equal(student.grad, torch.zeros_like(STUDENT))


ALL_KINDS = [
    "hard", "kl", "reverse_kl", "jsd", "skew_kl", "skew_reverse_kl", "total_variation",
    "soft_cross_entropy", "logit_mse", "standardised", "decoupled", "dist",
]  # fmt: skip


def listed(*terms, **options):
    return Objective(ObjectiveConfig.model_validate({"terms": terms}).loss_terms, **options)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_kind_of_term_trains_and_is_reported(kind):
    """An option of a configuration that no run ever reached."""
    student, found = terms(listed({"kind": kind}))
    found["loss"].backward()
    assert set(found) == {"loss", f"loss_{kind}"}
    assert found["loss"].item() == found[f"loss_{kind}"].item() > 0
    assert student.grad.abs().sum() > 0
    assert not found[f"loss_{kind}"].requires_grad


def test_terms_are_added_up_with_their_weights_just_as_written():
    """Weights that are divided by their sum behind one's back: 10 and 10 train as 0.5 and 0.5."""
    weights = {"kl": 10.0, "logit_mse": 0.25, "hard": 10.0}
    _, found = terms(listed(*({"kind": kind, "weight": w} for kind, w in weights.items())))
    expected = sum(weight * found[f"loss_{kind}"].item() for kind, weight in weights.items())
    assert found["loss"].item() == pytest.approx(expected, rel=1e-5)
    for kind in weights:
        _, alone = terms(listed({"kind": kind}))
        assert found[f"loss_{kind}"].item() == pytest.approx(alone["loss"].item(), rel=1e-6)


def test_options_of_a_term_reach_its_loss():
    """A temperature or a beta in the recipe that no loss ever saw."""
    base = {"kind": "jsd", "beta": 0.5, "temperature": 1.0}
    values = [terms(listed({**base, **change}))[1]["loss"].item()
              for change in ({}, {"beta": 0.1}, {"temperature": 3.0})]  # fmt: skip
    assert len({round(value, 4) for value in values}) == 3
    gold = terms(listed({"kind": "decoupled", "labels": "gold"}))[1]["loss"].item()
    other = terms(listed({"kind": "decoupled"}), labels=(LABELS + 1) % 3)[1]["loss"].item()
    assert gold != pytest.approx(other, rel=1e-2)


def test_schedules_move_weights_and_temperatures_with_the_step():
    """A schedule that is read, logged, and stays at its start."""
    objective = listed(
        {"kind": "kl", "weight": {"start": 1, "end": 0}, "temperature": {"start": 4, "end": 2}},
        {"kind": "hard", "weight": 0.5},
        total_steps=5,
    )
    assert objective.settings(0) == {"weight_kl": 1, "temperature_kl": 4, "weight_hard": 0.5}
    assert objective.settings(2) == {"weight_kl": 0.5, "temperature_kl": 3, "weight_hard": 0.5}
    found = objective(STUDENT, LABELS, TEACHER, num_examples=6, num_labelled=4, step=2)
    fixed = listed({"kind": "kl", "weight": 0.5, "temperature": 3}, {"kind": "hard", "weight": 0.5})
    expected = fixed(STUDENT, LABELS, TEACHER, num_examples=6, num_labelled=4)
    assert found["loss"].item() == pytest.approx(expected["loss"].item(), rel=1e-6)
    last = objective(STUDENT, LABELS, TEACHER, num_examples=6, num_labelled=4, step=4)
    assert last["loss"].item() == pytest.approx(0.5 * last["loss_hard"].item(), rel=1e-6)


def test_gradient_shares_say_which_term_pulls():
    """Two losses of one size, of which one has no gradient to speak of."""
    objective = listed({"kind": "kl", "weight": 3.0}, {"kind": "hard"})
    sizes = {"num_examples": 6, "num_labelled": 4}
    shares = objective.gradient_shares(STUDENT, LABELS, TEACHER, **sizes)
    norms = {}
    for kind, weight in (("kl", 3.0), ("hard", 1.0)):
        student, found = terms(listed({"kind": kind}))
        found["loss"].backward()
        norms[kind] = weight * student.grad.norm().item()
    for kind, norm in norms.items():
        assert shares[f"share_{kind}"].item() == pytest.approx(norm / sum(norms.values()), rel=1e-5)
    with torch.no_grad():
        shares = objective.gradient_shares(TEACHER, LABELS, TEACHER, **sizes)
    assert shares["share_kl"].item() < 1e-5
    unlabelled = listed({"kind": "hard"})
    shares = unlabelled.gradient_shares(STUDENT, LABELS, None, num_examples=6, num_labelled=0)
    assert shares["share_hard"].item() == 0


def test_decisions_of_their_own_take_terms_that_fit():
    """A softmax over labels that hold together trains one of them away."""
    labels = torch.tensor([[1, 0, 1]] * 5 + [[IGNORE_INDEX] * 3])
    objective = Objective(blend(0.5, 2.0), is_binary=True)
    found = objective(STUDENT, labels, TEACHER, num_examples=6, num_labelled=5)
    kd = binary_soft_target_loss(STUDENT, TEACHER, temperature=2.0, normalizer=6)
    hard = binary_hard_label_loss(STUDENT, labels, normalizer=5)
    assert found["loss"].item() == pytest.approx((0.5 * kd + 0.5 * hard).item(), rel=1e-6)
    with pytest.raises(ValueError, match="jsd compares classes of which one is right"):
        listed({"kind": "jsd"}, is_binary=True)
