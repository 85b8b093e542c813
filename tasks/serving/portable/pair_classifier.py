"""A classifier of pairs of texts (do they match, does one follow?), which MLflow loads anywhere.

    text, text_b ─ normalise ─ tokenise as one pair ─ network ─ softmax ─ label and score

Ask it with a table that has the string columns `text` and `text_b`:

    model = mlflow.pyfunc.load_model("models:/<name>@champion")
    model.predict(pd.DataFrame({"text": ["怎么退货？"], "text_b": ["退货流程是什么？"]}))

The pair is joined by the template of the model's tokenizer. A pair beyond the training length loses
tokens at the end of its longer text, as in training.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model

from tasks.serving.portable.foundation import (
    PortableModel,
    best_labels,
    positive,
    softmax,
)


class PairClassifier(PortableModel):
    """Labels and confidences of pairs. See the module's text for input and output."""

    def read(self, file: Callable[[str], Path]) -> None:
        """Labels, settings and the tokenizer, which cuts texts as in training."""
        super().read(file)
        self.tokenizer.enable_truncation(self.max_length_tokens, strategy="longest_first")

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> Any:
        """Classify pairs.

        Args:
            context: MLflow's, unused: files are read in `load_context`.
            model_input: a DataFrame with the string columns `text` and `text_b`.
            params: `variant` safetensors (the evaluated network) or onnx_int8 (smaller, nearly the
                same answers); `top_k` >= 1, how many labels to list; `batch_size` >= 1, pairs a
                forward pass.
        Returns: a DataFrame with the input's index: `label`, `score` (softmax probability), and if
            top_k > 1 the lists `labels` and `scores`, best first.
        Raises: MlflowException (HTTP 400) naming rows or parameters that cannot be used.
        """
        params = params or {}
        network = self.network(params)
        first, second = (self.texts(model_input[name], name) for name in ("text", "text_b"))
        encodings = self.tokenizer.encode_batch(list(zip(first, second, strict=True)))
        found = self.logits(network, [encoding.ids for encoding in encodings], params)
        probabilities = softmax(np.array(found, np.float32).reshape(-1, len(self.labels)))
        answers = best_labels(self.labels, probabilities, positive(params, "top_k", 1))
        return pd.DataFrame(answers, index=model_input.index)


set_model(PairClassifier())
