"""What networks that teach one another minimise: by hand, in float64, from their logits."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from data_contracts.errors import RecipeError
from tasks.problems import PROBLEMS
from tasks.training.auxiliary.adversary_config import AdversaryConfig
from tasks.training.auxiliary.build import accompanied
from tasks.training.auxiliary.ema_config import EMAConfig
from tasks.training.auxiliary.matching_config import LayerTerm, TokenStateTerm
from tasks.training.batching.batches import make_step
from tasks.training.batching.examples import Examples
from tasks.training.batching.layouts import Layout
from tasks.training.batching.ragged import RaggedIds
from tasks.training.engine.stepping import Stepper
from tasks.training.mutual.config import MutualTerm
from tasks.training.mutual.objective import MutualObjective, PeerRows, Peers, shared_rows
from tasks.training.objectives.config import blend
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.config import TrainingConfig

TASK = Objective(blend(0.0, labels="gold"))
LAYERS = (LayerTerm(kind="hidden_mse", weight=0.7), TokenStateTerm(kind="token_mse"))


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


def accompanied_peers(toy, *, companions, weight=0.7):
    """Two peers, of which the first may have all companions; the other has the rows in reverse."""
    examples = toy["examples"](8)
    groups = (np.arange(8) % 3 == 0).astype(np.int64)
    own = replace(examples, teacher_ids=examples.input_ids, groups=groups, group_names=("en", "zh"))
    ids = examples.example_ids.combine_chunks()
    # The first row is not the other's: row 0 of the shared ones is row 1 of the student's own.
    read = np.arange(1, 8)[::-1]
    values, offsets = examples.input_ids.values, examples.input_ids.offsets
    texts = [values[offsets[row] : offsets[row + 1]].tolist() for row in read]
    other = replace(
        examples,
        example_ids=pa.chunked_array([ids.take(pa.array(read))]),
        input_ids=RaggedIds.from_arrow(pa.array(texts)),
        labels=examples.labels[read],
    )
    rows = shared_rows([own, other], [examples.example_ids, other.example_ids], [0, 0])
    peers = [toy["model"](seed=k, dropout=0.0) for k in range(2)]
    with torch.no_grad():
        for peer in peers:
            peer.head.weight *= 40
    first, task = accompanied(
        peers[0],
        own,
        TASK,
        adversary=AdversaryConfig(max_lambda=2.0) if companions else None,
        matching=(toy["model"](seed=7), LAYERS) if companions else None,
        ema=EMAConfig(weight=0.6, temperature=3.0) if companions else None,
        seed=3,
        trained_on=rows.places_KR[0],
    )
    if companions:
        with torch.no_grad():
            first.average.head.weight *= 3
    objective = MutualObjective((task, TASK), rows, MutualTerm(weight=weight, temperature=3.0))
    network = Peers([first, peers[1]]).train()
    step = make_step(
        rows, np.arange(len(rows)), layout=Layout("padded", 0), pad_token_id=0, number=5
    )
    return network, objective.over(11), step


def gradients(network, objective, step):
    """Of each peer's own weights, by name; and the terms."""
    (batch,) = step.passes
    found = objective.terms(network, batch, step)
    found["loss"].backward()
    first = network.peers[0]
    return [
        {name: weight.grad.clone() for name, weight in one.named_parameters()}
        for one in (getattr(first, "bare", first), network.peers[1])
    ], {name: float(value.detach()) for name, value in found.items()}


def test_a_peer_s_companions_add_what_they_add_to_a_student_alone(toy):
    """Companions that read the rows of another peer, or that teach the other, too."""
    plain, told = gradients(*accompanied_peers(toy, companions=False))
    whole, terms = gradients(*accompanied_peers(toy, companions=True))
    network, objective, step = accompanied_peers(toy, companions=True)
    first, task = network.peers[0], objective.tasks[0]
    # The same student alone, over the same rows by their numbers among its own examples.
    rows = objective.rows.places_KR[0, step.rows]
    assert len(rows) == 7
    own = objective.rows.examples[0]
    alone = make_step(own, rows, layout=Layout("padded", 0), pad_token_id=0, number=5)
    beside = {}
    for which, forward, minimised in (("with", first, task), ("without", first.bare, TASK)):
        first.zero_grad()
        found = minimised.terms(forward, alone.passes[0], alone)
        found["loss"].backward()
        beside[which] = {n: weight.grad.clone() for n, weight in first.bare.named_parameters()}
        for title in found.keys() - {"loss"}:
            assert terms[title] == pytest.approx(float(found[title]), rel=1e-5)
    for name, gradient in whole[0].items():
        expected = plain[0][name] + beside["with"][name] - beside["without"][name]
        scale = float(expected.abs().max())
        assert float((gradient - expected).abs().max()) < 1e-5 * scale + 1e-7, name
    name = "backbone.encoder.layer.0.output.dense.weight"
    assert float((whole[0][name] - plain[0][name]).abs().max()) > 1e-4, "nothing is added"
    for name, gradient in whole[1].items():
        assert torch.equal(gradient, plain[1][name]), name
    assert told.keys() < terms.keys()
    assert all(terms[name] == pytest.approx(told[name]) for name in told.keys() - {"loss"})


def test_shares_of_an_accompanied_peer_are_those_in_its_weights(toy):
    """Layer terms do not reach the logits at which a bare peer's terms meet."""
    network, objective, step = accompanied_peers(toy, companions=True)
    (batch,) = step.passes
    found = objective.gradient_shares(network.eval(), batch, step)
    assert all(weight.grad is None for weight in network.parameters())
    mine = {name: float(value) for name, value in found.items() if not name.startswith("peer_")}
    titles = ("hard", "hidden_mse", "token_mse", "adversary", "ema", "mutual")
    assert mine.keys() == {f"share_{title}" for title in titles}
    assert sum(mine.values()) == pytest.approx(1)
    assert min(mine.values()) > 0
    first, other = network.peers
    logits = first.bare(batch.batches[0].texts).double()
    theirs = other(batch.batches[1].texts).double().detach()
    places, their_places = (one.places for one in batch.shared)
    divergence = torch.nn.functional.kl_div(
        (logits[places] / 3).log_softmax(1), (theirs[their_places] / 3).softmax(1),
        reduction="batchmean",
    )  # fmt: skip
    norms = {}
    for name, value in {
        "hard": torch.nn.functional.cross_entropy(logits, batch.batches[0].labels_A),
        "mutual": 0.7 * 9 * divergence,
    }.items():
        gradients = torch.autograd.grad(
            value, list(first.bare.parameters()), retain_graph=True, allow_unused=True
        )
        flat = [one.flatten() for one in gradients if one is not None]
        norms[name] = float(torch.cat(flat).norm())
    assert mine["share_mutual"] / mine["share_hard"] == pytest.approx(
        norms["mutual"] / norms["hard"], rel=1e-3
    )
    # Of the other peer nothing changes.
    bare = accompanied_peers(toy, companions=False)
    plain = bare[1].gradient_shares(bare[0].eval(), bare[2].passes[0], bare[2])
    assert found["peer_1_share_mutual"] == plain["peer_1_share_mutual"]
    # Where weights are spread over processes, only what the whole forward pass gives is told.
    spread = objective.without_companions().gradient_shares(network, batch, step)
    assert {name: float(value) for name, value in spread.items()} == pytest.approx(
        {name: float(value) for name, value in plain.items()}, rel=1e-5
    )


def test_the_average_of_a_peer_follows_it(toy):
    """An average that stays what it was: a peer held to its untrained self."""
    network, *_ = accompanied_peers(toy, companions=True)
    before = network.peers[0].average.head.bias.clone()
    with torch.no_grad():
        network.peers[0].bare.head.bias += 1.0
    network.after_step()
    torch.testing.assert_close(network.peers[0].average.head.bias, before + 0.01)


def test_an_adversary_of_a_peer_needs_groups_among_the_shared_rows(toy):
    """Rows of the second language that only the student reads: an adversary that cannot err."""
    examples = replace(
        toy["examples"](8), groups=(np.arange(8) == 7).astype(np.int64), group_names=("en", "zh")
    )
    given = {"matching": None, "ema": None, "adversary": AdversaryConfig(), "seed": 0}
    accompanied(toy["model"](), examples, TASK, **given)
    with pytest.raises(RecipeError, match="have the language en"):
        accompanied(toy["model"](), examples, TASK, **given, trained_on=np.arange(7))


def test_peers_whose_tokens_join_other_units_do_not_contradict_one_another():
    """北京 is one token of one peer and two of the other: one learns that 京 begins a place, as its
    token does, the other that it goes on, and each was trained the other's answer for ever."""
    problem = PROBLEMS["token_classification"]

    def read(positions, tags):
        ids = pa.array([[0, 5, 6, 7, 1]], pa.list_(pa.int32()))
        names = ("unit_positions", "unit_labels")
        columns = dict(zip(names, ([positions], [tags]), strict=True))
        table = pa.table({"example_id": ["a"], "input_ids": ids, **columns})
        answers = problem.answers(table, num_labels=3)
        ids = RaggedIds.from_arrow(table["input_ids"])
        names = ("O", "B-LOC", "I-LOC")
        return Examples(None, ids, answers.labels, None, names, units=answers.units)

    examples = (read([1, 1, 2], [1, 2, 0]), read([1, 2, 3], [1, 2, 0]))
    rows = PeerRows(examples, np.zeros((2, 1), np.int64), (0, 0))
    batch = next(rows.batches(np.array([0]), Layout("padded", 0), pad_token_id=0))
    assert [one.places.tolist() for one in batch.shared] == [[0, 2], [0, 2]]
    assert rows.num_shared(np.array([0])) == 2
