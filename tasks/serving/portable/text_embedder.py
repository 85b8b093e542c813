"""Sentence vectors of texts, which MLflow loads anywhere.

    text ─ normalise ─ tokenise ─ network ─► a vector of unit length

Ask it with a table that has the string column `text`:

    model = mlflow.pyfunc.load_model("models:/<name>@champion")
    found = model.predict(pd.DataFrame({"text": ["怎么退货？", "退货流程是什么？"]}))
    vectors = np.stack(found["embedding"])
    likeness = vectors @ vectors.T      # cosines

The vectors lie where the teacher's vectors of the same meaning lie, so texts of its language that
*it* has embedded (normalised to unit length) are found by them. Texts beyond the training length
are cut there, as in training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model

from tasks.serving.portable.whole_texts import WholeTextEncoder


class TextEmbedder(WholeTextEncoder):
    """Vectors of texts. See the module's text for input and output."""

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> Any:
        """Embed texts.

        Args:
            context: MLflow's, unused: files are read in `load_context`.
            model_input: a DataFrame with a string column `text`.
            params: `variant` safetensors (the evaluated network) or onnx_int8 (smaller, nearly the
                same vectors); `batch_size` >= 1, texts a forward pass.
        Returns: a DataFrame with the input's index: `embedding`, a list of numbers a text.
        Raises: MlflowException (HTTP 400) naming rows or parameters that cannot be used.
        """
        vectors = np.array(self.text_logits(model_input, params or {}), np.float64)
        return pd.DataFrame({"embedding": list(vectors.tolist())}, index=model_input.index)


set_model(TextEmbedder())
