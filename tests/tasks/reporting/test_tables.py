"""The result table, as every reader of it gets it."""

from data_contracts.evaluation import Course, LanguageAgreement, Learning
from tasks.reporting.tables import (
    comparison_table,
    drift_table,
    language_table,
    markdown,
    result_table,
    share_table,
)

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


def test_shares_and_drift_are_told_at_three_validations_in_their_units():
    """KL printed as percentage points, or the last step's figure taken for the delivered one."""
    learning = Learning(
        first_step=10,
        best_step=1200,
        last_step=2000,
        shares=(
            Course(name="kd", first=0.9, best=0.755, last=0.2),
            Course(name="hard", first=0.1, best=0.245, last=0.8),
        ),
        drift=(
            Course(name="peer_1_macro_f1", first=0.0, best=-0.0123, last=0.02),
            Course(name="peer_1_kl", first=0.0, best=0.03125, last=0.1),
        ),
    )
    shares, drift = share_table(learning), drift_table(learning)
    steps = ("First, step 10", "Delivered, step 1,200", "Last, step 2,000")
    assert shares.header[1:] == tuple(f"{step} %" for step in steps)
    assert shares.rows == (("kd", "90.0", "75.5", "20.0"), ("hard", "10.0", "24.5", "80.0"))
    assert drift.header[1:] == steps
    assert drift.rows == (
        ("Macro f1, points", "0.0", "−1.2", "+2.0"),
        ("KL from its former self, nats", "0.0000", "0.0312", "0.1000"),
    )


def test_agreement_says_in_which_language_and_on_which_rows(make_report):
    """Agreement on rows that were trained on, read as agreement on new ones."""
    report, _ = make_report(NAMES)
    assert language_table(report).rows == ()
    found = (
        LanguageAgreement(language="zh", rows="test rows both read", num_rows=1200, agreement=0.9),
        LanguageAgreement(language="sw", rows="test rows both read", num_rows=40, agreement=0.455),
    )
    table = language_table(report.model_copy(update={"agreement_by_language": found}))
    assert table.rows == (
        ("Chinese", "90.0", "1,200", "test rows both read"),
        ("sw", "45.5", "40", "test rows both read"),
    )
