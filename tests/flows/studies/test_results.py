"""What a study found: the best trial, the front, and a table that leaves no trial out."""

import csv
import io

import pytest
from rich.console import Console

from flows.recipe.loading.files import read_recipe
from flows.studies.results import StudyResult, TrialRecord, print_study, write_results


def trial(number, value, milliseconds, *, flops=1000, state="complete", reason=""):
    values = {"distillation.alpha": number / 10, "student.architecture.pooling": "mean"}
    return TrialRecord(number, state, value, values, reason, milliseconds, flops, 10)


TRIALS = (
    trial(0, 0.80, 1.0),
    trial(1, 0.90, 2.0),
    trial(2, 0.85, 3.0),  # worse than 1, and slower
    trial(3, 0.90, 4.0, flops=900),  # as good as 1 with fewer operations, but slower
    trial(4, None, None, state="pruned", reason="behind the median"),
    trial(5, None, None, state="failed", reason="5 heads"),
    trial(6, 0.80, 1.0),  # as 0
)


@pytest.fixture
def result(tmp_path):
    return StudyResult(tmp_path, "tiny", "accuracy", lower_is_better=False, trials=TRIALS)


def test_the_front_holds_what_no_other_beats(result):
    """A plot that recommends a student which is both slower and worse."""
    for one in result.complete:
        beaten = any(
            other.value >= one.value
            and other.latency_ms_p50 <= one.latency_ms_p50
            and (other.value, other.latency_ms_p50) != (one.value, one.latency_ms_p50)
            for other in result.complete
        )
        # Of two that are alike the earlier one stands for both.
        assert (one in result.pareto) == (not beaten and one.number != 6), one.number


def test_the_best_of_equals_computes_less(result):
    """A winner that is as good as another and costs more."""
    assert result.best == TRIALS[3]
    losses = StudyResult(result.folder, "tiny", "loss", lower_is_better=True, trials=TRIALS)
    assert losses.best == TRIALS[0]
    ended = StudyResult(result.folder, "tiny", "loss", lower_is_better=True, trials=TRIALS[4:6])
    assert ended.best is None


def test_no_trial_is_missing_from_the_table(result):
    """Twenty trials asked for, seventeen shown, and no word of why three ended."""
    write_results(result, read_recipe("quickstart"))
    with (result.folder / "trials.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["trial"]) for row in rows] == [3, 1, 2, 0, 6, 4, 5]
    assert [row["front"] for row in rows] == ["", "yes", "", "yes", "", "", ""]
    assert [row["reason"] for row in rows][-2:] == ["behind the median", "5 heads"]
    assert (result.folder / "pareto.png").read_bytes().startswith(b"\x89PNG")
    best = (result.folder / "best.yaml").read_text(encoding="utf-8")
    assert best.startswith("# Trial 3, the best of 7: accuracy 0.9000 on validation rows")
    console = Console(file=io.StringIO(), width=120)
    print_study(result, console)
    assert "5 complete, 1 failed, 1 pruned" in console.file.getvalue()
