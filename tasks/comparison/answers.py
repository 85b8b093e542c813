"""What each system answers on its test set, and the same as Parquet.

The teacher's answers are its signals, read once: it is never run again here. Floors learn from the
same rows as the student. What an answer is, the problem knows (`tasks.comparison.problems`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from data_contracts.evaluation import TEACHER, TEACHER_ON_TARGET
from data_contracts.tables import check_table
from tasks.comparison.material import TRAINED_SYSTEMS
from tasks.comparison.problem import ComparedProblem
from tasks.corpus.tables import write_table
from tasks.metrics.systems import Answers
from tasks.runtime.progress import Progress

_DIGEST_CHARS = 16


def all_answers(problem: ComparedProblem, progress: Progress) -> Iterator[tuple[str, Answers]]:
    """Every system's answers by name: teacher, trained systems, floors."""
    yield TEACHER, problem.answer_teacher()
    if on_target := problem.answer_teacher_on_target():
        yield TEACHER_ON_TARGET, on_target
    material = problem.material
    for system in TRAINED_SYSTEMS:
        if artifacts := material.seeds(system):
            progress.say(f"evaluation: {system}, {len(artifacts)} seeds")
            yield system, problem.answer_models([one.path / "model" for one in artifacts])
    progress.say("evaluation: floors and intervals")
    yield from problem.answer_floors()


def write_predictions(
    problem: ComparedProblem, answers: Mapping[str, Answers], folder: Path
) -> None:
    """Write `<system>.parquet` for single runs, `<system>_<seed index>.parquet` for several seeds.

    Raises: ContractViolation if a table breaks its contract.
    """
    for system, found, i in _runs(answers):
        contract, table = problem.predictions(found, i)
        check_table(table, contract)
        write_table(table, folder / _file(system, i))


def write_statistics(
    problem: ComparedProblem, answers: Mapping[str, Answers], folder: Path
) -> None:
    """Write what each example adds to the primary metric's sums: files as for predictions.

    With them, a later student is compared with this one in pairs, whatever the problem; see
    example_statistics.odcs.yaml.

    Raises: ContractViolation if a table breaks it.
    """
    for system, found, i in _runs(answers):
        rows = found.statistics[i][problem.measures[0].name].toarray()
        _, answered = problem.predictions(found, i)
        # Names, not indices: a label set of another order must not look like other answers.
        named = "label" in answered.column_names
        gold = answered["label"].to_pylist() if named else found.labels
        table = pa.table(
            {
                "example_id": pa.array(found.example_ids, pa.string()),
                "gold": pa.array([_digest(label) for label in gold], pa.string()),
                "statistics": pa.array(rows.tolist(), pa.list_(pa.float64())),
            }
        )
        check_table(table, "example_statistics")
        write_table(table, folder / _file(system, i))


def _runs(answers: Mapping[str, Answers]) -> Iterator[tuple[str, Answers, int]]:
    for system, found in answers.items():
        for i in range(len(found.statistics)):
            yield system, found, i


def _file(system: str, seed_index: int) -> str:
    return f"{system}_{seed_index}.parquet" if system in TRAINED_SYSTEMS else f"{system}.parquet"


def _digest(label: str) -> str:
    """Tells two right answers apart without repeating them: they may hold a user's text."""
    return hashlib.sha256(label.encode()).hexdigest()[:_DIGEST_CHARS]
