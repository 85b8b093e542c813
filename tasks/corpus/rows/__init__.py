"""What a row is, one file a kind: its cells at the door, its columns in the corpus, its tokens.

    kind.py            what all kinds share: RawRow -> PreparedRow, and how a kind is asked
    classification.py  a text, one class of it (text_classification)
    multilabel.py      a text, all classes that hold of it (multilabel_classification)
    pairs.py           two texts, the class of their relation (matching)
    spans.py           a text, named stretches of it (token_classification)
    written.py         tokens of the kinds that make their own -> a table and its counts

A problem type is an entry of `ROW_KINDS`; a new one is a file beside these.
"""

from tasks.corpus.columns import ProblemType
from tasks.corpus.rows.classification import ClassifiedRows
from tasks.corpus.rows.kind import RowKind
from tasks.corpus.rows.multilabel import MultilabelRows
from tasks.corpus.rows.pairs import PairRows
from tasks.corpus.rows.spans import SpanRows

ROW_KINDS: dict[ProblemType, RowKind] = {
    "text_classification": ClassifiedRows(),
    "multilabel_classification": MultilabelRows(),
    "matching": PairRows(),
    "token_classification": SpanRows(),
}
"""How the rows of each problem type are read, kept and tokenized."""
