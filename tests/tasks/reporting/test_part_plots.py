"""What is drawn of parts, classes and curves is what the report holds."""

import numpy as np
import pytest

from data_contracts.evaluation import ClassRow, ClassTable, Curve, Group
from tasks.reporting.part_plots import classes_figure, curve_figure, parts_figure
from tasks.reporting.tables import group_table

NAMES = ("on", "off")


def marks(axes):
    """Of each named mark or line: (x values, y values)."""
    return {line.get_label(): (line.get_xdata(), line.get_ydata()) for line in axes.get_lines()}


def group(column, value, num_examples=30, **scores):
    """Accuracies of systems on one part."""
    return Group(
        column=column,
        value=value,
        num_examples=num_examples,
        scores={name: {"accuracy": score} for name, score in scores.items()},
    )


def row(label, figure, support=5):
    """A class whose precision, recall and F1 are told apart."""
    return ClassRow(
        label=label, precision=figure, recall=figure / 2, f1=figure / 4, support=support
    )


def table(rows):
    """A class table; sums are not drawn."""
    return ClassTable(
        system="student, seed 0",
        accuracy=None,
        unit="entity type",
        rows=rows,
        micro=row("micro", 0),
        macro=row("macro", 0),
        weighted=row("weighted", 0),
    )


def test_each_part_has_the_score_of_its_own_line(make_report):
    """A mark on the next line says that hotels fail when books do."""
    report, _ = make_report(NAMES, num_examples=40)
    systems = {**report.systems, "teacher_on_target": report.systems["teacher"]}
    report = report.model_copy(
        update={
            "systems": systems,
            "groups": (
                group("domain", "films", teacher_on_target=0.375),
                group("domain", "书", student=0.5, pseudo_label=0.25, majority=0.1),
                group("domain", "hotels", student=0.75, pseudo_label=0.625, majority=0.1),
                group("domain (en)", "films", teacher=0.875),
            ),
        }
    )
    figure = parts_figure(report)
    domains, english = figure.axes
    assert domains.get_title() == "domain"
    found = marks(domains)
    # The floor is in the table alone.
    assert [*found] == ["Student (distilled)", "Hard pseudo-labels", "Teacher, same rows"]
    xs, ys = found["Student (distilled)"]
    assert ([*xs], [*ys]) == ([50, 75], [1, 2])
    lines = [text.get_text() for text in domains.get_yticklabels()]
    # The font has no such glyph: its line in the table is the second.
    assert lines == ["films (30)", "part 2 (30)", "hotels (30)"]
    table = [row[0] for row in group_table(report).rows]
    assert table[1] == "2 domain: 书"
    assert domains.get_ylim()[0] > domains.get_ylim()[1], "the first line is on top"
    assert [*marks(english)] == ["Teacher, its own rows"]
    assert domains.get_xlim() == english.get_xlim(), "equal places are equal scores"
    [legend] = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert len(set(names)) == len(names) == 4


def test_of_many_parts_the_largest_are_drawn(make_report):
    """Two hundred domains make a plot that no browser shows; the small ones say least."""
    report, _ = make_report(NAMES, num_examples=40)
    sizes = np.random.default_rng(0).permutation(60) + 1
    parts = tuple(
        group("domain", f"d{i:03}", num_examples=int(size), student=0.5)
        for i, size in enumerate(sizes)
    )
    [axes] = parts_figure(report.model_copy(update={"groups": parts})).axes
    lines = [text.get_text() for text in axes.get_yticklabels()]
    assert lines == [f"d{i:03} ({size})" for i, size in enumerate(sizes) if size > 10]


def test_classes_show_precision_recall_and_f1():
    """Recall drawn as precision: a model that invents names looks like one that misses them."""
    figure = classes_figure(table((row("LOC", 0.8), row("ORG", 0.4), row("never", 0.0, support=0))))
    found = marks(figure.axes[0])
    assert [*found] == ["precision", "recall", "F1"]
    for name, scale in (("precision", 1), ("recall", 0.5), ("F1", 0.25)):
        assert found[name][0] == pytest.approx([80 * scale, 40 * scale])
    lines = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert lines == ["LOC (5)", "ORG (5)"]


def test_of_many_classes_the_worst_are_drawn():
    """The two classes that fail are what the plot is for."""
    figures = np.random.default_rng(0).permutation(60) / 100
    rows = tuple(row(f"c{i:02}", float(figure)) for i, figure in enumerate(figures))
    lines = [text.get_text() for text in classes_figure(table(rows)).axes[0].get_yticklabels()]
    assert lines == [f"c{i:02} (5)" for i, figure in enumerate(figures) if figure < 0.495]


@pytest.mark.parametrize("is_share", [True, False])
def test_a_curve_goes_through_its_points(make_report, is_share):
    """A share drawn as a number of things, or a number of things times a hundred."""
    report, _ = make_report(NAMES, num_examples=40)
    points = ((0.5, 0.75), (1.0, 0.5))
    curve = Curve(
        name="surest", title="t", caption="c", x="x", x_is_share=is_share, y="y",
        points={"student": points, "teacher_on_target": points, "majority": points},
    )  # fmt: skip
    [axes] = curve_figure(curve, report).axes
    found = marks(axes)
    assert [*found] == ["Student (distilled)", "Teacher", "Majority class"]
    xs, ys = found["Student (distilled)"]
    assert xs == pytest.approx(np.array([50, 100] if is_share else [0.5, 1]))
    assert ys == pytest.approx([75, 50])
    assert axes.get_xlabel() == ("x, %" if is_share else "x")
