"""BLEU and chrF++ are sacreBLEU's, on any resample."""

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from tasks.metrics.intervals import resample_scores
from tasks.metrics.scores.translation import TranslationScorer
from tasks.metrics.statistics import scores_of, totals

ENGLISH = (
    ["The cat sits on the mat today.", "He went home early.", "It rains a lot in May."],
    ["The cat sat on the mat today.", "He went home very early.", "In May it rains a lot."],
)
CHINESE = (
    ["猫今天坐在垫子上。", "他很早就回家了。", "五月经常下雨。"],
    ["今天猫坐在垫子上。", "他早早回家了。", "五月雨水很多。"],
)


@pytest.mark.parametrize(
    ("language", "texts", "tokenizer"), [("en", ENGLISH, "13a"), ("zh-Hans", CHINESE, "zh")]
)
def test_scores_and_signatures_are_those_of_sacrebleu(language, texts, tokenizer):
    """BLEU of unsegmented Chinese is 0 for every system, and one of another tokenizer misleads."""
    scorer = TranslationScorer(language)
    measures = scorer.measures
    statistics = scorer.statistics(*texts)
    found = scores_of(statistics, measures)
    bleu, chrf = BLEU(tokenize=tokenizer), CHRF(word_order=2)
    assert 100 * found["bleu"] == pytest.approx(bleu.corpus_score(texts[0], [texts[1]]).score)
    assert 100 * found["chrf"] == pytest.approx(chrf.corpus_score(texts[0], [texts[1]]).score)
    assert found["bleu"] > 0.05
    assert measures[0].metric.signature == str(bleu.get_signature())
    assert f"tok:{tokenizer}" in measures[0].metric.signature
    assert measures[1].metric.signature == str(chrf.get_signature())
    # A resample in which the first sentence is drawn twice and the last not at all.
    for measure in measures:
        sums = statistics[measure.name].T @ np.array([2, 1, 0])
        drawn = [[side[0], side[0], side[1]] for side in texts]
        direct = {"bleu": bleu, "chrf": chrf}[measure.name].corpus_score(drawn[0], [drawn[1]])
        assert 100 * measure.score(sums) == pytest.approx(direct.score)
        several = measure.score(np.stack([sums, totals(statistics[measure.name])]))
        assert several.tolist() == pytest.approx([direct.score / 100, found[measure.name]])


def test_intervals_come_from_sums():
    """Scoring 2,000 resamples from texts takes an hour where sums take seconds."""
    scorer = TranslationScorer("en")
    statistics = scorer.statistics([*ENGLISH[0] * 4], [*ENGLISH[1] * 4])
    measure = scorer.measures[0]
    [found] = resample_scores([[statistics["bleu"]]], score=measure.score, num_resamples=200)
    assert found.resamples.min() < found.estimate < found.resamples.max()


def test_an_empty_translation_scores_zero_and_a_missing_one_is_refused():
    """A decoder that stops at once must not stop the evaluation."""
    scorer = TranslationScorer("de")
    found = scores_of(scorer.statistics([""], ["Ein Satz."]), scorer.measures)
    assert found == {"bleu": 0.0, "chrf": 0.0}
    with pytest.raises(ValueError, match="1 translations of 2 references"):
        scorer.statistics(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="0 translations of 0 references"):
        scorer.statistics([], [])
