"""Plots that can be read whatever the classes are."""

import io
import warnings

import numpy as np
import pytest
from matplotlib import image

from tasks.comparison.sections.selective import selective_curves
from tasks.metrics.class_answers import MEASURES
from tasks.metrics.systems import group_scores
from tasks.reporting.plots import confusion_figure, draw_plots

NAMES = ("打开", "关闭", "play $music$", "a_very_long_class_name_that_would_fill_the_whole_page")


def test_all_plots_are_drawn_without_a_missing_glyph(make_report, histories):
    """Chinese class names become empty boxes on a machine without a CJK font."""
    report, answers = make_report(NAMES, num_examples=80)
    student = answers["student"]
    groups = group_scores(
        {"student": student}, ["书", "$5", "films", "posts"] * 20, MEASURES, column="domain"
    )
    curves = selective_curves({"student": student}, MEASURES[0])
    report = report.model_copy(update={"groups": groups, "curves": curves})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = draw_plots(report, (student.labels, student.predictions[0]), histories)
        # As of a problem without a single right class.
        found |= {"classes": draw_plots(report, None, {})["classes"]}
    assert set(found) == {
        "confusion_matrix", "classes", "reliability", "learning_curves", "quality_and_size",
        "parts", "surest_answers",
    }  # fmt: skip
    for png in found.values():
        pixels = image.imread(io.BytesIO(png), format="png")
        assert pixels.shape[0] > 300
        assert pixels[..., :3].std() > 0.02


def test_plots_are_the_same_bytes_twice(make_report, histories):
    """A timestamp inside a PNG makes two equal reports differ."""
    report, answers = make_report(NAMES, num_examples=60)
    student = answers["student"]
    first, second = (
        draw_plots(report, (student.labels, student.predictions[0]), histories) for _ in range(2)
    )
    assert first == second


def test_names_without_glyphs_are_numbers_of_the_class_table():
    """A wrong number sends the reader to another class."""
    figure = confusion_figure(np.array([1, 2, 3]), np.array([1, 2, 2]), NAMES)
    ticks = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert ticks == ["class 2", r"play \$music\$", "a_very_long_class_name_that…"]


@pytest.mark.parametrize("num_classes", [2, 40, 120])
def test_every_example_is_in_the_confusion_matrix(num_classes):
    """Pooling rare classes must not lose their examples."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_classes, 900)
    predictions = np.where(rng.random(900) < 0.7, labels, rng.integers(0, num_classes, 900))
    names = [f"c{i}" for i in range(num_classes)]
    figure = confusion_figure(labels, predictions, names)
    axes = figure.axes[0]
    shares = np.asarray(axes.images[0].get_array())
    assert shares.shape[0] <= 50
    assert shares.sum(axis=1) == pytest.approx(np.full(shares.shape[0], 100.0))
    if num_classes == 120:
        assert axes.get_yticklabels()[-1].get_text() == "71 others"


def test_no_history_gives_no_learning_curves(make_report):
    """An empty plot looks like a training that did nothing."""
    report, answers = make_report(NAMES, num_examples=40)
    student = answers["student"]
    assert "learning_curves" not in draw_plots(report, (student.labels, student.predictions[0]), {})
