"""What the tests of every compared problem share: one small evaluation."""

import pytest

from data_contracts.evaluation import EvaluationReport
from tasks.evaluation import STAGE, Config, SpeedConfig
from tasks.runtime.stages import run_stage


@pytest.fixture(scope="session")
def evaluate():
    """(artifact, report) of students of Chinese texts, timed as briefly as can be."""

    def evaluate(store, inputs, problem):
        config = Config(
            recipe="tiny",
            problem=problem,
            source_language="en",
            target_language="zh",
            num_resamples=100,
            speed=SpeedConfig(num_threads=1, latency_texts=2, round_texts=2, max_rounds=1),
        )
        artifact = run_stage(STAGE, config, inputs, store=store).artifact
        report = (artifact.path / "report.json").read_bytes()
        return artifact, EvaluationReport.model_validate_json(report)

    return evaluate
