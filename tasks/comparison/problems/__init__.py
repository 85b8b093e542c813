"""One file a problem type: which rows are compared, what each system answers, which floors it has.

    classification.py             one of C classes: softmax confidences, linear floors
    matching.py                   two texts, one of C classes: how alike they look as a floor
    multilabel_classification.py  any of C classes, at thresholds from validation rows
    token_classification.py       named entities: spans of characters, lists of names as floors
    question_answering.py         a span of a context or none, sentences as floors
    sentence_embedding.py         vectors: translations found, likeness as people see it
    units.py                      what token_classification and question_answering share
    written_texts.py              translation, summarization, generation

`COMPARED` picks the class by the recipe's `problem`; its interface is `tasks.comparison.problem`.
"""

from __future__ import annotations

from collections.abc import Callable

from tasks.comparison.material import Material
from tasks.comparison.problem import ComparedProblem, Settings
from tasks.comparison.problems.classification import TextClassification
from tasks.comparison.problems.matching import Matching
from tasks.comparison.problems.multilabel_classification import MultilabelClassification
from tasks.comparison.problems.question_answering import QuestionAnswering
from tasks.comparison.problems.sentence_embedding import SentenceEmbedding
from tasks.comparison.problems.token_classification import TokenClassification
from tasks.comparison.problems.written_texts import Generation, Summarization, Translation

COMPARED: dict[str, Callable[[Material, Settings], ComparedProblem]] = {
    "text_classification": TextClassification,
    "matching": Matching,
    "multilabel_classification": MultilabelClassification,
    "token_classification": TokenClassification,
    "question_answering": QuestionAnswering,
    "sentence_embedding": SentenceEmbedding,
    "translation": Translation,
    "summarization": Summarization,
    "generation": Generation,
}
