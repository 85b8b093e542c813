"""What every registered model does alike: digests, normalisation, tokens, networks.

    text ─ normalise ─ tokenise ─ network (safetensors or int8 ONNX) ─► the problem's own answer

Every file is compared with its digest before it is read, and only the asked variant is loaded:
`onnx_int8` needs neither torch nor transformers in memory.

Shapes: B batch, L length, C classes.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel
from tokenizers import Tokenizer

# (B, L) int64 token ids and mask → float32 logits: (B, C), or (B, L, C) of a head on tokens
Network = Callable[[np.ndarray, np.ndarray], np.ndarray]

_MAX_NAMED_ROWS = 5
OWN_SETTING = -1
"""A parameter's value that asks for what the model was evaluated with."""
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""What is left of an emoji that was cut through: it cannot be encoded, nor read by a tokenizer."""
_TOKEN_PROBLEMS = ("token_classification", "question_answering")


class PortableModel(PythonModel):
    """Files, settings, tokenizer and networks of a registered model; a script adds `predict`."""

    def load_context(self, context: Any) -> None:
        """Read labels, tokenizer and settings; the network itself is loaded when first asked."""
        self._bundle = Path(context.artifacts["bundle"])
        self._digests = json.loads((self._bundle / "digests.json").read_text("utf-8"))["files"]
        self._networks: dict[str, Network] = {}
        self._lock = threading.Lock()
        self.read(self.file)

    def read(self, file: Callable[[str], Path]) -> None:
        """Labels, settings and tokenizer, of the files that `file` finds by name."""
        self.labels = json.loads(file("labels.json").read_text("utf-8"))["labels"]
        self.settings = json.loads(file("serving.json").read_text("utf-8"))
        self.max_length_tokens = self.settings["max_length_tokens"]
        self.tokenizer = Tokenizer.from_file(str(file("tokenizer.json")))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    def file(self, name: str) -> Path:
        """A file of `model/`, once its bytes were found to be those that were registered."""
        path = self._bundle / "model" / name
        if hashlib.sha256(path.read_bytes()).hexdigest() != self._digests[f"model/{name}"]:
            raise MlflowException.invalid_parameter_value(
                f"model/{name} does not match its digest in digests.json: it was changed or "
                "damaged after registration; fetch the model again from its registry"
            )
        return path

    def network(self, params: dict[str, Any]) -> Network:
        """The form that the parameter `variant` asks for, loaded once."""
        variant = chosen(params, "variant", "safetensors")
        if variant not in _LOADERS:
            raise MlflowException.invalid_parameter_value(
                f"variant {variant!r} does not exist: give one of {', '.join(sorted(_LOADERS))}"
            )
        with self._lock:  # a server asks from several threads at once
            if variant not in self._networks:
                self._networks[variant] = _LOADERS[variant](self.file)
            return self._networks[variant]

    def texts(self, column: Any, name: str) -> list[str]:
        """A column's texts as the model reads them; rows without a text are refused by number."""
        given = column.tolist()
        refuse_rows(
            given, lambda text: not isinstance(text, str), f"no {name} (null or not a string)"
        )
        refuse_rows(
            given,
            lambda text: _LONE_SURROGATE.search(text) is not None,
            f"a {name} with half of a surrogate pair",
        )
        normalised = [normalize(text, **self.settings["normalization"]) for text in given]
        what = "an empty text" if name == "text" else f"an empty {name}"
        refuse_rows(normalised, lambda text: not text, what)
        return normalised

    def logits(
        self, network: Network, input_ids: list[list[int]], params: dict[str, Any]
    ) -> list[np.ndarray]:
        """Logits of each text, in order: (C,), or (L, C) with its own L of a head on tokens."""
        found: list[np.ndarray] = [np.zeros(0, np.float32)] * len(input_ids)
        size = positive(params, "batch_size", 32)
        for rows, ids_BL, mask_BL in batches(input_ids, size, self.settings["pad_token_id"]):
            logits = network(ids_BL, mask_BL)
            for place, row in enumerate(rows):
                of_text = logits[place]
                found[row] = of_text[: len(input_ids[row])] if of_text.ndim == 2 else of_text
        return found


def batches(
    input_ids: list[list[int]], batch_size: int, pad_token_id: int
) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
    """(row numbers, ids, mask) of batches; texts of like length share one, so little is padding."""
    order = sorted(range(len(input_ids)), key=lambda row: len(input_ids[row]))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        longest = max(len(input_ids[row]) for row in rows)
        ids_BL = np.full((len(rows), longest), pad_token_id, dtype=np.int64)
        mask_BL = np.zeros_like(ids_BL)
        for place, row in enumerate(rows):
            ids_BL[place, : len(input_ids[row])] = input_ids[row]
            mask_BL[place, : len(input_ids[row])] = 1
        yield rows, ids_BL, mask_BL


def read_apart(ids_BL: np.ndarray, mask_BL: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All first texts of pairs, then all second ones, padded to the longest: (2 B, L') each.

    A second text begins where a pair's last token is followed by its first one: at `[SEP] [CLS]`.
    """
    texts = []
    for ids, length in zip(ids_BL, mask_BL.sum(1).tolist(), strict=True):
        begins = (ids[: length - 1] == ids[length - 1]) & (ids[1:length] == ids[0])
        texts.append(np.split(ids[:length], 1 + np.flatnonzero(begins)[:1]))
    texts = [pair[0] for pair in texts] + [pair[-1] for pair in texts]
    longest = max(map(len, texts))
    ids_NL = np.stack([np.pad(text, (0, longest - len(text))) for text in texts])
    mask_NL = np.stack([np.arange(longest) < len(text) for text in texts])
    return ids_NL, mask_NL.astype(np.int64)


def refuse_rows(values: list[Any], is_bad: Callable[[Any], bool], what: str) -> None:
    """HTTP 400 that names the rows, counted from 0, whose value is bad."""
    bad = [row for row, value in enumerate(values) if is_bad(value)]
    if bad:
        rows = ", ".join(map(str, bad[:_MAX_NAMED_ROWS])) + (
            ", …" if len(bad) > _MAX_NAMED_ROWS else ""
        )
        raise MlflowException.invalid_parameter_value(
            f"{len(bad)} of {len(values)} rows hold {what}: rows {rows} (counted from 0). "
            "Drop or fill them before asking"
        )


def chosen(params: dict[str, Any], name: str, default: Any) -> Any:
    """A parameter; one that is null, as clients write what is not set, is as if it were absent."""
    value = params.get(name)
    return default if value is None else value


def positive(params: dict[str, Any], name: str, default: int) -> int:
    """An integer parameter, at least 1."""
    value = int(chosen(params, name, default))
    if value < 1:
        raise MlflowException.invalid_parameter_value(f"{name} is {value}: it must be at least 1")
    return value


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis, float64: the same on every machine."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True, initial=-np.inf)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def best_labels(labels: list[str], probabilities_BC: np.ndarray, top_k: int) -> dict[str, Any]:
    """Columns `label` and `score` of each row's best class; `labels`, `scores` if top_k > 1."""
    # Stable, so that equal scores come in label order on every machine.
    order = np.argsort(-probabilities_BC, axis=1, kind="stable")[:, :top_k]
    scores = np.take_along_axis(probabilities_BC, order, axis=1)
    columns: dict[str, Any] = {
        "label": [labels[row[0]] for row in order],
        "score": scores[:, 0].astype(np.float64),
    }
    if top_k > 1:
        columns["labels"] = [[labels[place] for place in row] for row in order]
        columns["scores"] = [[float(score) for score in row] for row in scores]
    return columns


# What `normalize` takes out: control characters (white space is collapsed), direction marks,
# zero-width and tag characters; the joiners ZWNJ and ZWJ only where nothing is spelt with them.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\u00ad\u034f\u180e\u200b\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb"
    "\u200c\u200d\U000e0000-\U000e007f]"
)
_ZERO_WIDTH_JOINERS = "\u200c\u200d"
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
    text = INVISIBLE.sub(lambda match: match[0] if is_spelling(match) else "", text)
    return " ".join(unicodedata.normalize(unicode_form, text).split())


def is_spelling(match: re.Match[str]) -> bool:
    """Whether what `INVISIBLE` found is a joiner where its script or an emoji needs one."""
    if match[0] not in _ZERO_WIDTH_JOINERS:
        return False
    text, position = match.string, match.start()
    before, after = text[position - 1 : position], text[position + 1 : position + 2]
    if before and _JOINING_SCRIPTS.match(before):
        return True
    is_emoji = before and (unicodedata.category(before) == "So" or _EMOJI_TAIL.match(before))
    return bool(
        match[0] == "\u200d" and is_emoji and after and unicodedata.category(after) in ("So", "Sm")
    )


def put_products(encoder: Any, factors: dict[str, Any]) -> None:
    """Make each matrix whose two factors are stored a product of them, as it was trained."""
    from torch.nn import Linear, Sequential

    for name in [name for name in factors if name.endswith(".down.weight")]:
        place = name.removesuffix(".down.weight")
        down, up = factors[name], factors[f"{place}.up.weight"]
        product = Sequential()
        product.add_module("down", Linear(down.shape[1], down.shape[0], bias=False))
        product.add_module("up", Linear(*up.shape[::-1], bias=f"{place}.up.bias" in factors))
        parent, _, own = place.rpartition(".")
        setattr(encoder.get_submodule(parent), own, product)


def load_safetensors(file: Callable[[str], Path]) -> Network:
    """The network of a model folder, in torch; `file` gives the path of a file in it, checked."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    head = json.loads(file("head.json").read_text("utf-8"))
    weights = load_file(file("head.safetensors"))
    path = file("config.json")
    is_low_rank = "low_rank" in json.loads(path.read_text("utf-8"))
    stored = file("model.low_rank.safetensors" if is_low_rank else "model.safetensors")
    progress_bars = logging.is_progress_bar_enabled()
    verbosity = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # a pooler we never use would be reported as missing
    try:
        config = AutoConfig.from_pretrained(
            path.parent, local_files_only=True, trust_remote_code=False
        )
        if is_low_rank:
            encoder = AutoModel.from_config(config, dtype=torch.float32)
            factors = load_file(stored)
            put_products(encoder, factors)
            unmet = encoder.load_state_dict(factors, strict=False).missing_keys
        else:
            encoder, report = AutoModel.from_pretrained(
                path.parent,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            unmet = report["missing_keys"]
    finally:
        logging.set_verbosity(verbosity)
        if progress_bars:
            logging.enable_progress_bar()
    if missing := [name for name in unmet if "pooler" not in name]:
        raise MlflowException(f"{stored.name} lacks weights: {', '.join(sorted(missing))}")
    encoder.eval()
    reads_tokens = head["problem"] in _TOKEN_PROBLEMS

    def network(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        if head.get("pairs") == "apart":
            ids, mask = read_apart(ids, mask)
        with torch.inference_mode():
            attention_mask = torch.from_numpy(mask)
            states = encoder(
                input_ids=torch.from_numpy(ids), attention_mask=attention_mask
            ).last_hidden_state
            if not reads_tokens and head["pooling"] == "cls":
                states = states[:, 0]
            elif not reads_tokens:
                present = attention_mask.unsqueeze(-1).to(states.dtype)
                states = (states * present).sum(1) / present.sum(1).clamp(min=1)
            if head.get("pairs") == "apart":
                u, v = states.chunk(2)
                states = torch.cat([u, v, (u - v).abs(), u * v], dim=1)
            logits = torch.nn.functional.linear(states, weights["weight"], weights["bias"])
            if head["problem"] == "sentence_embedding":
                logits = torch.nn.functional.normalize(logits, dim=-1)
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


_LOADERS = {"safetensors": load_safetensors, "onnx_int8": _load_onnx_int8}
