"""Answers to questions as spans of a context, by a model that MLflow loads anywhere.

    question, context ─ normalise ─ windows ─ network ─ start and end of the likeliest span

Ask it with a table that has the string columns `question` and `context`:

    model = mlflow.pyfunc.load_model("models:/<name>@champion")
    model.predict(pd.DataFrame({"question": ["他出生在哪里？"], "context": ["贝多芬出生在波恩。"]}))

`start` and `end` (exclusive) count characters (Unicode code points, as Python does) of the context
as it was given: `context[start:end]` is the answer. Where the context holds none, `answer`,
`start` and `end` are null. A context longer than the training length is read in overlapping
windows, each after the question; nothing of it is cut off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model

from tasks.modeling.heads.joined_units import bounds_of_tokens, joined_units
from tasks.serving.portable.base import (
    OWN_SETTING,
    PortableModel,
    chosen,
    positive,
    softmax,
)
from tasks.serving.portable.frames import special_tokens
from tasks.serving.portable.origins import normalize_with_origins, original_span
from tasks.serving.portable.windows import (
    UnitText,
    Window,
    chosen_stride,
    unit_texts,
    windows,
)


class QuestionAnswerer(PortableModel):
    """Answers of contexts. See the module's text for input and output."""

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> Any:
        """Answer questions.

        Args:
            context: MLflow's, unused: files are read in `load_context`.
            model_input: a DataFrame with the string columns `question` and `context`.
            params: `variant` safetensors (the evaluated network) or onnx_int8 (smaller, nearly the
                same answers); `max_answer_length` >= 1, units of an answer at most (words, or
                characters of scripts without spaces), -1 as evaluated; `stride` >= 1, tokens from
                a window's start to the next one's, 0 as in training; `batch_size` >= 1, windows a
                forward pass.
        Returns: a DataFrame with the input's index: `answer`, `start`, `end` (null where the
            context holds no answer) and `score`, the probability of that start times that of that
            end, among all units of the context and "no answer".
        Raises: MlflowException (HTTP 400) naming rows or parameters that cannot be used.
        """
        params = params or {}
        network = self.network(params)
        longest = self.longest_answer()
        if int(chosen(params, "max_answer_length", OWN_SETTING)) != OWN_SETTING:
            longest = positive(params, "max_answer_length", longest)
        given = model_input["context"].tolist()
        texts, pieces = self.pieces(
            self.texts(model_input["question"], "question"),
            self.texts(model_input["context"], "context"),
            stride=chosen_stride(params),
        )
        found = self.logits(network, [piece.input_ids for piece in pieces], params)
        read_out = [
            logits[[0, *piece.positions]] for piece, logits in zip(pieces, found, strict=True)
        ]
        answers = self.answers(given, texts, pieces, read_out, longest=longest)
        kinds = {"answer": object, "score": np.float64, "start": object, "end": object}
        columns = {
            name: pd.Series([row[name] for row in answers], dtype=kind, index=model_input.index)
            for name, kind in kinds.items()
        }
        return pd.DataFrame(columns)

    def longest_answer(self) -> int:
        """Units of an answer at most, as it was evaluated."""
        return int(self.settings.get("max_answer_units", 30))

    def pieces(
        self, questions: list[str], contexts: list[str], *, stride: int | None
    ) -> tuple[list[UnitText], list[Window]]:
        """Normalised contexts as units, and the windows in which a network reads them."""
        read = unit_texts(self.tokenizer, contexts)
        before, between, after = special_tokens(self.tokenizer, pair=True)
        num_special = len(before) + len(between) + len(after)
        encodings = self.tokenizer.encode_batch(questions, add_special_tokens=False)
        # A question's end may go, as in training: the rest of the window is the context's.
        longest = self.settings.get("max_question_tokens") or self.max_length_tokens // 2
        pieces: list[Window] = []
        for row, (encoding, text) in enumerate(zip(encodings, read, strict=True)):
            question = encoding.ids[:longest]
            pieces += windows(
                row,
                text,
                before=[*before, *question, *between],
                after=after,
                room=self.max_length_tokens - num_special - len(question),
                stride=stride,
                usual=self.settings.get("window_stride_tokens", 0),
            )
        return read, pieces

    def answers(
        self,
        given: list[str],
        texts: list[UnitText],
        pieces: list[Window],
        read_out: list[np.ndarray],
        *,
        longest: int,
    ) -> list[dict[str, Any]]:
        """The answer of each context: `answer`, `score`, `start`, `end`.

        Args:
            given: the contexts before they were normalised.
            read_out: logits (1 + U, 2) of each window: "no answer", then its units.
            longest: units of an answer at most.
        """
        merged = _merged(pieces, read_out, [len(text.places) for text in texts])
        answers = []
        for row, text in enumerate(given):
            span, score = best_span(
                *merged[row], longest=longest, null_threshold=self.settings["null_threshold"]
            )
            answer: dict[str, Any] = {"answer": None, "score": score, "start": None, "end": None}
            if span is not None:
                _, origins = normalize_with_origins(text, **self.settings["normalization"])
                units = texts[row].units
                first, last = _without_marks(*span, texts[row])
                start, end = original_span(origins, units[first][0], units[last][1])
                answer |= {"answer": text[start:end], "start": start, "end": end}
            answers.append(answer)
        return answers


def _without_marks(first: int, last: int, read: UnitText) -> tuple[int, int]:
    """The units of a span but for marks that only its outermost tokens bring along: (5 or 2014,."""

    def is_word(unit: int) -> bool:
        start, end = read.units[unit]
        return any(map(str.isalnum, read.text[start:end]))

    def is_with(unit: int, other: int) -> bool:
        return read.places[unit] == read.places[other]

    while last > first and not is_word(last) and is_with(last, last - 1):
        last -= 1
    while first < last and not is_word(first) and is_with(first, first + 1):
        first += 1
    return first, last


def _merged(
    pieces: list[Window], read_out: list[np.ndarray], counts: list[int]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Start and end logits (U, 2) of each context, and those of "no answer" (2,).

    A unit has its largest logit over the windows that hold it; "no answer" the smallest, because
    one window that holds an answer is enough. It is read at the first token of a window. Answers
    begin and end where tokens do.
    """
    lowest = np.finfo(np.float32).min
    units = [np.full((count, 2), lowest, np.float32) for count in counts]
    none = [np.full(2, np.inf, np.float32) for _ in counts]
    for piece, found in zip(pieces, read_out, strict=True):
        stop = piece.first_unit + len(piece.positions)
        stretch = units[piece.row][piece.first_unit : stop]
        joined = joined_units(np.array(piece.positions, np.int64), np.zeros(1, np.int64))
        np.maximum(stretch, bounds_of_tokens(found[1:], joined), out=stretch)
        np.minimum(none[piece.row], found[0], out=none[piece.row])
    return list(zip(units, none, strict=True))


def best_span(
    logits_U2: np.ndarray, none_2: np.ndarray, *, longest: int, null_threshold: float
) -> tuple[tuple[int, int] | None, float]:
    """First and last unit of the likeliest answer, or None for "no answer"; and its probability.

    Args:
        logits_U2: start and end of each unit. none_2: of "no answer".
        longest: units of an answer at most.
        null_threshold: how far "no answer" must be ahead to win; tuned on validation rows.
    """
    probabilities = softmax(np.concatenate([logits_U2, none_2[None]]).T).T
    logits_U2 = logits_U2.astype(np.float64)
    best, span = -np.inf, None
    for length in range(min(longest, len(logits_U2))):
        sums = logits_U2[: len(logits_U2) - length, 0] + logits_U2[length:, 1]
        start = int(sums.argmax())
        if sums[start] > best:
            best, span = float(sums[start]), (start, start + length)
    if span is None or float(none_2.astype(np.float64).sum()) - best > null_threshold:
        return None, float(probabilities[-1, 0] * probabilities[-1, 1])
    return span, float(probabilities[span[0], 0] * probabilities[span[1], 1])


set_model(QuestionAnswerer())
