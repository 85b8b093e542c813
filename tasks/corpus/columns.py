"""Which columns a source names, and which of them each problem type needs.

    text_classification   text                        label | labels      parallel_text
    matching              text, text_b                label               parallel_text + _b
    token_classification  text | words                spans | tags
    question_answering    text (the context), question  answers
    translation, summarization, generation   text     target_text

The third column is the annotation: it may be absent in the role transfer only. `domain` goes with
every problem. Light on purpose: recipes are checked before anything large is imported.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from data_contracts.artifacts import Frozen

ProblemType = Literal[
    "text_classification",
    "multilabel_classification",
    "matching",
    "token_classification",
    "question_answering",
    "translation",
    "summarization",
    "generation",
]
PROBLEM_TYPES: tuple[ProblemType, ...] = (
    "text_classification",
    "multilabel_classification",
    "matching",
    "token_classification",
    "question_answering",
    "translation",
    "summarization",
    "generation",
)
_ANYWHERE = ("text", "domain")
_NEEDED: dict[ProblemType, tuple[str, ...]] = {
    problem: {"matching": ("text_b",), "question_answering": ("question",)}.get(problem, ())
    for problem in PROBLEM_TYPES
}
_ANNOTATIONS: dict[ProblemType, tuple[str, ...]] = {
    "text_classification": ("label",),
    "matching": ("label",),
    "token_classification": ("tags", "spans"),
    "question_answering": ("answers",),
    "translation": ("target_text",),
    "summarization": ("target_text",),
    "generation": ("target_text",),
}
_ALSO: dict[ProblemType, tuple[str, ...]] = {
    "text_classification": ("parallel_text",),
    "matching": ("parallel_text", "parallel_text_b"),
    "token_classification": ("words",),
    "question_answering": (),
    "translation": (),
    "summarization": (),
    "generation": (),
}
ANNOTATIONS = tuple(dict.fromkeys(name for names in _ANNOTATIONS.values() for name in names))
"""Columns that say what a row's answer is, of all problems."""


class Columns(Frozen):
    """Which columns of a file (keys of a JSON object) hold what."""

    text: str = Field(default="text", min_length=1, description="column of the text to read")
    label: str | None = Field(
        default=None,
        description="column of the class name; required for the roles train, validation and test "
        "of a classification",
    )
    parallel_text: str | None = Field(
        default=None,
        description="column of the same meaning in `parallel_language`, for the role transfer: "
        "what the teacher reads while the student reads `text`",
    )
    words: str | None = Field(
        default=None,
        description="token_classification: column of the list of words, in place of `text`; they "
        "are joined by spaces, or without where the language is written so. In a CoNLL file the "
        "number of the column, from 1, or its name",
    )
    tags: str | None = Field(
        default=None,
        description="token_classification: column of the list of tags, one a word (B-PER, I-PER, "
        "O; BIOES is read too; or numbers of `label_names`). In a CoNLL file as `words`",
    )
    spans: str | None = Field(
        default=None,
        description="token_classification: column of the list of spans {start, end, label} in "
        "`text`, in characters (code points), the end exclusive",
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
    def _words_have_tags(self) -> Columns:
        if self.spans is not None and (self.words is not None or self.tags is not None):
            raise ValueError(
                "columns.spans are characters of columns.text, columns.tags belong to "
                "columns.words: name spans, or words and tags"
            )
        if self.tags is not None and self.words is None:
            raise ValueError("columns.tags are one a word: name columns.words too")
        return self


def check_columns(problem: ProblemType, name: str, columns: Columns, *, labelled: bool) -> None:
    """Refuse columns that a problem does not have, and sources that lack what it needs.

    Args:
        name: of the source.
        labelled: whether the source's role needs annotations.

    Raises: ValueError.
    """
    annotations = _ANNOTATIONS[problem]
    known = (*_ANYWHERE, *_NEEDED[problem], *annotations, *_ALSO[problem])
    given = columns.model_dump(exclude_defaults=True)
    if foreign := sorted(set(given) - set(known)):
        raise ValueError(
            f"source {name!r} names columns.{foreign[0]}, which {problem} does not have: its "
            f"columns are {', '.join(known)}"
        )
    if missing := [column for column in _NEEDED[problem] if column not in given]:
        raise ValueError(f"source {name!r}: {problem} needs columns.{missing[0]}: name its column")
    if labelled and not set(annotations) & set(given):
        raise ValueError(
            f"source {name!r} has a role that needs annotations but names no column of them: "
            f"set columns.{' or columns.'.join(annotations)}, or use the role transfer"
        )
