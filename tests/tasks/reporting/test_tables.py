"""The result table, as every reader of it gets it."""

from tasks.reporting.tables import comparison_table, markdown, result_table

NAMES = ("on", "off", "play")


def test_every_system_has_a_line_and_what_was_not_measured_is_a_dash(make_report):
    """An empty cell read as zero makes a floor the fastest system."""
    report, _ = make_report(NAMES)
    table = result_table(report)
    assert [row[0] for row in table.rows][:4] == [
        "Teacher",
        "Student (distilled)",
        "Student, int8 ONNX (seed 0)",
        "Same student (hard pseudo-labels)",
    ]
    assert len(table.rows) == len(report.systems) + 1
    assert all(len(row) == len(table.header) for row in table.rows)
    student = report.systems["student"]
    assert (
        table.rows[1][2]
        == f"{100 * student.mean['accuracy']:.1f} ± {100 * student.sd['accuracy']:.1f}"
    )
    assert "±" not in table.rows[0][2]
    assert table.rows[-1][-4:] == ("–", "–", "–", "–")
    assert len(comparison_table(report).rows) == len(report.comparisons)


def test_markdown_survives_pipes(make_report):
    """A pipe in a display name would shift every figure one column to the right."""
    report, _ = make_report(NAMES)
    systems = dict(report.systems)
    systems["teacher"] = systems["teacher"].model_copy(update={"display": "A|B"})
    lines = markdown(result_table(report.model_copy(update={"systems": systems}))).splitlines()
    unescaped = {line.replace("\\|", "").count("|") for line in lines}
    assert unescaped == {len(result_table(report).header) + 1}
