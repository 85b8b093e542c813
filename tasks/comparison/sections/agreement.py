"""How often the delivered student answers as its teacher does, language by language.

Answers to test rows that both have read, joined by example id: no model is run again. A student of
several languages may follow its teacher in one and guess in the next, where no gold label tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from data_contracts.evaluation import TEACHER_ON_TARGET, Diagnostics, LanguageAgreement
from tasks.comparison.sections.languages import InLanguage
from tasks.metrics.systems import Answers
from tasks.problems import PROBLEMS

_ROWS = "test rows both read"


def agreement_by_language(
    found: Sequence[InLanguage], teacher: Answers, diagnostics: Diagnostics | None
) -> Iterator[LanguageAgreement]:
    """One record a language in which both answered the same rows.

    Args:
        found: what was answered in each language, the target language first.
        teacher: its answers in the source language.
        diagnostics: stand in for the target language where no test row is read by both: a teacher
            of another language shares its transfer or validation rows alone.

    Nothing of problems whose answers are vectors: those of two networks are never equal.
    """
    if any(PROBLEMS[there.problem.name].distribution == "vectors" for there in found):
        return
    for there in found:
        student = there.answers["student"]
        heard = there.answers.get(TEACHER_ON_TARGET) or teacher
        if compared := share_of_equal_answers(heard, student):
            num_rows, agreement = compared
            yield LanguageAgreement(
                language=there.language, rows=_ROWS, num_rows=num_rows, agreement=agreement
            )
        elif diagnostics is not None and there is found[0]:
            yield LanguageAgreement(
                language=there.language,
                rows=diagnostics.rows,
                num_rows=diagnostics.num_rows,
                agreement=diagnostics.agreement,
            )


def share_of_equal_answers(one: Answers, other: Answers) -> tuple[int, float] | None:
    """Rows that both answered and the share they (seed 0) answered alike; None without a row."""
    first, second = _by_id(one), _by_id(other)
    both = first.keys() & second.keys()
    if not both:
        return None
    return len(both), sum(bool(first[row] == second[row]) for row in both) / len(both)


def _by_id(answers: Answers) -> Mapping[str, object]:
    return dict(zip(answers.example_ids, answers.predictions[0], strict=True))
