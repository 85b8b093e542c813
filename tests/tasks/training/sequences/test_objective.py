"""A step of an encoder-decoder: the same gradient however it is laid out, and counted by tokens."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tasks.modeling.encoder_decoder.config import DecodingConfig, Seq2SeqShape
from tasks.modeling.encoder_decoder.network import (
    Seq2SeqNetwork,
    Seq2SeqTokens,
    build_seq2seq,
    load_seq2seq,
    output_projection,
    save_seq2seq,
)
from tasks.seq2seq_student import ObjectiveConfig
from tasks.training.batching.batches import make_step
from tasks.training.batching.layouts import Layout, padded_layout
from tasks.training.batching.ragged import RaggedIds
from tasks.training.losses import IGNORE_INDEX
from tasks.training.sequences.examples import Seq2SeqExamples
from tasks.training.sequences.objective import OnPolicy, Seq2SeqObjective
from tasks.training.sequences.objective_config import token_blend
from tasks.training.sequences.topk_signals import TopK, TopKCodec

V, ROWS = 20, 9
SHAPE = Seq2SeqShape(
    encoder_layers=1, decoder_layers=1, hidden_size=16, num_heads=2, intermediate_size=32,
    dropout=0.0,
)  # fmt: skip


def network(seed=0):
    torch.manual_seed(seed)
    return Seq2SeqNetwork(build_seq2seq(SHAPE, Seq2SeqTokens(V, 0, 3, 16)))


def ragged(lists):
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)
    return RaggedIds(np.concatenate(lists).astype(np.int32), offsets)


@pytest.fixture
def examples():
    """Nine rows of very different lengths, with signals of four tokens each."""
    rng = np.random.default_rng(0)
    sources = [rng.integers(4, V, rng.integers(1, 9)) for _ in range(ROWS)]
    targets = [np.append(rng.integers(4, V, rng.integers(1, 8)), 3) for _ in range(ROWS)]
    count = sum(map(len, targets))
    ids = np.stack([rng.permutation(V)[:4] for _ in range(count)]).astype(np.int32)
    logits = rng.normal(size=(count, V)).astype(np.float32)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    kept = np.take_along_axis(logs, ids, 1)
    tail = np.log1p(-np.exp(kept).sum(1))
    codec = TopKCodec(V, 4)
    packed = codec.encode(TopK(ids, kept.astype(np.float32), tail.astype(np.float32)))
    return Seq2SeqExamples(ragged(sources), ragged(targets), packed, codec)


def gradients(objective, net, examples, rows, layout):
    step = make_step(examples, rows, layout=layout, pad_token_id=0)
    net.zero_grad()
    totals = {}
    for batch in step.passes:
        for name, value in objective.terms(net, batch, step).items():
            if name == "loss":
                value.backward()
            totals[name] = totals.get(name, 0.0) + float(value.detach())
    return totals, torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def test_a_step_has_one_gradient_in_any_number_of_passes(examples):
    """Means of passes weigh the tokens of short texts more; padding counted weighs them less."""
    net = network()
    objective = Seq2SeqObjective(net, V, token_blend(0.4, 2.0), label_smoothing=0.1)
    rows = np.arange(ROWS)
    whole, expected = gradients(objective, net, examples, rows, padded_layout())
    parts, found = gradients(objective, net, examples, rows, Layout("bucketed", 12))
    assert len(make_step(examples, rows, layout=Layout("bucketed", 12), pad_token_id=0).passes) > 2
    for name, value in whole.items():
        assert parts[name] == pytest.approx(value, rel=1e-5)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_the_hard_loss_is_the_mean_over_the_tokens_of_the_targets(examples):
    """Counted by what the decoder reads, texts that start from padding lose their first token."""
    net = network()
    objective = Seq2SeqObjective(net, V, token_blend(0.0))
    rows = np.array([4, 0, 7])
    found, _ = gradients(objective, net, examples, rows, padded_layout())
    total, count = 0.0, 0
    matrix, _ = output_projection(net.model)
    for row in rows:
        source, target = (
            torch.from_numpy(ids.values[ids.offsets[row] : ids.offsets[row + 1]].astype(np.int64))
            for ids in (examples.input_ids, examples.target_ids)
        )
        read = torch.cat([torch.tensor([0]), target[:-1]])
        states = net.model.model(input_ids=source[None], decoder_input_ids=read[None])
        logits = states.last_hidden_state[0].double() @ matrix.double().T
        total += F.cross_entropy(logits, target, reduction="sum").item()
        count += len(target)
    assert count == examples.normalizers(rows)[0]
    assert found["loss"] == pytest.approx(total / count, rel=1e-5)
    assert found["loss_kd"] == 0.0


def test_labels_of_a_batch_are_the_targets_of_its_rows(examples):
    rows = np.array([8, 2])
    (batch,) = examples.batches(rows, padded_layout(), pad_token_id=0)
    for place, row in enumerate(rows):
        first, stop = examples.target_ids.offsets[row : row + 2]
        ids = examples.target_ids.values[first:stop].tolist()
        padding = [IGNORE_INDEX] * (batch.labels_BL.shape[1] - len(ids))
        assert batch.labels_BL[place].tolist() == ids + padding
    assert len(batch.from_teacher.ids_NK) == examples.normalizers(rows)[0]


def test_on_policy_steps_train_the_student_and_not_the_teacher(examples):
    """A teacher that takes gradients drifts towards its student, and both agree on nothing."""
    net, teacher = network(0), network(1).model
    before = [value.clone() for value in teacher.state_dict().values()]
    own = OnPolicy(1.0, teacher, DecodingConfig(max_length_tokens=6), 1.0, k=4, seed=0)
    objective = Seq2SeqObjective(net, V, token_blend(0.5), on_policy=own)
    found, gradient = gradients(objective, net, examples, np.arange(ROWS), padded_layout())
    assert found["loss"] == pytest.approx(found["loss_kd"], rel=1e-6)
    assert gradient.abs().sum() > 0
    assert all(value.grad is None for value in teacher.parameters())
    after = teacher.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    same = Seq2SeqObjective(
        net,
        V,
        token_blend(0.5),
        on_policy=OnPolicy(1.0, net.model, own.decoding, 1.0, k=V, seed=0),
    )
    agreed, _ = gradients(same, net, examples, np.arange(ROWS), padded_layout())
    assert agreed["loss"] == pytest.approx(0.0, abs=1e-5)


SCHEDULED = ObjectiveConfig.model_validate(
    {
        "terms": [
            {"kind": "kl", "weight": {"start": 1.0, "end": 0.2},
             "temperature": {"kind": "cosine", "start": 4.0, "end": 1.0}},
            {"kind": "jsd", "beta": 0.3, "weight": {"start": 0.0, "end": 0.5, "over": 0.5}},
            {"kind": "hard", "weight": 0.3},
        ]
    }
).loss_terms  # fmt: skip


@pytest.mark.parametrize(
    ("number", "kl", "temperature", "jsd"),
    [(0, 1.0, 4.0, 0.0), (5, 0.6, 2.5, 0.5), (10, 0.2, 1.0, 0.5)],
)
def test_weights_and_temperatures_are_those_of_the_step(examples, number, kl, temperature, jsd):
    """At the first, the middle and the last of eleven steps, by hand; each term by itself."""
    net, rows = network(), np.arange(ROWS)
    step = make_step(examples, rows, layout=padded_layout(), pad_token_id=0, number=number)
    (batch,) = step.passes
    objective = Seq2SeqObjective(net, V, SCHEDULED, is_told=True).over(11)
    told = objective.settings(number)
    assert told == {
        "weight_kl": pytest.approx(kl), "temperature_kl": pytest.approx(temperature),
        "weight_jsd": pytest.approx(jsd), "temperature_jsd": 1.0, "weight_hard": 0.3,
    }  # fmt: skip
    found = objective.terms(net, batch, step)
    alone = {}
    for term, at in zip(SCHEDULED, (temperature, 1.0, None), strict=True):
        fixed = {"weight": 1.0} if at is None else {"weight": 1.0, "temperature": at}
        one = Seq2SeqObjective(net, V, (term.model_copy(update=fixed),))
        alone[term.title] = float(one.terms(net, batch, step)["loss"].detach())
    expected = kl * alone["kl"] + jsd * alone["jsd"] + 0.3 * alone["hard"]
    assert float(found["loss"].detach()) == pytest.approx(expected, rel=1e-5)
    assert float(found["loss_kl"]) == pytest.approx(alone["kl"], rel=1e-5)


def test_two_numbers_say_nothing_new_to_the_history():
    """Lines that a student of two numbers never had: other bytes for the same recipe."""
    assert Seq2SeqObjective(network(), V, token_blend(0.5)).over(9).settings(3) == {}


def test_on_policy_steps_have_the_divergences_with_the_weight_of_all(examples):
    """What the student wrote learned as if it were right; or such steps that hardly count."""
    net, teacher = network(0), network(1).model
    own = OnPolicy(1.0, teacher, DecodingConfig(max_length_tokens=6), 1.0, k=4, seed=0)
    terms = ObjectiveConfig.model_validate(
        {"terms": [{"kind": "kl", "weight": 0.3}, {"kind": "reverse_kl", "weight": 0.1},
                   {"kind": "hard", "weight": 0.6}]}
    ).loss_terms  # fmt: skip
    objective = Seq2SeqObjective(net, V, terms, on_policy=own)
    found, gradient = gradients(objective, net, examples, np.arange(ROWS), padded_layout())
    expected = 0.75 * found["loss_kl"] + 0.25 * found["loss_reverse_kl"]
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    # No label, no loss of labels: a 0 in the history would lower the mean of the other steps.
    assert set(found) == {"loss", "loss_kl", "loss_reverse_kl"}
    assert gradient.abs().sum() > 0


def test_a_step_whose_divergences_have_no_weight_yet_is_on_given_texts(examples):
    """A step on own texts with nothing to learn from them: sampled for no gradient at all."""
    net = network()
    terms = ObjectiveConfig.model_validate({"alpha": {"start": 0.0, "end": 1.0}}).loss_terms
    own = OnPolicy(1.0, network(1).model, DecodingConfig(max_length_tokens=6), 1.0, k=4, seed=0)
    found, _ = gradients(
        Seq2SeqObjective(net, V, terms, on_policy=own).over(11),
        net, examples, np.arange(ROWS), padded_layout(),
    )  # fmt: skip
    plain = Seq2SeqObjective(net, V, token_blend(0.0))
    expected, _ = gradients(plain, net, examples, np.arange(ROWS), padded_layout())
    assert found["loss"] == expected["loss"]


def test_tied_weights_are_kept_once_and_come_back(tmp_path):
    """safetensors refuses shared tensors: the first checkpoint would end the training."""
    from safetensors.torch import load_file, save_file

    net = network(0)
    save_file(net.state_dict(), tmp_path / "state.safetensors")
    other = network(1)
    other.load_state_dict(load_file(tmp_path / "state.safetensors"))
    for (name, ours), theirs in zip(
        net.model.state_dict().items(), other.model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    embeddings = other.model.get_input_embeddings().weight
    assert output_projection(other.model)[0] is embeddings
    save_seq2seq(other.model, tmp_path / "model", DecodingConfig())
    assert torch.equal(output_projection(load_seq2seq(tmp_path / "model"))[0], embeddings)
