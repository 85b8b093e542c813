"""Layers compared token by token: each text alone, by hand, in numpy and float64."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from data_contracts.errors import RecipeError
from tasks.modeling.heads.classifier import EncoderClassifier
from tasks.modeling.heads.token_heads import EncoderTokenClassifier
from tasks.modeling.heads.units import Units
from tasks.modeling.texts import Texts
from tasks.runtime.progress import SilentProgress
from tasks.training.auxiliary.layer_matching import matched_layers
from tasks.training.auxiliary.layer_views import read_layers
from tasks.training.auxiliary.matching_config import (
    AttentionTerm,
    LayerTerm,
    RelationTerm,
    TokenStateTerm,
)
from tasks.training.auxiliary.objective import joined
from tasks.training.batching.batches import make_step
from tasks.training.batching.layouts import Layout
from tasks.training.batching.passes import pad
from tasks.training.engine.checkpoints import load_checkpoint
from tasks.training.engine.loop import train
from tasks.training.objectives.config import blend
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.config import TrainingConfig

OBJECTIVE = Objective(blend(1.0, 2.0))
ROWS = np.array([5, 1, 7, 2])
TERMS = {
    "token_mse": TokenStateTerm(kind="token_mse", layers=((0, 0), (2, 3))),
    "token_cosine": TokenStateTerm(kind="token_cosine"),
    "relations": RelationTerm(kind="relations", num_relation_heads=4, layers=((1, 2), (2, 3))),
    "attention": AttentionTerm(kind="attention", layers="uniform"),
    "attention_scores": AttentionTerm(kind="attention_scores"),
}
each_term = pytest.mark.parametrize("kind", TERMS)


def teacher(width=24, heads=2, dropout=0.1, kind=EncoderClassifier):
    """Three layers; students have two of width 16, with two heads."""
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=32, hidden_size=width, num_hidden_layers=3, num_attention_heads=heads,
        intermediate_size=32, max_position_embeddings=16, type_vocab_size=1,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    backbone = BertModel(config, add_pooling_layer=False)
    with torch.no_grad():  # attention that is far from even, or every distribution is the same
        for layer in backbone.encoder.layer:
            layer.attention.self.query.weight *= 20
            layer.attention.self.key.weight *= 20
    return kind(backbone, num_labels=3, pooling="mean", dropout=dropout)


def with_matching(student, guide, terms, examples):
    """`student` with bridges to `guide`, and what both minimise."""
    lengths = examples.input_ids.lengths
    return joined(student, OBJECTIVE, [matched_layers(student, guide, terms, lengths)])


def same_tokens(examples):
    return replace(examples, teacher_ids=examples.input_ids)


def matched(student, guide, term, examples):
    network, objective = with_matching(student, guide, (term,), examples)
    with torch.no_grad():  # bridges that are not the identity any more
        for number, bridge in enumerate(network.projections):
            bridge.weight += 0.1 * torch.randn(
                bridge.weight.shape, generator=torch.Generator().manual_seed(number)
            ).to(bridge.weight)
    return network.train(), objective


def evaluated(network, objective, examples, layout, rows=ROWS):
    step = make_step(examples, rows, layout=layout, pad_token_id=0)
    sums = {}
    for batch in step.passes:
        terms = objective.terms(network, batch, step)
        terms["loss"].backward()
        for name, value in terms.items():
            sums[name] = sums.get(name, 0) + value.detach()
    return sums, len(step.passes)


def read_alone(model, ids):
    """States of each layer, and Q, K, V of each, all (tokens, width), by hooks on the matrices."""
    found, hooks = [], []
    for layer in model.backbone.encoder.layer:
        parts = {}
        for name in ("query", "key", "value"):
            matrix = getattr(layer.attention.self, name)

            def note(_, __, output, parts=parts, name=name):
                parts[name] = output[0].detach().double().numpy()

            hooks.append(matrix.register_forward_hook(note))
        found.append(parts)
    model = model.eval()
    with torch.no_grad():
        outputs = model.backbone(ids, torch.ones_like(ids), output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    return [state[0].double().numpy() for state in outputs.hidden_states], found


def softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def pieces(vectors, count):
    return np.stack(np.split(vectors, count, axis=1))


def kl(teacher_scores, student_scores):
    """Mean over heads of the KL of each token that looks, added up."""
    p, q = softmax(teacher_scores), softmax(student_scores)
    return (p * np.log(p / q)).sum(-1).mean(0).sum()


def expected_of(kind, term, network, guide, ids, heads):
    """The sum over the tokens of one text, the mean over pairs of layers."""
    mine, my_parts = read_alone(network.student, ids)
    theirs, parts = read_alone(guide, ids)
    pairs, total, bridge = term.pairs(2, 3), 0.0, 0
    for low, high in pairs:
        if kind.startswith("token"):
            weight = network.projections[bridge].weight.detach().double().numpy()
            bridge += 1
            a, b = mine[low] @ weight.T, theirs[high]
            if kind == "token_mse":
                total += ((a - b) ** 2).mean(1).sum()
            else:
                norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
                total += (1 - (a * b).sum(1) / norms).sum()
            continue
        a, b = my_parts[low - 1], parts[high - 1]
        if kind == "relations":
            for name in ("query", "key", "value"):
                related = [
                    one @ one.transpose(0, 2, 1) / np.sqrt(one.shape[2])
                    for one in (pieces(a[name], 4), pieces(b[name], 4))
                ]
                total += kl(related[1], related[0])
            continue
        scores = []
        for part, count in ((a, 2), (b, heads)):
            query, key = pieces(part["query"], count), pieces(part["key"], count)
            scores.append(query @ key.transpose(0, 2, 1) / np.sqrt(key.shape[2]))
        if kind == "attention":
            if heads != 2:
                scores = [np.log(softmax(one).mean(0, keepdims=True)) for one in scores]
            total += kl(scores[1], scores[0])
        else:
            if heads != 2:
                scores = [one.mean(0, keepdims=True) for one in scores]
            total += ((scores[0] - scores[1]) ** 2).mean(0).mean(-1).sum()
    return total / len(pairs)


@each_term
@pytest.mark.parametrize("heads", [2, 4])
@pytest.mark.parametrize("layout", [Layout("padded", 0), Layout("bucketed", 12)])
def test_the_loss_is_that_of_each_text_read_alone(toy, kind, heads, layout):
    """Padding looked at, a layer off by one, or long texts that count more than their tokens."""
    examples = same_tokens(toy["examples"](8))
    student, guide, term = toy["model"](dropout=0.0), teacher(heads=heads), TERMS[kind]
    network, objective = matched(student, guide, replaced_weight(term, 0.5), examples)
    found, num_passes = evaluated(network, objective, examples, layout)
    assert (num_passes > 1) == (layout.kind == "bucketed")
    expected, num_tokens = 0.0, 0
    for row in ROWS:
        ids, _ = pad(examples.input_ids, np.array([row]), pad_token_id=0)
        expected += expected_of(kind, term, network, guide, ids, heads)
        num_tokens += ids.shape[1]
    expected /= num_tokens
    assert expected > 1e-3
    assert float(found[f"loss_{kind}"]) == pytest.approx(expected, rel=2e-4)
    assert float(found["loss"]) == pytest.approx(float(found["loss_kd"]) + 0.5 * expected, rel=2e-4)
    assert objective.settings(0)[f"weight_{kind}"] == 0.5


def replaced_weight(term, weight):
    return type(term).model_validate({**term.model_dump(), "weight": weight})


@each_term
def test_the_gradient_is_that_of_finite_differences_and_of_any_passes(toy, kind):
    """A view that is detached somewhere learns nothing, and its loss still stands in the log."""
    examples = same_tokens(toy["examples"](8))
    student, guide = toy["model"](dropout=0.0).double(), teacher().double()
    network, objective = matched(student, guide, TERMS[kind], examples)
    network.double()
    gradients = []
    for layout in (Layout("padded", 0), Layout("bucketed", 12)):
        network.zero_grad()
        evaluated(network, objective, examples, layout)
        gradients.append([weight.grad.clone() for weight in network.parameters()
                          if weight.grad is not None])  # fmt: skip
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-6, atol=1e-9)
    generator = torch.Generator().manual_seed(1)
    weights = [weight for weight in network.parameters() if weight.grad is not None]
    way = [torch.randn(w.shape, generator=generator, dtype=w.dtype) for w in weights]
    slope = sum(float((g * d).sum()) for g, d in zip(gradients[0], way, strict=True))

    def at(distance):
        moved = copy.deepcopy(network)
        places = [w for w, mine in zip(moved.parameters(), network.parameters(), strict=True)
                  if mine.grad is not None]  # fmt: skip
        with torch.no_grad():
            for weight, direction in zip(places, way, strict=True):
                weight += distance * direction
        return float(evaluated(moved, objective, examples, Layout("padded", 0))[0]["loss"])

    assert slope == pytest.approx((at(1e-6) - at(-1e-6)) / 2e-6, rel=1e-4)


@each_term
def test_sixteen_bits_change_little_and_identical_networks_nothing(toy, kind):
    """Scores of 16 bits under autocast; a loss that is not 0 where nothing is to be learned."""
    examples = same_tokens(toy["examples"](8))
    network, objective = matched(toy["model"](dropout=0.0), teacher(), TERMS[kind], examples)
    exact, _ = evaluated(network, objective, examples, Layout("padded", 0))
    network.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough, _ = evaluated(network, objective, examples, Layout("padded", 0))
    name = f"loss_{kind}"
    assert rough[name].dtype == torch.float32
    assert float(rough[name]) == pytest.approx(float(exact[name]), rel=0.1)
    assert all(w.grad.isfinite().all() for w in network.parameters() if w.grad is not None)
    twin, guide = teacher(dropout=0.0), teacher(dropout=0.0)
    term = type(TERMS[kind]).model_validate({**TERMS[kind].model_dump(), "layers": "last"})
    network, objective = with_matching(twin, guide, (term,), examples)
    nothing, _ = evaluated(network.train(), objective, examples, Layout("padded", 0))
    assert float(nothing[name]) == pytest.approx(0, abs=1e-6)


def test_taggers_are_compared_token_by_token(toy):
    """Named entities, which have no text vector: logits are those of units all the same."""
    examples = same_tokens(toy["examples"](8))
    counts = np.ones(8, dtype=np.int64)
    examples = replace(
        examples, units=Units(np.arange(9), np.ones(8, dtype=np.int32)), labels=counts
    )
    student = teacher(width=16, dropout=0.0, kind=EncoderTokenClassifier)
    guide = teacher(kind=EncoderTokenClassifier)
    network, objective = matched(student, guide, TERMS["token_mse"], examples)
    network.eval()
    step = make_step(examples, ROWS, layout=Layout("padded", 0), pad_token_id=0)
    (batch,) = step.passes
    logits, _ = network.beside(batch.texts)
    assert logits.shape == (4, 3)
    torch.testing.assert_close(logits, student(batch.texts))
    found, _ = evaluated(network.train(), objective, examples, Layout("padded", 0))
    assert found["loss_token_mse"] > 0
    with pytest.raises(RecipeError, match="hidden_mse compares text vectors"):
        with_matching(student, guide, (LayerTerm(kind="hidden_mse"),), examples)


def test_bridges_over_tokens_are_trained_and_resumed_and_left_behind(toy, tmp_path):
    """Bridges that a resumed run builds anew, or that stay where they began."""
    examples = same_tokens(toy["examples"]())
    config = TrainingConfig(
        num_epochs=2, batch_size=16, learning_rate=3e-3, precision="fp32", selection="loss"
    )
    terms = (TERMS["token_mse"], TERMS["relations"])

    def run(work, seen, crash_at=None):
        student, guide = toy["model"](), teacher()
        network, objective = with_matching(student, guide, terms, examples)
        start = [bridge.weight.clone() for bridge in network.projections]

        def validate(candidate):
            seen.append(candidate)
            if len(seen) == crash_at:
                raise KeyboardInterrupt
            return {"loss": float(-len(seen))}

        result = train(
            network, examples, objective, config, pad_token_id=0, validate=validate, seed=5,
            work=work, progress=SilentProgress(),
        )  # fmt: skip
        assert not network.can_pack, "rows that hold several texts are not the teacher's tokens"
        assert not guide.training
        assert len(start) == 2
        for before, bridge in zip(start, network.projections, strict=True):
            assert not torch.equal(before, bridge.weight)
        steps = result.state.steps
        for name in ("loss_token_mse", "loss_relations"):
            assert steps[-1][name] < steps[0][name]
        assert not any("projection" in name for name in student.state_dict())
        return network.state_dict()

    calm = run(tmp_path / "calm", [])
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "rough", seen := [], crash_at=2)
    assert load_checkpoint(tmp_path / "rough" / "checkpoints").state["step"] > 0
    rough = run(tmp_path / "rough", seen)
    assert all(torch.equal(calm[name], rough[name]) for name in calm)


def test_what_a_network_does_not_have_is_refused(toy):
    """Relation heads that cut a width in two and a half; attention that no function sees."""
    examples = toy["examples"](8)
    lengths = examples.input_ids.lengths
    term = RelationTerm(kind="relations", num_relation_heads=12)
    with pytest.raises(RecipeError, match="12 relation heads do not divide the widths 16"):
        matched_layers(toy["model"](), teacher(), (term,), lengths)
    eager = teacher()
    eager.backbone.set_attn_implementation("eager")
    guide = EncoderClassifier(eager.backbone, num_labels=3, pooling="mean", dropout=0.0)
    with pytest.raises(RecipeError, match="bert computes in its own way"):
        matched_layers(toy["model"](), guide, (TERMS["attention"],), lengths)
    with pytest.raises(ValueError, match="attend to nothing"):
        AttentionTerm(kind="attention", layers=((0, 1),))
    with pytest.raises(ValueError, match="each may be named once"):
        RelationTerm(kind="relations", vectors=("keys", "keys"))


def test_attention_of_windows_is_not_taken_for_that_of_texts(toy):
    """ModernBERT's local layers see a band: scores beyond it mean nothing."""
    from tasks.modeling.attention.packed_attention import packed_attention

    query = torch.zeros(1, 2, 9, 4)
    with pytest.raises(RecipeError, match="up to 9 tokens, but a layer sees 4 to either side"):
        packed_attention(
            torch.nn.Module(), query, query, query, None, sliding_window=5, recorded=[]
        )
    model = toy["model"]().eval()
    ids = torch.tensor([[2, 5, 11]])
    _, found = read_layers(model, Texts(ids, torch.ones_like(ids)), [("values", 2)])
    assert found["values", 2].shape == (1, 3, 16)
