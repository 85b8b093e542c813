"""The best span against all spans, and the threshold against all thresholds."""

import numpy as np
import pytest

from tasks.metrics.answer_spans import choose_span, tune_null_threshold


@pytest.mark.parametrize("seed", range(5))
def test_the_best_span_is_that_of_a_naive_search(seed):
    """An end before its start, or a span of half the context, is no answer."""
    rng = np.random.default_rng(seed)
    start, end = rng.normal(size=(2, 17))
    found = choose_span(start, end, null_logit=0.3, max_units=5)
    spans = {(i, j): start[i] + end[j] for i in range(17) for j in range(i, 17) if j - i + 1 <= 5}
    best = max(spans, key=spans.get)
    assert (found.first, found.last) == best
    assert found.margin == pytest.approx(0.3 - spans[best])
    everything = np.exp([*spans.values(), 0.3]).sum()
    assert found.confidence == pytest.approx(np.exp(spans[best]) / everything)
    # What is decided is the span or none, and each has its own probability.
    assert found.certainty(found.margin) == found.confidence
    assert found.certainty(found.margin - 0.1) == pytest.approx(np.exp(0.3) / everything)


def test_a_context_without_units_has_no_answer():
    """A question about an empty cell must not stop the evaluation of a thousand others."""
    found = choose_span(np.array([]), np.array([]), null_logit=-3.0, max_units=30)
    assert found.margin == np.inf
    assert found.certainty(0.0) == 1.0


def test_a_sure_refusal_is_sure_however_unlikely_the_best_span_is():
    """A model certain that there is no answer would be the least sure of all."""
    found = choose_span(
        np.array([-400.0, 0.0]), np.array([-400.0, -900.0]), null_logit=400.0, max_units=30
    )
    assert found.certainty(0.0) == pytest.approx(1.0)
    nothing = choose_span(np.zeros(2), np.zeros(2), null_logit=5000.0, max_units=30)
    assert nothing.certainty(0.0) == 1.0


@pytest.mark.parametrize("seed", range(8))
def test_the_threshold_is_as_good_as_the_best_of_all(seed):
    """A threshold that misses the optimum on validation makes the no-answer option look useless."""
    rng = np.random.default_rng(seed)
    margins = np.round(rng.normal(size=30), 1)
    answered, refused = rng.random(30), rng.integers(0, 2, 30).astype(float)

    def score(threshold):
        return np.where(margins > threshold, refused, answered).mean()

    best = max(map(score, [-99, *margins, *(margins + 0.05), 99]))
    assert score(tune_null_threshold(margins, answered, refused)) == pytest.approx(best)


def test_without_need_the_models_own_rule_stays():
    """A threshold moved by nothing but chance is a setting nobody can explain."""
    assert tune_null_threshold([], [], []) == 0.0
    assert tune_null_threshold([-5, -4, 3], [1, 1, 0], [0, 0, 1]) == 0.0
    assert tune_null_threshold([-5, -4, -3], [1, 1, 0], [0, 0, 1]) == pytest.approx(-3.5)
    # A context without units lies at plus infinity: whatever the threshold, it is refused.
    assert np.isfinite(tune_null_threshold([np.inf, 1.0], [0, 1], [1, 0]))
