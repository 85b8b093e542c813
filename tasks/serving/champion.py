"""The challenger against the current champion: on the same test examples if both answered them."""

from __future__ import annotations

from pathlib import Path

from data_contracts.evaluation import EvaluationReport, Gate
from tasks.serving.gates import GatesConfig, champion_gate
from tasks.serving.registry import CHAMPION, Registry

PREDICTIONS = "evaluation/predictions"


def compare_with_champion(
    config: GatesConfig,
    model_name: str,
    report: EvaluationReport,
    evaluation: Path,
    registry: Registry,
) -> Gate | None:
    """The gate `not_worse_than_champion`, or None if it is off or there is no champion yet.

    The champion's own answers were kept with its run. If they are about the same examples, the
    difference is paired, with a bootstrap interval; otherwise only two recorded accuracies can be
    compared, and the gate's detail says so.
    """
    version = registry.aliases(model_name).get(CHAMPION)
    if version is None or config.not_worse_than_champion_by is None:
        return None
    recorded = registry.tags(model_name, version).get("accuracy")
    delivered = report.variants["safetensors"].accuracy
    with registry.run_files(model_name, version, PREDICTIONS) as theirs:
        paired = _paired(
            delivered_predictions(evaluation / "predictions"), delivered_predictions(theirs)
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
    if recorded is None:
        return None  # a champion that was not registered by Decant: nothing to compare with
    return champion_gate(
        config,
        difference=delivered - float(recorded),
        low=None,
        detail=f"minus champion (version {version}): accuracy {delivered:.1%} here, "
        f"{float(recorded):.1%} on record; the test examples are not the same, so no interval",
    )


def delivered_predictions(folder: Path | None) -> Path | None:
    """The file with the answers of the student that is delivered: seed 0."""
    if folder is None:
        return None
    path = folder / "student_0.parquet"
    return path if path.is_file() else None


def _paired(ours: Path | None, theirs: Path | None) -> tuple[float, float, float, int] | None:
    """(difference, low, high, examples), or None if the examples are not the same."""
    import numpy as np

    from tasks.corpus.tables import read_table
    from tasks.metrics.intervals import difference_interval, resample_scores

    if ours is None or theirs is None:
        return None
    columns = ["example_id", "label", "prediction"]
    mine, other = (read_table(path, columns).sort_by("example_id") for path in (ours, theirs))
    same = ("example_id", "label")
    if any(mine[name].to_pylist() != other[name].to_pylist() for name in same):
        return None
    # Only right or wrong matters, so label sets of another size or order do no harm.
    right = [
        np.equal(table["prediction"].to_pylist(), table["label"].to_pylist()).astype(np.int64)
        for table in (mine, other)
    ]
    scores = resample_scores(
        np.ones_like(right[0]), [row[None] for row in right], metric="accuracy", num_classes=2
    )
    found = difference_interval(*scores)
    return found.estimate, found.low, found.high, len(right[0])
