"""Scores by language: a student of several languages may be good in one and lost in the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from data_contracts.evaluation import TEACHER, TEACHER_ON_TARGET, Group
from tasks.comparison.material import TRAINED_SYSTEMS, Material
from tasks.comparison.problem import ComparedProblem
from tasks.metrics.systems import Answers, mean_and_spread, scores_by_seed


@dataclass(frozen=True)
class InLanguage:
    """The problem in one language, and what each system that reads it answered there."""

    language: str
    problem: ComparedProblem
    answers: Mapping[str, Answers]


def answers_by_language(
    compared: Callable[[Material], ComparedProblem],
    material: Material,
    answers: Mapping[str, Answers],
) -> Iterator[InLanguage]:
    """What trained systems, and the teacher where it reads them, answer in each language.

    Args:
        compared: the problem on given artifacts.
        answers: those to the target language's test rows, which are not asked for again.

    Yields: the target language, then the others whose labelled test rows the students read;
        nothing if there are no others.
    """
    others = _other_languages(material)
    if not others:
        return
    asked = {
        name: answers[name] for name in (TEACHER_ON_TARGET, *TRAINED_SYSTEMS) if name in answers
    }
    yield InLanguage(material.target_language, compared(material), asked)
    for language in others:
        there = compared(replace(material, target_language=language))
        if not there.has_tests():  # nothing to score, which `language_notes` tells
            continue
        found = dict(_answers(there, asked))
        if language == material.source_language and TEACHER_ON_TARGET not in found:
            found[TEACHER] = there.answer_teacher()
        yield InLanguage(language, there, found)


def language_notes(
    compared: Callable[[Material], ComparedProblem], material: Material
) -> Iterator[str]:
    """Which languages of test rows have no scores of their own, though the students read them."""
    missing = [
        language
        for language in _other_languages(material)
        if not compared(replace(material, target_language=language)).has_tests()
    ]
    if missing:
        yield (
            f"No test row in {', '.join(missing)} has a right answer: how good the students are "
            "there, which read these rows, is not known."
        )


def language_groups(found: Iterable[InLanguage]) -> Iterator[Group]:
    """One group a language, with the scores of every system that answered in it."""
    for there in found:
        yield Group(
            column="language",
            value=there.language,
            num_examples=there.answers["student"].num_examples,
            scores={
                name: mean_and_spread(scores_by_seed(one, there.problem.measures))[0]
                for name, one in there.answers.items()
            },
        )


def _other_languages(material: Material) -> list[str]:
    return [one for one in material.test_languages("student") if one != material.target_language]


def _answers(there: ComparedProblem, asked: Iterable[str]) -> Iterator[tuple[str, Answers]]:
    material = there.material
    for name in asked:
        if name != TEACHER_ON_TARGET:
            models = [one.path / "model" for one in material.seeds(name)]
            yield name, there.answer_models(models)
        elif material.target_language == material.source_language:
            yield name, there.answer_teacher()
        elif said := there.answer_teacher_on_target():
            yield name, said
