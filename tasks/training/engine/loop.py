"""The training loop of teachers, students and baselines: validation, early stopping, resume.

Resume is exact: the order of examples and the dropout of step s are functions of (seed, s), so
nothing random is stored, and an interrupted run ends with the same bits as an undisturbed one on
the same CPU. Losses are read from the device only when a line of history is due, never every step.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data_contracts.errors import Preempted
from tasks.modeling.backbones.dropout import install as install_dropout
from tasks.modeling.texts import pinned
from tasks.runtime.machine.device import has_cuda, resolve_precision, thread_count
from tasks.runtime.progress import Progress
from tasks.runtime.seeding import derive_seed
from tasks.training.batching.batches import Rows, Step, epoch_order, make_steps, num_steps
from tasks.training.batching.language_sampling import check_languages, drawn_rows
from tasks.training.batching.layout_choice import for_training
from tasks.training.batching.layouts import Layout
from tasks.training.batching.prefetching import Prefetcher
from tasks.training.distributed.steps import Ranks, current_ranks, load_whole, whole
from tasks.training.engine.checkpoints import load_checkpoint, restore_optimizer, save_checkpoint
from tasks.training.engine.compilation import compiled, will_compile
from tasks.training.engine.meter import Meter
from tasks.training.engine.stepping import Stepper
from tasks.training.objectives.objective import StepObjective
from tasks.training.optimization.adamw import build_optimizer, learning_rate
from tasks.training.optimization.config import TrainingConfig

_HISTORY_EVERY_STEPS = 20
# A checkpoint of a 23M-parameter teacher takes about 0.5 s to write: under 2 % at this interval.
_CHECKPOINT_EVERY_SECONDS = 30.0
# After a validation one is written sooner, but not if the last took more than a fiftieth of the
# time since: a student of 12M parameters that validates every 1.5 s spent 10 % on writing.
_LARGEST_SHARE_SAVING = 0.02


@dataclass
class TrainingState:
    """Everything a resumed run needs beside tensors; saved as JSON in each checkpoint."""

    step: int = 0
    best_step: int = 0
    best_score: float = -math.inf
    validations_without_gain: int = 0
    stopped_early: bool = False
    train_seconds: float = 0.0
    steps: list[dict[str, float]] = field(default_factory=list)
    validations: list[dict[str, float]] = field(default_factory=list)
    unread: dict[str, float] = field(default_factory=dict)  # see Meter

    @property
    def best_validation(self) -> dict[str, float]:
        """The figures of the weights that are delivered."""
        return next(entry for entry in self.validations if entry["step"] == self.best_step)


@dataclass(frozen=True)
class TrainingResult:
    """What training left behind; the model itself holds the weights that `selection` chose.

    Args:
        layout: how steps were laid out last: smaller passes than at first if memory ran out.
        loader_wait_seconds: how long the loop waited for a step to be laid out.
        num_threads: of arithmetic on a CPU.
    """

    state: TrainingState
    steps_planned: int
    layout: Layout
    loader_wait_seconds: float
    num_threads: int

    def history(self) -> dict[str, Any]:
        """Learning curves: `steps`, `validations`, `best_step`."""
        return {
            "steps": self.state.steps,
            "validations": self.state.validations,
            "best_step": self.state.best_step,
        }


def place(num_threads: int | None = None) -> torch.device:
    """The device to train on; on a CPU, with as many threads as asked or else as there may be."""
    if has_cuda() and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    torch.set_num_threads(num_threads or thread_count())
    return torch.device("cpu")


def train(
    model: nn.Module,
    examples: Rows,
    objective: StepObjective,
    config: TrainingConfig,
    *,
    pad_token_id: int,
    validate: Callable[[nn.Module], dict[str, float]],
    seed: int,
    work: Path,
    progress: Progress,
    layout: Layout | None = None,
    num_threads: int | None = None,
    probe: Callable[[nn.Module, int], dict[str, float]] | None = None,
) -> TrainingResult:
    """Train `model` in place and leave the weights that `config.selection` chooses in it.

    Args:
        model: what `objective` calls with the tensors of a pass.
        examples: rows to train on; teacher signals attached if the objective wants them.
        pad_token_id: of the tokenizer the texts were read with.
        validate: scores the model, returning at least `loss` and what `config.selection` names.
        seed: of order and dropout.
        work: directory for checkpoints that survives a kill.
        layout: how steps are laid out, instead of the fastest way for the device.
        num_threads: for arithmetic on a CPU; all that this process may use if not given.
        probe: further figures of the network after a step, kept beside the validation's.
    Raises:
        Preempted: SIGTERM arrived; a checkpoint of the last step is on disk.
        TrainingDiverged: the loss is not finite.
    """
    device = place(num_threads)
    config = config.model_copy(update={"precision": resolve_precision(config.precision)})
    ranks = current_ranks()
    delivered = model.to(device)
    if device.type == "cpu":
        install_dropout(delivered)
    model, forward = ranks.networks(delivered)
    optimizer = build_optimizer(model, config)
    num_tokens = int(examples.input_ids.lengths.sum()) * config.num_epochs
    is_compiled = will_compile(model, num_tokens=num_tokens)
    share = -(-config.batch_size // ranks.size)
    if ranks.sharded:
        # Each pass gathers weights from all ranks, so all must run the same number: one.
        layout = Layout("padded", share * int(examples.input_ids.lengths.max()))
    layout = layout or for_training(
        model,
        examples.input_ids,
        batch_size=share,
        grouped=config.group_by_length,
        pad_token_id=pad_token_id,
        precision=config.precision,
        compiled=is_compiled,
    )
    steps_per_epoch = num_steps(len(examples), config.batch_size)
    planned = steps_per_epoch * config.num_epochs
    objective = objective.over(planned)
    run_step = Stepper(
        model,
        compiled(forward, static=layout.is_static) if is_compiled else forward,
        objective,
        optimizer,
        config,
        examples=examples,
        pad_token_id=pad_token_id,
        layout=layout,
        ranks=ranks,
    )
    validate_at = _validation_steps(steps_per_epoch, config)
    checkpoints = work / "checkpoints"
    state = TrainingState()
    best: dict[str, Tensor] = {}
    if checkpoint := load_checkpoint(checkpoints, progress):
        load_whole(model, checkpoint.model)
        restore_optimizer(optimizer, checkpoint.optimizer)
        best, state = checkpoint.best, TrainingState(**checkpoint.state)
        progress.say(f"resuming at step {state.step} of {planned}")
    progress.start("training", total=planned, unit="steps")
    progress.advance(state.step)
    meter = Meter(state.unread, ranks)
    started = time.monotonic() - state.train_seconds
    last_saved, seconds_to_save = time.monotonic(), 0.0

    def save() -> None:
        state.unread = meter.unread()
        state.train_seconds = round(time.monotonic() - started, 3)
        save_checkpoint(
            checkpoints,
            step=state.step,
            model=model,
            best=best,
            optimizer=optimizer,
            state=vars(state),
            is_writer=ranks.is_writer,
        )

    steps = _steps(examples, config, layout, pad_token_id, seed, state.step, planned, ranks)
    prepare = pinned if device.type == "cuda" else None
    with _stop_signals() as stop, Prefetcher(steps, prepare=prepare) as prefetched:
        for step in prefetched:
            if state.stopped_early:
                break
            rate = learning_rate(state.step, total_steps=planned, config=config)
            for group in optimizer.param_groups:
                group["lr"] = rate
            _seed(device, derive_seed(seed, "dropout", state.step, *ranks.dropout_stream))
            settings = objective.settings(state.step)
            meter.add(run_step(step))
            state.step += 1
            due = state.step in validate_at or state.step == planned
            reading = due or state.step % _HISTORY_EVERY_STEPS == 0
            if reading:
                entry = meter.read(state.step)
                entry = {"step": state.step, **entry, **settings, "learning_rate": rate}
                state.steps.append(entry)
                progress.advance(meter.take_steps(), note=f"loss {entry['loss']:.3f}")
            if due:
                best = _validated(model, validate, config, state, best, ranks)
                if probe is not None:
                    state.validations[-1] |= ranks.of_writer(probe(model, state.step))
                progress.validated(len(state.validations), state.validations[-1])
            if ranks.size > 1 and not reading:
                continue  # ranks save and stop together, and agree only when they meet anyway
            since = time.monotonic() - last_saved
            worth_it = due and seconds_to_save < _LARGEST_SHARE_SAVING * since
            late = since > _CHECKPOINT_EVERY_SECONDS
            stopping, saving = ranks.any(bool(stop), worth_it or late)
            if saving or stopping:
                began = time.monotonic()
                save()
                last_saved = time.monotonic()
                seconds_to_save = last_saved - began
            if stopping:
                raise Preempted(
                    f"stopped after step {state.step} of {planned}; checkpoint saved",
                    remedy="run the same command again: it resumes at this step",
                )
    state.train_seconds = round(time.monotonic() - started, 3)
    delivered.load_state_dict(best)
    return TrainingResult(
        state,
        planned,
        run_step.layout,
        round(prefetched.wait_seconds, 3),
        torch.get_num_threads(),
    )


def _seed(device: torch.device, seed: int) -> None:
    """Seed the CPU's generator and, on CUDA, that device's.

    `torch.manual_seed` also formats the caller's stack for every kind of accelerator that is not
    there: 0.2 to 0.5 ms, 2 % of a small student's step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _steps(
    examples: Rows,
    config: TrainingConfig,
    layout: Layout,
    pad_token_id: int,
    seed: int,
    first_step: int,
    planned: int,
    ranks: Ranks,
) -> Iterator[Step]:
    """This rank's share of steps `first_step` to `planned`: the same whether interrupted or not."""
    steps_per_epoch = num_steps(len(examples), config.batch_size)
    lengths = examples.input_ids.lengths
    temperature = config.language_temperature
    check_languages(examples, temperature)

    def rows_of_steps() -> Iterator[np.ndarray]:
        epoch, order, drawn = -1, [], None
        for step in range(first_step, planned):
            if step // steps_per_epoch != epoch:
                epoch = step // steps_per_epoch
                if temperature is not None:
                    groups: Any = examples.groups  # pyright: ignore[reportAttributeAccessIssue]
                    drawn = drawn_rows(groups, temperature=temperature, seed=seed, epoch=epoch)
                order = epoch_order(
                    lengths if drawn is None else lengths[drawn],
                    batch_size=config.batch_size,
                    seed=seed,
                    epoch=epoch,
                    grouped=config.group_by_length,
                )
            rows = order[step % steps_per_epoch]
            yield rows if drawn is None else drawn[rows].astype(np.int64)

    return make_steps(
        examples,
        rows_of_steps(),
        layout=layout,
        pad_token_id=pad_token_id,
        first=first_step,
        share=ranks.share,
    )


def _validation_steps(steps_per_epoch: int, config: TrainingConfig) -> frozenset[int]:
    parts = config.validations_per_epoch
    return frozenset(
        epoch * steps_per_epoch + math.ceil(part * steps_per_epoch / parts)
        for epoch in range(config.num_epochs)
        for part in range(1, parts + 1)
    )


def _validated(
    model: nn.Module,
    validate: Callable[[nn.Module], dict[str, float]],
    config: TrainingConfig,
    state: TrainingState,
    best: dict[str, Tensor],
    ranks: Ranks,
) -> dict[str, Tensor]:
    """Score the model, update `state`, and return the best weights so far.

    Of steps with one score that with the lowest loss is the best: where a score stands still (no
    label is decided yet, or all rows are right), the loss tells whether the model still learns.
    """
    scores = ranks.of_writer(validate(model))
    state.validations.append({"step": state.step, **scores})
    score = _score(scores, config.selection, state.step)
    is_better = score > state.best_score or (
        state.best_step > 0
        and score == state.best_score
        and scores["loss"] < state.best_validation["loss"]
    )
    if is_better:
        state.best_score, state.best_step = score, state.step
        state.validations_without_gain = 0
        return {name: whole(tensor.detach()).clone() for name, tensor in model.state_dict().items()}
    state.validations_without_gain += 1
    state.stopped_early = state.validations_without_gain >= config.patience
    return best


def _score(scores: dict[str, float], selection: str, step: int) -> float:
    """What the best step has most of; a later step is always better if the last one is wanted."""
    if selection == "last":
        return float(step)
    return -scores["loss"] if selection == "loss" else scores[selection]


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects SIGTERM instead of dying in mid-step; only the main thread may listen."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    previous = signal.signal(signal.SIGTERM, lambda received, _: caught.append(received))
    try:
        yield caught
    finally:
        signal.signal(signal.SIGTERM, previous)
