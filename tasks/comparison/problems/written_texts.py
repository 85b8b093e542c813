"""Texts that are written: translation, summarization, generation.

What the teacher wrote is in its signals: the first hypothesis of a test row. Teacher and students
of a translation read the same source, so they are compared on the same rows; otherwise each reads
texts in its own language, as in the other problems. References are the corpus's `target_text`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute

from tasks.comparison.material import Material, Reader, is_any, labelled
from tasks.comparison.problem import Sections, Settings
from tasks.comparison.sections.domains import domain_groups
from tasks.comparison.sections.lengths import length_groups
from tasks.comparison.sections.structured import structured_predictions
from tasks.comparison.timing.generation import Writer
from tasks.metrics.baselines.answers import sentences
from tasks.metrics.baselines.replies import commonest_reply, nearest_replies
from tasks.metrics.scores import generation, rouge
from tasks.metrics.scores.translation import TranslationScorer
from tasks.metrics.statistics import Measure, Statistics
from tasks.metrics.systems import Answers

pc: Any = pyarrow.compute
_DIGEST_CHARS = 16


@dataclass(frozen=True)
class WrittenTexts(ABC):
    """See `tasks.comparison.problem.ComparedProblem`."""

    material: Material
    settings: Settings
    name: ClassVar[str]
    reads_source: ClassVar[bool] = False
    """Whether the student reads the source language, as the teacher does."""

    @property
    @abstractmethod
    def measures(self) -> tuple[Measure, ...]:
        """The primary one first."""

    @abstractmethod
    def count(self, texts: Sequence[str], references: Sequence[str]) -> dict[str, Statistics]:
        """Statistics of all metrics."""

    def has_tests(self) -> bool:
        """Whether a test row of the students has a reference."""
        return is_any(self._has_reference(self._test_rows("student")))

    def answer_teacher(self) -> Answers:
        """What the teacher wrote for the test rows in its language."""
        return self._of_teacher(self.tests("teacher"))

    def answer_teacher_on_target(self) -> Answers | None:
        """What the teacher wrote for the student's test rows, if it reads their language."""
        if self.reads_source:
            return None
        rows = self.material.target_rows_of_teacher(self.tests("student"))
        if rows is None:
            return None
        rows = rows.filter(self._has_reference(rows))
        return self._of_teacher(rows) if len(rows) else None

    def answer_models(self, models: Sequence[Path]) -> Answers:
        """What students write for their test rows, one a seed."""
        tests = self.tests("student")
        runs = [self._writer("student", model).write(tests["input_ids"]) for model in models]
        return self._answers(tests["example_id"], runs)

    def answer_floors(self) -> Iterator[tuple[str, Answers]]:
        """`copied_source`."""
        tests = self.tests("student")
        yield "copied_source", self._answers(tests["example_id"], [self._sources(tests)])

    def answer_int8(self, answer: Callable[..., Any], **_: int) -> Answers:
        """What the int8 form writes, from text."""
        tests = self.tests("student")
        return self._answers(tests["example_id"], [answer(self._sources(tests))])

    def timed_texts(self, reader: Reader) -> list[Any]:
        """The sources of the test rows of a reader."""
        return [*self._sources(self.tests(reader))]

    def answerers(self, *, num_threads: int) -> dict[str, Callable[..., Any]]:
        """Teacher and student, from text to text."""
        del num_threads
        return {
            "teacher": self._writer("teacher", self.material.path("teacher") / "model"),
            "safetensors": self._writer("student", self.material.path("export") / "model"),
        }

    def sections(self, answers: Mapping[str, Answers]) -> Sections:
        """Scores by the length of what is read, and by domain."""
        ids = pa.chunked_array([answers["student"].example_ids], pa.string())
        lengths = [len(text) for text in self._corpus(ids, "text").to_pylist()]
        return Sections(
            groups=(
                *length_groups(lengths, answers, self.measures, column="text length (characters)"),
                *domain_groups(self.material, answers, self.measures),
            )
        )

    def predictions(self, answers: Answers, seed_index: int) -> tuple[str, pa.Table]:
        """What was written, beside a digest of the reference: that is the user's own text."""
        digests = [
            hashlib.sha256(reference.encode()).hexdigest()[:_DIGEST_CHARS]
            for reference in answers.labels
        ]
        return structured_predictions(answers, seed_index, labels=digests)

    def tests(self, reader: Reader) -> pa.Table:
        """A reader's tokens of test rows with a reference.

        Raises: ContractViolation if there are none.
        """
        rows = self._test_rows(reader)
        return labelled(rows, self._has_reference(rows), reader)

    def _test_rows(self, reader: Reader) -> pa.Table:
        language = self.material.source_language if self.reads_source else None
        return self.material.rows(reader, ["test"], language=language)

    def _has_reference(self, rows: pa.Table) -> pa.ChunkedArray:
        return pc.is_valid(self._corpus(rows["example_id"], "target_text"))

    def _corpus(self, ids: pa.ChunkedArray, column: str) -> pa.ChunkedArray:
        return self.material.corpus_rows(["test"], ids, [column])[column]

    def _sources(self, rows: pa.Table) -> list[str]:
        return self._corpus(rows["example_id"], "text").to_pylist()

    def _of_teacher(self, rows: pa.Table) -> Answers:
        hypotheses = self.material.signals(rows["example_id"], ["hypotheses"])
        written = [found[0] if found else "" for found in hypotheses["hypotheses"].to_pylist()]
        return self._answers(rows["example_id"], [written])

    def _answers(self, ids: pa.ChunkedArray, runs: Sequence[Sequence[str]]) -> Answers:
        references = self._corpus(ids, "target_text").to_pylist()
        statistics = tuple(self.count(written, references) for written in runs)
        return Answers(tuple(ids.to_pylist()), references, [*runs], statistics)

    def _writer(self, reader: Reader, model: Path) -> Writer:
        return Writer(model, self.material.path(f"{reader}_tokens"))


@dataclass(frozen=True)
class Translation(WrittenTexts):
    """BLEU and chrF++ of texts in the target language, read in the source language."""

    name: ClassVar[str] = "translation"
    reads_source: ClassVar[bool] = True

    @property
    def measures(self) -> tuple[Measure, ...]:
        """BLEU first."""
        return (*self._scorer.measures, *generation.FLUENCY)

    def count(self, texts: Sequence[str], references: Sequence[str]) -> dict[str, Statistics]:
        """Statistics of all metrics."""
        looks = generation.text_statistics(texts, references)
        return {**self._scorer.statistics(texts, references), **looks}

    @cached_property
    def _scorer(self) -> TranslationScorer:
        return TranslationScorer(self.material.target_language)


@dataclass(frozen=True)
class Summarization(WrittenTexts):
    """ROUGE of summaries; the first sentence is a floor that is hard to beat."""

    name: ClassVar[str] = "summarization"

    @property
    def measures(self) -> tuple[Measure, ...]:
        """ROUGE-L first."""
        return (*rouge.MEASURES, *generation.FLUENCY)

    def count(self, texts: Sequence[str], references: Sequence[str]) -> dict[str, Statistics]:
        """Statistics of all metrics."""
        looks = generation.text_statistics(texts, references)
        return {**rouge.rouge_statistics(texts, references), **looks}

    def answer_floors(self) -> Iterator[tuple[str, Answers]]:
        """`first_sentence`, `copied_source`."""
        tests = self.tests("student")
        first = []
        for text in self._sources(tests):
            places = sentences(text)
            first.append(text[slice(*places[0])] if places else "")
        yield "first_sentence", self._answers(tests["example_id"], [first])
        yield from WrittenTexts.answer_floors(self)


@dataclass(frozen=True)
class Generation(WrittenTexts):
    """chrF++ and exact match of replies, and how varied and repetitive they are."""

    name: ClassVar[str] = "generation"

    @property
    def measures(self) -> tuple[Measure, ...]:
        """chrF++ first."""
        return (self._scorer.measures[1], generation.EXACT_MATCH, *generation.MEASURES)

    def count(self, texts: Sequence[str], references: Sequence[str]) -> dict[str, Statistics]:
        """Statistics of all metrics."""
        looks = generation.text_statistics(texts, references)
        looks["exact_match"] = generation.exact_matches(texts, references)
        return {**self._scorer.statistics(texts, references), **looks}

    def answer_floors(self) -> Iterator[tuple[str, Answers]]:
        """`nearest_reply`, `commonest_reply` of the rows the student was trained; `copied_source`.

        Replies are those that the teacher was asked about, as the student learned them.
        """
        tests, roles = self.tests("student"), self.settings.train_on
        rows = self.material.find_rows("student", roles, language=self.material.target_language)
        if rows is not None:
            rows = rows.filter(self.material.has_signal(rows["example_id"]))
        if rows is not None and len(rows):
            rows = rows.take(pa.array(self.settings.floor_rows(len(rows), "reply floors")))
            ids = rows["example_id"]
            replies = self.material.signals(ids, ["target_text"])["target_text"].to_pylist()
            texts = self.material.corpus_rows(roles, ids, ["text"])["text"].to_pylist()
            nearest = nearest_replies(texts, replies, self._sources(tests))
            yield "nearest_reply", self._answers(tests["example_id"], [nearest])
            always = [commonest_reply(replies)] * len(tests)
            yield "commonest_reply", self._answers(tests["example_id"], [always])
        yield from WrittenTexts.answer_floors(self)

    @cached_property
    def _scorer(self) -> TranslationScorer:
        return TranslationScorer(self.material.target_language)
