"""Drawing languages: shares as the temperature says, every row in turn, the same after a kill."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data_contracts.errors import RecipeError
from tasks.problems.text_classification import class_scores
from tasks.runtime.progress import SilentProgress
from tasks.training.batching.language_sampling import (
    check_languages,
    drawn_rows,
    language_facts,
    quotas,
)
from tasks.training.engine.loop import train
from tasks.training.fitting.inference import predict_logits
from tasks.training.objectives.config import blend
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.config import TrainingConfig

GROUPS = np.array([0] * 80 + [1] * 15 + [2] * 5)[np.random.default_rng(0).permutation(100)]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 3.33, 50.0])
def test_shares_follow_the_power_of_the_counts(temperature):
    """The temperature as an exponent, not its inverse: rare languages vanish."""
    counts = np.array([80, 15, 5])
    found = quotas(counts, temperature)
    powers = [count ** (1 / temperature) for count in (80, 15, 5)]
    wanted = [100 * power / sum(powers) for power in powers]
    assert found.sum() == 100
    assert np.abs(found - wanted).max() < 1


def test_a_temperature_of_one_reads_every_row_once():
    """A switch that is off, and still drops a third of the rows."""
    found = drawn_rows(GROUPS, temperature=1.0, seed=0, epoch=3)
    assert np.array_equal(found, np.arange(100))


def test_rows_of_a_language_take_turns():
    """Drawn with replacement, one Swahili row is read forty times and another never."""
    for epoch in range(5):
        rows = drawn_rows(GROUPS, temperature=5.0, seed=1, epoch=epoch)
        assert len(rows) == len(GROUPS)
        assert np.bincount(GROUPS[rows]).tolist() == quotas(np.bincount(GROUPS), 5.0).tolist()
        times = np.bincount(rows, minlength=100)
        for group in range(3):
            of_group = times[group == GROUPS]
            assert of_group.max() - of_group.min() <= 1


def test_the_draw_is_a_function_of_seed_and_epoch():
    """A resumed run that goes on with other rows, or the same 40 English rows every epoch."""
    one, same, later, other = (
        drawn_rows(GROUPS, temperature=5.0, seed=seed, epoch=epoch).tolist()
        for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))
    )
    assert one == same
    assert one != later
    assert one != other


def test_rows_without_languages_are_refused():
    """A field that does nothing."""

    class Rows:
        groups = None

    check_languages(Rows(), None)
    with pytest.raises(RecipeError, match="language_temperature is 3"):
        check_languages(Rows(), 3.0)


def test_facts_tell_what_there_is_and_what_is_read():
    """Shares that are wished for, written down as if they were had."""
    facts = language_facts(GROUPS, ("en", "de", "sw"), 1e6)
    assert facts == {
        "rows_en": 80, "rows_de": 15, "rows_sw": 5, "drawn_en": 34, "drawn_de": 33, "drawn_sw": 33,
    }  # fmt: skip
    assert language_facts(GROUPS, ("en", "de", "sw"), None) == {}


def trained(toy, work, *, temperature, crash_at=None):
    """A model of three epochs of the toy problem, two thirds of which are in one language."""
    examples = replace(toy["examples"](), groups=np.arange(60) % 6 // 4)
    held_out = toy["examples"](12, seed=9)
    model = toy["model"]()
    config = TrainingConfig(
        selection="accuracy", num_epochs=3, batch_size=8, learning_rate=3e-3, precision="fp32",
        language_temperature=temperature,
    )  # fmt: skip
    done = 0

    def validate(candidate):
        nonlocal done
        done += 1
        if done == crash_at:
            raise InterruptedError
        logits = predict_logits(candidate, held_out.input_ids, pad_token_id=0)
        return class_scores(logits, held_out.labels)

    train(
        model, examples, Objective(blend(0.5, 2.0)), config, pad_token_id=0, validate=validate,
        seed=5, work=work, progress=SilentProgress(),
    )  # fmt: skip
    return model.state_dict()


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


def test_a_resumed_run_draws_what_an_undisturbed_one_draws(toy, tmp_path):
    """A generator whose state died with the process: other rows, another model."""
    calm = trained(toy, tmp_path / "calm", temperature=5.0)
    with pytest.raises(InterruptedError):
        trained(toy, tmp_path / "rough", temperature=5.0, crash_at=2)
    assert same(calm, trained(toy, tmp_path / "rough", temperature=5.0))
    plain = trained(toy, tmp_path / "plain", temperature=None)
    assert not same(calm, plain)
    assert same(plain, trained(toy, tmp_path / "one", temperature=1.0))
