"""What networks that teach one another minimise: by hand, in float64, from their logits."""

import numpy as np
import pytest
import torch

from tasks.training.batches import make_step
from tasks.training.config import TrainingConfig
from tasks.training.layouts import Layout
from tasks.training.mutual import MutualObjective, Peers, shared_rows
from tasks.training.mutual_config import MutualTerm
from tasks.training.objective_config import blend
from tasks.training.objectives import Objective
from tasks.training.stepping import Stepper

TASK = Objective(blend(0.0, labels="gold"))


def together(toy, count, weight=0.7):
    """Peers of other weights over the same rows, which the last of them has in reverse."""
    examples = toy["examples"](8)
    rows = shared_rows([examples] * count, [examples.example_ids] * count, [0] * count)
    network = Peers([toy["model"](seed=k, dropout=0.0) for k in range(count)]).train()
    with torch.no_grad():
        for peer in network.peers:
            peer.head.weight *= 40
    objective = MutualObjective((TASK,) * count, rows, MutualTerm(weight=weight, temperature=3.0))
    step = make_step(rows, np.arange(8), layout=Layout("padded", 0), pad_token_id=0)
    return network, objective, step


@pytest.mark.parametrize("count", [2, 3])
def test_each_peer_learns_the_mean_of_the_others_who_are_constants(toy, count):
    """A teacher that is drawn to its student from its own term, or a peer that is its own teacher:
    both agree on nothing in particular."""
    network, objective, step = together(toy, count)
    (batch,) = step.passes
    found = objective.terms(network, batch, step)
    found["loss"].backward()
    logits = [peer(own.texts).detach().double().requires_grad_()
              for peer, own in zip(network.peers, batch.batches, strict=True)]  # fmt: skip
    learned = []
    for k, mine in enumerate(logits):
        parts = [
            torch.nn.functional.kl_div(
                (mine / 3).log_softmax(-1), (other.detach() / 3).softmax(-1), reduction="batchmean"
            )
            for j, other in enumerate(logits) if j != k
        ]  # fmt: skip
        learned.append(9 * sum(parts) / len(parts))
    names = ["loss_mutual", *(f"peer_{k}_loss_mutual" for k in range(1, count))]
    for name, value in zip(names, learned, strict=True):
        assert float(found[name]) == pytest.approx(float(value.detach()), rel=1e-4)
        assert float(value.detach()) > 0.05
    total = sum(learned) * 0.7 + sum(
        torch.nn.functional.cross_entropy(mine, own.labels_A)
        for mine, own in zip(logits, batch.batches, strict=True)
    )
    assert float(found["loss"].detach()) == pytest.approx(float(total.detach()), rel=1e-4)
    total.backward()
    for peer, mine in zip(network.peers, logits, strict=True):
        # The bias is added to every answer: its gradient is the sum of theirs.
        torch.testing.assert_close(
            peer.head.bias.grad.double(), mine.grad.sum(0), rtol=1e-3, atol=1e-6
        )


def test_every_peer_trains_with_its_dropout_whatever_was_validated(toy):
    """Peers in a list, put in evaluation mode by what asked the first of them, stay so."""
    network, objective, step = together(toy, 3)
    read_in = []
    for peer in network.peers:
        peer.register_forward_hook(
            lambda module, *_: read_in.append({one.training for one in module.modules()})
        )
    network.eval()
    Stepper(
        network, network, objective, torch.optim.SGD(network.parameters(), lr=0.1),
        TrainingConfig(num_epochs=1, learning_rate=0.1, precision="fp32"),
        examples=objective.rows, pad_token_id=0, layout=step.layout,
    )(step)  # fmt: skip
    assert read_in == [{True}] * 3


@pytest.mark.parametrize("count", [2, 3])
def test_shares_are_those_of_gradients_taken_by_hand(toy, count):
    """Peers that only copy one another, in a history from which nobody could tell."""
    network, objective, step = together(toy, count)
    (batch,) = step.passes
    found = objective.gradient_shares(network.eval(), batch, step)
    assert all(weight.grad is None for weight in network.parameters())
    with torch.no_grad():
        logits = [peer(own.texts).double()
                  for peer, own in zip(network.peers, batch.batches, strict=True)]  # fmt: skip
    expected = {}
    for k, mine in enumerate(logits):
        # Gradients of cross-entropies in logits are differences of probabilities.
        hard = mine.softmax(1) - torch.nn.functional.one_hot(batch.batches[k].labels_A, 3)
        others = [(other / 3).softmax(1) for j, other in enumerate(logits) if j != k]
        mutual = 0.7 * 3 * ((mine / 3).softmax(1) - torch.stack(others).mean(0))
        norms = {"hard": float(hard.norm()), "mutual": float(mutual.norm())}
        prefix = f"peer_{k}_" if k else ""
        expected |= {
            f"{prefix}share_{name}": pytest.approx(norm / sum(norms.values()), rel=1e-4)
            for name, norm in norms.items()
        }
    assert {name: float(share) for name, share in found.items()} == expected
