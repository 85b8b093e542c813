"""Distillation: time to the same validation score, and samples a second, against three peers.

    rounds   every system trains the same rows, in turns; medians
    runs     every system trains to the end once: accuracy on the validation rows against seconds.
             Time to score: seconds to reach the lowest of the systems' best scores minus 0.5
             points; where one validation text is more than that, also minus one text

The first tolerance was set before anything was measured, the second on 2026-11-26, when results of
99 validation texts had been seen. Each run is one run. Validation is counted in every system's time
and is the same function. Before all this every system has to compute the same, or the comparison is
refused: see `agreement`.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from importlib.util import find_spec

import numpy as np

from infra.benchmarks import engine
from infra.benchmarks.agreement import (
    FIRST_LOSS_TOLERANCE,
    check_first_losses,
    check_last_losses,
)
from infra.benchmarks.machine import describe, moment
from infra.benchmarks.material import Material, prepare
from infra.benchmarks.rounds import Rate, Timed, measure, ratio
from infra.benchmarks.settings import Settings, say
from tasks.training.optimization.config import TrainingConfig

TOLERANCE = 0.005
_VALIDATIONS_PER_EPOCH = 2
_CHECKED_STEPS = 30


def run(settings: Settings, section: str) -> dict:
    """Measure one training section; JSON values."""
    if find_spec("accelerate") is None or find_spec("textbrewer") is None:
        raise SystemExit(
            "needs infra/benchmarks/requirements.txt: start it with infra/benchmarks/run"
        )
    now = moment(describe())
    material = prepare(settings, section)
    teacher = material.teacher()
    say("  teacher signals, for the checks and the cached variants")
    examples = engine.with_signals(material, teacher)
    agreement = check_first_losses(material, examples)
    say(f"  first-batch losses agree: {agreement}")
    exact = engine.with_signals(material, teacher, precision="fp32")
    steps = settings.pick(_CHECKED_STEPS, 3)
    last_losses = check_last_losses(material, teacher, exact, num_steps=steps)
    say(f"  last losses agree: {last_losses}")
    kept = _measured_before(settings, section, material.record(), agreement)
    curves = _curves(settings, material, teacher, examples, kept.get("curves", {}))
    again, before = settings.systems or (*curves, "rates"), kept.get("when", {})
    when = {name: now if name in again else before.get(name, now) for name in (*curves, "rates")}
    if "rates" in settings.systems or not settings.systems:
        rates = _rates(settings, material, teacher, examples)
        kept["rates"] = {name: rate.record() for name, rate in rates.items()}
        kept["ratios"] = {
            name: ratio(rates["decant"], rate).record()
            for name, rate in rates.items()
            if name not in ("decant", "decant_signals")
        }
    return {
        "material": material.record(),
        "loss_agreement": agreement,
        "last_loss_agreement": last_losses,
        "signal_precision": engine.signal_precision(),
        "signal_agreement": engine.signal_agreement(examples, exact),
        "targets": targets(curves, num_texts=len(material.validation)),
        "curves": {name: asdict(curve) for name, curve in curves.items()},
        "when": when,
        "rates": kept.get("rates", {}),
        "ratios": kept.get("ratios", {}),
    }


def _measured_before(
    settings: Settings, section: str, material: dict, agreement: dict[str, float]
) -> dict:
    """The section's last result, if only some systems are measured again and it is of a machine,
    packages, teacher and rows like these; else nothing."""
    path = settings.results / f"{section}.json"
    if not settings.systems or not path.exists():
        return {}
    found, here = json.loads(path.read_text(encoding="utf-8")), describe()
    same = all(found["machine"][fact] == here[fact] for fact in ("processor", "flags", "packages"))
    first_losses = found["loss_agreement"]["decant"], agreement["decant"]
    same &= math.isclose(*first_losses, rel_tol=FIRST_LOSS_TOLERANCE)
    # Before last losses were compared, the moments of Decant's validations were not clocked.
    same &= found["material"] == material and "last_loss_agreement" in found
    return found if same and "decant" in found["curves"] else {}


def _curves(
    settings: Settings, material: Material, teacher, examples, kept: dict[str, dict]
) -> dict[str, engine.Curve]:
    """Full runs of the systems asked for; `kept` are curves measured before."""
    from infra.benchmarks.peers import hugging_face, text_brewer

    config = material.config.training
    parts = _VALIDATIONS_PER_EPOCH
    shared = {
        "chosen": np.arange(len(examples)),
        "num_epochs": config.num_epochs,
        "validate_at": validation_steps(len(examples), config, parts),
    }

    def trainer(variant: str) -> engine.Curve:
        return hugging_face.train(material, teacher, variant, **shared)

    systems = {
        "decant": lambda: engine.full_run(material, validations_per_epoch=parts),
        "trainer_tuned_cached": lambda: hugging_face.train_cached(material, teacher, **shared),
        "trainer_tuned": lambda: trainer("tuned"),
        "textbrewer": lambda: text_brewer.train(
            material, teacher, hard_labels=examples.labels, **shared
        ),
        "trainer_default": lambda: trainer("default"),
    }
    if engine.signal_precision() == "bf16":
        systems["trainer_tuned_bf16"] = lambda: trainer("tuned_bf16")
        if config.precision == "fp32":
            systems["decant_bf16"] = lambda: engine.full_run(
                material, validations_per_epoch=parts, precision="bf16"
            )
    curves = {name: engine.Curve(**curve) for name, curve in kept.items()}
    for name, work in systems.items():
        # Others are compared with Decant, so its run is never missing.
        needed = name == "decant" and name not in curves
        if settings.systems and name not in settings.systems and not needed:
            continue
        curves[name] = curve = work()
        best = max(score for _, _, score in curve.points)
        say(f"  {name}: {curve.seconds:.1f} s, best validation accuracy {best:.4f}")
    return {name: curves[name] for name in systems if name in curves}


def validation_steps(num_rows: int, config: TrainingConfig, parts: int) -> frozenset[int]:
    """Steps after which every system validates: `parts` times an epoch."""
    per_epoch = math.ceil(num_rows / config.batch_size)
    return frozenset(
        epoch * per_epoch + math.ceil(part * per_epoch / parts)
        for epoch in range(config.num_epochs)
        for part in range(1, parts + 1)
    )


def targets(curves: dict[str, engine.Curve], *, num_texts: int) -> list[dict]:
    """Scores that every system reached at some time, and the seconds until it did.

    Args:
        num_texts: validation texts; see `tolerances`.
    """
    lowest = min(max(score for _, _, score in curve.points) for curve in curves.values())
    found = []
    for tolerance in tolerances(num_texts):
        score = lowest - tolerance - 1e-9
        seconds = {name: seconds_to(curve, score) for name, curve in curves.items()}
        found.append({"tolerance": tolerance, "score": score, "seconds": seconds})
    return found


def tolerances(num_texts: int) -> list[float]:
    """How far below the lowest best accuracy a target lies: half a point.

    Half a point of 99 texts is half a text: there a second target leaves one text more wrong.
    """
    return [TOLERANCE, *([1 / num_texts] if 1 / num_texts > TOLERANCE else [])]


def seconds_to(curve: engine.Curve, score: float) -> float:
    """Seconds of the first validation that reached `score`."""
    return min(seconds for seconds, _, reached in curve.points if reached >= score)


def _rates(settings: Settings, material: Material, teacher, examples) -> dict[str, Rate]:
    from infra.benchmarks.peers import hugging_face, sentence_embeddings, text_brewer

    # Rows lie class by class in their file: a random cut has the lengths of all. Systems that ask
    # no teacher in each step get more rows, so that each takes about a second.
    order = np.random.default_rng(0).permutation(len(examples))
    batch_size = material.config.training.batch_size
    chosen = order[: settings.pick(12, 2) * batch_size]
    many = order[: settings.pick(60, 2) * batch_size]
    texts = material.texts()
    texts = [texts[row] for row in many]

    def peer(variant: str):
        rows = many if variant == "tuned_cached" else chosen

        def work() -> Timed:
            curve = hugging_face.train(
                material,
                teacher,
                variant,
                chosen=rows,
                num_epochs=1,
                teacher_logits=examples.teacher_logits,
            )
            return Timed(len(rows), curve.seconds)

        return work

    def brewed() -> Timed:
        curve = text_brewer.train(
            material, teacher, chosen=chosen, num_epochs=1, hard_labels=examples.labels
        )
        return Timed(len(chosen), curve.seconds)

    # As a user of these peers has it: layers of the teacher with its whole vocabulary, updated
    # densely. A step takes seconds, so three are enough.
    whole = material.with_whole_vocabulary()
    as_users_have_it = {}
    if whole is not None:
        some = order[: settings.pick(3, 1) * batch_size]
        as_users_have_it = {
            "trainer_whole_vocabulary": lambda: Timed(
                len(some),
                hugging_face.train(whole, teacher, "tuned", chosen=some, num_epochs=1).seconds,
            ),
            "textbrewer_whole_vocabulary": lambda: Timed(
                len(some),
                text_brewer.train(
                    whole, teacher, chosen=some, num_epochs=1, hard_labels=examples.labels
                ).seconds,
            ),
        }
    systems = {
        "decant": lambda: engine.training_round(material, examples, many),
        "decant_signals": lambda: engine.signals_round(material, teacher, many),
        **{f"trainer_{name}": peer(name) for name in hugging_face.VARIANTS},
        "textbrewer": brewed,
        "sentence_transformers_mse": lambda: sentence_embeddings.training_round(
            material, texts, 384
        ),
        **as_users_have_it,
    }
    return measure(systems, num_rounds=settings.num_rounds, say=lambda text: say(f"  {text}"))
