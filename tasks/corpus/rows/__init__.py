"""What a row is, one file a kind: its cells at the door, its columns in the corpus, its tokens.

    kind.py            what all kinds share: RawRow -> PreparedRow, and how a kind is asked
    classification.py  a text, one class of it (text_classification)
    multilabel.py      a text, all classes that hold of it (multilabel_classification)
    pairs.py           two texts, the class of their relation (matching);
                       answer_sentences.py: made of answered questions
    tagged.py          words and their tags, of which spans.py and multilabel.py read
    spans.py           a text, named stretches of it (token_classification)
    questions.py       a question and a context that may answer it (question_answering);
                       answers.py: where its answers are
    sentences.py       a sentence and its translation, or a likeness (sentence_embedding)
    targets.py         a text and what is to be written (translation, summarization, generation)
    written.py         tokens of the kinds that make their own -> a table and its counts

A problem type is an entry of `ROW_KINDS`; a new one is a file beside these.
"""

from tasks.corpus.rows.classification import ClassifiedRows
from tasks.corpus.rows.kind import RowKind
from tasks.corpus.rows.multilabel import MultilabelRows
from tasks.corpus.rows.pairs import PairRows
from tasks.corpus.rows.questions import QuestionRows
from tasks.corpus.rows.sentences import SentenceRows
from tasks.corpus.rows.spans import SpanRows
from tasks.corpus.rows.targets import TargetRows
from tasks.corpus.sources.columns import ProblemType

ROW_KINDS: dict[ProblemType, RowKind] = {
    "text_classification": ClassifiedRows(),
    "multilabel_classification": MultilabelRows(),
    "matching": PairRows(),
    "token_classification": SpanRows(),
    "question_answering": QuestionRows(),
    "sentence_embedding": SentenceRows(),
    "translation": TargetRows(translation=True),
    "summarization": TargetRows(translation=False),
    "generation": TargetRows(translation=False),
}
"""How the rows of each problem type are read, kept and tokenized."""
