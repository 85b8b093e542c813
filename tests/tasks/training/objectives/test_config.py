"""The loss as a recipe lists it: two forms of one thing, and nothing that cannot be meant."""

import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.runtime.fingerprint import canonical_json
from tasks.training.objectives.config import LossTerm, ObjectiveConfig, blend
from tasks.training.optimization.schedules import Schedule


def config(**fields):
    return ObjectiveConfig.model_validate(fields)


def refusal(**fields):
    with pytest.raises(ValidationError) as caught:
        config(**fields)
    return str(caught.value)


def test_the_short_form_is_a_blend_of_two_terms():
    """An alpha that weighs the hard labels in one toolkit, and the soft ones in another."""
    kd, hard = config(alpha=0.8, temperature=3.0, hard_labels="gold").loss_terms
    assert (kd.kind, kd.title, kd.weight, kd.temperature) == ("kl", "kd", 0.8, 3.0)
    assert (hard.kind, hard.title, hard.labels) == ("hard", "hard", "gold")
    assert hard.weight == pytest.approx(0.2)
    assert [term.kind for term in blend(0.0)] == ["hard"]
    assert [term.kind for term in blend(1.0)] == ["kl"]


def test_both_forms_at_once_are_refused():
    """One of the two would be ignored, and the run would look as asked."""
    message = refusal(alpha=0.5, temperature=2.0, terms=[{"kind": "kl"}])
    assert "alpha, temperature and 1 terms are both given" in message


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"alpha": 0.3, "hard_labels": "gold"},
        {"terms": [{"kind": "jsd", "beta": 0.1}, {"kind": "hard", "weight": 0.5}]},
        {"terms": [{"kind": "kl", "weight": {"kind": "cosine", "start": 1, "end": 0.1}}]},
    ],
)
def test_what_is_written_can_be_read_again(fields):
    """A deployment holds the dumped recipe: with both forms in it, it would be refused."""
    made = config(**fields)
    assert config(**made.model_dump(mode="json")) == made
    assert ObjectiveConfig.model_validate_json(made.model_dump_json()) == made


def test_the_key_of_the_short_form_knows_no_terms():
    """Students trained before there were terms would all be trained again."""
    expected = '{"alpha":0.5,"hard_labels":"teacher","temperature":2.0}'
    assert canonical_json(config()) == expected
    assert "alpha" not in config(terms=[{"kind": "kl"}]).model_dump()


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([{"kind": "kl", "temperature": 0}], "must lie in (0, 100]"),
        ([{"kind": "kl", "temperature": {"start": 1, "end": -1}}], "must lie in (0, 100]"),
        ([{"kind": "kl", "weight": -1}], "must lie in [0, 10000]"),
        ([{"kind": "kl", "weight": {"start": 1, "end": -1}}], "must lie in [0, 10000]"),
        ([{"kind": "kl", "weight": 0}], "all terms have weight 0"),
        ([{"kind": "kl"}, {"kind": "kl"}], "several terms are reported as kl"),
        ([{"kind": "kl"}, {"kind": "dist", "name": "kl"}], "several terms are reported as kl"),
        ([{"kind": "jsd", "beta": 1.5}], "less than or equal to 1"),
        ([{"kind": "skew_kl", "skew": 0}], "greater than 0"),
        ([{"kind": "logit_mse", "temperature": 2}], "Extra inputs are not permitted"),
        ([{"kind": "hard", "temperature": 2}], "Extra inputs are not permitted"),
        ([{"kind": "kl", "beta": 0.5}], "Extra inputs are not permitted"),
        ([{"kind": "hinton"}], "does not match any of the expected tags"),
        ([{"kind": "kl", "name": "My loss"}], "should match pattern"),
        (
            [{"kind": "hard", "labels": "gold"}, {"kind": "decoupled", "labels": "teacher"}],
            "terms read labels of gold and teacher",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(terms, message):
    """temperature 0, alpha -1 and misspelt options that train something until morning."""
    assert message in refusal(terms=terms)


def test_who_needs_a_teacher_and_whose_labels():
    """Signals not loaded, a teacher run for nothing, labels of the target language by mistake."""
    hard = {"kind": "hard", "labels": "gold"}
    for fields, needs, labels in (
        ({}, True, "teacher"),
        ({"alpha": 0, "hard_labels": "gold"}, False, "gold"),
        ({"alpha": 1, "hard_labels": "none"}, True, "none"),
        ({"terms": [hard]}, False, "gold"),
        ({"terms": [{"kind": "hard"}]}, True, "teacher"),
        ({"terms": [{"kind": "kl"}]}, True, "none"),
        ({"terms": [{"kind": "kl"}, hard]}, True, "gold"),
    ):
        found = config(**fields)
        assert (found.needs_teacher, found.label_source) == (needs, labels), fields


def test_terms_without_options_are_complete():
    """A term that only works once all its options are given."""
    adapter = TypeAdapter(LossTerm)
    kinds = [
        "hard", "kl", "reverse_kl", "jsd", "skew_kl", "skew_reverse_kl", "total_variation",
        "soft_cross_entropy", "logit_mse", "standardised", "decoupled", "dist",
    ]  # fmt: skip
    for kind in kinds:
        term = adapter.validate_python({"kind": kind})
        assert (term.title, term.weight) == (kind, 1.0)
    scheduled = adapter.validate_python({"kind": "kl", "weight": {"start": 1, "end": 0}})
    assert scheduled.weight == Schedule(kind="linear", start=1, end=0, over=1.0)
