"""Compiled loss terms: the same numbers, and no compiling from step to step.

(Traced and differentiated, not turned into kernels: that needs the device.)
"""

from functools import partial

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from tasks.training.batching.batches import make_step
from tasks.training.batching.layouts import Layout
from tasks.training.engine.stepping import Stepper
from tasks.training.objectives.config import (
    DecoupledTerm,
    DISTTerm,
    HardTerm,
    KLTerm,
)
from tasks.training.objectives.fused import FusedObjective, fused
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.config import TrainingConfig
from tasks.training.optimization.schedules import Schedule

FALLING = Schedule(start=1.0, end=0.0)
TERMS = (
    HardTerm(kind="hard", weight=0.4),
    KLTerm(kind="kl", weight=FALLING, temperature=3.0),
    DecoupledTerm(kind="decoupled", weight=0.1, temperature=2.0),
    DISTTerm(kind="dist", weight=0.1),
)
CLASS_WEIGHTS = torch.tensor([0.5, 1.0, 2.0])


@pytest.fixture
def counter(monkeypatch):
    """Counts what is compiled; whatever cannot be compiled whole is an error."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter, fullgraph=True))
    return counter


def measured(objective, rows, counts, step):
    """Terms of random answers, and the gradient in their logits."""
    rng = torch.Generator().manual_seed(step)
    logits, teacher = (torch.randn(rows, 3, generator=rng) * 3 for _ in range(2))
    labels = torch.randint(-1 if counts[1] else 0, 3, (rows,), generator=rng)
    if not counts[1]:
        labels = torch.full_like(labels, -1)
    logits.requires_grad_()
    terms = objective(
        logits, labels, teacher, num_examples=counts[0], num_labelled=counts[1], step=step
    )
    (gradient,) = torch.autograd.grad(terms["loss"], logits)
    return {**{name: term.detach() for name, term in terms.items()}, "gradient": gradient}


def test_terms_and_gradients_are_the_uncompiled_ones_in_two_graphs_for_all_steps(counter):
    """Another loss on a GPU than on a CPU; or minutes of compiling at each step of another count.
    One graph for the first size of a pass, one for all others."""
    plain = Objective(TERMS, label_smoothing=0.1, class_weights_C=CLASS_WEIGHTS).over(10)
    compiled = fused(plain)
    steps = [(8, (8, 7)), (8, (16, 9)), (7, (7, 7)), (7, (9, 0)), (5, (31, 12)), (13, (13, 13))]
    for number, (rows, counts) in enumerate(steps):
        expected = measured(plain, rows, counts, number)
        found = measured(compiled, rows, counts, number)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)
    assert counter.frame_count == 2


def test_a_compiled_network_takes_the_step_of_an_uncompiled_one(toy, counter):
    """Losses left uncompiled beside a compiled network, or weights that learn something else."""
    examples = toy["examples"](rows=24)
    config = TrainingConfig(num_epochs=1, learning_rate=1e-3, precision="fp32")
    weights = []
    for is_compiled in (False, True):
        model = toy["model"](dropout=0.0)
        forward = torch.compile(model, dynamic=True) if is_compiled else model
        layout = Layout("bucketed", 48)
        run_step = Stepper(
            model, forward, Objective(TERMS[:2]).over(3),
            torch.optim.SGD(model.parameters(), lr=0.1), config,
            examples=examples, pad_token_id=0, layout=layout,
        )  # fmt: skip
        graphs = counter.frame_count
        for number, rows in enumerate(np.split(np.arange(24), [5, 13])):
            step = make_step(examples, rows, layout=layout, pad_token_id=0, number=number)
            run_step(step)
        weights.append([weight.detach().clone() for weight in model.parameters()])
    assert isinstance(run_step._objective, FusedObjective)
    assert counter.frame_count > graphs
    for found, expected in zip(*reversed(weights), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_temperature_that_moves_is_not_compiled(counter):
    """A new temperature each step is a new graph each step."""
    moving = Objective((KLTerm(kind="kl", temperature=Schedule(start=1.0, end=4.0)),))
    assert fused(moving) is moving
