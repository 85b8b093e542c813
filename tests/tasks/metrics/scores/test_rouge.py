"""ROUGE by hand in Chinese, and as the package has it in English."""

import pytest
from rouge_score.rouge_scorer import RougeScorer

from tasks.metrics.scores.rouge import MEASURES, rouge_statistics
from tasks.metrics.statistics import scores_of


def test_chinese_is_scored_by_character():
    """The package's own tokenizer keeps a-z: each Chinese summary would score 0."""
    found = scores_of(rouge_statistics(["北京下雨了"], ["今天北京下大雨"]), MEASURES)
    # 北京下雨了 / 今天北京下大雨: 北 京 下 雨 in common, in order; pairs 北京, 京下.
    assert found["rouge_1"] == pytest.approx(2 * 4 / (5 + 7))
    assert found["rouge_l"] == pytest.approx(2 * 4 / (5 + 7))
    assert found["rouge_2"] == pytest.approx(2 * 2 / (4 + 6))


def test_english_is_scored_as_the_package_does():
    """A figure of another ROUGE cannot be compared with published ones."""
    pairs = (("the cat sat on a mat", "a cat sat on the mat"), ("rain in May", "It rains a lot"))
    direct = RougeScorer(["rouge1", "rouge2", "rougeL"])
    found = scores_of(rouge_statistics(*zip(*pairs, strict=True)), MEASURES)
    for name, key in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
        expected = [direct.score(gold, said)[key].fmeasure for said, gold in pairs]
        assert found[name] == pytest.approx(sum(expected) / 2)


def test_an_empty_summary_scores_zero():
    """A model that says nothing must not stop the evaluation."""
    assert set(scores_of(rouge_statistics([""], ["北京"]), MEASURES).values()) == {0.0}
