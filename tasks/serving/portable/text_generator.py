"""A model that writes texts (translations, summaries, replies); MLflow loads it anywhere.

Ask it with a table that has a string column `text`, a Series of that name, or records such as
`[{"text": "…"}]`; MLflow turns each into the table and refuses what lacks the column:

    model = mlflow.pyfunc.load_model("models:/<name>@champion")
    model.predict(pd.DataFrame({"text": ["Open the window."]}), params={"num_beams": 1})

It searches as it was evaluated unless a parameter says otherwise; a parameter of -1 leaves the
model's own setting. Texts beyond the training length are cut there, as in training.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model

from tasks.serving.portable.base import (
    OWN_SETTING,
    PortableModel,
    batches,
    chosen,
    positive,
)
from tasks.serving.portable.whole_texts import WholeTextModel

ANSWER_COLUMNS = {"translation": "translation", "summarization": "summary", "generation": "reply"}


class TextWriter(WholeTextModel):
    """Texts written for texts. See the module's text for input and output."""

    def load_context(self, context: Any) -> None:
        """Read tokenizer and settings; the network itself is loaded when first asked."""
        super().load_context(context)
        self._writer: Any = None

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> Any:
        """Write a text for each text.

        Args:
            context: MLflow's, unused: files are read in `load_context`.
            model_input: a DataFrame with a string column `text`.
            params: `num_beams`, `min_length` and `max_length` (tokens), `no_repeat_ngram_size`,
                each -1 for the model's own; `batch_size` >= 1, texts written side by side.
        Returns: a DataFrame with the input's index and one column: `translation`, `summary` or
            `reply`.
        Raises: MlflowException (HTTP 400) naming rows or parameters that cannot be used.
        """
        params = params or {}
        search = self._search(params)
        input_ids = self.input_ids(model_input)
        written = [""] * len(input_ids)
        size = positive(params, "batch_size", 16)
        for rows, ids_BL, mask_BL in batches(input_ids, size, self.settings["pad_token_id"]):
            for row, text in zip(rows, self._write(ids_BL, mask_BL, search), strict=True):
                written[row] = text
        column = ANSWER_COLUMNS[self.settings["problem"]]
        return pd.DataFrame({column: written}, index=model_input.index, dtype=object)

    def _search(self, params: dict[str, Any]) -> dict[str, int]:
        """What the caller wants otherwise than the model's own settings, in transformers' terms."""
        limit = self.settings["max_target_tokens"]
        found: dict[str, int] = {}
        for name, lowest, highest in (
            ("num_beams", 1, 64),
            ("min_length", 0, limit - 1),
            ("max_length", 1, limit),
            ("no_repeat_ngram_size", 0, limit),
        ):
            value = int(chosen(params, name, OWN_SETTING))
            if value == OWN_SETTING:
                continue
            if not lowest <= value <= highest:
                raise MlflowException.invalid_parameter_value(
                    f"{name} is {value}: it must be between {lowest} and {highest}, or -1 for the "
                    "model's own setting"
                )
            # transformers counts the token that a decoder starts from.
            found[name] = value + 1 if name.endswith("length") and value else value
        most = found.get("max_length")
        if most is not None:
            least, whose = found.get("min_length"), ""
            if least is None:
                own = json.loads(self.file("generation_config.json").read_text("utf-8"))
                least, whose = own.get("min_length") or 0, " (the model's own)"
            if least > most:
                raise MlflowException.invalid_parameter_value(
                    f"min_length is {least - 1}{whose} and max_length {most - 1}: no text is that "
                    "long and that short; give min_length up to max_length"
                )
        return found

    def _write(self, ids_BL: np.ndarray, mask_BL: np.ndarray, search: dict[str, int]) -> list[str]:
        import torch

        with self._lock:  # a server asks from several threads at once
            if self._writer is None:
                self._writer = load_writer(self)
        with torch.inference_mode():
            ids = self._writer.generate(
                input_ids=torch.from_numpy(ids_BL),
                attention_mask=torch.from_numpy(mask_BL),
                **search,
            )
        return self.tokenizer.decode_batch(ids.tolist(), skip_special_tokens=True)


def load_writer(model: PortableModel) -> Any:
    """The encoder-decoder, float32, in evaluation mode, every file compared with its digest."""
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM, GenerationConfig
    from transformers.utils import logging

    folder = model.file("model.safetensors").parent
    for name in ("config.json", "generation_config.json"):
        json.loads(model.file(name).read_text("utf-8"))
    progress_bars = logging.is_progress_bar_enabled()
    verbosity = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        writer = AutoModelForSeq2SeqLM.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    finally:
        logging.set_verbosity(verbosity)
        if progress_bars:
            logging.enable_progress_bar()
    writer.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return writer.eval()


set_model(TextWriter())
