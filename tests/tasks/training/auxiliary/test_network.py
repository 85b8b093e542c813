"""A student with a teacher's layers, an adversary and its own average beside it, all at once."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from tasks.modeling.heads.classifier import EncoderEmbedder
from tasks.problems.text_classification import class_scores
from tasks.runtime.progress import SilentProgress
from tasks.training.auxiliary.adversary_config import AdversaryConfig
from tasks.training.auxiliary.build import accompanied
from tasks.training.auxiliary.ema_config import EMAConfig
from tasks.training.auxiliary.matching_config import LayerTerm, TokenStateTerm
from tasks.training.auxiliary.network import AccompaniedStudent
from tasks.training.batching.batches import make_step
from tasks.training.batching.layouts import Layout, packed_layout
from tasks.training.engine.checkpoints import load_checkpoint
from tasks.training.engine.diagnostics import TrainingProbe
from tasks.training.engine.loop import train
from tasks.training.fitting.inference import predict_logits
from tasks.training.objectives.config import blend
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.config import TrainingConfig

TASK = Objective(blend(0.5, 2.0))
ROWS = np.arange(24)
PADDED = Layout("padded", 0)
TERMS = (LayerTerm(kind="hidden_mse", weight=0.7), LayerTerm(kind="hidden_cosine", weight=2.0))
ALL = ("matching", "adversary", "ema")


def rows_of(toy, count=24):
    """The toy's rows with what companions want: every third of another group, read by a teacher."""
    examples = toy["examples"](count)
    groups = (np.arange(count) % 3 == 0).astype(np.int64)
    return replace(
        examples, teacher_ids=examples.input_ids, groups=groups, group_names=("en", "zh")
    )


def made(toy, examples, *which, dropout=0.0, terms=TERMS, by_rows=False):
    """The toy's student with some of the companions; the average is told apart from it."""
    guide, student = toy["model"](seed=7, dropout=0.4), toy["model"](dropout=dropout)
    student.backbone.get_input_embeddings().sparse = by_rows
    given = {
        "matching": (guide, terms),
        "adversary": AdversaryConfig(max_lambda=2.0),
        "ema": EMAConfig(decay=0.8, weight=0.6, temperature=3.0),
    }
    network, objective = accompanied(
        student,
        examples,
        TASK,
        seed=3,
        **{name: value if name in which else None for name, value in given.items()},
    )
    if "ema" in which:
        with torch.no_grad():
            network.average.head.weight *= 20
            network.average.head.bias += torch.tensor([1.0, 0.0, -1.0])
    return network.train(), objective.over(11)


def gradients(network, objective, examples, *, number=5, layout=PADDED):
    """Of every trained weight in one step, its student's by their own names; and its terms."""
    step = make_step(examples, ROWS, layout=layout, pad_token_id=0, number=number)
    terms = {}
    for batch in step.passes:
        found = objective.terms(network, batch, step)
        found["loss"].backward()
        for name, value in found.items():
            terms[name] = terms.get(name, 0.0) + float(value.detach())
    own = {
        name.removeprefix("student.").removeprefix("classifier."): weight.grad
        for name, weight in network.named_parameters()
        if weight.grad is not None
    }
    return own, terms, len(step.passes)


def test_the_gradient_of_all_is_the_sum_of_the_gradients_of_each(toy):
    """Companions that weaken one another, or a task that counts once for each of them."""
    examples = rows_of(toy)
    alone, told, _ = gradients(*made(toy, examples), examples)
    each = [gradients(*made(toy, examples, one), examples) for one in ALL]
    together, terms, _ = gradients(*made(toy, examples, *ALL), examples)
    assert together.keys() == alone.keys() | {name for one, *_ in each for name in one}
    for name, gradient in together.items():
        expected = sum(one[name].double() for one, *_ in each if name in one)
        if name in alone:
            expected = expected - 2 * alone[name].double()
            for which, (one, *_) in zip(ALL, each, strict=True):
                # Each of them changes something here, or nothing is shown; layers lie below heads.
                is_out_of_reach = name.startswith("head.") and which != "ema"
                assert is_out_of_reach == torch.equal(one[name], alone[name]), (name, which)
        scale = float(expected.abs().max())
        # Keys' biases have no gradient in any network, but for rounding.
        assert float((gradient - expected).abs().max()) < 1e-5 * scale + 1e-8, name
    assert terms["loss"] == pytest.approx(
        sum(one["loss"] for _, one, _ in each) - 2 * told["loss"], rel=1e-5
    )
    for _, one, _ in each:
        for name in one.keys() - {"loss"}:
            assert terms[name] == pytest.approx(one[name], rel=1e-5)


def test_the_reversed_gradient_reaches_the_encoder_and_nothing_else(toy):
    """A head, a bridge or an adversary that is trained to fail."""
    examples = rows_of(toy)
    calm, *_ = gradients(*made(toy, examples, *ALL), examples, number=0)  # lambda is 0
    whole, *_ = gradients(*made(toy, examples, *ALL), examples, number=10)
    for name, gradient in whole.items():
        if name.startswith("backbone."):
            # Keys' biases have no gradient in any network: they leave the softmax as it is.
            assert "key.bias" in name or not torch.allclose(gradient, calm[name], rtol=1e-3), name
        else:
            torch.testing.assert_close(gradient, calm[name], rtol=1e-5, atol=1e-8, msg=name)


@pytest.mark.parametrize("kind", ["bucketed", "packed"])
def test_several_passes_give_the_gradient_of_one(toy, kind):
    """A companion that divides by its pass: steps that depend on the memory of the machine."""
    examples = rows_of(toy)
    layout = Layout("bucketed", 40)
    if kind == "packed":
        lengths = examples.input_ids.lengths
        layout = packed_layout("rows", lengths, batch_size=24, grouped=False, width=12)
        layout = replace(layout, pass_tokens=36)
    whole, terms, _ = gradients(*made(toy, examples, *ALL), examples)
    network, objective = made(toy, examples, *ALL)
    assert network.can_pack
    parts, told, count = gradients(network, objective, examples, layout=layout)
    assert count > 1
    assert told == pytest.approx(terms, rel=1e-4)
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_tokens_that_are_compared_keep_texts_apart_whoever_else_reads(toy):
    """Rows of several texts, token for token against rows of one."""
    network, _ = made(toy, rows_of(toy), *ALL, terms=(TokenStateTerm(kind="token_mse"),))
    assert not network.can_pack


@pytest.mark.parametrize(
    "which", [("matching",), ("adversary",), ("ema",), ("adversary", "ema"), ALL], ids="+".join
)
def test_the_student_runs_once_and_draws_the_dropout_it_would_draw_alone(toy, which):
    """Twice the time, and another student for having company."""
    examples = rows_of(toy)
    network, objective = made(toy, examples, *which, dropout=0.4)
    step = make_step(examples, ROWS, layout=PADDED, pad_token_id=0)
    (batch,) = step.passes
    calls = []
    network.bare.backbone.register_forward_hook(lambda *_: calls.append(1))
    torch.manual_seed(3)
    logits, *_ = network(batch.texts, **objective.told(step))
    assert len(calls) == 1
    torch.manual_seed(3)
    torch.testing.assert_close(logits, network.bare(batch.texts), rtol=0, atol=1e-6)
    network.eval()
    assert torch.equal(network(batch.texts), network.bare(batch.texts))
    assert not torch.allclose(network(batch.texts), logits), "there is dropout to compare"


@torch.no_grad()
@pytest.mark.parametrize("which", [("adversary",), ("matching",), ("ema",), ALL], ids="+".join)
def test_an_embedder_says_the_same_whoever_reads_along(toy, which):
    """Vectors of any length where an adversary listens, and of unit length where none does."""
    examples, plain = rows_of(toy), toy["model"](dropout=0.0)
    network, objective = made(toy, examples, *which)
    embedder = EncoderEmbedder(plain.backbone, num_labels=3, pooling="mean", dropout=0.0)
    embedder.load_state_dict(network.bare.state_dict())
    readers = [(reader, network.part(reader)) for reader in network.readers]
    beside = AccompaniedStudent(embedder, readers).train()
    step = make_step(examples, ROWS, layout=PADDED, pad_token_id=0)
    (batch,) = step.passes
    found, *_ = beside(batch.texts, **objective.told(step))
    raw = network.bare(batch.texts).double()
    expected = raw / raw.square().sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_the_average_follows_the_student_and_is_asked_without_dropout(toy):
    """An average of bridges and adversaries, or one that teaches the noise of its dropout."""
    network, _ = made(toy, rows_of(toy), *ALL, dropout=0.4)
    assert set(network.average.state_dict()) == set(network.student.state_dict())
    assert network.student.training
    assert network.adversary.training
    assert not any(module.training for module in network.average.modules())
    assert not any(weight.requires_grad for weight in network.average.parameters())
    before = copy.deepcopy(network.average).state_dict()
    with torch.no_grad():
        network.student.head.bias += 5.0
    network.after_step()
    for name, mean in network.average.state_dict().items():
        expected = 0.8 * before[name] + 0.2 * network.student.state_dict()[name]
        torch.testing.assert_close(mean, expected, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize(
    ("which", "names"),
    [
        ((), {""}),
        (("matching",), {"student.", "projections."}),
        (("adversary",), {"classifier.", "adversary."}),
        (("ema",), {"student.", "average."}),
        (ALL, {"student.", "projections.", "adversary.", "average."}),
    ],
)
def test_checkpoints_name_companions_as_they_always_did(toy, which, names):
    """A run that was interrupted last week and cannot find its weights."""
    network, _ = made(toy, rows_of(toy), *which)
    own = set(toy["model"]().state_dict())
    expected = set()
    for name in names:
        if name == "projections.":
            expected |= {f"projections.{number}.weight" for number in range(2 * len(TERMS))}
        elif name == "adversary.":
            expected |= {f"adversary.{layer}.{part}" for layer in "02" for part in
                         ("weight", "bias")}  # fmt: skip
        else:
            expected |= {name + one for one in own}
    assert set(network.state_dict()) == expected


def test_a_resumed_run_has_the_same_bits_and_a_history_of_all_terms(toy, tmp_path):
    """A companion left out of the checkpoint, or drawn anew; figures that nobody wrote down."""
    examples, held_out = rows_of(toy, 60), toy["examples"](12, seed=9)
    config = TrainingConfig(
        selection="accuracy", num_epochs=2, batch_size=20, learning_rate=3e-3, precision="fp32",
        validations_per_epoch=3,
    )  # fmt: skip

    def run(work, crash_at=None):
        network, objective = made(toy, examples, *ALL, dropout=0.2, by_rows=True)
        before = {name: weight.clone() for name, weight in network.state_dict().items()}
        done = []

        def validate(candidate):
            done.append(1)
            if len(done) == crash_at:
                raise InterruptedError
            logits = predict_logits(candidate, held_out.input_ids, pad_token_id=0)
            return class_scores(logits, held_out.labels)

        probe = TrainingProbe(
            examples, TASK, config, pad_token_id=0, planned_steps=6, seed=1, beside=objective
        )
        result = train(
            network, examples, objective, config, pad_token_id=0, validate=validate, seed=5,
            work=work, progress=SilentProgress(), probe=probe,
        )  # fmt: skip
        return before, network.state_dict(), result.history()

    before, calm, left = run(tmp_path / "calm")
    with pytest.raises(InterruptedError):
        run(tmp_path / "rough", crash_at=4)
    assert load_checkpoint(tmp_path / "rough" / "checkpoints").state["step"] > 0
    _, rough, right = run(tmp_path / "rough")
    assert left == right
    for name, weight in calm.items():
        assert torch.equal(weight, rough[name]), name
    for part in ("student.", "projections.", "adversary.", "average."):
        moved = [not torch.equal(before[n], calm[n]) for n in calm if n.startswith(part)]
        assert sum(moved) > len(moved) / 2, part
    titles = {"kd", "hard", "hidden_mse", "hidden_cosine", "adversary", "ema"}
    told = left["steps"][-1]
    assert {name[5:] for name in told if name.startswith("loss_")} == titles
    assert told["weight_hidden_cosine"] == 2.0
    assert told["weight_ema"] == 0.6
    assert told["adversary_lambda"] > 0
    for entry in left["validations"]:
        shares = {name[6:]: value for name, value in entry.items() if name.startswith("share_")}
        assert shares.keys() == titles
        assert sum(shares.values()) == pytest.approx(1)


def probed(toy, examples, *which, by_rows=False):
    """A network in evaluation mode, the batch it is looked into with, and the shares told."""
    network, objective = made(toy, examples, *which, dropout=0.4, by_rows=by_rows)
    probe = TrainingProbe(
        examples, TASK, TrainingConfig(num_epochs=1, learning_rate=1e-3, precision="fp32"),
        pad_token_id=0, planned_steps=11, seed=1, beside=objective,
    )  # fmt: skip
    found = probe(network, 5)
    assert network.bare.training
    assert all(weight.grad is None for weight in network.parameters())
    (batch,) = probe._step.passes
    return network.double().eval(), batch, {
        name[6:]: value for name, value in found.items() if name.startswith("share_")
    }  # fmt: skip


def pulls_by_hand(network, batch, vectors):
    """The weighted terms of task, adversary and average in float64, from text vectors."""
    cross_entropy = torch.nn.functional.cross_entropy

    def divergence(mine, theirs, temperature):
        targets = (theirs.double() / temperature).softmax(1)
        inputs = (mine / temperature).log_softmax(1)
        loss = torch.nn.functional.kl_div(inputs, targets, reduction="batchmean")
        return temperature**2 * loss

    logits = network.bare.head(vectors)
    nats = cross_entropy(network.adversary(vectors), batch.groups_B, reduction="none")
    # 24 texts, of which 16 and 8 are of the groups: each group counts as much as the other.
    weighted = nats * torch.tensor([24 / 32, 24 / 16], dtype=torch.float64)[batch.groups_B]
    strength = float(2 * np.tanh(2.5))  # lambda half-way, with gamma 10
    with torch.no_grad():
        theirs = network.average(batch.texts)
    return {
        "kd": 0.5 * divergence(logits, batch.teacher_logits_AC, 2),
        "hard": 0.5 * cross_entropy(logits, batch.labels_A),
        "adversary": strength * weighted.sum() / len(nats),
        "ema": 0.6 * divergence(logits, theirs, 3),
    }


def test_shares_of_adversary_and_average_are_those_in_the_text_vectors(toy):
    """The adversary does not reach the logits: shares from two places are no parts of a whole."""
    network, batch, found = probed(toy, rows_of(toy), "adversary", "ema")
    vectors = network.student.pooled(batch.texts).detach().requires_grad_()
    pulls = pulls_by_hand(network, batch, vectors)
    norms = {
        name: float(torch.autograd.grad(value, vectors, retain_graph=True)[0].norm())
        for name, value in pulls.items()
    }
    total = sum(norms.values())
    assert found == {name: pytest.approx(norm / total, rel=1e-3) for name, norm in norms.items()}


def test_shares_of_all_are_those_in_the_student_s_weights(toy):
    """Layer terms reach neither logits nor vectors: there is one place where all terms arrive."""
    examples = rows_of(toy)
    network, batch, found = probed(toy, examples, *ALL, by_rows=True)
    guide = toy["model"](seed=7).double().eval()
    pulls = pulls_by_hand(network, batch, network.student.pooled(batch.texts))
    mine, theirs = (one.all_hidden_states(batch.texts) for one in (network.student, guide))
    for title, weight in (("hidden_mse", 0.7), ("hidden_cosine", 2.0)):
        values = []
        for layer in (1, 2):  # two layers of both, bridged by the identity
            left, right = (network.student.pool(one[layer], batch.texts) for one in (mine, theirs))
            cosine = torch.nn.functional.cosine_similarity(left, right.detach())
            square = (left - right.detach()).square().mean(1)
            values.append((square if title == "hidden_mse" else 1 - cosine).mean())
        pulls[title] = weight * sum(values) / 2
    weights = list(network.student.parameters())
    norms = {}
    for name, value in pulls.items():
        gradients = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
        flat = [one.to_dense().flatten() for one in gradients if one is not None]
        norms[name] = float(torch.cat(flat).norm())
    total = sum(norms.values())
    assert found == {name: pytest.approx(norm / total, rel=2e-3) for name, norm in norms.items()}
    assert found["adversary"] > 0.01
