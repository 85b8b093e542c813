"""A text classifier that MLflow loads anywhere: it needs its listed requirements and nothing else.

Ask it with a table that has a string column `text`, a Series of that name, or records such as
`[{"text": "…"}]`; MLflow turns each into the table and refuses what lacks the column:

    model = mlflow.pyfunc.load_model("models:/<name>@champion")
    model.predict(pd.DataFrame({"text": ["打开客厅的灯"]}), params={"variant": "onnx_int8"})

Texts beyond the training length are cut there, as in training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model

from tasks.serving.portable.base import best_labels, positive, softmax
from tasks.serving.portable.whole_texts import WholeTextEncoder


class TextClassifier(WholeTextEncoder):
    """Labels and confidences of texts. See the module's text for input and output."""

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> Any:
        """Classify texts.

        Args:
            context: MLflow's, unused: files are read in `load_context`.
            model_input: a DataFrame with a string column `text`.
            params: `variant` safetensors (the evaluated network) or onnx_int8 (smaller, nearly the
                same answers); `top_k` >= 1, how many labels to list; `batch_size` >= 1, texts a
                forward pass.
        Returns: a DataFrame with the input's index: `label`, `score` (softmax probability), and if
            top_k > 1 the lists `labels` and `scores`, best first.
        Raises: MlflowException (HTTP 400) naming rows or parameters that cannot be used.
        """
        params = params or {}
        logits = np.array(self.text_logits(model_input, params), np.float32)
        probabilities = softmax(logits.reshape(-1, len(self.labels)))
        answers = best_labels(self.labels, probabilities, positive(params, "top_k", 1))
        return pd.DataFrame(answers, index=model_input.index)


set_model(TextClassifier())
