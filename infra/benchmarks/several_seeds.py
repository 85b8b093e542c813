"""The quickstart's three students to their last epoch: what a recipe's user waits for.

A mean over seeds is what a careful user reports, so a recipe trains several students. Decant asks
the teacher once for all of them and trains them side by side; a user of the peers starts them one
after the other (with every thread: side by side on one thread each they would share the cores that
one training fills already).
"""

from __future__ import annotations

import json
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from flows.side_by_side import Job, run_side_by_side
from infra.benchmarks import engine
from infra.benchmarks.material import Material, prepare
from infra.benchmarks.settings import Settings, say
from infra.benchmarks.training import validation_steps
from tasks import distillation, teacher_signals
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.device import cpu_count
from tasks.runtime.stages import run_stage

_VALIDATIONS_PER_EPOCH = 2
_SIGNALS_READ = {"tokens": "signal-tokens", "teacher": "teacher"}


def run(settings: Settings, section: str) -> dict:
    """Measure the section; JSON values."""
    from infra.benchmarks.peers import hugging_face, text_brewer

    material = prepare(settings, "train-quickstart")
    teacher = material.teacher()
    examples = engine.with_signals(material, teacher)
    num_students = settings.pick(material.recipe.num_seeds, 1)
    config = material.config.training
    shared = {
        "chosen": np.arange(len(examples)),
        "num_epochs": config.num_epochs,
        "validate_at": validation_steps(len(examples), config, _VALIDATIONS_PER_EPOCH),
    }
    peers = {
        "trainer_tuned": lambda one: hugging_face.train(one, teacher, "tuned", **shared),
        "textbrewer": lambda one: text_brewer.train(
            one, teacher, hard_labels=examples.labels, **shared
        ),
    }
    systems = {"decant": decant(material, num_students)}
    say(f"  decant: {systems['decant']['seconds']:.1f} s")
    for name, train in peers.items():
        curves = [train(material.student_of(number)) for number in range(num_students)]
        systems[name] = {
            "seconds": sum(curve.seconds for curve in curves),
            "best": [max(score for _, _, score in curve.points) for curve in curves],
        }
        say(f"  {name}: {systems[name]['seconds']:.1f} s")
    return {"material": material.record(), "num_students": num_students, "systems": systems}


def decant(material: Material, num_students: int) -> dict:
    """Signals once, then the students side by side, into an empty store as a run does it."""
    training = material.config.training.model_copy(
        update={"validations_per_epoch": _VALIDATIONS_PER_EPOCH, "patience": 10_000}
    )
    tokens = material.artifacts["student-tokens"]
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
        read = time.perf_counter() - started

        def build(number: int, run):
            config = material.student_of(number).config.model_copy(update={"training": training})
            inputs = {"tokens": tokens, "signals": signals}
            return run(distillation.STAGE, config, inputs, store=store).artifact.path

        jobs = [Job(f"student-{number}", partial(build, number)) for number in range(num_students)]
        run_side_by_side(jobs, limit=cpu_count(), on_failure=say)
        seconds = time.perf_counter() - started
        best = []
        for job in jobs:
            assert job.given is not None
            history = json.loads((job.given / "history.json").read_text(encoding="utf-8"))
            best.append(max(float(entry["accuracy"]) for entry in history["validations"]))
    return {
        "seconds": seconds,
        "best": best,
        "parts": {"teacher signals": read, "training": seconds - read},
    }
