"""The challenger against the current champion: on the same test examples if both answered them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.evaluation import EvaluationReport, Gate
from tasks.serving.registry.gates import GatesConfig, champion_gate
from tasks.serving.registry.registry import CHAMPION, Registry

if TYPE_CHECKING:
    from tasks.metrics.statistics import Measure

STATISTICS = "evaluation/statistics"


def compare_with_champion(
    config: GatesConfig,
    model_name: str,
    report: EvaluationReport,
    evaluation: Path,
    registry: Registry,
) -> Gate | None:
    """The gate `not_worse_than_champion`, or None if it is off or there is no champion yet.

    What each example added to the champion's score was kept with its run. If it is about the same
    examples, the difference is paired, with a bootstrap interval; otherwise only two recorded
    scores can be compared, and the gate's detail says so. A champion judged by another metric is
    of another problem: nothing to compare with.
    """
    version = registry.aliases(model_name).get(CHAMPION)
    if version is None or config.not_worse_than_champion_by is None:
        return None
    from tasks.metrics.measures import primary_measure

    measure = primary_measure(report.primary.name, target_language=report.target_language)
    recorded = registry.tags(model_name, version).get(measure.name)
    if recorded is None:
        return None
    delivered = report.variants["safetensors"].scores[measure.name]
    with registry.run_files(model_name, version, STATISTICS) as theirs:
        paired = _paired(
            delivered_statistics(evaluation / "statistics"), delivered_statistics(theirs), measure
        )
    if paired is not None:
        difference, low, high, num_examples = paired
        return champion_gate(
            config,
            difference=difference,
            low=low,
            detail=f"minus champion (version {version}): {100 * difference:+.1f} points "
            f"[{100 * low:+.1f}, {100 * high:+.1f}] at 95%, paired on the same {num_examples} test "
            "examples; asked of the lower end",
        )
    return champion_gate(
        config,
        difference=delivered - float(recorded),
        low=None,
        detail=f"minus champion (version {version}): "
        f"{report.primary.display} {delivered:.1%} here, "
        f"{float(recorded):.1%} on record; the test examples are not the same, so no interval",
    )


def delivered_statistics(folder: Path | None) -> Path | None:
    """The file about the student that is delivered: seed 0."""
    if folder is None:
        return None
    path = folder / "student_0.parquet"
    return path if path.is_file() else None


def _paired(
    ours: Path | None, theirs: Path | None, measure: Measure
) -> tuple[float, float, float, int] | None:
    """(difference, low, high, examples), or None if the examples are not the same."""
    import numpy as np

    from tasks.corpus.tables import read_table
    from tasks.metrics.intervals import difference_interval, resample_scores
    from tasks.metrics.statistics import rows

    if ours is None or theirs is None:
        return None
    mine, other = (read_table(path).sort_by("example_id") for path in (ours, theirs))
    same = ("example_id", "gold")
    if any(mine[name].to_pylist() != other[name].to_pylist() for name in same):
        return None
    found = [[rows(np.array(table["statistics"].to_pylist()))] for table in (mine, other)]
    interval = difference_interval(*resample_scores(found, score=measure.score))
    return interval.estimate, interval.low, interval.high, len(mine)
