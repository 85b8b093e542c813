"""A text classifier that MLflow loads anywhere: it needs its listed requirements and nothing else.

    text ─ normalise ─ tokenise ─ network (safetensors or int8 ONNX) ─ softmax ─ label and score

Ask it with a table that has a string column `text`, a Series of that name, or records such as
`[{"text": "…"}]`; MLflow turns each into the table and refuses what lacks the column:

    model = mlflow.pyfunc.load_model("models:/<name>@champion")
    model.predict(pd.DataFrame({"text": ["打开客厅的灯"]}), params={"variant": "onnx_int8"})

Every file is compared with its digest before it is read, and only the asked variant is loaded:
`onnx_int8` needs neither torch nor transformers in memory. Texts beyond the training length are cut
there, as in training. This file is copied into each registered model as it is; keep it free of
imports from the project that made it.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from tokenizers import Tokenizer

TEXT_COLUMN = "text"
_MAX_NAMED_ROWS = 5

# (batch, length) int64 token ids and mask → (batch, classes) float32 logits
Network = Callable[[np.ndarray, np.ndarray], np.ndarray]


class TextClassifier(PythonModel):
    """Labels and confidences of texts. See the module's text for input and output."""

    def load_context(self, context: Any) -> None:
        """Read labels, tokenizer and settings; the network itself is loaded when first asked."""
        self._bundle = Path(context.artifacts["bundle"])
        self._digests = json.loads((self._bundle / "digests.json").read_text("utf-8"))["files"]
        self._labels = json.loads(self._file("labels.json").read_text("utf-8"))["labels"]
        settings = json.loads(self._file("serving.json").read_text("utf-8"))
        self._normalization = settings["normalization"]
        self._pad_token_id = settings["pad_token_id"]
        self._tokenizer = Tokenizer.from_file(str(self._file("tokenizer.json")))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(settings["max_length_tokens"])
        self._networks: dict[str, Network] = {}
        self._lock = threading.Lock()

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
        top_k = _positive(params, "top_k", 1)
        batch_size = _positive(params, "batch_size", 32)
        network = self._network(params.get("variant", "safetensors"))
        input_ids = self._tokenize(model_input[TEXT_COLUMN].tolist())
        probabilities = _softmax(self._logits(network, input_ids, batch_size))
        # Stable, so that equal scores come in label order on every machine.
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
        scores = np.take_along_axis(probabilities, order, axis=1)
        answers = {
            "label": [self._labels[row[0]] for row in order],
            "score": scores[:, 0].astype(np.float64),
        }
        if top_k > 1:
            answers["labels"] = [[self._labels[column] for column in row] for row in order]
            answers["scores"] = [[float(score) for score in row] for row in scores]
        return pd.DataFrame(answers, index=model_input.index)

    def _tokenize(self, texts: list[Any]) -> list[list[int]]:
        _refuse(texts, lambda text: not isinstance(text, str), "no text (null or not a string)")
        normalised = [normalize(text, **self._normalization) for text in texts]
        _refuse(normalised, lambda text: not text, "an empty text")
        return [encoding.ids for encoding in self._tokenizer.encode_batch(normalised)]

    def _logits(self, network: Network, input_ids: list[list[int]], batch_size: int) -> np.ndarray:
        logits = np.zeros((len(input_ids), len(self._labels)), dtype=np.float32)
        # Texts of like length share a batch, so little of it is padding.
        order = sorted(range(len(input_ids)), key=lambda row: len(input_ids[row]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            longest = max(len(input_ids[row]) for row in rows)
            ids = np.full((len(rows), longest), self._pad_token_id, dtype=np.int64)
            mask = np.zeros_like(ids)
            for place, row in enumerate(rows):
                ids[place, : len(input_ids[row])] = input_ids[row]
                mask[place, : len(input_ids[row])] = 1
            logits[rows] = network(ids, mask)
        return logits

    def _network(self, variant: str) -> Network:
        if variant not in _LOADERS:
            raise MlflowException.invalid_parameter_value(
                f"variant {variant!r} does not exist: give one of {', '.join(sorted(_LOADERS))}"
            )
        with self._lock:  # a server asks from several threads at once
            if variant not in self._networks:
                self._networks[variant] = _LOADERS[variant](self._file)
            return self._networks[variant]

    def _file(self, name: str) -> Path:
        path = self._bundle / "model" / name
        if hashlib.sha256(path.read_bytes()).hexdigest() != self._digests[f"model/{name}"]:
            raise MlflowException.invalid_parameter_value(
                f"model/{name} does not match its digest in digests.json: it was changed or "
                "damaged after registration; fetch the model again from its registry"
            )
        return path


# What `normalize` takes out: control characters (white space is collapsed), direction marks,
# zero-width and tag characters; the joiners ZWNJ and ZWJ only where nothing is spelt with them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\u00ad\u034f\u180e\u200b\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb"
    "\u200c\u200d\U000e0000-\U000e007f]"
)
_JOINERS = "\u200c\u200d"
_JOINING_SCRIPTS = re.compile(
    "[\u0620-\u074f\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc"
    "\u0900-\u0dff\u1000-\u109f\u1780-\u18af]"
)
_EMOJI_TAIL = re.compile("[\ufe0f\u20e3\U0001f3fb-\U0001f3ff]")


def normalize(text: str, *, unicode_form: Any, repair_encoding: bool) -> str:
    """The form in which texts were trained on: what the training corpus's normalisation does."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    if repair_encoding:
        from ftfy import fix_encoding

        text = fix_encoding(text)
    text = _INVISIBLE.sub(lambda match: match[0] if _is_spelling(match) else "", text)
    return " ".join(unicodedata.normalize(unicode_form, text).split())


def _is_spelling(match: re.Match[str]) -> bool:
    if match[0] not in _JOINERS:
        return False
    text, position = match.string, match.start()
    before, after = text[position - 1 : position], text[position + 1 : position + 2]
    if before and _JOINING_SCRIPTS.match(before):
        return True
    is_emoji = before and (unicodedata.category(before) == "So" or _EMOJI_TAIL.match(before))
    return bool(
        match[0] == "\u200d" and is_emoji and after and unicodedata.category(after) in ("So", "Sm")
    )


def _load_safetensors(file: Callable[[str], Path]) -> Network:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    head = json.loads(file("head.json").read_text("utf-8"))
    weights = load_file(file("head.safetensors"))
    folder = file("model.safetensors").parent
    file("config.json")
    progress_bars = logging.is_progress_bar_enabled()
    verbosity = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # a pooler we never use would be reported as missing
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        encoder, report = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    finally:
        logging.set_verbosity(verbosity)
        if progress_bars:
            logging.enable_progress_bar()
    if missing := [name for name in report["missing_keys"] if "pooler" not in name]:
        raise MlflowException(f"model.safetensors lacks weights: {', '.join(sorted(missing))}")
    encoder.eval()

    def network(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            attention_mask = torch.from_numpy(mask)
            states = encoder(
                input_ids=torch.from_numpy(ids), attention_mask=attention_mask
            ).last_hidden_state
            if head["pooling"] == "cls":
                pooled = states[:, 0]
            else:
                present = attention_mask.unsqueeze(-1).to(states.dtype)
                pooled = (states * present).sum(1) / present.sum(1).clamp(min=1)
            logits = torch.nn.functional.linear(pooled, weights["weight"], weights["bias"])
            return logits.numpy()

    return network


def _load_onnx_int8(file: Callable[[str], Path]) -> Network:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(file("model.int8.onnx")), providers=["CPUExecutionProvider"]
    )

    def network(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0])

    return network


_LOADERS = {"safetensors": _load_safetensors, "onnx_int8": _load_onnx_int8}


def _refuse(texts: list[Any], is_bad: Callable[[Any], bool], what: str) -> None:
    bad = [row for row, text in enumerate(texts) if is_bad(text)]
    if bad:
        rows = ", ".join(map(str, bad[:_MAX_NAMED_ROWS])) + (
            ", …" if len(bad) > _MAX_NAMED_ROWS else ""
        )
        raise MlflowException.invalid_parameter_value(
            f"{len(bad)} of {len(texts)} rows hold {what}: rows {rows} (counted from 0). "
            "Drop or fill them before asking"
        )


def _positive(params: dict[str, Any], name: str, default: int) -> int:
    value = int(params.get(name, default))
    if value < 1:
        raise MlflowException.invalid_parameter_value(f"{name} is {value}: it must be at least 1")
    return value


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True, initial=-np.inf)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


set_model(TextClassifier())
