"""A recipe's three students, all of them: what its user waits for.

A mean over seeds is what a careful user reports, so a recipe trains several students. Decant asks
the teacher once for all of them, and trains small ones side by side on one thread each; a user of
the peers starts them one after the other (with every thread: side by side they would share the
cores that one training fills already). Imports are in nobody's time: a run imports what its
children need while the first steps are built, so here the helper process is waited for beforehand.

Times are told of the whole, and as if each training had stopped at its score: when the validation
that found it was over. Students of sib200 are given 8 epochs instead of the recipe's 20: in one run
of 20 (2026-11-26, commit b7af478) every system but Decant had its best accuracy by then (Decant
lacked two texts of 99), and twelve trainings to the end take an hour.
"""

from __future__ import annotations

import heapq
import json
import multiprocessing
import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from flows.orchestration.processes import Job, expect_children, run_side_by_side
from infra.benchmarks import engine
from infra.benchmarks.material import Material, prepare
from infra.benchmarks.settings import Settings, needs_sib200, say
from infra.benchmarks.training import tolerances, validation_steps
from infra.benchmarks.validation_clock import ValidationClock
from tasks import distillation, teacher_signals
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.machine.device import cpu_count
from tasks.runtime.stages import run_stage

_VALIDATIONS_PER_EPOCH = 2
_ROUNDS = 3
_SIB200_EPOCHS = 8
_SIGNALS_READ = {"tokens": "signal-tokens", "teacher": "teacher"}
Points = tuple[tuple[float, int, float], ...]


@dataclass(frozen=True)
class Trained:
    """All students of one system.

    Args:
        seconds: from the first step of work to the last.
        points: of each student: (seconds since its own start, step, validation accuracy).
        shared_seconds: what all students needed first, such as the teacher's one pass.
        num_side_by_side: how many students are trained at a time.
    """

    seconds: float
    points: tuple[Points, ...]
    shared_seconds: float = 0.0
    num_side_by_side: int = 1

    @property
    def best(self) -> list[float]:
        """Best accuracy of each student."""
        return [max(score for _, _, score in one) for one in self.points]

    def seconds_to(self, scores: list[float]) -> float:
        """Seconds in all, had each training stopped once it reached its score."""
        slots = [self.shared_seconds] * self.num_side_by_side
        for took in self._each_to(scores):
            heapq.heapreplace(slots, slots[0] + took)
        return max(slots)

    def seconds_of_one(self, scores: list[float]) -> float:
        """The mean over the students of what each took, and what it needed first.

        An upper bound of what one alone takes where others were trained beside it.
        """
        return self.shared_seconds + statistics.mean(self._each_to(scores))

    def _each_to(self, scores: list[float]) -> list[float]:
        """Seconds of each student's training up to its score."""
        return [
            min(seconds for seconds, _, reached in one if reached >= score)
            for one, score in zip(self.points, scores, strict=True)
        ]


def run(settings: Settings, section: str) -> dict:
    """Measure the section; JSON values."""
    from infra.benchmarks.peers import hugging_face, text_brewer

    material = prepare(settings, section)
    if needs_sib200(section):
        material = material.with_training(num_epochs=settings.pick(_SIB200_EPOCHS, 1))
    teacher = material.teacher()
    examples = engine.with_signals(material, teacher)
    students = [
        material.student_of(number) for number in range(settings.pick(material.recipe.num_seeds, 1))
    ]
    config = material.config.training
    shared = {
        "chosen": np.arange(len(examples)),
        "num_epochs": config.num_epochs,
        "validate_at": validation_steps(len(examples), config, _VALIDATIONS_PER_EPOCH),
    }

    def cached() -> Trained:
        seconds, logits = hugging_face.teacher_pass(material, teacher)
        options = {"teacher_logits": logits, **shared}
        return in_turn(
            students,
            lambda one: hugging_face.train(one, teacher, "tuned_cached", **options),
            shared_seconds=seconds,
        )

    systems = {
        "decant": lambda: decant(material, students),
        "trainer_tuned_cached": cached,
        "trainer_tuned": lambda: in_turn(
            students, lambda one: hugging_face.train(one, teacher, "tuned", **shared)
        ),
        "trainer_tuned_bf16": lambda: in_turn(
            students, lambda one: hugging_face.train(one, teacher, "tuned_bf16", **shared)
        ),
        "textbrewer": lambda: in_turn(
            students,
            lambda one: text_brewer.train(one, teacher, hard_labels=examples.labels, **shared),
        ),
    }
    import_beforehand()
    rounds: dict[str, list[Trained]] = {name: [] for name in systems}
    for _ in range(1 if needs_sib200(section) else settings.pick(_ROUNDS, 1)):
        for name, train in systems.items():
            rounds[name].append(train())
            say(f"  {name}: {rounds[name][-1].seconds:.1f} s")
    bests = [one.best for found in rounds.values() for one in found]
    lowest = [min(scores) for scores in zip(*bests, strict=True)]
    targets = []
    for tolerance in tolerances(len(material.validation)):
        scores = [score - tolerance - 1e-9 for score in lowest]
        seconds = {
            name: [one.seconds_to(scores) for one in found] for name, found in rounds.items()
        }
        of_one = {
            name: [one.seconds_of_one(scores) for one in found] for name, found in rounds.items()
        }
        targets.append(
            {
                "tolerance": tolerance,
                "scores": scores,
                "seconds": seconds,
                "seconds_of_one": of_one,
            }
        )
    return {
        "material": material.record(),
        "num_students": len(students),
        "targets": targets,
        "systems": {
            name: {
                "seconds": [one.seconds for one in found],
                "best": found[0].best,
                "points": found[0].points,
            }
            for name, found in rounds.items()
        },
    }


def import_beforehand() -> None:
    """Wait until the process that children are forked from has imported what they need."""
    expect_children()
    child = multiprocessing.get_context("forkserver").Process(target=int)
    child.start()
    child.join()


def in_turn(students: list[Material], train, *, shared_seconds: float = 0.0) -> Trained:
    """One student after the other, each by `train`, which gives its curve.

    Args:
        shared_seconds: what all of them needed first.
    """
    curves = [train(one) for one in students]
    seconds = shared_seconds + sum(curve.seconds for curve in curves)
    return Trained(seconds, tuple(curve.points for curve in curves), shared_seconds)


def decant(material: Material, students: list[Material]) -> Trained:
    """Signals once, then the students, into an empty store as a run does it."""
    training = material.config.training.model_copy(
        update={"validations_per_epoch": _VALIDATIONS_PER_EPOCH, "patience": 10_000}
    )
    tokens = material.artifacts["student-tokens"]
    copied = {}
    if material.recipe.student_copies_teacher:
        copied["teacher"] = material.artifacts["teacher"]
    with tempfile.TemporaryDirectory() as folder:
        store = ArtifactStore(Path(folder))
        started = time.perf_counter()
        signals = run_stage(
            teacher_signals.STAGE,
            material.recipe.teacher_signals_config().model_copy(
                update={"roles": material.config.train_on}
            ),
            {name: material.artifacts[step] for name, step in _SIGNALS_READ.items()},
            store=store,
        ).artifact
        shared_seconds = time.perf_counter() - started

        def build(student: Material, run) -> Points:
            config = student.config.model_copy(update={"training": training})
            inputs = {"tokens": tokens, "signals": signals, **copied}
            clock = ValidationClock()
            path = run(
                distillation.STAGE, config, inputs, store=store, progress=clock
            ).artifact.path
            history = json.loads((path / "history.json").read_text(encoding="utf-8"))
            return clock.points(history["validations"])

        jobs = [Job(f"student-{one.number}", partial(build, one)) for one in students]
        limit = cpu_count() if distillation.on_one_thread(material.config) else 1
        run_side_by_side(jobs, limit=limit, on_failure=say)
        seconds = time.perf_counter() - started
    points = tuple(job.given for job in jobs if job.given)
    assert len(points) == len(jobs)
    return Trained(seconds, points, shared_seconds, min(limit, len(jobs)))
