"""Questions about a context: an answer is a span of its characters, or none.

Contexts are read in windows; what was said of them is merged before an answer is chosen
(`Problem.signal_table`). When a model refuses to answer, and how long its answers may be, is in the
`thresholds.json` of its folder (the teacher's: of its signals), tuned on validation rows where it
was trained.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from data_contracts.artifacts import THRESHOLDS_FILE
from data_contracts.evaluation import Diagnostics
from tasks.comparison.material import Reader
from tasks.comparison.problem import Sections
from tasks.comparison.problems.units import UnitComparison, pc
from tasks.comparison.sections.diagnosis import drawn
from tasks.comparison.sections.domains import domain_groups
from tasks.comparison.sections.lengths import length_groups
from tasks.comparison.sections.structured import structured_predictions
from tasks.comparison.timing.inference import Answerer
from tasks.corpus.text.units import segment, units_inside
from tasks.metrics.answer_spans import choose_span, longest_answer
from tasks.metrics.baselines.answers import ANSWER_FLOORS, Place
from tasks.metrics.calibration import entropy
from tasks.metrics.diagnostics import diagnose_answers
from tasks.metrics.latency import Text
from tasks.metrics.scores.answer_texts import MEASURES, answer_statistics, exact_match
from tasks.metrics.statistics import Measure
from tasks.metrics.systems import Answers, group_scores, on_same_examples
from tasks.runtime.seeding import generator

_ANSWERS = ["text", "answer_starts", "answer_texts"]
_SAID = ["start_logits", "end_logits", "null_start", "null_end"]


@dataclass(frozen=True)
class QuestionAnswering(UnitComparison):
    """See `tasks.comparison.problem.ComparedProblem`."""

    name: ClassVar[str] = "question_answering"
    labelled_by: ClassVar[str] = "answer_starts"
    asks_questions: ClassVar[bool] = True

    @property
    def measures(self) -> tuple[Measure, ...]:
        """F1 of words first, exact match."""
        return MEASURES

    def answer_teacher(self) -> Answers:
        """The teacher on the source-language test rows."""
        return self._of_teacher(self.tests("teacher"), self.material.source_language)

    def answer_teacher_on_target(self) -> Answers | None:
        """The teacher on the target-language test rows, if it reads them."""
        rows = self.tests_of_teacher_on_target()
        return None if rows is None else self._of_teacher(rows, self.material.target_language)

    def answer_models(self, models: Sequence[Path]) -> Answers:
        """Students on the target-language test rows, one a seed."""
        tests = self.tests("student")
        said = [(self.said_by(model, tests), read_rule(model)) for model in models]
        return self._answers(said, self.material.target_language)

    def answer_int8(self, answer: Answerer, *, batch_size: int, num_threads: int) -> Answers:
        """The int8 form on the stored windows of the test rows."""
        del answer
        tests = self.tests("student")
        said = self.said_by_int8(tests, batch_size=batch_size, num_threads=num_threads)
        rule = read_rule(self.material.path("export") / "model")
        return self._answers([(said, rule)], self.material.target_language)

    def answer_floors(self) -> Iterator[tuple[str, Answers]]:
        """`similar_sentence`, `first_sentence`, `random_span`: answers that need no reading."""
        ids = pc.unique(self.tests("student")["example_id"])
        corpus = self.corpus(["test"], ids, ["text", "question"])
        for name, floor in ANSWER_FLOORS.items():
            rng = generator(self.settings.seed, name)
            places = [
                floor(question, context, rng)
                for question, context in zip(corpus["question"], corpus["text"], strict=True)
            ]
            yield name, self._from_places(ids, [places], self.material.target_language)

    def timed_texts(self, reader: Reader) -> list[Text]:
        """Question and context of the test rows of a reader; of long contexts the first window."""
        ids = pc.unique(self.tests(reader)["example_id"])
        corpus = self.corpus(["test"], ids, ["question", "text"])
        return [*zip(corpus["question"], corpus["text"], strict=True)]

    def sections(self, answers: Mapping[str, Answers]) -> Sections:
        """Questions with and without an answer apart, and by the answer's length; agreement,
        domains."""
        student = answers["student"]
        same = on_same_examples(answers)
        parts = ["in the context" if gold else "none" for gold in student.labels]
        groups = group_scores(same, parts, self.measures, column="answer")
        lengths = self._lengths(student)
        return Sections(
            diagnostics=self._diagnose(),
            groups=(
                *(groups if len(groups) > 1 else ()),
                *length_groups(
                    lengths, answers, self.measures, column="answer length (words or characters)"
                ),
                *domain_groups(self.material, answers, self.measures),
            ),
            notes=_notes(lengths, read_rule(self.material.seeds("student")[0].path / "model")),
        )

    def predictions(self, answers: Answers, seed_index: int) -> tuple[str, pa.Table]:
        """Places of characters, [start, end]: no text of the context is repeated."""
        return structured_predictions(answers, seed_index)

    def _lengths(self, student: Answers) -> list[int]:
        """Units of the shortest right answer to each test question; 0 where there is none."""
        ids = pa.chunked_array([pa.array(student.example_ids, pa.string())])
        texts = self.corpus(["test"], ids, ["text"])["text"]
        return [
            shortest_answer(text, gold) for text, gold in zip(texts, student.labels, strict=True)
        ]

    def _diagnose(self) -> Diagnostics | None:
        """Agreement of teacher and student (seed 0) on contexts that both have read."""
        roles: Sequence[str] = ["validation"]
        rows, described = self.read_by_both(roles), "validation questions both read, not trained on"
        learned = self.read_by_both(self.settings.train_on)
        if rows is None:
            roles, rows = self.settings.train_on, learned
            described = "questions which the student trained on"
        if rows is None:
            return None
        rows = drawn(rows, seed=self.settings.seed)
        model = self.material.seeds("student")[0].path / "model"
        said = self.said_by(model, rows)
        ids = said["example_id"]
        signals = self.material.signals(ids, _SAID)
        texts = self.corpus(roles, ids, ["text"])["text"]
        from_teacher, confidences = _chosen(
            signals, texts, read_rule(self.material.path("teacher_signals"))
        )
        return diagnose_answers(
            from_teacher,
            _chosen(said, texts, read_rule(model))[0],
            entropy_nats=_entropies(signals),
            confidence=np.array(confidences),
            rows=described,
            pseudo_label_accuracy=None if learned is None else self._taught_rightly(learned),
        )

    def _taught_rightly(self, learned: pa.Table) -> float | None:
        """The teacher's exact match on rows learned from whose answer is known; None without."""
        asked = drawn(learned, seed=self.settings.seed)
        ids = pa.chunked_array([pc.unique(asked["example_id"])])
        corpus = self.corpus(self.settings.train_on, ids, [*_ANSWERS, "language"])
        target = self.material.target_language
        is_known = [
            starts is not None and language == target
            for starts, language in zip(corpus["answer_starts"], corpus["language"], strict=True)
        ]
        ids = ids.filter(pa.chunked_array([pa.array(is_known)]))
        if not len(ids):
            return None
        known = self.corpus(self.settings.train_on, ids, _ANSWERS)
        rule = read_rule(self.material.path("teacher_signals"))
        places, _ = _chosen(self.material.signals(ids, _SAID), known["text"], rule)
        right = [
            exact_match("" if place is None else text[place[0] : place[1]], gold, target)
            for text, place, gold in zip(known["text"], places, known["answer_texts"], strict=True)
        ]
        return float(np.mean(right))

    def _of_teacher(self, rows: pa.Table, language: str) -> Answers:
        ids = pa.chunked_array([pc.unique(rows["example_id"])])
        signals = self.material.signals(ids, _SAID)
        return self._answers(
            [(signals, read_rule(self.material.path("teacher_signals")))], language
        )

    def _answers(self, said: Sequence[tuple[pa.Table, Rule]], language: str) -> Answers:
        """Answers of one system: what each seed said of the same contexts, and how it decides."""
        ids = said[0][0]["example_id"]
        texts = self.corpus(["test"], ids, ["text"])["text"]
        runs, sure = [], []
        for table, rule in said:
            places, confidences = _chosen(table, texts, rule)
            runs.append(places)
            sure.append(confidences)
        return self._from_places(ids, runs, language, np.array(sure))

    def _from_places(
        self,
        ids: pa.ChunkedArray | pa.Array,
        runs: Sequence[Sequence[Place | None]],
        language: str,
        confidences: np.ndarray | None = None,
    ) -> Answers:
        corpus = self.corpus(["test"], ids, _ANSWERS)
        gold = [
            [(start, start + len(text)) for start, text in zip(starts, texts, strict=True)]
            for starts, texts in zip(corpus["answer_starts"], corpus["answer_texts"], strict=True)
        ]
        statistics = []
        for places in runs:
            answers = [
                "" if place is None else text[place[0] : place[1]]
                for text, place in zip(corpus["text"], places, strict=True)
            ]
            statistics.append(answer_statistics(answers, corpus["answer_texts"], language))
        return Answers(tuple(ids.to_pylist()), gold, [*runs], tuple(statistics), confidences)


def shortest_answer(text: str, gold: Sequence[Place]) -> int:
    """Units of the shortest right answer, by its places in `text`; 0 if there is none."""
    units = segment(text)
    return min((len(units_inside(units, *place)) for place in gold), default=0)


def _notes(lengths: Sequence[int], rule: Rule) -> tuple[str, ...]:
    """How many right answers are longer than any that is given."""
    longest = rule.max_answer_units
    if not (too_long := sum(length > longest for length in lengths)):
        return ()
    return (
        f"{too_long:,} of {len(lengths):,} test questions have no right answer of at most "
        f"{longest} words (characters in scripts without spaces): no system here can give it "
        "whole. The recipe's max_answer_units (teacher, student) allows longer ones, and of a "
        "registered model the request's max_answer_length.",
    )


def _chosen(
    said: pa.Table, texts: Sequence[str], rule: Rule
) -> tuple[list[Place | None], list[float]]:
    """Place and confidence of the answer in each text, by what was said of its units."""
    places: list[Place | None] = []
    confidences: list[float] = []
    nulls = np.asarray(said["null_start"]) + np.asarray(said["null_end"])
    starts, ends = said["start_logits"].to_pylist(), said["end_logits"].to_pylist()
    for row, text in enumerate(texts):
        units = segment(text)
        found = choose_span(
            np.array(starts[row]),
            np.array(ends[row]),
            null_logit=float(nulls[row]),
            max_units=rule.max_answer_units,
        )
        decided = found.decided(rule.null_threshold)
        places.append(decided and (units[decided[0]][0], units[decided[1]][1]))
        confidences.append(found.certainty(rule.null_threshold))
    return places, confidences


def _entropies(said: pa.Table) -> np.ndarray:
    """Mean of the entropies of start and end over the units of each text and no answer, nats."""
    sides = (("start_logits", "null_start"), ("end_logits", "null_end"))
    return np.array(
        [
            [
                float(entropy(np.array([[*logits, none]]))[0])
                for logits, none in zip(
                    said[units].to_pylist(), said[null].to_pylist(), strict=True
                )
            ]
            for units, null in sides
        ]
    ).mean(axis=0)


@dataclass(frozen=True)
class Rule:
    """How a model's answers are decided beside its logits.

    Args:
        null_threshold: by how much "no answer" must be ahead to win.
        max_answer_units: of an answer at most.
    """

    null_threshold: float
    max_answer_units: int


def read_rule(folder: Path) -> Rule:
    """How the model of a folder decides, as it was tuned.

    Args:
        folder: with its weights, or with what it said.
    """
    path = folder / THRESHOLDS_FILE
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return Rule(float(found.get("null_threshold", 0.0)), longest_answer(found))
