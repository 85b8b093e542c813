"""Students whose loss depends on who shares a pass are not shared out over processes."""

from typing import get_args

import pytest
import torch
from pydantic import TypeAdapter

from tasks.runtime.progress import SilentProgress
from tasks.training.auxiliary.layer_matching import Comparison
from tasks.training.auxiliary.matching_config import LayerTerm, RelationTerm
from tasks.training.fitting.batch_terms import compare_texts, processes_for
from tasks.training.objectives.config import LossTerm
from tasks.training.objectives.objective import Objective

KINDS = [get_args(one.model_fields["kind"].annotation) for one in get_args(get_args(LossTerm)[0])]
NUMBERS = torch.Generator().manual_seed(0)
MINE, THEIRS = (torch.randn(8, 5, generator=NUMBERS, dtype=torch.float64) for _ in range(2))
HALVES = (slice(0, 5), slice(5, 8))


@pytest.mark.parametrize("kind", [kind for kinds in KINDS for kind in kinds])
def test_loss_terms_that_pass_by_pass_add_up_to_another_value_are_known(kind):
    """A new term over the texts of a pass: its students differ by the number of GPUs."""
    term = TypeAdapter(LossTerm).validate_python({"kind": kind})
    objective, labels = Objective((term,)), THEIRS.argmax(1)
    sizes = {"num_examples": 8, "num_labelled": 8}
    whole = objective(MINE, labels, THEIRS, **sizes)["loss"]
    halves = sum(
        objective(MINE[rows], labels[rows], THEIRS[rows], **sizes)["loss"] for rows in HALVES
    )
    assert (float(whole) != pytest.approx(float(halves), rel=1e-6)) == bool(compare_texts([term]))


@pytest.mark.parametrize("kind", get_args(LayerTerm.model_fields["kind"].annotation))
def test_layer_terms_that_pass_by_pass_add_up_to_another_value_are_known(kind):
    """As above, of text vectors of layers."""
    term = LayerTerm(kind=kind)
    one = Comparison(term, "text", 1, 1, None, 1)
    whole = one.loss(MINE, THEIRS, None, 8)
    halves = sum(one.loss(MINE[rows], THEIRS[rows], None, 8) for rows in HALVES)
    assert (float(whole) != pytest.approx(float(halves), rel=1e-6)) == bool(compare_texts([term]))


class Said(SilentProgress):
    """Keeps what is told."""

    def __init__(self):
        self.words = []

    def say(self, message):
        self.words.append(message)


def test_one_process_trains_them_and_the_reason_is_told(monkeypatch):
    """Seven idle GPUs without a word; or eight, and an eighth of the contrast."""
    monkeypatch.setenv("DECANT_PROCESSES", "8")
    said = Said()
    assert processes_for([RelationTerm(kind="relations"), LayerTerm(kind="hidden_mse")], said) == 8
    assert not said.words
    assert processes_for([LayerTerm(kind="hidden_mse"), LayerTerm(kind="cka")], said) == 1
    (words,) = said.words
    assert "one process instead of 8: cka compares the texts of a pass" in words
