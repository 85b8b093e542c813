"""What `decant run` prints at its end."""

import os
import subprocess
import sys

import pytest

from tasks.serving.registry.registry import Registry

pytestmark = pytest.mark.slow


def test_aliases_are_those_of_now(tiny, in_a_copy, monkeypatch):
    """The model that was rolled back is called champion by every nightly run after that."""
    monkeypatch.setenv("DECANT_HOME", str(in_a_copy.home))
    # MLflow writes it into the environment, and later tests would inherit it.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{in_a_copy.home / 'mlflow.db'}")
    client = Registry().client
    client.delete_registered_model_alias("tiny-en-zh", "challenger")
    run = ("run", tiny / "recipe.yaml", "--no-orchestrator")
    done = in_a_copy(*run, check=0)
    assert "built in" not in done.stderr
    assert "model   tiny-en-zh, version 1 (champion)\n" in done.stdout
    client.delete_registered_model_alias("tiny-en-zh", "champion")
    assert "model   tiny-en-zh, version 1\n" in in_a_copy(*run, check=0).stdout


def test_a_student_no_better_than_a_floor_is_told_and_refused_where_that_is_asked(tiny, in_a_copy):
    """The tiny student knows less than a linear classifier, and is registered without a word."""
    run = ("run", tiny / "recipe.yaml", "--no-orchestrator")
    told = "  warning: no better than a floor: the student's accuracy is "
    assert told in in_a_copy(*run, check=0).stdout
    (page,) = (in_a_copy.home / "artifacts" / "evaluation").glob("*/report.html")
    assert "No better than a floor: the student&#39;s accuracy is " in page.read_text("utf-8")
    refused = in_a_copy(*run, "--set", "registration.gates.min_gain_over_floor=0", check=4)
    assert "built in" not in refused.stderr  # nothing is trained or measured for it
    assert told in refused.stdout
    assert " did not pass 1 of " in refused.stderr
    assert "gain_over_floor: -" in refused.stderr
    assert "allowed 0 by min_gain_over_floor: 0 (Student" in " ".join(refused.stderr.split())
    listed = in_a_copy("status", check=0).stdout
    assert "tiny-en-zh version 1 (challenger, champion)" in listed
    assert "version 2" not in listed


def test_a_run_prints_what_it_made_and_not_what_another_has_used_last(tiny, in_a_copy):
    """Two versions of a recipe are tried at once, and one shows the other's figures as its own."""
    # Another run of a recipe of that name ends between the last step and the printing.
    code = """
import sys
from pathlib import Path
from flows.commands import run as command

real, (recipe, runs) = command.run_pipeline, sys.argv[1:]

def run_pipeline(*arguments, **options):
    real(*arguments, **options)
    for pointer in Path(runs).glob("*.json"):
        pointer.write_text("another's")

command.run_pipeline = run_pipeline
command.run(recipe, no_orchestrator=True)
"""
    runs = in_a_copy.home / "runs" / "tiny"
    done = subprocess.run(
        [sys.executable, "-c", code, tiny / "recipe.yaml", runs],
        env={**os.environ, "DECANT_HOME": str(in_a_copy.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (runs / "evaluation.json").read_text() == "another's"
    (report,) = (in_a_copy.home / "artifacts" / "evaluation").glob("*/report.html")
    assert f"report  {report}\n" in done.stdout
    assert "model   tiny-en-zh, version 1 (challenger, champion)\n" in done.stdout
