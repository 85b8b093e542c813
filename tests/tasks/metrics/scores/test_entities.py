"""Entities against hand-worked spans and seqeval."""

import numpy as np
import pytest
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score

from tasks.metrics.scores.entities import (
    MEASURES,
    Span,
    decode_tags,
    entity_answers,
    entity_table,
    entity_types,
    unreachable_spans,
)
from tasks.metrics.systems import scores_by_seed

TAGS = ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER")
TYPES = ["LOC", "ORG", "PER"]


@pytest.mark.parametrize(
    ("text", "units", "tags", "spans", "repaired"),
    [
        # 马 | 云 | 住 | 在 | 北 | 京
        (
            "马云住在北京",
            [(i, i + 1) for i in range(6)],
            ["B-PER", "I-PER", "O", "O", "B-LOC", "I-LOC"],
            [(0, 2, "PER"), (4, 6, "LOC")],
            0,
        ),
        # German: the span covers the space between its words, not the one after.
        (
            "Angela Merkel in Köln.",
            [(0, 6), (7, 13), (14, 16), (17, 21), (21, 22)],
            ["B-PER", "I-PER", "O", "I-LOC", "O"],
            [(0, 13, "PER"), (17, 21, "LOC")],
            1,
        ),
        # Arabic: characters are counted in reading order.
        (
            "زار محمد مصر",
            [(0, 3), (4, 8), (9, 12)],
            ["O", "B-PER", "B-LOC"],
            [(4, 8, "PER"), (9, 12, "LOC")],
            0,
        ),
        # Two neighbours of one type; another type cuts; a cut text is O to its end.
        (
            "abcdef",
            [(i, i + 1) for i in range(6)],
            ["B-LOC", "B-LOC", "I-PER", "I-PER"],
            [(0, 1, "LOC"), (1, 2, "LOC"), (2, 4, "PER")],
            1,
        ),
    ],
)
def test_spans_by_hand(text, units, tags, spans, repaired):
    """Offsets one off mark `er lin` in a reader's page."""
    found, num_repaired = decode_tags(tags, units)
    assert found == [Span(*span) for span in spans]
    assert num_repaired == repaired
    assert all(text[start:end].strip() == text[start:end] for start, end, _ in found)


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_seqeval(seed):
    """Published NER figures are seqeval's: another repair of I- tags is another metric."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 12, 60)
    gold_tags = [[TAGS[i] for i in rng.integers(0, len(TAGS), length)] for length in lengths]
    found_tags = [
        [tag if rng.random() < 0.7 else TAGS[rng.integers(0, len(TAGS))] for tag in one]
        for one in gold_tags
    ]
    units = [[(2 * i, 2 * i + 1) for i in range(length)] for length in lengths]
    gold, found = (
        [decode_tags(tags, where)[0] for tags, where in zip(texts, units, strict=True)]
        for texts in (gold_tags, found_tags)
    )
    assert entity_types(TAGS) == TYPES
    answers = entity_answers([str(i) for i in range(60)], gold, [found], TYPES)
    [scores] = scores_by_seed(answers, MEASURES)
    assert scores["entity_f1"] == pytest.approx(f1_score(gold_tags, found_tags))
    assert scores["precision"] == pytest.approx(precision_score(gold_tags, found_tags))
    assert scores["recall"] == pytest.approx(recall_score(gold_tags, found_tags))
    assert scores["macro_f1"] == pytest.approx(f1_score(gold_tags, found_tags, average="macro"))
    table = entity_table(answers, TYPES, system="student, seed 0")
    expected = classification_report(gold_tags, found_tags, output_dict=True)
    rows = {row.label: row for row in (*table.rows, table.micro, table.macro, table.weighted)}
    assert set(rows) == set(expected)
    for label, row in rows.items():
        figures = expected[label]
        assert row.precision == pytest.approx(figures["precision"])
        assert row.recall == pytest.approx(figures["recall"])
        assert row.f1 == pytest.approx(figures["f1-score"])
        assert row.support == figures["support"]


def test_a_span_counts_only_with_its_type_and_both_ends():
    """Partial credit would make every tagger look good on long names."""
    gold = [[Span(0, 4, "LOC"), Span(6, 8, "PER")]]
    wrong = [[Span(0, 4, "ORG"), Span(6, 9, "PER")]]
    [scores] = scores_by_seed(entity_answers(["a"], gold, [wrong], TYPES), MEASURES)
    assert scores["entity_f1"] == 0
    [scores] = scores_by_seed(entity_answers(["a"], gold, [gold], TYPES), MEASURES)
    assert scores["entity_f1"] == scores["macro_f1"] == 1


def test_texts_and_types_without_a_span_keep_their_place():
    """Texts that no row stands for are in no resample; a type that never occurs, in no average."""
    gold = [[Span(0, 2, "ORG")], [], []]
    found = [[Span(0, 2, "ORG"), Span(3, 4, "PER")], [], []]
    answers = entity_answers(["a", "b", "c"], gold, [found], TYPES)
    [run] = answers.statistics
    for name in ("entity_f1", "precision", "recall"):
        assert run[name].toarray().tolist() == [[1, 2, 1], [0, 0, 0], [0, 0, 0]]
    hits_decided_gold = [0, 1, 0, 0, 1, 1, 0, 1, 0]
    assert run["macro_f1"].toarray().tolist() == [hits_decided_gold, [0] * 9, [0] * 9]
    table = entity_table(answers, TYPES, system="student, seed 0")
    assert table.micro.f1 == pytest.approx(2 / 3)
    for row in (table.macro, table.weighted):  # of the one type that the test set holds
        assert (row.precision, row.recall, row.f1, row.support) == (1, 1, 1, 1)


def test_an_unknown_type_is_refused():
    """A type that nobody counts vanishes from every score."""
    with pytest.raises(ValueError, match="'EVENT'"):
        entity_answers(["a"], [[Span(0, 1, "EVENT")]], [[[]]], TYPES)


def test_spans_that_no_tags_can_name_are_counted():
    """A student that finds all there is to find looks like one that misses a tenth."""
    units = [(0, 1), (1, 2), (2, 6), (7, 8)]  # 北 | 京 | Café | 大
    bounds = [(start, end) for start in range(9) for end in range(start + 1, 9)]
    for num_read in range(5):
        # Whatever IOB2 tags name: every run of units that have been read.
        named = {
            decode_tags(["O"] * first + ["B-LOC"] + ["I-LOC"] * more, units)[0][0][:2]
            for first in range(num_read)
            for more in range(num_read - first)
        }
        for start, end in bounds:
            found = unreachable_spans([Span(start, end, "LOC")], units, num_read=num_read)
            assert (found == (0, 0)) == ((start, end) in named)
            assert sum(found) <= 1
    spans = [Span(0, 2, "LOC"), Span(2, 4, "ORG"), Span(3, 6, "ORG"), Span(2, 8, "LOC")]
    assert unreachable_spans(spans, units, num_read=3) == (2, 1)
    assert unreachable_spans([], units, num_read=3) == (0, 0)
