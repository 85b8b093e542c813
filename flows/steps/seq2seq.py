"""The pipeline of encoder-decoders: the steps of `flows.pipeline`, by stages that write texts."""

from __future__ import annotations

from flows.recipe.seq2seq import Seq2SeqRecipe
from flows.steps.delivery import deliver
from flows.steps.step import Handle, Step
from tasks import (
    ingestion,
    seq2seq_signals,
    seq2seq_student,
    seq2seq_teacher,
    tokenization,
)


def pour_texts(recipe: Seq2SeqRecipe, step: Step[Handle]) -> Handle:
    """Walk the pipeline of `recipe` from its sources to the registry; the last step's handle."""
    corpus = step("corpus", ingestion.STAGE, recipe.corpus_config())
    teacher_tokens = step(
        "teacher-tokens", tokenization.STAGE, recipe.teacher_tokens_config(), corpus=corpus
    )
    student_tokens = step(
        "student-tokens", tokenization.STAGE, recipe.student_tokens_config(), corpus=corpus
    )
    teacher = step("teacher", seq2seq_teacher.STAGE, recipe.teacher_config(), tokens=teacher_tokens)
    signals = step(
        "teacher-signals",
        seq2seq_signals.STAGE,
        recipe.teacher_signals_config(),
        teacher=teacher,
        tokens=teacher_tokens,
    )
    models: dict[str, Handle] = {}
    for i in range(recipe.num_seeds):
        config = recipe.student_config(i)
        trained = {f"student_{i}": (f"student-seed-{i}", config)}
        if recipe.baselines.pseudo_labels:
            name = f"pseudo-labels-seed-{i}"
            trained[f"pseudo_label_{i}"] = (name, recipe.pseudo_label_config(i))
        if recipe.baselines.no_kd:
            trained[f"no_kd_{i}"] = (f"no-kd-seed-{i}", recipe.no_kd_config(i))
        for key, (name, asked) in trained.items():
            guided = {"signals": signals} if asked.objective.needs_signals else {}
            start = {"teacher": teacher} if asked.needs_teacher else {}
            models[key] = step(
                name, seq2seq_student.STAGE, asked, tokens=student_tokens, **guided, **start
            )
    return deliver(
        recipe,
        step,
        corpus=corpus,
        teacher=teacher,
        teacher_tokens=teacher_tokens,
        teacher_signals=signals,
        student_tokens=student_tokens,
        models=models,
    )
