"""A classifier of texts that carry any number of labels, which MLflow loads anywhere.

    text ─ normalise ─ tokenise ─ network ─ sigmoid ─ every label over its threshold

Ask it with a table that has a string column `text`:

    model = mlflow.pyfunc.load_model("models:/<name>@champion")
    model.predict(pd.DataFrame({"text": ["…"]}), params={"all_scores": True})

Each label has a threshold of its own, tuned on validation texts and kept in serving.json.
Texts beyond the training length are cut there, as in training.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model

from tasks.serving.portable.whole_texts import WholeTextEncoder


class MultilabelClassifier(WholeTextEncoder):
    """Labels of texts, none, one or several. See the module's text for input and output."""

    def read(self, file: Callable[[str], Path]) -> None:
        """What any model of texts has, and the labels' thresholds."""
        super().read(file)
        self._thresholds = np.array(self.settings["thresholds"], np.float64)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> Any:
        """Label texts.

        Args:
            context: MLflow's, unused: files are read in `load_context`.
            model_input: a DataFrame with a string column `text`.
            params: `variant` safetensors (the evaluated network) or onnx_int8 (smaller, nearly the
                same answers); `all_scores`, whether to list the labels under their thresholds too;
                `batch_size` >= 1, texts a forward pass.
        Returns: a DataFrame with the input's index: `labels`, the labels at or over their
            thresholds, most probable first, and `scores`, their probabilities; with all_scores
            also `all_labels` and `all_scores`, of every label in the model's order.
        Raises: MlflowException (HTTP 400) naming rows or parameters that cannot be used.
        """
        params = params or {}
        found = self.text_logits(model_input, params)
        answers: dict[str, list[Any]] = {"labels": [], "scores": []}
        probabilities = [1 / (1 + np.exp(-logits.astype(np.float64))) for logits in found]
        for row in probabilities:
            chosen = np.flatnonzero(row >= self._thresholds)
            chosen = chosen[np.argsort(-row[chosen], kind="stable")]
            answers["labels"].append([self.labels[place] for place in chosen])
            answers["scores"].append([float(row[place]) for place in chosen])
        if params.get("all_scores", False):
            answers["all_labels"] = [list(self.labels) for _ in probabilities]
            answers["all_scores"] = [row.tolist() for row in probabilities]
        return pd.DataFrame(answers, index=model_input.index)


set_model(MultilabelClassifier())
