"""Layers of a student against those of a teacher that reads beside it: which, what, and by whom."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from data_contracts.errors import RecipeError
from tasks.modeling.heads.classifier import EncoderClassifier
from tasks.modeling.texts import Texts
from tasks.runtime.progress import SilentProgress
from tasks.training.auxiliary.layer_matching import matched_layers
from tasks.training.auxiliary.layer_views import read_layers
from tasks.training.auxiliary.matching_config import AttentionTerm, LayerTerm, RelationTerm
from tasks.training.auxiliary.objective import joined
from tasks.training.batching.batches import make_step
from tasks.training.batching.layouts import Layout, packed_layout
from tasks.training.batching.passes import pad
from tasks.training.batching.ragged import RaggedIds
from tasks.training.engine.checkpoints import load_checkpoint
from tasks.training.engine.diagnostics import TrainingProbe
from tasks.training.engine.loop import train
from tasks.training.engine.stepping import Stepper
from tasks.training.objectives.config import blend
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.config import TrainingConfig

OBJECTIVE = Objective(blend(1.0, 2.0))


def teacher(width=24, layers=4, dropout=0.1):
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=64, hidden_size=width, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16, type_vocab_size=1,
        hidden_dropout_prob=dropout,
    )  # fmt: skip
    backbone = BertModel(config, add_pooling_layer=False)
    return EncoderClassifier(backbone, num_labels=3, pooling="mean", dropout=dropout)


def with_matching(student, guide, task, terms, lengths):
    """`student` with bridges to `guide`, and what both minimise."""
    return joined(student, task, [matched_layers(student, guide, terms, lengths)])


def read_by_both(examples):
    """The teacher reads the same texts with another vocabulary, and one token more."""
    ids = examples.input_ids
    texts = [
        [1, *(ids.values[a:b] + 30).tolist()]
        for a, b in zip(ids.offsets[:-1], ids.offsets[1:], strict=True)
    ]
    offsets = np.cumsum([0, *map(len, texts)]).astype(np.int64)
    return replace(examples, teacher_ids=RaggedIds(np.concatenate(texts).astype(np.int32), offsets))


def test_layers_are_paired_by_rule():
    """Uniform that skips the topmost layer matches the student's answer with a half-made one."""
    uniform = LayerTerm(kind="cka")
    assert uniform.pairs(3, 12) == ((1, 4), (2, 8), (3, 12))
    assert uniform.pairs(4, 6) == ((1, 2), (2, 3), (3, 4), (4, 6))
    assert LayerTerm(kind="cka", layers="last").pairs(3, 12) == ((3, 12),)
    given = LayerTerm(kind="cka", layers=((0, 0), (3, 11)))
    assert given.pairs(3, 12) == ((0, 0), (3, 11))
    with pytest.raises(RecipeError, match="which have 2 and 12"):
        given.pairs(2, 12)


def test_the_k_topmost_layers_are_paired_from_the_top():
    """The k lowest, or the top of one with the middle of the other: half of a paper's method."""
    assert LayerTerm(kind="cka", layers={"last": 2}).pairs(3, 12) == ((2, 11), (3, 12))
    assert LayerTerm(kind="cka", layers={"last": 3}).pairs(3, 12) == ((1, 10), (2, 11), (3, 12))
    relations = RelationTerm(kind="relations", layers={"last": 2})
    assert relations.pairs(4, 2) == ((3, 1), (4, 2))
    for sizes in ((3, 12), (12, 3)):
        with pytest.raises(RecipeError) as refused:
            LayerTerm(kind="cka", layers={"last": 4}).pairs(*sizes)
        assert f"has {sizes[0]} and the teacher {sizes[1]}" in str(refused.value)
        assert "set last to 3 at most" in str(refused.value)
    for wrong in (0, -1, 1.5, "all"):
        with pytest.raises(ValueError, match=r"LastLayers\.last"):
            LayerTerm(kind="cka", layers={"last": wrong})


def test_one_topmost_layer_is_one_recipe_however_it_is_spelled():
    """`last` and `{last: 1}` with two keys: the same student trained twice."""
    short, long = (LayerTerm(kind="cka", layers=given) for given in ("last", {"last": 1}))
    assert short.model_dump_json() == long.model_dump_json()
    assert '"layers":"last"' in short.model_dump_json()
    kept = LayerTerm(kind="cka", layers={"last": 2})
    assert LayerTerm.model_validate_json(kept.model_dump_json()) == kept


def test_attention_is_not_compared_with_embeddings_by_rule():
    """Uniform of a student twice as deep: layer 0 of the teacher, read as its topmost."""
    attention = AttentionTerm(kind="attention", layers="uniform")
    assert attention.pairs(3, 2) == ((1, 1), (2, 1), (3, 2))
    with pytest.raises(RecipeError, match="layer 1 of the student's 6"):
        attention.pairs(6, 3)
    assert LayerTerm(kind="cka").pairs(6, 3)[0] == (1, 0)


def naive(student, teacher, kind):
    if kind == "hidden_mse":
        return (student - teacher).square().mean(-1).mean()
    return (1 - torch.nn.functional.cosine_similarity(student, teacher)).mean()


@pytest.mark.parametrize("kind", ["hidden_mse", "hidden_cosine"])
@pytest.mark.parametrize("packed", [False, True])
def test_the_loss_is_that_of_pooled_states_of_the_named_layers(toy, kind, packed):
    """A layer counted from 0 instead of 1, or a state pooled over padding."""
    examples = read_by_both(toy["examples"](8))
    student, guide = toy["model"](dropout=0.0), teacher(width=16)
    term = LayerTerm(kind=kind, weight=0.5, layers=((1, 2), (2, 4)))
    network, objective = with_matching(
        student, guide, OBJECTIVE, (term,), examples.input_ids.lengths
    )
    rows = np.array([5, 1, 7, 2])
    layout = Layout("padded", 0)
    if packed:
        layout = packed_layout(
            "rows", examples.input_ids.lengths, batch_size=4, grouped=False, width=12
        )
    step = make_step(examples, rows, layout=layout, pad_token_id=0)
    sums = {}
    for batch in step.passes:
        for name, value in objective.terms(network.train(), batch, step).items():
            sums[name] = sums.get(name, 0) + value
    expected = 0
    for mine, theirs in term.layers:
        for row in rows:  # one text at a time: nothing is padded
            ids, mask = pad(examples.input_ids, np.array([row]), pad_token_id=0)
            outputs = student.backbone(ids, mask, output_hidden_states=True).hidden_states
            ids, mask = pad(examples.teacher_ids, np.array([row]), pad_token_id=0)
            others = guide.backbone(ids, mask, output_hidden_states=True).hidden_states
            expected += naive(outputs[mine].mean(1), others[theirs].mean(1), kind) / 8
    torch.testing.assert_close(sums[f"loss_{kind}"], expected.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        sums["loss"].detach(), sums["loss_kd"] + 0.5 * expected.detach(), rtol=1e-4, atol=1e-6
    )


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    """Swapped or shifted layers still learn something, and nobody notices."""
    guide = teacher(dropout=0.0).eval()
    twin = teacher(dropout=0.0).eval()
    ids = torch.randint(1, 60, (6, 5), generator=torch.Generator().manual_seed(0))
    texts = Texts(ids, torch.ones_like(ids))
    wanted = [("text", 0), ("tokens", 2), ("text", 4), ("keys", 1), ("scores", 4)]
    (mine, own), (theirs, other) = (read_layers(one, texts, wanted) for one in (twin, guide))
    assert torch.equal(mine, theirs)
    for view in wanted:
        assert torch.equal(own[view], other[view])


@pytest.mark.parametrize("kind", ["hidden_mse", "contrastive", "cka", "distances"])
def test_bridges_are_trained_and_resumed_and_the_teacher_stays_as_it_is(toy, tmp_path, kind):
    """A teacher that learns from its student, or bridges that a resumed run builds anew."""
    examples = read_by_both(toy["examples"]())
    config = TrainingConfig(
        num_epochs=2, batch_size=8, learning_rate=3e-3, precision="fp32", selection="loss"
    )

    def run(work, seen, crash_at=None):
        student, guide = toy["model"](), teacher()
        before = {name: weight.clone() for name, weight in guide.state_dict().items()}
        network, objective = with_matching(
            student, guide, OBJECTIVE, (LayerTerm(kind=kind),), examples.input_ids.lengths
        )
        start = [bridge.weight.clone() for bridge in network.projections]

        def validate(candidate):
            candidate.eval()
            seen.append(candidate(Texts(*pad(examples.input_ids, np.arange(3), pad_token_id=0))))
            if len(seen) == crash_at:
                raise KeyboardInterrupt
            return {"loss": float(-len(seen))}

        result = train(
            network, examples, objective, config, pad_token_id=0, validate=validate, seed=5,
            work=work, progress=SilentProgress(),
        )  # fmt: skip
        assert seen[0].shape == (3, 3)
        assert not guide.training
        assert all(torch.equal(before[name], weight) for name, weight in guide.state_dict().items())
        assert all(weight.grad is None for weight in guide.parameters())
        moved = [not torch.equal(a, b.weight) for a, b in
                 zip(start, network.projections, strict=True)]  # fmt: skip
        assert moved == ([True, True] if kind in ("hidden_mse", "contrastive") else [])
        assert f"loss_{kind}" in result.state.steps[-1]
        return student, network.state_dict()

    student, calm = run(tmp_path / "calm", [])
    assert not any("projection" in name for name in student.state_dict())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "rough", seen := [], crash_at=2)
    assert load_checkpoint(tmp_path / "rough" / "checkpoints").state["step"] > 0
    _, rough = run(tmp_path / "rough", seen)
    assert all(torch.equal(calm[name], rough[name]) for name in calm)


def test_checkpoints_hold_the_bridges_and_no_weight_of_the_teacher(toy, tmp_path):
    """A teacher of a gigabyte written beside its student at each validation, or trained by its
    optimizer."""
    examples = read_by_both(toy["examples"]())
    student, seen = toy["model"](), []
    network, objective = with_matching(
        student, teacher(), OBJECTIVE, (LayerTerm(kind="hidden_mse"),), examples.input_ids.lengths
    )

    def validate(_):
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return {"loss": 1.0}

    config = TrainingConfig(
        num_epochs=2, batch_size=8, learning_rate=3e-3, precision="fp32", selection="loss"
    )
    with pytest.raises(KeyboardInterrupt):
        train(
            network, examples, objective, config, pad_token_id=0, validate=validate, seed=5,
            work=tmp_path, progress=SilentProgress(),
        )  # fmt: skip
    found = load_checkpoint(tmp_path / "checkpoints")
    bridges = {f"projections.{number}.weight" for number in range(2)}
    assert set(found.model) == {f"student.{name}" for name in student.state_dict()} | bridges
    assert set(found.best) <= set(found.model)
    moments = [value.numel() for name, value in found.optimizer.items() if "exp_avg_sq" in name]
    assert sum(moments) == sum(weight.numel() for weight in network.parameters())


def test_bridges_are_clipped_with_the_student(toy):
    """Bridges left out of the norm: one step of a fresh bridge moves the student a mile."""
    examples = read_by_both(toy["examples"](8))
    term = LayerTerm(kind="hidden_mse", weight=50.0)
    step = make_step(examples, np.arange(8), layout=Layout("padded", 0), pad_token_id=0)

    def made():
        return with_matching(
            toy["model"](dropout=0.0), teacher(width=96, dropout=0.0), OBJECTIVE, (term,),
            examples.input_ids.lengths,
        )  # fmt: skip

    network, objective = made()
    (batch,) = step.passes
    objective.terms(network.train(), batch, step)["loss"].backward()
    gradients = {name: weight.grad for name, weight in network.named_parameters()}
    squares = {name: float(g.double().square().sum()) for name, g in gradients.items()}
    norm = sum(squares.values()) ** 0.5
    of_bridges = sum(value for name, value in squares.items() if "projections" in name)
    assert of_bridges > 0.01 * norm**2
    network, objective = made()
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    config = TrainingConfig(
        num_epochs=1, learning_rate=1e-3, precision="fp32", max_grad_norm=norm / 4
    )
    Stepper(
        network, network, objective, torch.optim.SGD(network.parameters(), lr=1.0), config,
        examples=examples, pad_token_id=0, layout=step.layout,
    )(step)  # fmt: skip
    for name, weight in network.named_parameters():
        torch.testing.assert_close(
            before[name] - weight.detach(), gradients[name] / 4, rtol=1e-3, atol=1e-6
        )


def test_two_networks_matched_in_one_process_do_not_know_each_other(toy):
    """Settings kept on a class: the second training of a study changes the first."""
    examples = read_by_both(toy["examples"](8))
    step = make_step(examples, np.arange(8), layout=Layout("padded", 0), pad_token_id=0)
    (batch,) = step.passes
    chosen = [
        (LayerTerm(kind="hidden_mse", weight=0.3), blend(0.6, 2.0)),
        (LayerTerm(kind="cka", layers={"last": 2}), blend(0.1, 5.0)),
    ]
    written = [term.model_dump_json() for term, _ in chosen]

    def made(number):
        term, task = chosen[number]
        network, objective = with_matching(
            toy["model"](dropout=0.0), teacher(dropout=0.0), Objective(task), (term,),
            examples.input_ids.lengths,
        )  # fmt: skip
        return network.train(), objective

    def told(network, objective):
        found = objective.terms(network, batch, step)
        return {name: float(value.detach()) for name, value in found.items()}

    alone = [told(*made(number)) for number in (0, 1)]
    first, second = made(0), made(1)
    first[1].over(10).terms(first[0], batch, step)["loss"].backward()
    assert [told(*first), told(*second), told(*first)] == [alone[0], alone[1], alone[0]]
    assert [term.model_dump_json() for term, _ in chosen] == written


def test_gradient_shares_of_layer_terms_are_those_of_backward_passes(toy):
    """A layer term that drowns all others, in a history that shows the others only."""
    examples = read_by_both(toy["examples"](8))
    task = Objective(blend(0.6, 2.0))
    terms = (LayerTerm(kind="hidden_mse", weight=0.3), LayerTerm(kind="cka", weight=2.0))

    def made():
        student = toy["model"](dropout=0.3)
        student.backbone.embeddings.word_embeddings.sparse = True
        return with_matching(student, teacher(), task, terms, examples.input_ids.lengths)

    network, objective = made()
    probe = TrainingProbe(
        examples, task, TrainingConfig(num_epochs=1, learning_rate=1e-3, precision="fp32"),
        pad_token_id=0, planned_steps=4, seed=1, beside=objective,
    )  # fmt: skip
    before = {name: weight.clone() for name, weight in network.train().state_dict().items()}
    found = probe(network, 2)
    assert network.training
    assert all(weight.grad is None for weight in network.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in network.state_dict().items())
    step, norms = probe._step, {}
    for name, weights in {
        "kd": (0.6, 0, 0, 0), "hard": (0, 0.4, 0, 0),
        "hidden_mse": (0, 0, 0.3, 0), "cka": (0, 0, 0, 2.0),
    }.items():  # fmt: skip
        network, objective = made()
        only = [replace_weight(term, weight) for term, weight in
                zip((*task.loss_terms, *terms), weights, strict=True)]  # fmt: skip
        (layers,) = objective.companions
        compared = tuple(
            replace(one, term=only[2 + terms.index(one.term)]) for one in layers.comparisons
        )
        alone = replace(objective, task=replace(task, loss_terms=tuple(only[:2])),
                        companions=(replace(layers, comparisons=compared),))  # fmt: skip
        network.eval()
        for batch in step.passes:
            alone.terms(network.beside, batch, step)["loss"].backward()
        norms[name] = float(torch.cat([
            weight.grad.to_dense().flatten() for weight in network.student.parameters()
            if weight.grad is not None
        ]).norm())  # fmt: skip
    for name, norm in norms.items():
        assert found[f"share_{name}"] == pytest.approx(norm / sum(norms.values()), rel=1e-4)
    assert 0 < found["embedding_cosine"] < 1


def test_terms_of_one_kind_are_told_apart_by_name(toy):
    """Two losses under one figure, beside the weight of one: a history that does not add up."""
    examples = read_by_both(toy["examples"](8))
    terms = (
        LayerTerm(kind="hidden_mse", name="low", layers=((1, 1),), weight=1.0),
        LayerTerm(kind="hidden_mse", name="high", layers=((2, 4),), weight=5.0),
    )
    network, objective = with_matching(
        toy["model"](dropout=0.0), teacher(), OBJECTIVE, terms, examples.input_ids.lengths
    )
    step = make_step(examples, np.arange(8), layout=Layout("padded", 0), pad_token_id=0)
    found = objective.terms(network.train(), step.passes[0], step)
    assert found.keys() == {"loss", "loss_kd", "loss_low", "loss_high"}
    weights = objective.settings(0)
    assert (weights["weight_low"], weights["weight_high"]) == (1.0, 5.0)
    total = sum(weights[f"weight_{name}"] * found[f"loss_{name}"] for name in ("kd", "low", "high"))
    torch.testing.assert_close(found["loss"].detach(), total.detach(), rtol=1e-5, atol=1e-6)


def test_a_term_without_a_name_is_written_as_it_always_was():
    """Every student with layer terms trained again, for a field that it does not use."""
    assert LayerTerm(kind="cka").model_dump() == {
        "kind": "cka", "weight": 1.0, "layers": "uniform"
    }  # fmt: skip
    named = LayerTerm(kind="cka", name="low")
    assert LayerTerm.model_validate(named.model_dump()) == named


def replace_weight(term, weight):
    return term.model_copy(update={"weight": weight})


def test_a_term_whose_layers_are_frozen_pulls_at_nothing(toy):
    """Backward through what has no gradient, and a training that stops at its first validation."""
    examples = read_by_both(toy["examples"](8))
    student = toy["model"]()
    student.backbone.requires_grad_(False)
    network, objective = with_matching(
        student, teacher(), OBJECTIVE, (LayerTerm(kind="cka"),), examples.input_ids.lengths
    )
    step = make_step(examples, np.arange(8), layout=Layout("padded", 0), pad_token_id=0)
    found = objective.gradient_shares(network.eval(), step.passes[0], step)
    assert {name: float(share) for name, share in found.items()} == {
        "share_kd": 1.0, "share_cka": 0.0
    }  # fmt: skip
