"""What each problem's registered model is asked and answers: stated once, in words and types.

The MLflow signature (`pyfunc.py`), the model card, the input example and the script that a version
carries all follow from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_contracts.errors import UserError

Kind = Literal["string", "double", "long", "boolean", "strings", "doubles", "entities"]
"""A column's type: plain, a list of plain ones, or a list of records about spans."""

Example = str | tuple[str, ...]
"""A text, or one text for each input column."""

_PORTABLE = Path(__file__).parents[1] / "portable"


@dataclass(frozen=True)
class Column:
    """A column of the input or the answer.

    Args:
        required: false for one that is null or absent at times.
    """

    name: str
    kind: Kind
    meaning: str
    required: bool = True


@dataclass(frozen=True)
class Parameter:
    """A parameter of `predict`, with the value it has when nobody gives one."""

    name: str
    kind: Literal["string", "long", "boolean"]
    default: str | int | bool
    meaning: str


@dataclass(frozen=True)
class Interface:
    """One problem's model as its consumer sees it.

    Args:
        script: the portable script that answers; assembled when registered.
        noun: what the model is, for the first line of its card.
        limits: what it answers to what it should not be asked, for its card.
        is_cut: whether texts beyond the training length lose their end.
    """

    script: Path
    noun: str
    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]
    parameters: tuple[Parameter, ...]
    limits: str
    is_cut: bool = True


_TEXT = Column("text", "string", "the text, as it is")
_LABELS = (
    Column("label", "string", "the likeliest label"),
    Column("score", "double", "its softmax probability"),
    Column("labels", "strings", "with top_k > 1: labels, best first", required=False),
    Column("scores", "doubles", "with top_k > 1: their probabilities", required=False),
)
_VARIANT = Parameter(
    "variant",
    "string",
    "safetensors",
    "safetensors (the evaluated network) or onnx_int8 (smaller, faster on a CPU, nearly the same "
    "answers)",
)
_TOP_K = Parameter("top_k", "long", 1, "how many labels to list")
_BATCH_SIZE = Parameter("batch_size", "long", 32, "texts, or windows of them, a forward pass")
_STRIDE = Parameter(
    "stride",
    "long",
    0,
    "tokens from the start of a window over a long text to that of the next; 0: as in training, "
    "or half a window",
)
_ALWAYS_ONE = (
    "It answers with one of its labels whatever it is asked: texts in another language, or about "
    "something else, get a label too. Scores are softmax probabilities; see the calibration in "
    "report.html before acting on them."
)
_SEARCH = (
    Parameter("num_beams", "long", -1, "hypotheses kept a text; -1: as it was evaluated"),
    Parameter("min_length", "long", -1, "tokens written at least; -1: as it was evaluated"),
    Parameter("max_length", "long", -1, "tokens written at most; -1: as it was evaluated"),
    Parameter(
        "no_repeat_ngram_size",
        "long",
        -1,
        "no run of so many tokens is written twice; 0: off, -1: as it was evaluated",
    ),
    Parameter("batch_size", "long", 16, "texts written side by side"),
)
_UNCHECKED = (
    "What it writes is not checked against the text it was given: names and numbers may be "
    "changed, left out or made up, most of all in texts unlike those it was trained on."
)
_OFFSETS = "counted in characters (Unicode code points) of the text as it was given"

INTERFACES: dict[str, Interface] = {
    "text_classification": Interface(
        script=_PORTABLE / "text_classifier.py",
        noun="text classifier",
        inputs=(_TEXT,),
        outputs=_LABELS,
        parameters=(_VARIANT, _TOP_K, _BATCH_SIZE),
        limits=_ALWAYS_ONE,
    ),
    "multilabel_classification": Interface(
        script=_PORTABLE / "multilabel_classifier.py",
        noun="multi-label text classifier",
        inputs=(_TEXT,),
        outputs=(
            Column("labels", "strings", "labels at or over their thresholds, likeliest first"),
            Column("scores", "doubles", "their probabilities"),
            Column("all_labels", "strings", "with all_scores: every label", required=False),
            Column("all_scores", "doubles", "with all_scores: its probability", required=False),
        ),
        parameters=(
            _VARIANT,
            Parameter("all_scores", "boolean", False, "whether to list every label's probability"),
            _BATCH_SIZE,
        ),
        limits="Each label is decided by itself, at a threshold kept in serving.json; a text may "
        "get none. Texts in another language, or about something else, may get labels too.",
    ),
    "matching": Interface(
        script=_PORTABLE / "pair_classifier.py",
        noun="classifier of text pairs",
        inputs=(
            Column("text", "string", "the first text"),
            Column("text_b", "string", "the second text"),
        ),
        outputs=_LABELS,
        parameters=(_VARIANT, _TOP_K, _BATCH_SIZE),
        limits=_ALWAYS_ONE + " A pair is one question, so n against m texts are n·m of them.",
    ),
    "token_classification": Interface(
        script=_PORTABLE / "token_classifier.py",
        noun="named-entity recogniser",
        inputs=(_TEXT,),
        outputs=(
            Column(
                "entities",
                "entities",
                "records in the order of the text: start and end (exclusive), "
                f"{_OFFSETS}; text[start:end]; label; score, the mean probability of its tags",
            ),
        ),
        parameters=(_VARIANT, _STRIDE, _BATCH_SIZE),
        limits="Entities begin and end at words (at characters, in scripts without spaces), do "
        "not overlap and are not nested.",
        is_cut=False,
    ),
    "question_answering": Interface(
        script=_PORTABLE / "question_answerer.py",
        noun="reader that answers questions about a text",
        inputs=(
            Column("question", "string", "what is asked"),
            Column("context", "string", "the text that may hold the answer"),
        ),
        outputs=(
            Column("answer", "string", "context[start:end]; null: no answer in it", required=False),
            Column("score", "double", "probability of its start times that of its end"),
            Column("start", "long", f"first character, {_OFFSETS}", required=False),
            Column("end", "long", "the character after its last", required=False),
        ),
        parameters=(
            _VARIANT,
            Parameter(
                "max_answer_length",
                "long",
                -1,
                "words (characters, in scripts without spaces) of an answer at most; -1: as it was "
                "evaluated",
            ),
            _STRIDE,
            _BATCH_SIZE,
        ),
        limits="An answer is a stretch of the context, found by likeness to the question: it is "
        "not checked, and a question the context does not answer may get one.",
        is_cut=False,
    ),
    "sentence_embedding": Interface(
        script=_PORTABLE / "text_embedder.py",
        noun="sentence encoder",
        inputs=(_TEXT,),
        outputs=(
            Column(
                "embedding",
                "doubles",
                "vector of unit length: dot products are cosines, also with the teacher's vectors",
            ),
        ),
        parameters=(_VARIANT, _BATCH_SIZE),
        limits="A vector says which texts are alike, not whether they are true or safe. How alike "
        "is enough depends on what is searched: choose a threshold on texts of your own.",
    ),
    "translation": Interface(
        script=_PORTABLE / "text_generator.py",
        noun="translator",
        inputs=(_TEXT,),
        outputs=(Column("translation", "string", "the text in the target language"),),
        parameters=_SEARCH,
        limits=_UNCHECKED,
    ),
    "summarization": Interface(
        script=_PORTABLE / "text_generator.py",
        noun="summarizer",
        inputs=(_TEXT,),
        outputs=(Column("summary", "string", "a short text that says the same"),),
        parameters=_SEARCH,
        limits=_UNCHECKED,
    ),
    "generation": Interface(
        script=_PORTABLE / "text_generator.py",
        noun="writer of replies",
        inputs=(_TEXT,),
        outputs=(Column("reply", "string", "a fitting answer to the text"),),
        parameters=_SEARCH,
        limits=_UNCHECKED,
    ),
}


def input_rows(problem: str, examples: Sequence[Example]) -> list[dict[str, str]]:
    """Examples as rows of the problem's input columns.

    Raises: UserError if one does not have a text for each column.
    """
    names = [column.name for column in INTERFACES[problem].inputs]
    rows = []
    for example in examples:
        texts = (example,) if isinstance(example, str) else tuple(example)
        if len(texts) != len(names):
            raise UserError(
                f"the example {example!r} holds {len(texts)} texts",
                rule=f"an example of {problem} holds {len(names)}: {', '.join(names)}",
                remedy="correct registration.example_texts: a text each, or a list of texts where "
                "there are several columns",
            )
        rows.append(dict(zip(names, texts, strict=True)))
    return rows
