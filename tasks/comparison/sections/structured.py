"""Answers that are more than the name of a class, as rows of `predictions_structured`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.metrics.systems import Answers

CONTRACT = "predictions_structured"


def structured_predictions(
    answers: Answers,
    seed_index: int,
    *,
    names: Sequence[str] | None = None,
    labels: Sequence[Any] | None = None,
) -> tuple[str, pa.Table]:
    """Contract and table of one seed: right answer and answer as JSON, confidence where known.

    Args:
        names: if answers are sets of class indices, the classes' names.
        labels: what stands in the place of the right answers, if they are not to be written.
    """

    def written(answer: Any) -> str:
        if names is not None:
            answer = [names[i] for i in answer]
        return json.dumps(answer, ensure_ascii=False)

    sure = None if answers.confidences is None else answers.confidences[seed_index]
    confidence = [None] * answers.num_examples if sure is None else np.clip(sure, 0.0, 1.0)
    return CONTRACT, pa.table(
        {
            "example_id": pa.array(answers.example_ids, pa.string()),
            "label": pa.array(
                map(written, answers.labels if labels is None else labels), pa.string()
            ),
            "prediction": pa.array(map(written, answers.predictions[seed_index]), pa.string()),
            "confidence": pa.array(confidence, pa.float32()),
        }
    )
