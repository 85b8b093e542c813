"""One file a problem type: what a row is, how a model is built for it, scored and read out.

    problem.py                     what each of them says, and to whom
    text_classification.py         one text → one of C classes
    multilabel_classification.py   one text → any of C classes
    matching.py                    two texts → one of C classes
    token_classification.py        one text → spans of C types (named entities)
    question_answering.py          question and context → a span of the context, or none
    sentence_embedding.py          one text → a vector
    whole_texts.py                 what the first three and the last share: one answer a text
    text_units.py                  what the other two share: answers read out of a text's units

    seq2seq.py                     what the problems say whose answer is a text
    translation.py                 one text → the same in another language
    summarization.py               one text → a short one
    generation.py                  one text → a reply

A recipe's `problem` picks from `PROBLEMS` or `SEQ2SEQ_PROBLEMS`; adding a type is one file and one
line here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from data_contracts.errors import SourceError
from tasks.problems.generation import Generation
from tasks.problems.matching import Matching
from tasks.problems.multilabel_classification import MultilabelClassification
from tasks.problems.problem import Answers, Problem
from tasks.problems.question_answering import QuestionAnswering
from tasks.problems.sentence_embedding import SentenceEmbedding
from tasks.problems.seq2seq import Seq2SeqProblem
from tasks.problems.summarization import Summarization
from tasks.problems.text_classification import TextClassification
from tasks.problems.token_classification import TokenClassification
from tasks.problems.translation import Translation

if TYPE_CHECKING:
    from tasks.modeling.heads.classifier import EncoderWithHead

PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        TextClassification(),
        MultilabelClassification(),
        Matching(),
        TokenClassification(),
        QuestionAnswering(),
        SentenceEmbedding(),
    )
}

SEQ2SEQ_PROBLEMS: dict[str, Seq2SeqProblem] = {
    problem.name: problem for problem in (Translation(), Summarization(), Generation())
}


class OfOneProblem(Protocol):
    """A stage's configuration that names its problem."""

    @property
    def problem(self) -> str:
        """A name of `PROBLEMS`."""
        ...


def score_version(config: OfOneProblem) -> int:
    """`Problem.score_version` of the problem of a stage that chooses a step, for its key."""
    return PROBLEMS[config.problem].score_version


def load_model(folder: Path) -> EncoderWithHead:
    """The network saved in a model folder, whatever its problem: fp32, on the CPU, in evaluation.

    Raises: SourceError if the folder holds no model of a known problem.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from tasks.modeling.backbones.encoder import load_backbone

    try:
        head = json.loads((folder / "head.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "head.safetensors")
        problem = PROBLEMS[head["problem"]]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise SourceError(
            f"{folder} holds no model that answers: {error}",
            rule="a model folder has head.json (with a known problem) and head.safetensors beside "
            "the encoder",
            remedy="point to the model/ folder of a teacher, student or export artifact",
        ) from error
    model = problem.build_model(
        load_backbone(folder),
        num_labels=head["num_labels"],
        pooling=head["pooling"],
        dropout=head["dropout"],
        pairs=head.get("pairs", "together"),
    )
    model.head.load_state_dict(weights)
    return model.eval()


__all__ = [
    "PROBLEMS",
    "SEQ2SEQ_PROBLEMS",
    "Answers",
    "Problem",
    "Seq2SeqProblem",
    "load_model",
    "score_version",
]
