"""Sentence vectors: is each sentence found by its translation, and does likeness follow people's?

    parallel test rows    student's vector of the text  ◄──►  teacher's vector of the parallel text
    scored test rows      cosine of `text` and `text_b`  ─ rank correlation ─  score

The search is over all parallel test rows, both ways; the mean of both directions is the figure. A
teacher of one language cannot search across languages: its own figure is that of finding each
sentence by itself, what a student has that gives exactly its vectors. Scored rows are in each
reader's own language, and count if both have some.

The answer to a parallel row is the id of the sentence that its translation finds; a likeness has no
right answer, so that of a scored row is null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute
from tokenizers import Tokenizer

from data_contracts.evaluation import TEACHER, Curve
from tasks.comparison.material import Material, Reader, is_any, labelled
from tasks.comparison.problem import Sections, Settings
from tasks.comparison.sections.domains import domain_groups
from tasks.comparison.sections.structured import structured_predictions
from tasks.comparison.timing.formats import encoder_answerers
from tasks.comparison.timing.inference import Answerer, answer_all
from tasks.metrics.baselines.pairs import character_vectors
from tasks.metrics.latency import Text
from tasks.metrics.scores.retrieval import (
    ACCURACY_AT_1,
    MRR,
    TO_SOURCE,
    TO_TARGET,
    WITHIN,
    WITHIN_RANKS,
    both_ways_of_sentences,
    both_ways_statistics,
    nearest,
)
from tasks.metrics.scores.similarity import SPEARMAN, similarity_statistics
from tasks.metrics.statistics import Measure, one_after_the_other
from tasks.metrics.systems import Answers, mean_and_spread, scores_by_seed
from tasks.problems import load_model
from tasks.problems.sentence_embedding import EMBEDDING
from tasks.problems.whole_texts import as_matrix
from tasks.runtime.machine.device import has_cuda
from tasks.training.engine.loop import place
from tasks.training.fitting.inference import predict_logits

pc: Any = pyarrow.compute

_SEARCH = (ACCURACY_AT_1, MRR, TO_SOURCE, TO_TARGET, *WITHIN)
"""What parallel rows are measured by."""
_NOTE = (
    "The teacher's retrieval figures are those of finding each sentence by itself among the others "
    "of its language: what a student with exactly the teacher's vectors would have."
)

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts -> their vectors, (texts, D)."""


@dataclass(frozen=True)
class _Pairs:
    """Parallel test rows: their ids, both texts, and the number of each source sentence."""

    ids: list[str]
    targets: list[str]
    sources: list[str]

    @property
    def groups(self) -> np.ndarray:
        """Equal for translations of one sentence, int64, (N,)."""
        numbers: dict[str, int] = {}
        return np.array([numbers.setdefault(text, len(numbers)) for text in self.sources])


@dataclass(frozen=True)
class SentenceEmbedding:
    """See `tasks.comparison.problem.ComparedProblem`."""

    material: Material
    settings: Settings
    name: ClassVar[str] = "sentence_embedding"

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Accuracy@1 first; Spearman's correlation where both languages have scored rows."""
        return (*_SEARCH, SPEARMAN) if self._is_scored else _SEARCH

    def has_tests(self) -> bool:
        """Whether a test row of the students has a parallel text."""
        ids = self.material.rows("student", ["test"])["example_id"]
        corpus = self.material.corpus_rows(["test"], ids, ["parallel_text"])
        return is_any(pc.is_valid(corpus["parallel_text"]))

    def answer_teacher(self) -> Answers:
        """Each source sentence by itself, and the teacher's likeness of its own scored rows."""
        vectors = self._teacher_vectors
        return self._answers(
            "teacher", [(vectors, self._embed("teacher", self.material.path("teacher") / "model"))]
        )

    def answer_teacher_on_target(self) -> Answers | None:
        """None: its vectors of the target language are not asked for."""
        return None

    def answer_models(self, models: Sequence[Path]) -> Answers:
        """Students on the target-language test rows, one a seed."""
        embeds = [self._embed("student", model) for model in models]
        return self._answers("student", [(embed(self._pairs.targets), embed) for embed in embeds])

    def answer_floors(self) -> Iterator[tuple[str, Answers]]:
        """`character_ngrams`: what two texts share in writing, if linear floors are asked for."""
        if self.settings.linear:
            targets = character_vectors(self._pairs.targets)
            sources = character_vectors(self._pairs.sources)
            found = [(targets, character_vectors)]
            yield "character_ngrams", self._answers("student", found, sources=sources)

    def answer_int8(self, answer: Answerer, *, batch_size: int, num_threads: int) -> Answers:
        """The int8 form from text, through the tokenizer that ships."""
        del num_threads

        def embed(texts: Sequence[str]) -> np.ndarray:
            return answer_all(answer, texts, batch_size=batch_size)

        return self._answers("student", [(embed(self._pairs.targets), embed)])

    def timed_texts(self, reader: Reader) -> list[Text]:
        """Either side of the parallel test rows."""
        return [*(self._pairs.sources if reader == "teacher" else self._pairs.targets)]

    def answerers(self, *, num_threads: int) -> dict[str, Answerer]:
        """Teacher, safetensors and int8 student."""
        return encoder_answerers(self.material, load_model, num_threads=num_threads)

    def sections(self, answers: Mapping[str, Answers]) -> Sections:
        """Scores by domain, how far down a list translations are found, what the teacher's figure
        is."""
        searched = {name: one.about(ACCURACY_AT_1.name) for name, one in answers.items()}
        groups = domain_groups(self.material, searched, _SEARCH)
        curve = Curve(
            name="found_within",
            title="Found within the first",
            caption="Share of test sentences whose translation is among the nearest; both ways.",
            x="nearest sentences looked at",
            x_is_share=False,
            y="sentences found",
            # The teacher finds each sentence by itself, which is no search.
            points={
                name: self._found_within(one) for name, one in answers.items() if name != TEACHER
            },
        )
        return Sections(groups=groups, curves=(curve,), notes=(_NOTE,))

    def predictions(self, answers: Answers, seed_index: int) -> tuple[str, pa.Table]:
        """Ids of the sentence to be found and of the one that was found."""
        return structured_predictions(answers, seed_index)

    @cached_property
    def _pairs(self) -> _Pairs:
        rows = self.material.rows("student", ["test"])
        corpus = self.material.corpus_rows(["test"], rows["example_id"], ["parallel_text"])
        rows = labelled(rows, pc.is_valid(corpus["parallel_text"]), "student")
        ids = rows["example_id"]
        targets, sources = (
            self.material.texts(reader, ["test"], ids) for reader in ("student", "teacher")
        )
        return _Pairs(ids.to_pylist(), targets, sources)

    @cached_property
    def _teacher_vectors(self) -> np.ndarray:
        ids = pa.chunked_array([self._pairs.ids], pa.string())
        return as_matrix(self.material.signals(ids, [EMBEDDING])[EMBEDDING])

    @cached_property
    def _is_scored(self) -> bool:
        return all(len(self._scored(reader)) for reader in ("student", "teacher"))

    def _scored(self, reader: Reader) -> pa.Table:
        """Test rows of a reader that people scored: example_id, text, text_b, score."""
        rows = self.material.rows(reader, ["test"])
        wanted = ["text", "text_b", "score"]
        table = self.material.corpus_rows(["test"], rows["example_id"], wanted)
        return table.filter(pc.is_valid(table["score"]))

    def _answers(
        self,
        reader: Reader,
        runs: Sequence[tuple[np.ndarray, Embed]],
        *,
        sources: np.ndarray | None = None,
    ) -> Answers:
        """Answers from vectors of the parallel rows, and what embeds scored ones, of each run.

        Args:
            sources: vectors of the source sentences; the teacher's if not given.
        """
        pairs, groups = self._pairs, self._pairs.groups
        sources = self._teacher_vectors if sources is None else sources
        scored = self._scored(reader) if self._is_scored else None
        ids, labels = [*pairs.ids], [*pairs.ids]
        if scored is not None:
            ids += scored["example_id"].to_pylist()
            labels += scored["score"].to_pylist()
        statistics, predictions = [], []
        for vectors, embed in runs:
            found = nearest(vectors, sources)
            # Another translation of the same sentence is that sentence.
            own = groups[found] == groups
            answers: list[str | None] = [
                pairs.ids[row] if own[row] else pairs.ids[one] for row, one in enumerate(found)
            ]
            rows = both_ways_statistics(both_ways_of_sentences(vectors, sources, groups))
            if scored is not None:
                likeness = _cosines(embed, scored)
                answers += [None] * len(likeness)
                gold = scored["score"].to_numpy()
                of_likeness = similarity_statistics(likeness, gold)[SPEARMAN.name]
                rows = {name: one_after_the_other(one, len(likeness)) for name, one in rows.items()}
                rows[SPEARMAN.name] = one_after_the_other(len(pairs.ids), of_likeness)
            statistics.append(rows)
            predictions.append(answers)
        num_pairs = len(pairs.ids)
        asked = {one.name: slice(0, num_pairs) for one in _SEARCH}
        asked[SPEARMAN.name] = slice(num_pairs, None)
        return Answers(tuple(ids), labels, predictions, tuple(statistics), asked=asked)

    def _found_within(self, answers: Answers) -> tuple[tuple[float, float], ...]:
        """Numbers of sentences looked at, and the shares found in them, means over seeds."""
        mean, _ = mean_and_spread(scores_by_seed(answers, self.measures))
        return tuple((k, mean[f"accuracy_at_{k}"]) for k in WITHIN_RANKS)

    def _embed(self, reader: Reader, folder: Path) -> Embed:
        """What embeds texts with the model in `folder`, in fp32."""
        facts = self.material.token_facts(reader)
        network = load_model(folder)
        if has_cuda():  # on a CPU, `place` would set the number of threads that timing relies on
            network = network.to(place())
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(facts["max_length_tokens"])

        def embed(texts: Sequence[str]) -> np.ndarray:
            ids = [np.array(one.ids, np.int32) for one in tokenizer.encode_batch(list(texts))]
            return predict_logits(network, ids, pad_token_id=facts["pad_token_id"])

        return embed


def _cosines(embed: Embed, scored: pa.Table) -> np.ndarray:
    """Cosine of both texts of each scored row, (rows,)."""
    first, second = (embed(scored[name].to_pylist()) for name in ("text", "text_b"))
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    # A vector of nothing but zeros is like no other.
    return (first * second).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
