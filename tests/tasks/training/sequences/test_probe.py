"""How much each term of a writer pulls: against the gradients of whole logits, and left alone."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tasks.modeling.encoder_decoder.network import (
    Seq2SeqNetwork,
    Seq2SeqTokens,
    build_seq2seq,
    output_projection,
)
from tasks.runtime.seeding import generator
from tasks.seq2seq_student import ObjectiveConfig
from tasks.training.batching.layouts import padded_layout
from tasks.training.losses.topk import topk_kl_loss
from tasks.training.sequences.objective import Seq2SeqObjective
from tasks.training.sequences.objective_config import token_blend
from tasks.training.sequences.probe import SequenceProbe
from tests.tasks.twelve_words import EOS, SMALL, WORDS, training

V = len(WORDS)


@pytest.fixture
def net():
    torch.manual_seed(0)
    dropping = SMALL.model_copy(update={"dropout": 0.5})
    return Seq2SeqNetwork(build_seq2seq(dropping, Seq2SeqTokens(V, 0, EOS, 8)))


def probe(examples, net, terms, **settings):
    objective = Seq2SeqObjective(net, V, terms, is_told=True, **settings)
    return SequenceProbe(examples, objective, training(1), pad_token_id=0, planned_steps=11, seed=4)


def test_shares_are_those_of_the_whole_gradients_at_the_logits(text_world, net):
    """A share of the loss says nothing: a divergence near its floor is large and pulls not."""
    examples = text_world.mapped()
    weight = {"start": 0.8, "end": 0.4}
    terms = ObjectiveConfig.model_validate({"alpha": weight, "temperature": 2.0}).loss_terms
    net.train()
    found = probe(examples, net, terms, label_smoothing=0.1)(net, 5)
    assert net.training
    assert sum(found.values()) == pytest.approx(1.0)
    rows = np.unique(generator(4, "probe").integers(len(examples), size=64))
    (batch,) = examples.batches(rows, padded_layout(), pad_token_id=0)
    net.eval()
    with torch.no_grad():
        logits = net(batch.source, batch.labels_BL) @ output_projection(net.model)[0].T
    labels = batch.labels_BL[batch.labels_BL >= 0]
    norms = []
    for share, loss in (
        (0.6, lambda z: topk_kl_loss(z, batch.from_teacher, temperature=2.0, normalizer=len(z))),
        (0.4, lambda z: F.cross_entropy(z, labels, label_smoothing=0.1)),
    ):
        leaf = logits.clone().requires_grad_()
        loss(leaf).backward()
        norms.append(share * leaf.grad.norm().item())
    assert found["share_kd"] == pytest.approx(norms[0] / sum(norms), rel=1e-4)
    assert found["share_hard"] == pytest.approx(norms[1] / sum(norms), rel=1e-4)


def test_looking_leaves_no_gradient_and_draws_no_random_number(text_world, net):
    """A probe that moves the generator, or the weights: a student that depends on its history."""
    before, state = torch.get_rng_state(), [weight.clone() for weight in net.parameters()]
    probe(text_world.mapped(), net, token_blend(0.5))(net, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(weight.grad is None for weight in net.parameters())
    assert all(torch.equal(a, b) for a, b in zip(state, net.parameters(), strict=True))


def test_a_single_term_has_no_shares(text_world, net):
    terms = ObjectiveConfig.model_validate({"terms": [{"kind": "jsd"}]}).loss_terms
    assert probe(text_world.mapped(), net, terms)(net, 0) == {}
