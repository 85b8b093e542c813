"""The whole pipeline, one line a step; whoever walks it decides what a step means.

`run_steps(recipe, step)` calls `step(name, stage, config, **inputs)` for each step and hands what
that returns to the steps after it. Running, running under Prefect, planning and listing are four
meanings of `step` over this one text, so they cannot disagree about what depends on what.
"""

from __future__ import annotations

from flows.recipe.base import RecipeBase
from flows.recipe.multi_teacher import DECIDED_BY_THRESHOLDS
from flows.recipe.mutual import mutual_config, peer_tokens_config, reads_teacher
from flows.recipe.recipe import Recipe
from flows.recipe.seq2seq import Seq2SeqRecipe
from flows.steps.delivery import deliver
from flows.steps.seq2seq import pour_texts
from flows.steps.step import Handle, Step
from tasks import (
    adaptation,
    combined_signals,
    distillation,
    ingestion,
    mutual,
    teacher,
    teacher_signals,
    tokenization,
)
from tasks.runtime.stages import Stage, StageConfig


def run_steps(recipe: RecipeBase, step: Step[Handle]) -> Handle:
    """Walk the pipeline of `recipe` from its sources to the registry; the last step's handle."""
    if isinstance(recipe, Seq2SeqRecipe):
        return pour_texts(recipe, step)
    assert isinstance(recipe, Recipe), "recipes are of encoders or of encoder-decoders"
    corpus = step("corpus", ingestion.STAGE, recipe.corpus_config())
    teacher_tokens = step(
        "teacher-tokens", tokenization.STAGE, recipe.teacher_tokens_config(), corpus=corpus
    )
    student_tokens = step(
        "student-tokens", tokenization.STAGE, recipe.student_tokens_config(), corpus=corpus
    )
    adapted: dict[str, Handle] = {}
    if "teacher" in recipe.adapted_models:
        adapted["adapted"] = step(
            "adapted-teacher",
            adaptation.STAGE,
            recipe.adaptation_config("teacher"),
            corpus=corpus,
            tokens=teacher_tokens,
        )
    fine_tuned = step(
        "teacher", teacher.STAGE, recipe.teacher_config(), tokens=teacher_tokens, **adapted
    )
    # Apart from the rows the teacher is fine-tuned on, so that new transfer rows leave it cached.
    signal_tokens = step(
        "signal-tokens", tokenization.STAGE, recipe.signal_tokens_config(), corpus=corpus
    )
    signals = step(
        "teacher-signals",
        teacher_signals.STAGE,
        recipe.teacher_signals_config(),
        teacher=fine_tuned,
        tokens=signal_tokens,
    )
    if recipe.co_teachers:
        signals = _combined(recipe, step, corpus, fine_tuned, signals, signal_tokens)

    start = {"teacher": fine_tuned} if recipe.student_copies_teacher else {}
    if "student" in recipe.adapted_models:
        # It holds all that the student takes from the teacher's layers.
        start = {
            "adapted": step(
                "adapted-student",
                adaptation.STAGE,
                recipe.adaptation_config("student"),
                corpus=corpus,
                tokens=student_tokens,
                **start,
            )
        }
    # A student compared with the teacher's layers is trained beside it.
    beside = (
        {"teacher": fine_tuned, "teacher_tokens": signal_tokens} if recipe.student.matching else {}
    )
    together: dict[str, Handle] = {}
    if recipe.mutual:
        together = _together(recipe, step, corpus, student_tokens, signal_tokens)
        if recipe.student_config(0).objective.needs_teacher:
            together["signals"] = signals
        if reads_teacher(recipe):
            start = {**start, "teacher": fine_tuned}
    models: dict[str, Handle] = {}
    for i in range(recipe.num_seeds):
        if recipe.mutual:
            models[f"student_{i}"] = step(
                f"student-seed-{i}",
                mutual.STAGE,
                mutual_config(recipe, i),
                **{**together, **start, **beside},
            )
        else:
            models[f"student_{i}"] = step(
                f"student-seed-{i}",
                distillation.STAGE,
                recipe.student_config(i),
                tokens=student_tokens,
                signals=signals,
                **{**start, **beside},
            )
        models |= _compared(recipe, step, i, student_tokens, signals, start)
    return deliver(
        recipe,
        step,
        corpus=corpus,
        teacher=fine_tuned,
        teacher_tokens=signal_tokens,
        teacher_signals=signals,
        student_tokens=student_tokens,
        models=models,
    )


def _combined(
    recipe: Recipe,
    step: Step[Handle],
    corpus: Handle,
    fine_tuned: Handle,
    signals: Handle,
    signal_tokens: Handle,
) -> Handle:
    """What all teachers say, as one teacher's signals; the first has been asked already."""
    inputs = {"signals_teacher": signals}
    models = {"teacher_teacher": fine_tuned}
    for name in recipe.co_teachers:
        tokens = step(
            f"teacher-tokens-{name}",
            tokenization.STAGE,
            recipe.teacher_tokens_config(name),
            corpus=corpus,
        )
        models[f"teacher_{name}"] = step(
            f"teacher-{name}", teacher.STAGE, recipe.teacher_config(name), tokens=tokens
        )
        tokens = step(
            f"signal-tokens-{name}",
            tokenization.STAGE,
            recipe.signal_tokens_config(name),
            corpus=corpus,
        )
        inputs[f"signals_{name}"] = step(
            f"teacher-signals-{name}",
            teacher_signals.STAGE,
            recipe.teacher_signals_config(name),
            teacher=models[f"teacher_{name}"],
            tokens=tokens,
        )
    if recipe.problem in DECIDED_BY_THRESHOLDS:
        inputs["tokens"] = signal_tokens
    # Only what the weighting reads, so that nothing else changes the key.
    read = {"validation": models, "similarity": {"corpus": corpus}}
    return step(
        "teacher-signals-combined",
        combined_signals.STAGE,
        recipe.combined_signals_config(),
        **inputs,
        **read.get(recipe.combination.weighting, {}),
    )


def _together(
    recipe: Recipe,
    step: Step[Handle],
    corpus: Handle,
    student_tokens: Handle,
    signal_tokens: Handle,
) -> dict[str, Handle]:
    """What each of the networks that teach one another reads."""
    assert recipe.mutual is not None
    found = {"tokens_0": student_tokens}
    for k in range(1, len(recipe.mutual.peers) + 1):
        found[f"tokens_{k}"] = step(
            f"peer-tokens-{k}", tokenization.STAGE, peer_tokens_config(recipe, k), corpus=corpus
        )
    if recipe.mutual.teacher:
        found[f"tokens_{len(found)}"] = signal_tokens
    return found


def _compared(
    recipe: Recipe,
    step: Step[Handle],
    i: int,
    tokens: Handle,
    signals: Handle,
    start: dict[str, Handle],
) -> dict[str, Handle]:
    """Students of seed i that the one of the same seed is compared with."""
    models: dict[str, Handle] = {}
    if recipe.baselines.pseudo_labels:
        models[f"pseudo_label_{i}"] = step(
            f"pseudo-labels-seed-{i}",
            distillation.STAGE,
            recipe.pseudo_label_config(i),
            tokens=tokens,
            signals=signals,
            **start,
        )
    if recipe.baselines.supervised:
        models[f"supervised_{i}"] = step(
            f"supervised-seed-{i}",
            distillation.STAGE,
            recipe.supervised_config(i),
            tokens=tokens,
            **start,
        )
    if recipe.baselines.zero_shot:
        models[f"zero_shot_{i}"] = step(
            f"zero-shot-seed-{i}",
            distillation.STAGE,
            recipe.zero_shot_config(i),
            tokens=tokens,
            **start,
        )
    return models


def step_names(recipe: RecipeBase) -> list[str]:
    """Names of the steps of `recipe`, in the order in which they run."""
    names: list[str] = []

    def write_down(name: str, stage: Stage, config: StageConfig, /, **inputs: str) -> str:
        names.append(name)
        return name

    run_steps(recipe, write_down)
    return names


def small_steps(recipe: RecipeBase) -> list[str]:
    """Names of the steps of `recipe` that compute on one thread each, and so run side by side."""
    names: list[str] = []

    def write_down(name: str, stage: Stage, config: StageConfig, /, **inputs: str) -> str:
        if stage.on_one_thread and stage.on_one_thread(config):
            names.append(name)
        return name

    run_steps(recipe, write_down)
    return names
