"""Domain-adversarial training: signs of gradients, the schedule, and what is left behind."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from data_contracts.errors import RecipeError
from tasks.runtime.progress import SilentProgress
from tasks.training.auxiliary.adversary import adversary_of, reverse_gradient
from tasks.training.auxiliary.adversary_config import AdversaryConfig
from tasks.training.auxiliary.objective import joined
from tasks.training.batching.batches import make_step
from tasks.training.batching.layouts import Layout
from tasks.training.engine.diagnostics import TrainingProbe
from tasks.training.engine.loop import train
from tasks.training.fitting.inference import predict_logits
from tasks.training.objectives.config import blend
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.config import TrainingConfig

OBJECTIVE = Objective(blend(0.5, 2.0))


def with_adversary(student, examples, config):
    """`student` beside its adversary, and what both minimise."""
    return joined(student, OBJECTIVE, [adversary_of(student, examples, config, seed=3)])


def grouped(examples, names=("en", "zh")):
    """Every third text is of the second group."""
    groups = (np.arange(len(examples)) % 3 == 0).astype(np.int64)
    return replace(examples, groups=groups, group_names=names)


def test_reversal_leaves_values_and_turns_gradients():
    """A sign the other way trains encoders that tell languages apart ever better."""
    values = torch.tensor([1.0, -2.0], requires_grad=True)
    found = reverse_gradient(values, torch.tensor(0.3))
    assert torch.equal(found, values)
    (found * torch.tensor([1.0, 10.0])).sum().backward()
    torch.testing.assert_close(values.grad, torch.tensor([-0.3, -3.0]))


def test_lambda_rises_as_in_the_paper():
    """Ganin et al. 2016, section 5.2.2: 2 / (1 + exp(-10 p)) - 1, from 0 to nearly 1."""
    config = AdversaryConfig(max_lambda=2.0)
    assert config.strength(0, total_steps=11) == 0
    assert config.strength(5, total_steps=11) == pytest.approx(2 * math.tanh(2.5))
    assert config.strength(10, total_steps=11) == pytest.approx(2 * (2 / (1 + math.exp(-10)) - 1))


def gradients(toy, *, step, strength):
    """Of the encoder and of the adversary, of one step; with and without the adversary."""
    examples = grouped(toy["examples"](24))
    network, objective = with_adversary(
        toy["model"](dropout=0.0), examples, AdversaryConfig(max_lambda=strength)
    )
    objective = objective.over(100)
    one = make_step(
        examples, np.arange(24), layout=Layout("padded", 0), pad_token_id=0, number=step
    )
    terms = objective.terms(network.train(), one.passes[0], one)
    names, weights = zip(*network.named_parameters(), strict=True)
    found = dict(zip(names, torch.autograd.grad(terms["loss"], weights), strict=True))
    return found, terms


def test_the_encoder_is_trained_against_the_adversary_and_the_adversary_for_itself(toy):
    """Both follow one loss; only the sign on the way back differs, and only for the encoder."""
    plain, _ = gradients(toy, step=0, strength=1.0)  # lambda is 0 at the first step
    half, _ = gradients(toy, step=99, strength=0.5)
    whole, terms = gradients(toy, step=99, strength=1.0)
    for name in whole:
        if name.startswith("adversary."):
            torch.testing.assert_close(plain[name], whole[name], msg=name)
        else:
            torch.testing.assert_close(
                whole[name] - plain[name], 2 * (half[name] - plain[name]), rtol=1e-3, atol=1e-7
            )
    assert "loss_adversary" in terms
    # Computed another way: the gradient of the adversary's own loss, without a reversal.
    examples = grouped(toy["examples"](24))
    network, _ = with_adversary(toy["model"](dropout=0.0), examples, AdversaryConfig())
    one = make_step(examples, np.arange(24), layout=Layout("padded", 0), pad_token_id=0)
    texts = one.passes[0].texts
    groups = torch.from_numpy(examples.groups)
    logits = network.adversary(network.classifier.pooled(texts)).double()
    weights = torch.tensor([24 / (2 * 16), 24 / (2 * 8)], dtype=torch.float64)[groups]
    own = (-logits.log_softmax(1)[torch.arange(24), groups] * weights).sum() / 24
    weight = network.classifier.backbone.encoder.layer[0].output.dense.weight
    (expected,) = torch.autograd.grad(own, weight)
    name = "classifier.backbone.encoder.layer.0.output.dense.weight"
    last = AdversaryConfig().strength(99, total_steps=100)
    torch.testing.assert_close(whole[name] - plain[name], -last * expected, rtol=1e-3, atol=1e-7)
    assert terms["loss_adversary"].item() == pytest.approx(own.item(), rel=1e-4)


def test_what_is_left_answers_alone(toy, tmp_path):
    """A network saved or scored with its adversary has classes that nobody asked for."""
    examples = grouped(toy["examples"]())
    config = TrainingConfig(
        num_epochs=2, batch_size=8, learning_rate=3e-3, precision="fp32", selection="loss"
    )

    def run(work, seen, crash_at=None):
        model = toy["model"]()
        network, objective = with_adversary(model, examples, AdversaryConfig())

        def validate(candidate):
            seen.append(predict_logits(candidate, examples.input_ids, pad_token_id=0).shape)
            if len(seen) == crash_at:
                raise KeyboardInterrupt
            return {"loss": float(-len(seen))}

        before = {name: weight.clone() for name, weight in network.state_dict().items()}
        result = train(
            network, examples, objective, config, pad_token_id=0, validate=validate, seed=5,
            work=work, progress=SilentProgress(),
        )  # fmt: skip
        assert set(seen) == {(60, 3)}
        after = network.state_dict()
        moved = {name for name in after if not torch.equal(after[name], before[name])}
        assert len([name for name in moved if name.startswith("adversary")]) == 4
        assert "adversary_lambda" in result.state.steps[-1]
        return model, network.state_dict()

    model, calm = run(tmp_path / "calm", [])
    assert not any("adversary" in name for name in model.state_dict())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "rough", seen := [], crash_at=2)
    assert list((tmp_path / "rough" / "checkpoints").glob("step-*"))
    _, rough = run(tmp_path / "rough", seen)
    assert all(torch.equal(calm[name], rough[name]) for name in calm)


def test_one_group_is_nothing_to_tell_apart(toy):
    """An adversary of one class is always right, and its gradient is noise at best."""
    examples = replace(grouped(toy["examples"](6), ("zh",)), groups=np.zeros(6, dtype=np.int64))
    with pytest.raises(RecipeError, match="have the language zh"):
        adversary_of(toy["model"](), examples, AdversaryConfig(), seed=0)


def test_the_share_of_an_adversary_is_that_of_its_reversed_gradient(toy):
    """An adversary that destroys what the task teaches, and no figure says which is stronger."""
    examples = grouped(toy["examples"](24))
    config = AdversaryConfig(max_lambda=3.0)
    network, objective = with_adversary(toy["model"](dropout=0.4), examples, config)
    probe = TrainingProbe(
        examples, OBJECTIVE, TrainingConfig(num_epochs=1, learning_rate=1e-3, precision="fp32"),
        pad_token_id=0, planned_steps=11, seed=1, beside=objective,
    )  # fmt: skip
    found = probe(network.train(), 5)
    assert network.training
    assert all(weight.grad is None for weight in network.parameters())
    (batch,) = probe._step.passes
    network.double().eval()
    vectors = network.classifier.pooled(batch.texts).detach().requires_grad_()
    logits, told = network.classifier.head(vectors), network.adversary(vectors)
    teacher, groups = batch.teacher_logits_AC.double(), batch.groups_B
    soft = torch.nn.functional.kl_div(
        (logits / 2).log_softmax(1), (teacher / 2).softmax(1), reduction="batchmean"
    )
    # 24 texts, of which 16 and 8 are of the groups: each group counts as much as the other.
    nats = torch.nn.functional.cross_entropy(told, groups, reduction="none")
    weighted = nats * torch.tensor([24 / 32, 24 / 16], dtype=torch.float64)[groups]
    pulls = {
        "kd": 0.5 * 4 * soft,
        "hard": 0.5 * torch.nn.functional.cross_entropy(logits, batch.labels_A),
        "adversary": 3 * math.tanh(2.5) * weighted.sum() / len(groups),
    }
    norms = {
        name: float(torch.autograd.grad(value, vectors, retain_graph=True)[0].norm())
        for name, value in pulls.items()
    }
    shares = {name: share for name, share in found.items() if name.startswith("share_")}
    assert shares == {
        f"share_{name}": pytest.approx(norm / sum(norms.values()), rel=1e-3)
        for name, norm in norms.items()
    }
    assert probe(network.float(), 0)["share_adversary"] == 0, "lambda starts at 0"
