"""Reports as the console shows them."""

import io
import json

import pytest
from rich.console import Console

from data_contracts.errors import SourceError
from flows.runs.pointers import RunLog
from flows.runs.results import print_report, read_report, step_folder
from tests.tasks.reporting.conftest import build_report


def test_a_report_of_an_older_form_is_refused_with_a_remedy(tmp_path):
    """A traceback of forty missing fields tells nobody to run the recipe again."""
    old = {"format_version": 1, "recipe": "quickstart", "systems": {}}
    (tmp_path / "report.json").write_text(json.dumps(old))
    with pytest.raises(SourceError, match=r"format 1\).*reads \(format 2\)") as refused:
        read_report(tmp_path)
    assert "run the recipe again" in refused.value.remedy


def test_a_report_that_is_not_there_is_told_with_the_command_that_makes_it(tmp_path):
    """`decant run support-topics` for my.yaml: there is no recipe of that name."""
    with RunLog(tmp_path, "tiny").run(("corpus",)):
        pass
    with pytest.raises(SourceError) as refused:
        step_folder(tmp_path, "support-topics", "evaluation", asked_as="my data/my.yaml")
    assert refused.value.remedy == "run it: decant run 'my data/my.yaml'"
    assert refused.value.rule.endswith("recipes run there: tiny")


def test_a_report_that_knows_of_no_warnings_is_still_read(tmp_path):
    """An upgrade after which no registered model's report can be shown."""
    report, _ = build_report(("on", "off"), num_examples=40)
    written = json.loads(report.model_dump_json())
    for name in ("warnings", "learning", "agreement_by_language"):
        del written[name]
    (tmp_path / "report.json").write_text(json.dumps(written))
    assert read_report(tmp_path) == report


def test_warnings_are_shown_with_the_result():
    """A cached run says nothing while it trains: the result is the last place to say it."""
    report, _ = build_report(("on", "off"), num_examples=40)
    warned = report.model_copy(update={"warnings": ("texts share one [vector]: collapsed",)})
    stream = io.StringIO()
    print_report(warned, Console(file=stream, width=200))
    assert "warning: texts share one [vector]: collapsed" in stream.getvalue()


def test_a_student_below_a_floor_is_told_with_the_result():
    """The majority class is a row of the table, and the student is registered without a word."""
    report, _ = build_report(("on", "off"), num_examples=40)
    for accuracy, told in ((0.99, False), (0.3, True)):
        scores = {**report.systems["student"].mean, "accuracy": accuracy}
        student = report.systems["student"].model_copy(update={"mean": scores})
        changed = report.model_copy(update={"systems": {**report.systems, "student": student}})
        stream = io.StringIO()
        print_report(changed, Console(file=stream, width=200))
        said = "warning: no better than a floor: the student's accuracy is 30.0 %, that of the"
        assert (said in stream.getvalue()) is told
