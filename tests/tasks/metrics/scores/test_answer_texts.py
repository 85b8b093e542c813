"""Exact match and F1 by hand, in languages with and without spaces."""

import pytest

from tasks.metrics.scores.answer_texts import MEASURES, answer_f1, answer_statistics, exact_match
from tasks.metrics.statistics import scores_of


@pytest.mark.parametrize(
    ("answer", "gold", "language", "exact", "f1"),
    [
        # SQuAD: case, articles and punctuation do not count in English.
        ("The Eiffel Tower!", ["eiffel tower"], "en", 1, 1),
        ("tower of Paris", ["the Eiffel tower"], "en", 0, 2 * 1 / (3 + 2)),
        ("in the the end", ["end in"], "en", 0, 1),
        # Its script knows ASCII's signs alone, and splits at spaces alone, whatever the region.
        ("“Paris”", ["Paris"], "en", 0, 0),
        ("“Paris”", ["Paris"], "nl", 1, 1),
        ("北京市", ["北京"], "en", 0, 0),
        ("the Tower", ["tower"], "EN-gb", 1, 1),
        # Each language drops its own articles: French `a` is a verb, German `die` is none.
        ("a mangé", ["mangé"], "fr", 0, 2 * 1 / (2 + 1)),
        ("die Stadt Köln", ["Stadt Köln"], "de-CH", 1, 1),
        ("die Stadt Köln", ["Stadt Köln"], "nl", 0, 2 * 2 / (3 + 2)),
        ("dienen", ["nen"], "de", 0, 0),
        ("la torre de Pisa", ["una torre"], "es", 0, 2 * 1 / (3 + 1)),
        # Arabic's is written together with the word; its letters stay inside one.
        ("القاهرة", ["قاهرة"], "ar", 1, 1),
        ("في القاهرة الكبرى", ["قاهرة"], "ar", 0, 2 * 1 / (3 + 1)),
        ("رجال", ["رج"], "ar", 0, 0),
        ("فعّال", ["فعّ"], "ar", 0, 0),
        # By character; full-width punctuation and white space do not count.
        ("北京市。", ["北京市"], "zh", 1, 1),
        ("北 京", ["北京"], "zh-Hans", 1, 1),
        ("北京市", ["北京"], "zh", 0, 2 * 2 / (3 + 2)),
        ("2008年", ["2008 年8月"], "zh", 0, 2 * 2 / (2 + 4)),
        ("กรุงเทพ", ["กรุงเทพ"], "th", 1, 1),
        # The nearest of several counts.
        ("Köln", ["Cologne", "in Köln"], "de", 0, 2 * 1 / (1 + 2)),
        # No answer: silence is right, anything else is wrong.
        ("", [], "zh", 1, 1),
        ("北京", [], "zh", 0, 0),
        ("", ["北京"], "zh", 0, 0),
        ("the", [""], "en", 1, 1),
    ],
)
def test_scores_by_hand(answer, gold, language, exact, f1):
    """A Chinese answer with one character more than the gold one is nearly right, not wrong."""
    assert exact_match(answer, gold, language) == exact
    assert answer_f1(answer, gold, language) == pytest.approx(f1)


def test_scores_are_means_over_questions():
    """F1 of the pooled words would let one long answer outweigh ten short ones."""
    found = answer_statistics(["北京市", "上海", ""], [["北京"], ["上海"], []], "zh")
    scores = scores_of(found, MEASURES)
    assert scores["answer_f1"] == pytest.approx((0.8 + 1 + 1) / 3)
    assert scores["exact_match"] == pytest.approx(2 / 3)
