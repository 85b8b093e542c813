"""The table of forms: differences are those of the same texts and seeds, and every form exists."""

import numpy as np
import pytest

from flows.orchestration.partial import step_of
from infra.benchmarks.forms import (
    ALWAYS,
    FORMS,
    PLAIN,
    Measured,
    difference,
    form_of,
    line,
    recipe_of,
)
from tasks.metrics.measures import primary_measure
from tasks.metrics.statistics import values


def measured(rights, ids=None):
    ids = ids or [str(i) for i in range(len(rights[0]))]
    measure = primary_measure("accuracy", target_language="zh")
    return Measured(measure, tuple(ids), tuple(values(one) for one in rights), (3.0, 5.0), 10)


def test_differences_are_paired_by_text_and_by_seed():
    """Two systems that answer alike, told apart by the luck of two separate resamples."""
    rng = np.random.default_rng(0)
    plain = [rng.random(400) < 0.8 for _ in range(2)]
    found, by_seed = difference(measured(plain), measured(plain))
    assert (found.estimate, found.low, found.high) == (0, 0, 0)
    assert by_seed == [0, 0]
    better = [one | (rng.random(400) < 0.2) for one in plain]
    found, by_seed = difference(measured(better), measured(plain))
    expected = [100 * (new.mean() - old.mean()) for new, old in zip(better, plain, strict=True)]
    assert by_seed == pytest.approx(expected)
    assert 100 * found.estimate == pytest.approx(sum(expected) / 2)
    # By hand: the spread of a mean of 400 paired differences.
    gains = np.mean(better, axis=0) - np.mean(plain, axis=0)
    half = 1.96 * gains.std() / 20
    assert found.low == pytest.approx(found.estimate - half, abs=0.01)
    assert found.high == pytest.approx(found.estimate + half, abs=0.01)


def test_different_tests_are_not_compared():
    """A gain that is an easier test set."""
    with pytest.raises(ValueError, match="not the same ones"):
        difference(measured([[1.0, 0.0]]), measured([[1.0, 0.0]], ids=["a", "b"]))


def test_a_line_says_what_was_measured():
    """Points taken for fractions, or a mean without its spread."""
    told = line(FORMS["jsd"], measured([[1, 1, 0, 1], [1, 1, 1, 1]]), measured([[1, 0, 0, 1]] * 2))
    cells = [cell.strip() for cell in told.strip("|").split("|")]
    assert cells[:4] == ["JSD", "10", "87.5 ± 17.7", "plain KD"]
    assert cells[4].startswith("+37.5 [")
    assert cells[5:] == ["+25.0, +50.0", "4"]


@pytest.fixture(scope="module")
def recipes():
    return {name: recipe_of(name, ALWAYS) for name in FORMS}


def test_forms_share_rows_and_teacher_with_what_they_are_compared_with(recipes):
    """A gain that is another teacher's, or other rows'."""
    for name, form in FORMS.items():
        mine, plain = recipes[name], recipes[form.against]
        assert form.against in FORMS
        assert step_of(mine, "corpus").config == step_of(plain, "corpus").config, name
        if name != "low_rank_teacher":
            assert step_of(mine, "teacher").config == step_of(plain, "teacher").config, name
    # The second teacher is the one that was measured alone.
    both = step_of(recipes["several_teachers"], "teacher-low_rank").config
    assert both == step_of(recipes["low_rank_teacher"], "teacher").config


def test_every_form_differs_from_what_it_is_compared_with(recipes):
    """A form whose change was lost: plain KD against itself, and a gain of exactly nothing."""
    for name, form in FORMS.items():
        if name in (
            PLAIN,
            "low_rank_teacher",
            "several_teachers",
        ):  # the same student, trained else
            continue
        parts = [
            [step_of(one, step) for step in ("student-seed-0", "student-tokens")]
            for one in (recipes[name], recipes[form.against])
        ]
        told = [
            [(node.stage.name, node.config, sorted(node.inputs)) for node in nodes]
            for nodes in parts
        ]
        assert told[0] != told[1], name


def test_a_recipe_file_is_a_form_too(tmp_path):
    """The best recipe of a study, which could not be compared with plain KD."""
    path = tmp_path / "best.yaml"
    path.write_text("extends: quickstart\nname: mine\ndistillation: {alpha: 0.5}\n")
    recipe = recipe_of(str(path), ["num_seeds=2"])
    assert (recipe.name, recipe.num_seeds, recipe.distillation.alpha) == ("form-best", 2, 0.5)
    assert form_of(str(path)).against == PLAIN
