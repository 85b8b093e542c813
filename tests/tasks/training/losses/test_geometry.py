"""CKA and relational KD, text by text in numpy, and torchdistill."""

import itertools

import numpy as np
import pytest
import torch

from tasks.training.losses.geometry import angle_relation_loss, cka_loss, distance_relation_loss

LOSSES = {"cka": cka_loss, "distance": distance_relation_loss, "angle": angle_relation_loss}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def huber(difference):
    size = abs(difference)
    return size - 0.5 if size > 1 else size**2 / 2


def naive_cka(student, teacher):
    """HSIC of the centered Gram matrices, as the paper defines it before it simplifies."""
    count = len(student)
    centering = np.eye(count) - 1 / count
    grams = [centering @ x @ x.T @ centering for x in (student, teacher)]
    hsic = [[np.trace(a @ b) for b in grams] for a in grams]
    return 1 - hsic[0][1] / np.sqrt(hsic[0][0] * hsic[1][1])


def naive_distance(student, teacher):
    relative = []
    for x in (student, teacher):
        distances = np.array([[np.linalg.norm(a - b) for a in x] for b in x])
        relative.append(distances / distances[distances > 0].mean())
    return np.mean([huber(d) for d in (relative[0] - relative[1]).ravel()])


def naive_angle(student, teacher):
    def cosine(x, i, j, k):
        a, b = x[j] - x[i], x[k] - x[i]
        sizes = np.linalg.norm(a) * np.linalg.norm(b)
        return a @ b / sizes if sizes else 0.0

    triples = itertools.product(range(len(student)), repeat=3)
    return np.mean([huber(cosine(student, *t) - cosine(teacher, *t)) for t in triples])


NAIVE = {"cka": naive_cka, "distance": naive_distance, "angle": naive_angle}


@pytest.fixture
def states(promises):
    return promises.draw(7, 5, seed=81), promises.draw(7, 3, seed=82)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("width", [3, 12])
def test_it_is_the_mean_of_the_definition_over_the_valid_texts(promises, states, name, width):
    """Padded rows are points at 0: they would be related to every text."""
    student, teacher = states[0], promises.draw(7, width, seed=83)
    mask = torch.tensor([True, True, False, True, True, True, False])
    expected = NAIVE[name](student[mask].double().numpy(), teacher[mask].double().numpy())
    found = LOSSES[name](student, teacher, mask, normalizer=5)
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_alignment_of_many_texts_is_the_same_by_dimensions(promises):
    """Whichever of the two equal formulas is cheaper."""
    student, teacher = promises.draw(40, 3, seed=84), promises.draw(40, 5, seed=85)
    found = cka_loss(student, teacher, normalizer=40)
    expected = naive_cka(student.double().numpy(), teacher.double().numpy())
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_relations_are_torchdistill_s(pinned):
    """torchdistill 1.1.5 RKDLoss, reduction mean."""
    found = distance_relation_loss(*pinned, normalizer=3).item()
    assert found == pytest.approx(0.0020908571905310725, rel=1e-6)
    found = angle_relation_loss(*pinned, normalizer=3).item()
    assert found == pytest.approx(0.0006508737890084423, rel=1e-6)


@each_loss
def test_a_turned_and_scaled_student_is_as_good(promises, loss):
    """Only how texts lie to one another may count, not along which axes."""
    teacher = promises.draw(8, 4, seed=86)
    turned, _ = torch.linalg.qr(promises.draw(4, 4, seed=87))
    assert abs(loss(3 * teacher @ turned + 5, teacher, normalizer=8).item()) < 1e-5
    assert abs(loss(teacher.bfloat16(), teacher.bfloat16(), normalizer=8).item()) < 1e-5


@each_loss
def test_gradients_padding_and_precision(promises, states, loss):
    promises.has_the_gradient_of_finite_differences(loss, *states)
    promises.ignores_what_is_masked(loss, *promises_of_one_width(states))
    promises.leaves_the_teacher_alone(loss, *states)
    promises.is_the_same_under_autocast(loss, *states)
    promises.computes_sixteen_bits_in_float32(loss, *states)


def promises_of_one_width(states):
    """The padding check concatenates student and teacher rows of one width."""
    return states[0][:, :3], states[1]


@each_loss
def test_collapsed_states_and_single_texts_keep_everything_finite(promises, states, loss):
    """All texts at one point: distances of 0, whose roots have no gradient."""
    promises.stays_finite(loss, torch.ones(4, 3), states[1][:4])
    promises.stays_finite(loss, states[0][:4], torch.ones(4, 3))
    promises.stays_finite(loss, 1e4 * states[0], -1e4 * states[1])
    assert loss(states[0][:1], states[1][:1], normalizer=1).item() == 0.0


@each_loss
def test_passes_count_by_their_texts(states, loss):
    """A pass of two texts that counted as one of thirty would drown the step in noise."""
    student, teacher = (one[:3] for one in states)
    whole = loss(student, teacher, normalizer=3).item()
    assert 2 * loss(student, teacher, normalizer=6).item() == pytest.approx(whole, rel=1e-6)


@each_loss
def test_other_texts_are_refused(states, loss):
    with pytest.raises(ValueError, match="the same texts"):
        loss(states[0][:3], states[1], normalizer=1)
    with pytest.raises(ValueError, match="the same texts"):
        loss(states[0][None], states[1][None], normalizer=1)
