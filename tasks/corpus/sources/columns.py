"""Which columns a source names, and which of them each problem type needs.

                               needed            annotation         also
    text_classification        text              label              parallel_text
    multilabel_classification  text | words      labels | label     parallel_text
                                                 | tags
    matching                   text, text_b      label | answers    parallel_text, parallel_text_b
    token_classification       text | words      spans | tags
    question_answering         text, question    answers
    translation, summarization, generation   text   target_text
    sentence_embedding         text              score              parallel_text, text_b

The annotation may be missing in the role transfer only; rows of sentence_embedding whose parallel
text is given need none. `domain` goes with every problem. Light on
purpose: recipes are checked before anything large is imported.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from data_contracts.artifacts import Frozen

ProblemType = Literal[
    "text_classification",
    "multilabel_classification",
    "matching",
    "token_classification",
    "question_answering",
    "sentence_embedding",
    "translation",
    "summarization",
    "generation",
]
_ANYWHERE = ("domain",)


class _Wanted(NamedTuple):
    """Columns that a problem needs, those with a row's answer, and those it may have beside."""

    needed: tuple[str, ...]
    annotations: tuple[str, ...]
    also: tuple[str, ...] = ()


_WANTED: dict[ProblemType, _Wanted] = {
    "text_classification": _Wanted(("text",), ("label",), ("parallel_text",)),
    "multilabel_classification": _Wanted(
        ("text",), ("labels", "label", "tags"), ("words", "parallel_text")
    ),
    "matching": _Wanted(
        ("text", "text_b"), ("label", "answers"), ("parallel_text", "parallel_text_b")
    ),
    "token_classification": _Wanted(("text",), ("tags", "spans"), ("words",)),
    "question_answering": _Wanted(("text", "question"), ("answers",)),
    "sentence_embedding": _Wanted(("text",), ("score",), ("parallel_text", "text_b")),
    "translation": _Wanted(("text",), ("target_text",)),
    "summarization": _Wanted(("text",), ("target_text",)),
    "generation": _Wanted(("text",), ("target_text",)),
}
ANNOTATIONS = tuple(
    dict.fromkeys(name for wanted in _WANTED.values() for name in wanted.annotations)
)
"""Columns that say what a row's answer is, of all problems."""


class Columns(Frozen):
    """Which columns of a file (keys of a JSON object) hold what.

    `translation.en` is the field `en` of the records in a column `translation`, unless a column has
    that very name: see `tasks.corpus.readers.record_fields`.
    """

    text: str = Field(default="text", min_length=1, description="column of the text to read")
    label: str | None = Field(
        default=None,
        description="column of the class name; required for the roles train, validation and test "
        "of a classification",
    )
    parallel_text: str | None = Field(
        default=None,
        description="column of the same meaning in `parallel_language`, for the role transfer "
        "(sentence_embedding: also validation and test): what the teacher reads while the student "
        "reads `text`",
    )
    domain: str | None = Field(
        default=None,
        description="column that says where a text is from (a product group, a newspaper): scores "
        "are reported by it",
    )
    labels: str | None = Field(
        default=None,
        description="multilabel_classification: column of the list of class names. Where they are "
        "in one text, name it as `label` and give the source's label_separator",
    )
    text_b: str | None = Field(
        default=None,
        description="matching: column of the second text of the pair; sentence_embedding: of the "
        "text that a person compared with `text`",
    )
    score: str | None = Field(
        default=None,
        description="sentence_embedding: column of how alike `text` and `text_b` are, a number "
        "that grows with likeness, for the role test: similarities are correlated with it",
    )
    parallel_text_b: str | None = Field(
        default=None,
        description="matching: column of the meaning of `text_b` in `parallel_language`",
    )
    words: str | None = Field(
        default=None,
        description="token_classification, multilabel_classification: column of the list of words, "
        "in place of `text`; they are joined by spaces, or without where the language is written "
        "so. In a CoNLL file the number of the column, from 1, or its name",
    )
    tags: str | None = Field(
        default=None,
        description="token_classification: column of the list of tags, one a word (B-PER, I-PER, "
        "O; BIOES is read too; or numbers of `label_names`). In a CoNLL file as `words`. "
        "multilabel_classification: the types that they name (PER) are the classes of the text; "
        "with O alone none holds",
    )
    spans: str | None = Field(
        default=None,
        description="token_classification: column of the list of spans {start, end, label} in "
        "`text`, in characters (code points), the end exclusive",
    )
    question: str | None = Field(
        default=None,
        description="question_answering: column of the question; `text` is the context that may "
        "answer it",
    )
    answers: str | None = Field(
        default=None,
        description="question_answering: column of the answers {text, answer_start}, in characters "
        "of `text`, as in SQuAD; an empty list says that the context holds none. matching: of "
        "`text_b`, with expand: answer_sentences",
    )
    target_text: str | None = Field(
        default=None,
        description="translation, summarization, generation: column of what is to be written for "
        "`text`",
    )

    @property
    def mapping(self) -> dict[str, str]:
        """What is wanted -> column of the file."""
        named = {key: column for key, column in self.model_dump().items() if column}
        if self.words is not None:
            del named["text"]
        return named

    @property
    def annotations(self) -> tuple[str, ...]:
        """Which columns with a row's answer are named."""
        named = self.model_dump(exclude_none=True)
        return tuple(name for name in ANNOTATIONS if name in named)

    @model_validator(mode="after")
    def _pairs_are_parallel_on_both_sides(self) -> Columns:
        if self.text_b is not None and (self.parallel_text is None) != (
            self.parallel_text_b is None
        ):
            raise ValueError(
                "columns.parallel_text and columns.parallel_text_b are the two texts of one pair: "
                "name both or neither"
            )
        return self

    @model_validator(mode="after")
    def _spans_are_of_a_text(self) -> Columns:
        if self.spans is not None and (self.words is not None or self.tags is not None):
            raise ValueError(
                "columns.spans are characters of columns.text, columns.tags belong to "
                "columns.words: name spans, or words and tags"
            )
        return self


class ParallelColumns(Frozen):
    """Which columns of the other language's file hold the texts."""

    text: str = Field(default="text", min_length=1, description="column of the meaning of `text`")
    text_b: str | None = Field(
        default=None, description="matching: column of the meaning of `text_b`"
    )


class ParallelFile(Frozen):
    """A file of the same rows in `parallel_language`, in any order."""

    uri: str = Field(
        min_length=1, description="a file, folder or glob, of the same format as the source's own"
    )
    key: str = Field(
        min_length=1,
        description="column that says in both files which rows belong together, such as index_id",
    )
    columns: ParallelColumns = Field(
        default=ParallelColumns(), description="which of its columns holds what"
    )

    @property
    def mapping(self) -> dict[str, str]:
        """What is wanted -> column of the file; `key` among it."""
        return {**self.columns.model_dump(exclude_none=True), "key": self.key}


def has_parallel_text(problem: ProblemType) -> bool:
    """Whether rows of `problem` may bring their meaning in another language."""
    return "parallel_text" in _WANTED[problem].also


def check_columns(problem: ProblemType, name: str, columns: Columns, *, labelled: bool) -> None:
    """Refuse columns that a problem does not have, and sources that lack what it needs.

    Args:
        name: of the source.
        labelled: whether the source's role needs annotations.

    Raises: ValueError.
    """
    needed, annotations, also = _WANTED[problem]
    known = (*needed, *annotations, *also, *_ANYWHERE)
    given = {"text", *columns.model_dump(exclude_defaults=True)}
    if foreign := sorted(given - set(known)):
        raise ValueError(
            f"source {name!r} names columns.{foreign[0]}, which {problem} does not have: its "
            f"columns are {', '.join(known)}"
        )
    if missing := [column for column in needed if column not in given]:
        raise ValueError(f"source {name!r}: {problem} needs columns.{missing[0]}: name its column")
    if labelled and not given.intersection(annotations):
        raise ValueError(
            f"source {name!r} has a role that needs annotations but names no column of them: "
            f"set columns.{' or columns.'.join(annotations)}, or use the role transfer"
        )
    if columns.tags is not None:
        _check_tags(problem, name, columns)


def _check_tags(problem: ProblemType, name: str, columns: Columns) -> None:
    """Refuse tags that lack words, or are not all that says what a row's answer is."""
    if problem == "token_classification" and columns.words is None:
        raise ValueError(
            f"source {name!r} names columns.tags, which are one a word: name columns.words too"
        )
    if twice := [column for column in columns.annotations if column != "tags"]:
        raise ValueError(
            f"source {name!r} names columns.{twice[0]} and columns.tags: a row's classes are said "
            "once, by the types of its tags or by their names; take one of them out"
        )
