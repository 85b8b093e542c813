"""What a recipe may name as a source of rows: files, a saved data set, or a known collection.

A source has one role and one language. Roles say what a row is for:

    train        labelled text in the source language: the teacher learns from it
    transfer     text in the target language that the student reads, if possible with the same
                 meaning in the source language (`parallel_text`), which the teacher reads
    validation   labelled text for early stopping, in either language
    test         labelled text for the report, in either language; never trained on
    adapt        text without labels, in either language: an encoder reads on in it
                 (tasks.adaptation); nobody is trained or asked a label of it
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from data_contracts.artifacts import WithLaterFields
from tasks.corpus.readers.row_choice import RowFilter, as_text
from tasks.corpus.sources.columns import (
    Columns,
    ParallelFile,
    ProblemType,
    check_columns,
    has_parallel_text,
)
from tasks.corpus.sources.expansion import Expansion, check_expansion
from tasks.corpus.sources.label_maps import normalized_map
from tasks.corpus.text.context_focus import check_focus
from tasks.demo_data.home_assistant import HomeAssistantCommands, HomeAssistantSource
from tasks.demo_data.home_assistant_replies import HomeAssistantReplies

Role = Literal["train", "transfer", "validation", "test", "adapt"]
ROLES: tuple[Role, ...] = ("train", "transfer", "validation", "test", "adapt")
LABELLED_ROLES: tuple[Role, ...] = ("train", "validation", "test")
FileFormat = Literal["parquet", "jsonl", "csv", "tsv", "conll", "datasets"]
_NOT_IN_CONLL = ("label", "labels", "parallel_text")  # of problems that read words


class FileSource(WithLaterFields):
    """Rows from files: Parquet, JSON lines, CSV, TSV or a saved data set, in order, in pieces."""

    later_fields: ClassVar[tuple[str, ...]] = (
        "label_map",
        "where",
        "max_rows",
        "seed",
        "focus_characters",
        "expand",
    )

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="how reports and the quarantine call it; lowercase, unique in the recipe",
    )
    format: FileFormat = Field(
        description="how the files are written; text formats are UTF-8, CSV and TSV have a header; "
        "conll has a word a line and a blank line between sentences (CoNLL-2003, UNER); "
        "datasets is a folder that Dataset.save_to_disk wrote, one split of it"
    )
    uri: str = Field(
        min_length=1,
        description="a file, folder or glob: a path, file://, s3://, hf://datasets/... or pkg://",
    )
    role: Role = Field(
        description="what its rows are for: train, transfer, validation, test or adapt"
    )
    language: str = Field(
        pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description="BCP-47 tag of `text`, such as zh"
    )
    parallel_language: str | None = Field(
        default=None,
        pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$",
        description="BCP-47 tag of `parallel_text`, such as en",
    )
    where: dict[str, tuple[str, ...]] = Field(
        default={},
        description="columns that must have one of the given values, such as {language: [zh]}, for "
        "a row to be taken from the files: one file may hold several sources. Numbers are compared "
        "by their digits, yes and no as true and false",
    )
    max_rows: int | None = Field(
        default=None,
        ge=1,
        description="so many rows are drawn from all its files, each as likely as another; they "
        "stay in order. Where there are fewer, all",
    )
    seed: int = Field(default=0, ge=0, description="of the draw: another one draws other rows")
    columns: Columns = Field(
        default=Columns(),
        description="which column holds what; of parquet, jsonl and datasets also a field of "
        "records, at any depth, such as translation.en",
    )
    parallel: ParallelFile | None = Field(
        default=None,
        description="for the role transfer (sentence_embedding: also validation and test): where "
        "the same rows are in `parallel_language`, if not in a column of this file; rows that it "
        "lacks are set aside",
    )
    target_language: str | None = Field(
        default=None,
        pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$",
        description="BCP-47 tag of `target_text`; not set: the recipe's target language for a "
        "translation, the text's own language for a summary or a reply",
    )
    label_separator: str | None = Field(
        default=None,
        min_length=1,
        description="multilabel_classification: what stands between the names in columns.label, "
        "such as ;. An empty cell says that no class holds, in the role transfer that nobody has "
        "looked",
    )
    label_names: tuple[str, ...] = Field(
        default=(),
        max_length=65_536,
        description="names of the classes or tags 0, 1, 2, ..., where the file has numbers; a "
        "class -1 is no label, and a row with anything else is set aside",
    )
    label_map: dict[str, str] = Field(
        default={},
        max_length=65_536,
        description="what classes are called in the recipe where the file has other names, such as "
        "{Heat: heat}; after label_names, each name once, of tags the type alone (B-Heat: B-heat). "
        "Other names stay as they are; a key that no label has is refused",
    )
    focus_characters: int | None = Field(
        default=None,
        ge=20,
        description="question_answering, role transfer: of each text only those of its sentences "
        "in a row, together at most so many characters, that share most pairs of characters with "
        "its question; a longer sentence is kept whole. Lengths, copies and leaks are those of "
        "what is kept: a part of a context that is tested on is not known as such",
    )
    expand: Expansion | None = Field(
        default=None,
        description="rows that are made of each row, and counted in its place. halves (a "
        "classification, roles transfer and adapt): the two halves of the text. answer_sentences "
        "(matching; text is a question, text_b a context, columns.answers as in SQuAD, in the role "
        "transfer not needed): the question with the sentence that answers it (yes), and with "
        "another (no). Copies and leaks are those of what is made: a half of a tested text is not "
        "known as such",
    )

    @field_validator("where", mode="before")
    @classmethod
    def _values_are_texts(cls, given: Any) -> Any:
        if type(given) is not dict:
            return {} if given is None else given
        wanted: dict[str, tuple[str | None, ...]] = {}
        for column, one in given.items():
            listed = one if isinstance(one, list | tuple) else [one]
            if len({isinstance(value, bool) for value in listed}) > 1:
                raise ValueError(
                    f"{column!r}: {one!r} mixes true or false with other values: write names in "
                    'quotes, as YAML reads no, on and yes as something else, such as [en, "no"]'
                )
            values = tuple(map(as_text, listed))
            if not column or not values or not all(values):
                raise ValueError(
                    f"{column!r}: {one!r} names no column and values of it: give a text, a whole "
                    "number, true or false, or a list of them, such as {language: [zh]}"
                )
            wanted[column] = values
        return wanted

    @field_validator("label_map", mode="before")
    @classmethod
    def _names_are_texts(cls, given: Any) -> Any:
        for name in (one for pair in given.items() for one in pair) if type(given) is dict else ():
            if not isinstance(name, str):
                raise ValueError(
                    f"{name!r} is not a text: write the names in quotes, as YAML reads 1, yes and "
                    'on as something else, such as {"1": "yes"}'
                )
        return given

    @model_validator(mode="after")
    def _is_coherent(self) -> FileSource:
        try:
            normalized_map(self)
        except ValueError as error:
            raise ValueError(f"source {self.name!r}: {error}") from None
        if self.seed and self.max_rows is None:
            raise ValueError(
                f"source {self.name!r} has a seed of {self.seed}, but no max_rows: nothing is "
                "drawn; set max_rows, or take the seed out"
            )
        if self.format == "conll":
            if self.where:
                raise ValueError(
                    f"source {self.name!r}: sentences of a CoNLL file have no columns to choose "
                    "them by: take where out"
                )
            if self.columns.words is None:
                raise ValueError(
                    f"source {self.name!r}: a CoNLL file has words and tags: set columns.words "
                    "(such as 1) and columns.tags (such as last)"
                )
            self._has_words_and_tags_alone()
        elif (
            self.role in LABELLED_ROLES
            and not self.columns.annotations
            and self.parallel_language is None
        ):
            column = "label (tags, spans, answers, target_text for other problems)"
            if self.expand == "answer_sentences":
                column = "answers"
            raise ValueError(
                f"source {self.name!r} has the role {self.role} but names no label column: "
                f"set columns.{column}, or use the role transfer for unlabelled text"
            )
        if self.role == "adapt" and self.format != "conll" and self.columns.annotations:
            raise ValueError(
                f"source {self.name!r} has the role adapt, of which text alone is read, but names "
                "columns for labels: leave them out"
            )
        other = self.parallel
        in_column, in_file = self.columns.parallel_text is not None, other is not None
        if in_column and in_file:
            raise ValueError(
                f"source {self.name!r} names parallel text twice, as columns.parallel_text and as "
                "parallel: give one of them"
            )
        if (in_column or in_file) != (self.parallel_language is not None):
            raise ValueError(
                f"source {self.name!r}: parallel_language belongs together with "
                "columns.parallel_text, or with parallel: give both or neither"
            )
        if other is not None and (other.columns.text_b is None) != (self.columns.text_b is None):
            raise ValueError(
                f"source {self.name!r}: columns.text_b and parallel.columns.text_b are the second "
                "texts of a pair: name both or neither"
            )
        return self

    def _has_words_and_tags_alone(self) -> None:
        """Refuse what would be looked for in a CoNLL file in vain."""
        named = [f"columns.{one}" for one in _NOT_IN_CONLL if dict(self.columns)[one] is not None]
        if self.parallel is not None:
            named.append("parallel")
        if named:
            raise ValueError(
                f"source {self.name!r} names {named[0]}, but a CoNLL file has words and tags "
                "alone: take it out, or write the rows as parquet or jsonl"
            )

    @property
    def row_filter(self) -> RowFilter:
        """Which rows of its files are its own."""
        return RowFilter({column: frozenset(values) for column, values in self.where.items()})


Source = Annotated[
    FileSource | HomeAssistantSource | HomeAssistantReplies, Field(discriminator="format")
]
"""One entry of a recipe's `data.sources`; `format` decides which."""


def locations(source: FileSource | HomeAssistantCommands) -> tuple[str, ...]:
    """URIs that a source is read from."""
    parallel = source.parallel if isinstance(source, FileSource) else None
    return (source.uri,) if parallel is None else (source.uri, parallel.uri)


def check_source(problem: ProblemType, source: FileSource | HomeAssistantCommands) -> None:
    """Refuse a source whose columns are not those of `problem`.

    Raises: ValueError.
    """
    if isinstance(source, FileSource):
        labelled = source.role in LABELLED_ROLES
        if problem == "sentence_embedding":
            labelled = _is_compared_by_score(source)
        elif source.parallel_language is not None and source.role != "transfer":
            raise ValueError(
                f"source {source.name!r} has parallel text but the role {source.role}: "
                "only transfer rows are read in two languages"
            )
        if source.parallel is not None and not has_parallel_text(problem):
            raise ValueError(
                f"source {source.name!r} names parallel, but {problem} reads a row in one language "
                "alone: take parallel and parallel_language out"
            )
        check_columns(problem, source.name, source.columns, labelled=labelled)
        check_focus(problem, source)
        check_expansion(problem, source)
        _check_separator(problem, source)
        return
    replies = isinstance(source, HomeAssistantReplies)
    if problem != ("generation" if replies else "text_classification"):
        kind = "replies" if replies else "intents"
        rows = "texts with a reply" if replies else "texts with a class"
        raise ValueError(
            f"source {source.name!r} has the format home_assistant_{kind}, whose rows are {rows}; "
            f"{problem} needs others"
        )


def _check_separator(problem: ProblemType, source: FileSource) -> None:
    """Refuse names in one text that nothing parts, and a separator that has no names to part.

    Raises: ValueError.
    """
    if source.label_separator is None:
        if problem == "multilabel_classification" and source.columns.label is not None:
            raise ValueError(
                f"source {source.name!r}: the names in columns.label must be told apart: set "
                "label_separator, or name a list as columns.labels"
            )
    elif problem != "multilabel_classification":
        raise ValueError(
            f"source {source.name!r} has a label_separator, but {problem} has one label a "
            "text: take it out, or set problem to multilabel_classification"
        )
    elif source.columns.tags is not None:
        raise ValueError(
            f"source {source.name!r} has a label_separator and columns.tags: it parts the names in "
            "columns.label, and tags are one a word; take it out"
        )


def _is_compared_by_score(source: FileSource) -> bool:
    """Whether rows of a source for sentence_embedding are pairs with a person's score.

    Raises: ValueError if its rows could not be used in their role.
    """
    given = {name: dict(source.columns)[name] is not None for name in ("text_b", "score")}
    if any(given.values()):
        if not all(given.values()) or source.parallel_language or source.role != "test":
            raise ValueError(
                f"source {source.name!r}: columns.text_b and columns.score are of test rows, both "
                "together, without parallel text: pairs that people scored, in one language"
            )
        return True
    if source.role in ("validation", "test") and source.parallel_language is None:
        raise ValueError(
            f"source {source.name!r} has the role {source.role}, but its rows have neither "
            "parallel text nor a score: set columns.parallel_text and parallel_language (or "
            "parallel), whose sentences the student's are to find"
        )
    return False
