"""Checkpoints that survive `kill -9` and never lie: written aside, fsynced, sealed, renamed.

    <work>/checkpoints/step-00000120/   model.safetensors  best.safetensors  optimizer.safetensors
                                        state.json  seal.json (SHA-256 of the others, written last)

The two newest are kept. Loading takes the newest whose seal verifies, so a torn or flipped one
costs the steps since its predecessor and nothing else, and is told: what is saved next takes its
place. No pickle: safetensors and JSON.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tasks.runtime.fingerprint import file_digest
from tasks.runtime.progress import Progress
from tasks.training.distributed.steps import laid_out_like, whole

_KEPT = 2
_SEAL = "seal.json"


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint as read back.

    Args:
        model, best: state dicts; `best` is that of the best validation so far.
        optimizer: flattened AdamW state.
        state: step count, history and early-stopping state, as JSON.
    """

    model: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    model: nn.Module,
    best: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    is_writer: bool = True,
) -> None:
    """Write the checkpoint of `step` below `folder`; drop all but it and the one before it.

    Args:
        is_writer: whether this process writes; others only help to gather what is sharded.
    """
    weights, optimizer_state = _detached(model.state_dict()), _flatten(optimizer)
    if not is_writer:
        return
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step:08d}"
    if final.exists():
        shutil.rmtree(final)
    writing = folder / f".writing-{step:08d}"
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir()
    save_file(weights, writing / "model.safetensors")
    save_file(_detached(best), writing / "best.safetensors")
    save_file(optimizer_state, writing / "optimizer.safetensors")
    (writing / "state.json").write_text(json.dumps(state), encoding="utf-8")
    digests = {path.name: file_digest(path) for path in sorted(writing.iterdir())}
    (writing / _SEAL).write_text(json.dumps(digests), encoding="utf-8")
    for path in [*writing.iterdir(), writing]:
        _fsync(path)
    writing.rename(final)
    _fsync(folder)
    # Those of later steps were found damaged, or this run would go on from them: counted among the
    # kept, they would have this one deleted as soon as it is written.
    later = [other for other in _newest_first(folder) if other.name > final.name]
    for old in [*later, *_newest_first(folder)[len(later) + _KEPT :]]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path, progress: Progress | None = None) -> Checkpoint | None:
    """The newest checkpoint below `folder` whose bytes match its seal, or None.

    Args:
        progress: is told of those that are damaged.
    """
    for candidate in _newest_first(folder):
        if damage := _damage(candidate):
            if progress is not None:
                step = candidate.name.removeprefix("step-").lstrip("0")
                progress.say(
                    f"the checkpoint of step {step} is damaged ({damage}); going on from the one "
                    "before it, or from the start"
                )
            continue
        return Checkpoint(
            model=load_file(candidate / "model.safetensors"),
            best=load_file(candidate / "best.safetensors"),
            optimizer=load_file(candidate / "optimizer.safetensors"),
            state=json.loads((candidate / "state.json").read_text(encoding="utf-8")),
        )
    return None


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put flattened AdamW state back, matching parameters by their position in the groups."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = laid_out_like(tensor, parameters[int(index)])
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _flatten(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return _detached(
        {
            f"{index}.{key}": value
            for index, entries in optimizer.state_dict()["state"].items()
            for key, value in entries.items()
        }
    )


def _detached(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: whole(tensor.detach()).cpu().contiguous() for name, tensor in tensors.items()}


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint by its seal; nothing if it is whole."""
    name = _SEAL
    try:
        digests = json.loads((checkpoint / _SEAL).read_text(encoding="utf-8"))
        for name, digest in digests.items():  # `name` is told below
            if file_digest(checkpoint / name) != digest:
                return f"{name} is not what was saved"
    except OSError as error:
        return f"{name}: {error.strerror}"
    except ValueError:
        return f"{name} is not what was saved"
    return ""


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
