"""Time of a training step by how embeddings are updated, against the size of the vocabulary.

    PYTHONPATH=. OMP_NUM_THREADS=1 .venv/bin/python infra/benchmarks/embedding_updates.py

Interleaved rounds, so that a busy minute slows all alike; CPU seconds of the process, so that a
neighbour's are not counted; medians with quartiles, and the ratio to `dense` of the same round.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

from tasks.modeling.backbones.encoder import build_student_backbone
from tasks.modeling.config import StudentArchitecture
from tasks.modeling.heads.classifier import EncoderClassifier
from tasks.modeling.texts import Texts
from tasks.runtime.machine.device import thread_count
from tasks.training.batching.examples import Batch
from tasks.training.objectives.config import blend
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.adamw import build_optimizer, prepare_embeddings
from tasks.training.optimization.config import TrainingConfig
from tasks.training.optimization.row_updates import clip_gradients

UPDATES = ("dense", "rows", "frozen")
SHAPE = {"num_layers": 4, "hidden_size": 384, "num_heads": 12, "intermediate_size": 1536}
NUM_LABELS = 7


def make_batch(number: int, vocab_size: int, *, batch_size: int, length: int) -> Batch:
    """Random ids, Zipf-like as words are: a step reads some rows often and many once."""
    rng = np.random.default_rng(number)
    ids = 5 + rng.zipf(1.2, (batch_size, length)) % (vocab_size - 5)
    teacher = rng.normal(size=(batch_size, NUM_LABELS)).astype(np.float32)
    return Batch(
        Texts(torch.from_numpy(ids), torch.ones(batch_size, length, dtype=torch.int64)),
        torch.from_numpy(rng.integers(0, NUM_LABELS, batch_size)),
        torch.from_numpy(teacher),
    )


def prepared(updates: str, vocab_size: int, length: int):
    """A student and its optimizer, the same weights each time."""
    torch.manual_seed(0)
    backbone = build_student_backbone(
        StudentArchitecture.model_validate(SHAPE),
        vocab_size=vocab_size,
        pad_token_id=0,
        max_length_tokens=length,
    )
    model = EncoderClassifier(backbone, num_labels=NUM_LABELS, pooling="mean", dropout=0.1)
    prepare_embeddings(backbone.get_input_embeddings(), updates)
    config = TrainingConfig(num_epochs=1, learning_rate=1e-4)
    return model.train(), build_optimizer(model, config)


def step(model, optimizer, batch: Batch, objective: Objective) -> float:
    """CPU seconds of one step."""
    torch.manual_seed(0)
    started = time.process_time()
    logits = model(batch.texts)
    terms = objective(
        logits,
        batch.labels_A,
        batch.teacher_logits_AC,
        num_examples=batch.num_answers,
        num_labelled=batch.num_answers,
    )
    optimizer.zero_grad(set_to_none=True)
    terms["loss"].backward()
    clip_gradients(model.parameters(), 1.0)
    optimizer.step()
    return time.process_time() - started


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocab-sizes", type=int, nargs="+", default=[4000, 12000, 50000, 250000])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--length", type=int, default=32)
    given = parser.parse_args()
    torch.set_num_threads(thread_count())
    objective = Objective(blend(0.8, 2.0))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {vars(given)}")
    for vocab_size in given.vocab_sizes:
        systems = {name: prepared(name, vocab_size, given.length) for name in UPDATES}
        seconds: dict[str, list[float]] = {name: [] for name in systems}
        for number in range(given.rounds + 1):
            batch = make_batch(number, vocab_size, batch_size=given.batch_size, length=given.length)
            for name, (model, optimizer) in systems.items():
                taken = step(model, optimizer, batch, objective)
                if number:  # the first round makes the optimizer's state
                    seconds[name].append(taken)
        for name, measured in seconds.items():
            low, middle, high = statistics.quantiles(measured, n=4)
            ratio = statistics.median(
                dense / own for dense, own in zip(seconds["dense"], measured, strict=True)
            )
            print(
                f"vocabulary {vocab_size:>7,}  {name:<6}  {middle * 1e3:8.1f} ms "
                f"[{low * 1e3:.1f}, {high * 1e3:.1f}]  {ratio:.2f} x dense"
            )


if __name__ == "__main__":
    main()
