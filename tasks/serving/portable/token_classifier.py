"""Named entities (any labelled spans) of texts, by a model that MLflow loads anywhere.

    text ─ normalise ─ units ─ tokenise ─ network ─ a tag a unit ─ spans ─ places in the given text

Ask it with a table that has a string column `text`:

    model = mlflow.pyfunc.load_model("models:/<name>@champion")
    model.predict(pd.DataFrame({"text": ["贝多芬出生在波恩。"]}), params={"variant": "onnx_int8"})

`start` and `end` (exclusive) count characters (Unicode code points, as Python does) of the text as
it was given, whatever normalising changed: `text[start:end]` is the entity. A text longer than the
training length is read in overlapping windows; nothing of it is cut off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model

from tasks.modeling.heads.joined_units import joined_units
from tasks.serving.portable.base import PortableModel, softmax
from tasks.serving.portable.frames import special_tokens
from tasks.serving.portable.origins import normalize_with_origins, original_span
from tasks.serving.portable.windows import (
    UnitText,
    Window,
    chosen_stride,
    unit_texts,
    windows,
)


class TokenClassifier(PortableModel):
    """Labelled spans of texts. See the module's text for input and output."""

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> Any:
        """Find the entities of texts.

        Args:
            context: MLflow's, unused: files are read in `load_context`.
            model_input: a DataFrame with a string column `text`.
            params: `variant` safetensors (the evaluated network) or onnx_int8 (smaller, nearly the
                same answers); `stride` >= 1, tokens from a window's start to the next one's, 0 for
                half a window; `batch_size` >= 1, windows a forward pass.
        Returns: a DataFrame with the input's index and the column `entities`: a list of records
            {start, end, text, label, score}, in the order of the text; `score` is the mean
            probability of the entity's tags.
        Raises: MlflowException (HTTP 400) naming rows or parameters that cannot be used.
        """
        params = params or {}
        network = self.network(params)
        given = model_input["text"].tolist()
        texts, pieces = self.pieces(
            self.texts(model_input["text"], "text"), stride=chosen_stride(params)
        )
        found = self.logits(network, [piece.input_ids for piece in pieces], params)
        read_out = [logits[piece.positions] for piece, logits in zip(pieces, found, strict=True)]
        answers = self.entities(given, texts, pieces, read_out)
        return pd.DataFrame({"entities": pd.Series(answers, dtype=object, index=model_input.index)})

    def pieces(
        self, texts: list[str], *, stride: int | None
    ) -> tuple[list[UnitText], list[Window]]:
        """Normalised texts as units, and the windows in which a network reads them."""
        read = unit_texts(self.tokenizer, texts)
        before, _, after = special_tokens(self.tokenizer, pair=False)
        room = self.max_length_tokens - len(before) - len(after)
        pieces = [
            window
            for row, text in enumerate(read)
            for window in windows(row, text, before=before, after=after, room=room, stride=stride)
        ]
        return read, pieces

    def entities(
        self,
        given: list[str],
        texts: list[UnitText],
        pieces: list[Window],
        read_out: list[np.ndarray],
    ) -> list[list[dict[str, Any]]]:
        """The entities of each text.

        Args:
            given: the texts before they were normalised.
            read_out: logits (U, C) of the units of each window.
        """
        logits = _central(pieces, read_out, [len(text.places) for text in texts], len(self.labels))
        answers = []
        for row, text in enumerate(given):
            _, origins = normalize_with_origins(text, **self.settings["normalization"])
            entities = []
            units = texts[row].units
            joined = joined_units(np.array(texts[row].places, np.int64), np.zeros(1, np.int64))
            found = spans(softmax(logits[row]), self.labels, joined)
            for first, last, label, score in found:
                start, end = original_span(origins, units[first][0], units[last][1])
                record = {"start": start, "end": end, "text": text[start:end], "label": label}
                entities.append({**record, "score": score})
            answers.append(entities)
        return answers


def _central(
    pieces: list[Window], read_out: list[np.ndarray], counts: list[int], num_labels: int
) -> list[np.ndarray]:
    """Logits (U, C) of each text: a unit's are those of the window where it stands least at the
    edge, because what decides its tag stands beside it."""
    logits = [np.zeros((count, num_labels), np.float32) for count in counts]
    margins = [np.full(count, -1.0) for count in counts]
    for piece, found in zip(pieces, read_out, strict=True):
        here = slice(piece.first_unit, piece.first_unit + len(piece.positions))
        better = np.array(piece.margins) > margins[piece.row][here]
        margins[piece.row][here][better] = np.array(piece.margins)[better]
        logits[piece.row][here][better] = found[better]
    return logits


def spans(
    probabilities_UC: np.ndarray, labels: list[str], joined_U: np.ndarray
) -> list[tuple[int, int, str, float]]:
    """(first unit, last unit, type, mean probability of their tags) of each entity.

    A unit has its likeliest tag. An I- that continues nothing begins an entity:

        O B-LOC I-LOC I-PER O   ->   (1, 2, LOC), (3, 3, PER)

    Args:
        joined_U: units that belong to the token of the unit before them, and to its entity.
    """
    tags = probabilities_UC.argmax(1)
    found: list[tuple[int, int, str]] = []
    current = ""
    for unit, tag in enumerate(tags):
        prefix, _, label = labels[tag].partition("-")
        if label and label == current and (prefix != "B" or joined_U[unit]):
            found[-1] = (found[-1][0], unit, label)
        elif label:
            found.append((unit, unit, label))
        current = label
    best = probabilities_UC.max(1)
    return [
        (first, last, label, float(best[first : last + 1].mean())) for first, last, label in found
    ]


set_model(TokenClassifier())
