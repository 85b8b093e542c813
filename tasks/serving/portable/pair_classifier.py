"""A classifier of pairs of texts (do they match, does one follow?), which MLflow loads anywhere.

    text, text_b ─ normalise ─ tokenise as one pair ─ network ─ softmax ─ label and score

Ask it with a table that has the string columns `text` and `text_b`:

    model = mlflow.pyfunc.load_model("models:/<name>@champion")
    model.predict(pd.DataFrame({"text": ["怎么退货？"], "text_b": ["退货流程是什么？"]}))

The pair is joined by the template of the model's tokenizer. A pair beyond the training length loses
tokens at the end of its longer text, as in training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model

from tasks.corpus.text.truncation import longest_first
from tasks.serving.portable.base import (
    PortableModel,
    best_labels,
    positive,
    softmax,
)
from tasks.serving.portable.frames import special_tokens


class PairClassifier(PortableModel):
    """Labels and confidences of pairs. See the module's text for input and output."""

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
        found = self.logits(network, self.tokenize(first, second), params)
        probabilities = softmax(np.array(found, np.float32).reshape(-1, len(self.labels)))
        answers = best_labels(self.labels, probabilities, positive(params, "top_k", 1))
        return pd.DataFrame(answers, index=model_input.index)

    def tokenize(self, firsts: list[str], seconds: list[str]) -> list[list[int]]:
        """Token ids of normalised pairs, cut at the training length.

        They are cut here, because a tokenizer that cuts pairs also makes every combination of what
        it cut off: of two texts of 8,000 tokens 16,509 pieces in 1.8 GB, of 40,000 the end of the
        server.
        """
        before, between, after = special_tokens(self.tokenizer, pair=True)
        room = self.max_length_tokens - len(before) - len(between) - len(after)
        sides = [
            self.tokenizer.encode_batch(texts, add_special_tokens=False)
            for texts in (firsts, seconds)
        ]
        first_lengths, second_lengths = (
            np.array([len(one.ids) for one in side], dtype=np.int64) for side in sides
        )
        kept = longest_first(first_lengths, second_lengths, room)
        found = []
        for first, second, num_first, num_second in zip(*sides, *kept, strict=True):
            texts = first.ids[:num_first], second.ids[:num_second]
            found.append([*before, *texts[0], *between, *texts[1], *after])
        return found


set_model(PairClassifier())
