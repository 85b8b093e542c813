"""The loss of written texts as a recipe lists it: two forms of one thing, over tokens alone."""

import pytest
from pydantic import ValidationError

from tasks.runtime.fingerprint import canonical_json
from tasks.seq2seq_student import ObjectiveConfig
from tasks.training.optimization.schedules import value_at
from tasks.training.sequences.objective_config import token_blend


def config(**fields):
    return ObjectiveConfig.model_validate(fields)


def refusal(**fields):
    with pytest.raises(ValidationError) as caught:
        config(**fields)
    return str(caught.value)


FALLING = {"kind": "linear", "start": 0.9, "end": 0.1, "over": 0.5}


def test_the_key_of_the_short_form_knows_no_terms():
    """Students trained before there were terms or schedules would all be trained again."""
    on_policy = '"on_policy":{"k":64,"share":0.0,"temperature":1.0}'
    expected = f'{{"alpha":0.5,{on_policy},"targets":"teacher","temperature":1.0}}'
    assert canonical_json(config()) == expected
    assert canonical_json(config(alpha=0.5, temperature=1)) == expected
    listed = config(terms=[{"kind": "kl"}]).model_dump()
    assert set(listed) == {"terms", "targets", "on_policy"}


def test_the_short_form_is_a_blend_of_two_terms():
    """An alpha that weighs the target text: figures of two recipes that cannot be compared."""
    kd, hard = config(alpha=0.8, temperature=3.0).loss_terms
    assert (kd.kind, kd.title, kd.weight, kd.temperature) == ("kl", "kd", 0.8, 3.0)
    assert (hard.kind, hard.title) == ("hard", "hard")
    assert hard.weight == 1 - 0.8


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_both_parts_of_a_blend_move_and_stay_one(kind):
    """A weight that moves beside one that stays: the learning rate moves unasked."""
    kd, hard = config(alpha={**FALLING, "kind": kind}).loss_terms
    for step in range(21):
        one, other = (value_at(term.weight, step, total_steps=21) for term in (kd, hard))
        assert one + other == pytest.approx(1.0)
    assert value_at(hard.weight, 20, total_steps=21) == pytest.approx(0.9)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"alpha": FALLING, "temperature": {"kind": "cosine", "start": 4, "end": 1}},
        {"terms": [{"kind": "jsd", "beta": 0.1}, {"kind": "hard", "weight": FALLING}]},
        {"terms": [{"kind": "kl", "temperature": {"start": 3, "end": 1}}], "targets": "gold"},
    ],
)
def test_what_is_written_can_be_read_again(fields):
    """A deployment holds the dumped recipe: with both forms in it, it would be refused."""
    made = config(**fields)
    assert config(**made.model_dump(mode="json")) == made
    assert ObjectiveConfig.model_validate_json(made.model_dump_json()) == made


def test_what_cannot_be_meant_is_refused():
    """Ignored, it would look as if it had been learned from."""
    assert "alpha is 2, but" in refusal(alpha=2)
    assert "alpha is 0.5 to -1, but" in refusal(alpha={"start": 0.5, "end": -1})
    assert "at all times" in refusal(temperature={"start": 2, "end": 0})
    assert "alpha and 1 terms are both given" in refusal(alpha=0.5, terms=[{"kind": "kl"}])
    assert "all terms have weight 0" in refusal(terms=[{"kind": "kl", "weight": 0}])
    twice = [{"kind": "kl"}, {"kind": "kl", "temperature": 4}]
    assert "several terms are reported as kl" in refusal(terms=twice)
    # Of classes or of gold labels, which tokens of a target text are not.
    assert "does not match any of the expected tags" in refusal(terms=[{"kind": "dist"}])
    assert "labels" in refusal(terms=[{"kind": "hard", "labels": "gold"}])


def test_signals_are_read_where_a_term_compares_distributions():
    """Signals that are missed at the first step, or made and never read."""
    hard = {"kind": "hard"}
    assert config(terms=[{"kind": "reverse_kl"}]).compares_distributions
    assert config(alpha={"start": 0, "end": 0.5}).compares_distributions
    assert not config(terms=[hard]).compares_distributions
    assert not config(terms=[hard, {"kind": "kl", "weight": 0}]).compares_distributions
    assert config(terms=[hard]).needs_signals
    assert not config(terms=[hard], targets="gold").needs_signals


def test_two_numbers_are_told_by_the_recipe_and_all_else_by_the_history():
    """A history with new lines: other bytes of students whose recipe says nothing new."""
    assert not config(alpha=0.3, temperature=2.0).is_told
    assert config(alpha=FALLING).is_told
    assert config(temperature=FALLING).is_told
    assert config(terms=[{"kind": "kl"}]).is_told
    assert [term.title for term in token_blend(0.0)] == ["kd", "hard"]
