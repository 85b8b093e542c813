"""What scripts do alike that cut texts at the training length, as in training.

Shapes: C classes, or numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.serving.portable.base import PortableModel


class WholeTextModel(PortableModel):
    """Texts of the column `text`, read up to the training length."""

    def read(self, file: Callable[[str], Path]) -> None:
        """As every model, and the tokenizer cuts."""
        super().read(file)
        self.tokenizer.enable_truncation(self.max_length_tokens)

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """Token ids of normalised texts, cut at the training length."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]

    def input_ids(self, model_input: pd.DataFrame) -> list[list[int]]:
        """Token ids of the column `text`; rows without a text are refused by number."""
        return self.tokenize(self.texts(model_input["text"], "text"))


class WholeTextEncoder(WholeTextModel):
    """A network that says one thing of a whole text; a script adds `predict`."""

    def text_logits(self, model_input: pd.DataFrame, params: dict[str, Any]) -> list[np.ndarray]:
        """What the network that `params` asks for says of each row: (C,), float32."""
        network = self.network(params)
        return self.logits(network, self.input_ids(model_input), params)
