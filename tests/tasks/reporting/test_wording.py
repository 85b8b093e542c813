"""Sentences tell the sign they are given."""

import pytest

from data_contracts.evaluation import Comparison
from tasks.reporting.wording import (
    below_floor,
    comparison_sentence,
    count,
    coverage,
    finding,
    language_name,
    megabytes,
    points,
    verdict,
)

NAMES = ("on", "off", "play")


def compared(difference, low, high):
    return Comparison(
        name="student_minus_pseudo_label",
        of="student",
        against="pseudo_label",
        metric="accuracy",
        difference=difference,
        low=low,
        high=high,
        confidence=0.95,
        num_examples=100,
        num_examples_against=100,
        paired=True,
        p_value=0.5,
    )


@pytest.mark.parametrize(
    ("figures", "found", "said"),
    [
        ((0.02, 0.01, 0.03), "better", "above zero"),
        ((-0.02, -0.03, -0.01), "worse", "below zero"),
        ((0.02, -0.01, 0.05), "no clear difference", "includes zero"),
        ((-0.02, -0.05, 0.0), "no clear difference", "includes zero"),
    ],
)
def test_the_sign_is_told_plainly(make_report, figures, found, said):
    """`Gained −2 points`, or a gain claimed from an interval with zero in it, misleads a buyer."""
    report, _ = make_report(NAMES)
    comparison = compared(*figures)
    assert finding(comparison) == found
    sentence = comparison_sentence(comparison, report)
    assert said in sentence
    assert ("above the same student" if figures[0] > 0 else "below the same student") in sentence
    assert "2.0 points" in sentence
    headline = verdict(report.model_copy(update={"comparisons": (comparison,)}))[-1]
    assert said in headline
    assert (
        "points of accuracy above" if figures[0] > 0 else "points of accuracy below"
    ) in headline


def test_the_delivered_seed_stands_beside_the_mean(make_report):
    """The mean of three seeds is nobody's model: the one delivered may be the worst of them."""
    report, _ = make_report(NAMES)
    student = report.systems["student"]
    assert f"{100 * student.mean['accuracy']:.1f} %" in verdict(report)[0]
    assert f"seed 0: {100 * student.seeds[0]['accuracy']:.1f} %" in verdict(report)[0]


@pytest.mark.parametrize(
    ("display", "said"),
    [
        ("TF-IDF cosine (gold labels)", "above the TF-IDF cosine"),
        ("Majority class", "above the majority class"),
    ],
)
def test_names_keep_their_capitals_inside_a_sentence(make_report, display, said):
    """`Above the tF-IDF cosine`: a report that nobody has read before."""
    report, _ = make_report(NAMES)
    renamed = report.systems["pseudo_label"].model_copy(update={"display": display})
    report = report.model_copy(update={"systems": {**report.systems, "pseudo_label": renamed}})
    assert said in comparison_sentence(compared(0.02, 0.01, 0.03), report)


@pytest.mark.parametrize(("paired", "said"), [(True, "of the same."), (False, "of its own.")])
def test_the_headline_says_whether_both_answered_the_same_examples(make_report, paired, said):
    """A translator and its teacher read one test set: `each its own` would hide that."""
    report, _ = make_report(NAMES)
    update = {"name": "student_minus_teacher", "against": "teacher", "paired": paired}
    found = compared(0.02, 0.01, 0.03).model_copy(update=update)
    assert said in verdict(report.model_copy(update={"comparisons": (found,)}))[0]


def with_student_at(report, accuracy, seeds=1):
    """`report` of a student with that accuracy, whose comparisons are not made."""
    scores = {**report.systems["student"].mean, "accuracy": accuracy}
    update = {"seeds": (scores,) * seeds, "mean": scores, "sd": None}
    student = report.systems["student"].model_copy(update=update)
    systems = {**report.systems, "student": student}
    return report.model_copy(update={"systems": systems, "comparisons": ()})


def test_a_student_no_better_than_a_floor_is_told_so_in_the_headline(make_report):
    """65.0 % beside a majority class of 65.0 %, two rows of a table that nobody compared."""
    report, _ = make_report(NAMES)
    assert below_floor(report) == ""
    assert not [sentence for sentence in verdict(report) if "floor" in sentence]
    best = report.systems["linear_pseudo_label"]  # of three
    floor = best.mean["accuracy"]
    assert floor > report.systems["linear_gold"].mean["accuracy"]
    told = below_floor(with_student_at(report, floor))
    share = f"{100 * floor:.1f} %"
    assert told == (
        f"no better than a floor: the student's accuracy is {share}, that of the floor linear "
        f"TF-IDF (pseudo-labels) {share}"
    )
    poor = with_student_at(report, floor - 0.02)
    update = {"name": "student_minus_linear_pseudo_label", "against": "linear_pseudo_label"}
    found = compared(-0.02, -0.05, 0.01).model_copy(update=update)
    poor = poor.model_copy(update={"comparisons": (found,)})
    assert below_floor(poor).endswith(
        f" {share} (difference −2.0 points, 95 % interval −5.0 to +1.0)"
    )
    assert verdict(poor)[1] == f"N{below_floor(poor)[1:]}."


@pytest.mark.parametrize(("more", "told"), [(0.0, True), (1e-16, True), (0.001, False)])
def test_equal_means_are_no_gain_however_they_round(make_report, more, told):
    """A mean of three equal seeds is above them in its last bit: a gain over the floor."""
    report, _ = make_report(NAMES)
    floor = report.systems["linear_pseudo_label"].mean["accuracy"]
    assert bool(below_floor(with_student_at(report, floor + more, seeds=3))) is told


def test_where_no_floor_was_scored_nothing_is_said_of_one(make_report):
    """`no better than a floor` of a run that has none."""
    report, _ = make_report(NAMES, systems=("teacher", "student"))
    assert below_floor(with_student_at(report, 0.0)) == ""


def test_a_missing_baseline_is_said(make_report):
    """Silence about the gain reads as a gain."""
    report, _ = make_report(NAMES, systems=("teacher", "student", "majority"))
    assert "was not measured" in verdict(report)[-1]


@pytest.mark.parametrize(
    ("value", "text"), [(0.006, "+0.6"), (-0.021, "−2.1"), (-0.0001, "0.0"), (0.0004, "0.0")]
)
def test_points_never_show_minus_zero(value, text):
    """`−0.0` starts arguments."""
    assert points(value) == text


def test_units_are_decimal():
    """A MiB reported as MB passes a size gate it should not."""
    assert count(22_728_000) == "22.7 M"
    assert count(931_000) == "931 k"
    assert count(412) == "412"
    assert megabytes(90_900_000) == "90.9 MB"
    assert language_name("zh-Hans") == "Chinese"
    assert language_name("eo") == "eo"


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.95, "95 %"), (0.995, "99.5 %"), (0.9999, "99.99 %"), (0.9, "90 %")]
)
def test_no_interval_covers_everything(make_report, fraction, text):
    """`100 % interval`: a certainty that nobody can have."""
    assert coverage(fraction) == text
    report, _ = make_report(NAMES)
    found = compared(0.02, 0.01, 0.03).model_copy(update={"confidence": fraction})
    assert f"({text} interval" in comparison_sentence(found, report)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (1_750_000, "10.0 times fewer than the teacher's 17.5 M."),
        (17_500_000, "The student has 17.5 M parameters, the teacher 17.5 M."),
        (35_000_000, "The student has 35.0 M parameters, the teacher 17.5 M."),
    ],
)
def test_a_student_of_its_teachers_size_is_not_called_smaller(make_report, parameters, said):
    """`1.0 times fewer` of a model that teaches its like, `0.5 times fewer` of a larger one."""
    report, _ = make_report(NAMES)
    sizes = {"student": parameters, "teacher": 17_500_000}
    systems = {
        name: one.model_copy(update={"num_parameters": sizes.get(name, one.num_parameters)})
        for name, one in report.systems.items()
    }
    assert said in verdict(report.model_copy(update={"systems": systems}))[1]
