"""Self-distillation: the average is that of the formula, teaches without dropout, and survives."""

import copy

import pytest
import torch

from tasks.problems.text_classification import class_scores
from tasks.runtime.progress import SilentProgress
from tasks.training.auxiliary.ema import running_average
from tasks.training.auxiliary.ema_config import EMAConfig
from tasks.training.auxiliary.objective import joined
from tasks.training.batching.batches import make_step
from tasks.training.batching.layouts import Layout
from tasks.training.engine.diagnostics import TrainingProbe
from tasks.training.engine.loop import train
from tasks.training.fitting.inference import predict_logits
from tasks.training.objectives.config import blend
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.config import TrainingConfig

TASK = Objective(blend(0.5, 2.0))


def with_average(student, config):
    """`student` and its running average, and what the student minimises."""
    return joined(student, TASK, [running_average(student, config, is_binary=False)])


def run(toy, work, *, weight=1.0, crash_at=None, seen=None):
    """Two epochs of the toy problem with an average of decay 0.8; the network afterwards."""
    network, objective = with_average(toy["model"](), EMAConfig(decay=0.8, weight=weight))
    held_out = toy["examples"](12, seed=9)
    config = TrainingConfig(
        selection="accuracy", num_epochs=2, batch_size=20, learning_rate=3e-3, precision="fp32",
        validations_per_epoch=3,
    )  # fmt: skip
    done = 0

    def validate(candidate):
        nonlocal done
        done += 1
        if seen is not None:
            seen.append(copy.deepcopy(candidate.state_dict()))
        if done == crash_at:
            raise InterruptedError
        logits = predict_logits(candidate, held_out.input_ids, pad_token_id=0)
        return class_scores(logits, held_out.labels)

    result = train(
        network, toy["examples"](), objective, config, pad_token_id=0, validate=validate, seed=5,
        work=work, progress=SilentProgress(),
    )  # fmt: skip
    return network, result


def test_the_average_follows_the_student_step_by_step(toy, tmp_path):
    """Decay on the wrong side: the average is the student, or never moves."""
    seen = []
    name = "head.weight"
    expected = toy["model"]().state_dict()[name]
    run(toy, tmp_path, seen=seen)
    assert len(seen) == 6, "one validation a step"
    for state in seen:
        expected = 0.8 * expected + 0.2 * state[f"student.{name}"]
        torch.testing.assert_close(state[f"average.{name}"], expected, rtol=1e-5, atol=1e-7)
    assert not torch.equal(seen[0][f"average.{name}"], seen[-1][f"average.{name}"])


def test_a_resumed_run_has_the_same_average(toy, tmp_path):
    """An average that begins anew from the resumed student: another teacher."""
    calm, left = run(toy, tmp_path / "calm")
    with pytest.raises(InterruptedError):
        run(toy, tmp_path / "rough", crash_at=4)
    rough, right = run(toy, tmp_path / "rough")
    assert left.history() == right.history()
    for name, tensor in calm.state_dict().items():
        assert torch.equal(tensor, rough.state_dict()[name])


def test_the_loss_is_that_of_the_average_without_dropout(toy):
    """A teacher in training mode, or one that gets a gradient of its own."""
    config = EMAConfig(decay=0.9, weight=0.5, temperature=3.0)
    network, objective = with_average(toy["model"](dropout=0.5), config)
    network.train()
    with torch.no_grad():
        network.average.head.bias += 1.0
        network.average.head.weight *= 2.0
    examples = toy["examples"](8)
    step = make_step(examples, torch.arange(8).numpy(), layout=Layout("padded", 0), pad_token_id=0)
    (batch,) = step.passes
    theirs = copy.deepcopy(network.average).eval()(batch.texts).double()
    torch.manual_seed(3)
    mine = copy.deepcopy(network.student).train()(batch.texts).double()
    torch.manual_seed(3)
    found = objective.terms(network, batch, step)
    p, q = (theirs / 3).softmax(1), (mine / 3).softmax(1)
    expected = 9 * (p * (p.log() - q.log())).sum() / 8
    expected = expected.detach()
    assert float(found["loss_ema"]) == pytest.approx(float(expected), rel=1e-4)
    torch.manual_seed(3)
    alone = TASK.terms(lambda texts: network(texts)[0], batch, step)
    assert float(found["loss"].detach()) == pytest.approx(
        float(alone["loss"].detach()) + 0.5 * float(expected), rel=1e-4
    )
    found["loss"].backward()
    assert all(weight.grad is None for weight in network.average.parameters())


def test_a_weight_of_zero_is_the_student_alone(toy, tmp_path):
    """An average that changes the student by being there: a random number drawn for it."""
    network, _ = run(toy, tmp_path / "with", weight=0.0)
    other, _ = run(toy, tmp_path / "again", weight=1.0)
    held_out = toy["examples"](12, seed=9)
    model = toy["model"]()
    config = TrainingConfig(
        selection="accuracy", num_epochs=2, batch_size=20, learning_rate=3e-3, precision="fp32",
        validations_per_epoch=3,
    )  # fmt: skip

    def validate(candidate):
        return class_scores(
            predict_logits(candidate, held_out.input_ids, pad_token_id=0), held_out.labels
        )

    train(
        model, toy["examples"](), TASK, config, pad_token_id=0, validate=validate, seed=5,
        work=tmp_path / "without", progress=SilentProgress(),
    )  # fmt: skip
    alone = model.state_dict()
    for name, tensor in network.student.state_dict().items():
        assert torch.equal(tensor, alone[name])
    assert any(not torch.equal(t, alone[n]) for n, t in other.student.state_dict().items())


def test_the_share_of_the_average_is_that_of_gradients_taken_by_hand(toy):
    """A student that learns from itself alone, in a history that shows its task alone."""
    config = EMAConfig(decay=0.9, weight=0.5, temperature=3.0)
    network, objective = with_average(toy["model"](dropout=0.5), config)
    with torch.no_grad():
        network.average.head.bias += torch.tensor([1.0, 0.0, -1.0])
        network.average.head.weight *= 20.0
    examples = toy["examples"](8)
    probe = TrainingProbe(
        examples, TASK, TrainingConfig(num_epochs=1, learning_rate=1e-3, precision="fp32"),
        pad_token_id=0, planned_steps=4, seed=1, beside=objective,
    )  # fmt: skip
    found = probe(network.train(), 2)
    assert network.student.training
    assert all(weight.grad is None for weight in network.parameters())
    (batch,) = probe._step.passes
    with torch.no_grad():
        student = copy.deepcopy(network.student).eval()
        mine, theirs = (one(batch.texts).double() for one in (student, network.average))
    teacher, labels = batch.teacher_logits_AC.double(), batch.labels_A
    # Gradients of cross-entropies in logits are differences of probabilities.
    onehot = torch.nn.functional.one_hot(labels, 3)
    pulls = {
        "kd": 0.5 * 2 * ((mine / 2).softmax(1) - (teacher / 2).softmax(1)),
        "hard": 0.5 * (mine.softmax(1) - onehot),
        "ema": 0.5 * 3 * ((mine / 3).softmax(1) - (theirs / 3).softmax(1)),
    }
    norms = {name: float(pull.norm()) for name, pull in pulls.items()}
    shares = {name: share for name, share in found.items() if name.startswith("share_")}
    assert shares == {
        f"share_{name}": pytest.approx(norm / sum(norms.values()), rel=1e-4)
        for name, norm in norms.items()
    }
