"""What batch scoring knows of a problem: columns in, token ids to the network, columns out.

    text_classification, matching   label, score, probabilities
    multilabel_classification       labels, scores, probabilities
    token_classification            entities: list of {start, end, text, label, score}
    question_answering              answer, score, start, end
    sentence_embedding              embedding: list of numbers

Entities and answers come from the scripts that a registered model carries, so a file is answered as
a request is. Offsets count characters of the text as the file holds it.

Shapes: N rows of a batch, A answers of the network (texts, or units read out of them), C classes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from pydantic import ValidationError
from tokenizers import Tokenizer

from data_contracts.errors import CorruptArtifact, UserError
from tasks.corpus.text.normalization import NormalizationConfig
from tasks.corpus.tokenizers.encoding import Encoder
from tasks.corpus.tokens.pair_encoding import encode_pairs
from tasks.modeling.heads.units import Units
from tasks.runtime.machine.device import thread_count
from tasks.serving.export.parity import logit

Texts = Mapping[str, Sequence[str]]
"""Texts by column, of the rows that can be read."""


@dataclass(frozen=True)
class Question:
    """A batch as the network reads it.

    Args:
        input_ids: of each text or window.
        units: what is read out of each, for a head on tokens.
        num_truncated: texts that lost their end.
        context: what the answers are made with.
    """

    input_ids: pa.ListArray
    units: Units | None = None
    num_truncated: int = 0
    context: Any = None


class Answering(Protocol):
    """One problem's way from texts to answers."""

    columns: tuple[str, ...]
    """Input columns: the main one, which `text_column` renames, first."""

    fields: list[pa.Field]
    """Output columns."""

    def read(self, texts: Texts) -> Question:
        """Normalised texts as token ids."""
        ...

    def answer(self, given: Texts, question: Question, logits: np.ndarray) -> list[pa.Array]:
        """Output columns of N rows, from logits (A, C).

        Args:
            given: the texts before they were normalised.
        """
        ...

    def count(self, columns: list[pa.Array]) -> Counter[str]:
        """What the answers were, for the summary."""
        ...


@dataclass(frozen=True)
class Model:
    """What a delivered student's folder says about texts and answers."""

    folder: Path
    problem: str
    labels: list[str]
    serving: dict[str, Any]
    normalization: NormalizationConfig
    tokenizer: Tokenizer

    @classmethod
    def at(cls, folder: Path) -> Model:
        """Read the folder. Raises: CorruptArtifact if it holds no delivered student."""
        try:
            serving = json.loads((folder / "serving.json").read_text(encoding="utf-8"))
            labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))["labels"]
            normalization = NormalizationConfig.model_validate(serving["normalization"])
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            problem = serving["problem"]
        except (OSError, ValueError, KeyError, ValidationError) as error:
            raise CorruptArtifact(
                f"{folder} cannot be read: {error}",
                rule="a delivered student has serving.json, labels.json and tokenizer.json",
                remedy="export the student again, or fetch it again from the registry",
            ) from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return cls(folder, problem, labels, serving, normalization, tokenizer)


class _Classes:
    """One label of C a text."""

    columns: tuple[str, ...] = ("text",)

    def __init__(self, model: Model, *, probabilities: bool) -> None:
        self._model, self._probabilities = model, probabilities
        self.fields = [pa.field("label", pa.string()), pa.field("score", pa.float32())]
        if probabilities:
            self.fields.append(pa.field("probabilities", pa.list_(pa.float32())))
        self._max_length = int(model.serving["max_length_tokens"])
        self._encoder = Encoder(
            model.tokenizer,
            max_length_tokens=self._max_length,
            unknown_id=None,
            workers=thread_count(),
        )

    def read(self, texts: Texts) -> Question:
        encoded = self._encoder.encode(pa.chunked_array([texts["text"]], pa.string()))
        num_truncated = int((encoded.lengths > self._max_length).sum())
        return Question(encoded.input_ids, num_truncated=num_truncated)

    def answer(self, given: Texts, question: Question, logits: np.ndarray) -> list[pa.Array]:
        del given, question
        # In float64, as the served model computes it.
        probabilities = softmax(logits.reshape(-1, len(self._model.labels)))
        best = probabilities.argmax(axis=1)
        names = pa.array(self._model.labels, pa.string())
        found = [names.take(pa.array(best)), pa.array(probabilities.max(1, initial=0))]
        return [*found, as_lists(probabilities)] if self._probabilities else found

    def count(self, columns: list[pa.Array]) -> Counter[str]:
        return _counted(columns[0])


class _PairClasses(_Classes):
    """One label of C a pair of texts."""

    columns: tuple[str, ...] = ("text", "text_b")

    def read(self, texts: Texts) -> Question:
        encoded = encode_pairs(
            self._model.tokenizer,
            *(pa.array(texts[name], pa.string()) for name in self.columns),
            max_length_tokens=self._max_length,
            workers=thread_count(),
        )
        num_truncated = int((encoded.lengths > self._max_length).sum())
        return Question(encoded.input_ids, num_truncated=num_truncated)


class _LabelSets(_Classes):
    """Every label over its threshold, likeliest first."""

    def __init__(self, model: Model, *, probabilities: bool) -> None:
        super().__init__(model, probabilities=probabilities)
        self.fields[:2] = [
            pa.field("labels", pa.list_(pa.string())),
            pa.field("scores", pa.list_(pa.float32())),
        ]
        self._bounds = logit(np.array(model.serving["thresholds"], np.float64))

    def answer(self, given: Texts, question: Question, logits: np.ndarray) -> list[pa.Array]:
        del given, question
        logits = logits.reshape(-1, len(self._model.labels)).astype(np.float64)
        probabilities = 1 / (1 + np.exp(-logits))
        chosen = [np.flatnonzero(row) for row in logits >= self._bounds]
        chosen = [
            places[np.argsort(-row[places], kind="stable")]
            for places, row in zip(chosen, probabilities, strict=True)
        ]
        found = [
            pa.array([[self._model.labels[place] for place in places] for places in chosen]),
            pa.array(
                [row[places] for places, row in zip(chosen, probabilities, strict=True)],
                pa.list_(pa.float64()),
            ),
        ]
        return [*found, as_lists(probabilities)] if self._probabilities else found

    def count(self, columns: list[pa.Array]) -> Counter[str]:
        return _counted(columns[0].flatten())


class _Entities:
    """Labelled spans of a text; a long one is read in overlapping windows."""

    columns: tuple[str, ...] = ("text",)

    def __init__(self, model: Model, *, probabilities: bool) -> None:
        from tasks.serving.portable.token_classifier import TokenClassifier

        _refuse_probabilities(model, probabilities)
        self._script = TokenClassifier()
        self._script.read(lambda name: model.folder / name)
        record = {"start": pa.int32(), "end": pa.int32(), "text": pa.string()}
        record |= {"label": pa.string(), "score": pa.float32()}
        self.fields = [pa.field("entities", pa.list_(pa.struct(list(record.items()))))]

    def read(self, texts: Texts) -> Question:
        context = self._script.pieces(list(texts["text"]), stride=None)
        return Question(
            as_ids([piece.input_ids for piece in context[1]]),
            units=_as_units([piece.positions for piece in context[1]]),
            context=context,
        )

    def answer(self, given: Texts, question: Question, logits: np.ndarray) -> list[pa.Array]:
        assert question.units is not None
        read_out = np.split(logits, question.units.offsets[1:-1])
        texts, pieces = question.context
        found = self._script.entities(list(given["text"]), texts, pieces, read_out)
        return [pa.array(found, self.fields[0].type)]

    def count(self, columns: list[pa.Array]) -> Counter[str]:
        return _counted(columns[0].flatten().field("label"))


class _Spans:
    """The answer to a question in a context, or none; a long context is read in windows."""

    columns: tuple[str, ...] = ("context", "question")

    def __init__(self, model: Model, *, probabilities: bool) -> None:
        from tasks.serving.portable.question_answerer import QuestionAnswerer

        _refuse_probabilities(model, probabilities)
        self._script = QuestionAnswerer()
        self._script.read(lambda name: model.folder / name)
        kinds = {"answer": pa.string(), "score": pa.float32()}
        kinds |= {"start": pa.int32(), "end": pa.int32()}
        self.fields = [pa.field(name, kind) for name, kind in kinds.items()]

    def read(self, texts: Texts) -> Question:
        texts_of = (list(texts[name]) for name in ("question", "context"))
        context = self._script.pieces(*texts_of, stride=None)
        return Question(
            as_ids([piece.input_ids for piece in context[1]]),
            units=_as_units([[0, *piece.positions] for piece in context[1]]),
            context=context,
        )

    def answer(self, given: Texts, question: Question, logits: np.ndarray) -> list[pa.Array]:
        assert question.units is not None
        read_out = np.split(logits, question.units.offsets[1:-1])
        texts, pieces = question.context
        found = self._script.answers(
            list(given["context"]), texts, pieces, read_out, longest=self._script.longest_answer()
        )
        return [pa.array([row[field.name] for row in found], field.type) for field in self.fields]

    def count(self, columns: list[pa.Array]) -> Counter[str]:
        answered = len(columns[0]) - columns[0].null_count
        return Counter({"answer": answered, "no answer": columns[0].null_count})


class _Vectors(_Classes):
    """A vector a text."""

    def __init__(self, model: Model, *, probabilities: bool) -> None:
        _refuse_probabilities(model, probabilities)
        super().__init__(model, probabilities=False)
        self.fields = [pa.field("embedding", pa.list_(pa.float32()))]

    def answer(self, given: Texts, question: Question, logits: np.ndarray) -> list[pa.Array]:
        del given, question
        return [as_lists(logits.astype(np.float32, copy=False))]

    def count(self, columns: list[pa.Array]) -> Counter[str]:
        return Counter({"embedding": len(columns[0])})


ANSWERING: dict[str, Callable[..., Answering]] = {
    "text_classification": _Classes,
    "multilabel_classification": _LabelSets,
    "matching": _PairClasses,
    "token_classification": _Entities,
    "question_answering": _Spans,
    "sentence_embedding": _Vectors,
}


def answering(model: Model, *, probabilities: bool) -> Answering:
    """The model's problem, ready to answer.

    Args:
        probabilities: whether to add the column `probabilities`.
    Raises: UserError if files cannot be scored for that problem, or not with probabilities.
    """
    if model.problem not in ANSWERING:
        raise UserError(
            f"{model.folder} is a model for {model.problem}",
            rule=f"files are scored for {', '.join(ANSWERING)}",
            remedy="ask it through MLflow: mlflow.pyfunc.load_model or mlflow models serve",
        )
    return ANSWERING[model.problem](model, probabilities=probabilities)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis, float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True, initial=-np.inf)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def as_ids(rows: list[list[int]]) -> pa.ListArray:
    """Token ids as list<int32>."""
    return pa.array(rows, pa.list_(pa.int32()))


def as_lists(rows: np.ndarray) -> pa.ListArray:
    """One list a row. Not of fixed size: Parquet cannot read nulls among those
    (pyarrow 25: "Expected all lists to be of size=40 but index 3 had size=0")."""
    offsets = np.arange(len(rows) + 1) * rows.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(rows.ravel()))


def _counted(values: pa.Array) -> Counter[str]:
    return Counter({one["values"].as_py(): one["counts"].as_py() for one in values.value_counts()})


def _as_units(positions: list[list[int]]) -> Units:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in positions])]).astype(np.int64)
    return Units(offsets, np.array([place for row in positions for place in row], np.int32))


def _refuse_probabilities(model: Model, probabilities: bool) -> None:
    if probabilities:
        raise UserError(
            f"the probability of every class was asked of a model for {model.problem}",
            rule="classifiers of texts and of pairs have one distribution a row",
            remedy="leave --probabilities out: each answer has its score",
        )
