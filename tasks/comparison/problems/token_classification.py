"""Named entities: spans of characters, found by teacher, students and lists of names.

Gold spans are the corpus's own, so what a cut text no longer holds counts as missed. Tags are read
as in `tasks.metrics.scores.entities`; how many had to be repaired, and how many gold spans no tags
can name, is told in the report's notes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from data_contracts.evaluation import Diagnostics
from tasks.comparison.material import Reader
from tasks.comparison.problem import Sections
from tasks.comparison.problems.units import UnitComparison
from tasks.comparison.sections.diagnosis import drawn
from tasks.comparison.sections.domains import domain_groups
from tasks.comparison.sections.structured import structured_predictions
from tasks.comparison.timing.inference import Answerer
from tasks.corpus.text.units import segment
from tasks.metrics.baselines.entities import Gazetteer
from tasks.metrics.diagnostics import diagnose
from tasks.metrics.latency import Text
from tasks.metrics.scores.entities import (
    MEASURES,
    Span,
    decode_tags,
    entity_answers,
    entity_table,
    entity_types,
    unreachable_spans,
)
from tasks.metrics.statistics import Measure
from tasks.metrics.systems import Answers
from tasks.problems.problem import Answers as LabelledAnswers

_SPANS = ["text", "span_starts", "span_ends", "span_labels"]
_SAID = ["num_units", "logits"]


@dataclass(frozen=True)
class TokenClassification(UnitComparison):
    """See `tasks.comparison.problem.ComparedProblem`."""

    name: ClassVar[str] = "token_classification"
    labelled_by: ClassVar[str] = "span_labels"

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Entity F1 first."""
        return MEASURES

    def answer_teacher(self) -> Answers:
        """The teacher on the source-language test rows."""
        ids = self.tests("teacher")["example_id"]
        return self._answers(ids, [self._tags_of_teacher(ids)])

    def answer_teacher_on_target(self) -> Answers | None:
        """The teacher on the target-language test rows, if it reads them."""
        rows = self.tests_of_teacher_on_target()
        if rows is None:
            return None
        return self._answers(rows["example_id"], [self._tags_of_teacher(rows["example_id"])])

    def answer_models(self, models: Sequence[Path]) -> Answers:
        """Students on the target-language test rows, one a seed."""
        tests = self.tests("student")
        runs = [self._tags(self.said_by(model, tests)) for model in models]
        return self._answers(tests["example_id"], runs)

    def answer_int8(self, answer: Answerer, *, batch_size: int, num_threads: int) -> Answers:
        """The int8 form on the stored tokens of the test rows."""
        del answer
        tests = self.tests("student")
        said = self.said_by_int8(tests, batch_size=batch_size, num_threads=num_threads)
        return self._answers(tests["example_id"], [self._tags(said)])

    def answer_floors(self) -> Iterator[tuple[str, Answers]]:
        """`gazetteer_pseudo_label`, `gazetteer_gold`, `majority`, each where it can be learned."""
        tests = self.tests("student")
        texts = self.corpus(["test"], tests["example_id"], ["text"])["text"]
        roles = self.settings.train_on
        learned = self.read_by_both(roles)
        most_frequent = "O"
        if learned is not None:
            ids = learned["example_id"]
            tags = self._tags_of_teacher(ids)
            named = self.corpus(roles, ids, ["text"])["text"]
            counts = np.unique([tag for one in tags for tag in one], return_counts=True)
            most_frequent = str(counts[0][counts[1].argmax()])
            spans = [self._spans(text, one) for text, one in zip(named, tags, strict=True)]
            if found := self._looked_up(tests["example_id"], texts, named, spans):
                yield "gazetteer_pseudo_label", found
        rows = self.material.rows("student", roles)
        corpus = self.corpus(roles, rows["example_id"], [*_SPANS, "language"])
        own = [
            (text, gold)
            for text, gold, language in zip(
                corpus["text"], _gold(corpus), corpus["language"], strict=True
            )
            if gold is not None and language == self.material.target_language
        ]
        if found := self._looked_up(
            tests["example_id"], texts, [text for text, _ in own], [gold for _, gold in own]
        ):
            yield "gazetteer_gold", found
        tags = [[most_frequent] * len(segment(text)) for text in texts]
        yield "majority", self._answers(tests["example_id"], [tags])

    def timed_texts(self, reader: Reader) -> list[Text]:
        """The labelled test texts of a reader."""
        return [*self.corpus(["test"], self.tests(reader)["example_id"], ["text"])["text"]]

    def sections(self, answers: Mapping[str, Answers]) -> Sections:
        """Table of types, agreement on units, domains; what was repaired."""
        model = self.material.seeds("student")[0].path / "model"
        tests = self.tests("student")
        texts = self.corpus(["test"], tests["example_id"], ["text"])["text"]
        tags = self._tags(self.said_by(model, tests))
        return Sections(
            classes=entity_table(answers["student"], self._types, system="student, seed 0"),
            diagnostics=self._diagnose(model),
            groups=domain_groups(self.material, answers, self.measures),
            notes=(_repaired(texts, tags), *_unreachable(texts, tags, answers["student"].labels)),
        )

    def predictions(self, answers: Answers, seed_index: int) -> tuple[str, pa.Table]:
        """Spans as [start, end, type]."""
        return structured_predictions(answers, seed_index)

    @property
    def _types(self) -> list[str]:
        return entity_types(self.material.label_names)

    def _answers(self, ids: pa.ChunkedArray, runs: Sequence[Sequence[Sequence[str]]]) -> Answers:
        """Answers from the tags of each seed and text."""
        corpus = self.corpus(["test"], ids, _SPANS)
        gold = [spans or [] for spans in _gold(corpus)]
        decoded = [
            [self._spans(text, tags) for text, tags in zip(corpus["text"], run, strict=True)]
            for run in runs
        ]
        return entity_answers(ids.to_pylist(), gold, decoded, self._types)

    def _spans(self, text: str, tags: Sequence[str]) -> list[Span]:
        return decode_tags(tags, segment(text))[0]

    def _tags_of_teacher(self, ids: pa.ChunkedArray) -> list[list[str]]:
        return self._tags(self.material.signals(ids, _SAID), order=self.material.class_order)

    def _tags(self, said: pa.Table, *, order: Sequence[int] | None = None) -> list[list[str]]:
        """The likeliest tag of each unit, text by text."""
        names = self.material.label_names
        order = list(order) if order is not None else list(range(len(names)))
        flat = np.asarray(said["logits"].combine_chunks().flatten(), dtype=np.float32)
        decided = flat.reshape(-1, len(names))[:, order].argmax(axis=1)
        ends = np.cumsum(said["num_units"].to_numpy())
        return [[names[i] for i in part] for part in np.split(decided, ends[:-1])]

    def _looked_up(
        self,
        ids: pa.ChunkedArray,
        texts: Sequence[str],
        named: Sequence[str],
        spans: Sequence[Sequence[Span]],
    ) -> Answers | None:
        names = Gazetteer(
            (text, segment(text), found) for text, found in zip(named, spans, strict=True)
        )
        if not len(names):
            return None
        found = [names.find(text, segment(text)) for text in texts]
        gold = [one or [] for one in _gold(self.corpus(["test"], ids, _SPANS))]
        return entity_answers(ids.to_pylist(), gold, [found], self._types)

    def _diagnose(self, model: Path) -> Diagnostics | None:
        """Agreement of teacher and student (seed 0) on the units of texts that both have read."""
        from tasks.problems import PROBLEMS

        learned = self.read_by_both(self.settings.train_on)
        rows = self.read_by_both(["validation"])
        described = "units of validation texts both read, not trained on"
        if rows is None:
            rows, described = learned, "units of texts which the student trained on"
        if rows is None:
            return None
        rows = drawn(rows, seed=self.settings.seed)
        names = self.material.label_names
        teacher, kept = self._teacher_on_units(rows)
        said = self.said_by(model, rows)
        student, _ = PROBLEMS[self.name].soft_targets(rows, said, kept, order=range(len(names)))
        return diagnose(
            teacher,
            student,
            names,
            rows=described,
            pseudo_label_accuracy=None if learned is None else self._taught_rightly(learned),
        )

    def _taught_rightly(self, learned: pa.Table) -> float | None:
        """How often the teacher's tag is right where what the student learned from is labelled."""
        teacher, kept = self._teacher_on_units(learned)
        known = kept.labels >= 0
        return float((teacher.argmax(axis=1) == kept.labels)[known].mean()) if known.any() else None

    def _teacher_on_units(self, rows: pa.Table) -> tuple[np.ndarray, LabelledAnswers]:
        """The teacher's logits (units, C) on rows of the student's, and the units' own labels."""
        from tasks.problems import PROBLEMS

        problem = PROBLEMS[self.name]
        answers = problem.answers(rows, num_labels=len(self.material.label_names))
        signals = self.material.signals(rows["example_id"], _SAID)
        return problem.soft_targets(rows, signals, answers, order=self.material.class_order)


def _repaired(texts: Sequence[str], tags: Sequence[Sequence[str]]) -> str:
    """How many tags name no span as they stand."""
    repaired = sum(
        decode_tags(one, segment(text))[1] for text, one in zip(texts, tags, strict=True)
    )
    return (
        f"{repaired} of {sum(map(len, tags))} tags of the delivered student continued no entity "
        "(an I- after O or after another type) and were read as its beginning, as seqeval does by "
        "default."
    )


def _unreachable(
    texts: Sequence[str], tags: Sequence[Sequence[str]], gold: Sequence[Sequence[Span]]
) -> Iterator[str]:
    """How many right spans are not to be found, whoever looks for them in these units."""
    counts = [
        unreachable_spans(spans, segment(text), num_read=len(one))
        for text, one, spans in zip(texts, tags, gold, strict=True)
    ]
    within, unread = (sum(one) for one in zip(*counts, strict=True))
    total = sum(map(len, gold))
    if within:
        yield (
            f"{within:,} of {total:,} entities of the test texts begin or end within a word (a "
            "character in scripts without spaces): no system here can give them, nor can the "
            "registered model. Those that end within a token of one model are not counted."
        )
    if unread:
        yield (
            f"{unread:,} of {total:,} entities of the test texts lie where the student's text was "
            "cut (student.max_length_tokens) and count as missed; the registered model reads long "
            "texts in windows to their end."
        )


def _gold(corpus: Mapping[str, list]) -> list[list[Span] | None]:
    """The spans of each row; None where it is unlabelled."""
    columns = (corpus[name] for name in ("span_starts", "span_ends", "span_labels"))
    return [
        None if starts is None else [Span(*span) for span in zip(starts, ends, labels, strict=True)]
        for starts, ends, labels in zip(*columns, strict=True)
    ]
