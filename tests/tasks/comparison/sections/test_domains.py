"""Scores by domain, of a corpus on disk and answers whose shares are counted by hand."""

import numpy as np
import pyarrow as pa
import pytest

from tasks.comparison.material import Material
from tasks.comparison.sections.domains import domain_groups
from tasks.corpus.tables import write_table
from tasks.metrics.class_answers import MEASURES, class_answers

CHINESE = tuple(f"{i:032x}" for i in range(6))
ENGLISH = tuple(f"{i:032x}" for i in range(6, 10))
NEGATIVE, NEUTRAL, POSITIVE = range(3)


def answers(ids, labels, *decisions):
    predictions = np.array(decisions)
    sure = np.full(predictions.shape, 0.9)
    return class_answers(ids, np.array(labels), predictions, sure, num_classes=3)


STUDENT = answers(
    CHINESE,
    [NEGATIVE, NEUTRAL, POSITIVE, NEGATIVE, POSITIVE, POSITIVE],
    [NEGATIVE, NEGATIVE, POSITIVE, NEGATIVE, POSITIVE, NEUTRAL],
    [NEGATIVE, NEUTRAL, POSITIVE, NEGATIVE, NEGATIVE, NEUTRAL],
)
FLOOR = answers(CHINESE, STUDENT.labels, [POSITIVE] * 6)
TEACHER = answers(
    ENGLISH, [NEGATIVE, POSITIVE, NEUTRAL, NEUTRAL], [NEGATIVE, POSITIVE, NEUTRAL, POSITIVE]
)
SYSTEMS = {"teacher": TEACHER, "student": STUDENT, "majority": FLOOR}


@pytest.fixture
def material(store, publish):
    """A function: what is compared, of test rows with these domains; None: no such column."""

    def of(domains):
        def corpus(out):
            columns = {"example_id": [*CHINESE, *ENGLISH], "text": ["…"] * 10}
            if domains is not None:
                columns["domain"] = pa.array(domains, pa.string())
            # Another order than the answers': rows are found by their id.
            table = pa.table(columns).take(list(range(10))[::-1])
            write_table(table, out / "rows" / "test" / "part-00000.parquet")

        return Material({"corpus": publish(store, "corpus", corpus)}, "en", "zh")

    return of


def accuracies(groups):
    return [
        (one.column, one.value, one.num_examples, {k: s["accuracy"] for k, s in one.scores.items()})
        for one in groups
    ]


def test_every_system_is_scored_in_each_domain_of_its_own_language(material):
    """A student that fails in hotels hides behind books, and a teacher that never knew hotels
    behind the student."""
    domains = ["book", "book", "hotel", "hotel", "hotel", None, "film", "film", "news", "news"]
    found = accuracies(domain_groups(material(domains), SYSTEMS, MEASURES))
    assert found == [
        ("domain", "book", 2, pytest.approx({"student": (1 / 2 + 2 / 2) / 2, "majority": 0.0})),
        ("domain", "hotel", 3, pytest.approx({"student": (3 / 3 + 2 / 3) / 2, "majority": 2 / 3})),
        ("domain (en)", "film", 2, {"teacher": 1.0}),
        ("domain (en)", "news", 2, {"teacher": 0.5}),
    ]


def test_a_teacher_of_the_same_rows_is_in_the_same_table(material):
    """A teacher in a table of its own could not be compared domain by domain."""
    domains = ["book"] * 3 + ["hotel"] * 3 + [None] * 4
    reads_chinese = answers(CHINESE, STUDENT.labels, STUDENT.labels)
    found = domain_groups(material(domains), {**SYSTEMS, "teacher": reads_chinese}, MEASURES)
    assert [(one.column, set(one.scores)) for one in found] == [
        ("domain", {"teacher", "student", "majority"})
    ] * 2


@pytest.mark.parametrize("domains", [None, [None] * 10, ["book"] * 6 + ["film"] * 4])
def test_one_domain_is_no_table(material, domains):
    """A table of one line says the same as the result above it."""
    assert domain_groups(material(domains), SYSTEMS, MEASURES) == ()
