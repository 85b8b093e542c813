"""One training step over several processes: same gradient, same steps, one writer.

    step s of (seed, epoch):  rows  a b c d e f g      2 ranks
    rank 0                          a   c   e   g      loss sums / 7  ┐ gradients are summed
    rank 1                            b   d   f        loss sums / 7  ┘

Every rank knows the whole step, so the normalisers (rows, labelled rows) need no communication and
uneven last steps are exact. DDP and FSDP2 *average* gradients over ranks; each rank's loss is
therefore multiplied by their number, which undoes it. Dividing the mean of each rank by the number
of ranks, as is usual, weights the rows of a short rank more.

A model that fits a device is replicated (DDP); a big one is sharded, each rank keeping a part of
weights, gradients and optimizer state (FSDP2). Checkpoints hold whole tensors either way: a run may
resume with another number of ranks. With one process nothing here does anything.

Shapes: U rows of an embedding that a rank's share of a step reads, D width.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from data_contracts.errors import UserError
from tasks.runtime.machine.device import SHARDED


@dataclass(frozen=True)
class Ranks:
    """The processes that train one model together, seen from one of them.

    Args:
        rank: of this process, in [0, size).
        size: number of processes.
        sharded: whether weights are sharded over them (FSDP2) or replicated (DDP).
    """

    rank: int = 0
    size: int = 1
    sharded: bool = False

    @property
    def is_writer(self) -> bool:
        """Whether this process writes checkpoints: one of them does."""
        return self.rank == 0

    @property
    def dropout_stream(self) -> tuple[int, ...]:
        """What sets this rank's dropout apart from that of the others; nothing for one process."""
        return (self.rank,) if self.size > 1 else ()

    def share(self, rows: np.ndarray) -> np.ndarray:
        """This rank's rows of a step; of a step with fewer rows than ranks, maybe one not its own
        (see `loss_factor`), because all ranks take part in every step.
        """
        mine = rows[self.rank :: self.size]
        return mine if len(mine) else rows[:1]

    def loss_factor(self, num_rows: int) -> float:
        """What this rank's loss of a step of `num_rows` rows is multiplied by before `backward`."""
        return float(self.size) if self.rank < num_rows else 0.0

    def networks(self, model: nn.Module) -> tuple[nn.Module, nn.Module]:
        """The module that holds the weights to train, and the one to call for it.

        Calling the first instead of the second would leave gradients unreduced.

        Raises: UserError if weights that are updated by rows would be sharded.
        """
        if self.size == 1:
            return model, model
        by_rows = _updated_by_rows(model)
        if self.sharded:
            if by_rows:
                raise UserError(
                    f"{', '.join(by_rows)} is updated by rows, and sharded",
                    rule="a shard's gradient has all its rows",
                    remedy="leave --sharded out, or set embedding_updates to dense (another "
                    "result, with a key of its own)",
                )
            sharded = _shard(model, self.size)
            return sharded, sharded
        # Left to `sum_rows`: NCCL reduces no sparse gradients.
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, by_rows)
        return model, DistributedDataParallel(model, broadcast_buffers=False)

    def reducing(self, forward: object, *, is_last: bool) -> AbstractContextManager[object]:
        """Around one of a step's passes: gradients are reduced with the last, added up before it.

        Ranks may run different numbers of passes, but meet once a step.
        """
        module = getattr(forward, "_orig_mod", forward)  # what a compiled module was made from
        if isinstance(module, DistributedDataParallel) and not is_last:
            return module.no_sync()
        return nullcontext()

    def sum_rows(self, model: nn.Module) -> None:
        """Reduce the sparse gradients of `model` over the ranks, once a step, as DDP the others."""
        if self.size == 1:
            return
        for weight in model.parameters():
            if weight.grad is not None and weight.grad.is_sparse:
                weight.grad = _mean_of_rows(weight.grad.coalesce(), self.size)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether any rank has raised it: decisions must be taken together."""
        if self.size == 1:
            return flags
        raised = torch.tensor(flags, dtype=torch.int32, device=_device())
        dist.all_reduce(raised, op=dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in raised.tolist())

    def sums(self, values: dict[str, float]) -> dict[str, float]:
        """Each value summed over the ranks."""
        if self.size == 1:
            return values
        total = torch.tensor(list(values.values()), dtype=torch.float64, device=_device())
        dist.all_reduce(total)
        return dict(zip(values, total.tolist(), strict=True))

    def of_writer(self, values: dict[str, float]) -> dict[str, float]:
        """The writer's values: validation scores decide when all stop."""
        if self.size == 1:
            return values
        told = torch.tensor(list(values.values()), dtype=torch.float64, device=_device())
        dist.broadcast(told, src=0)
        return dict(zip(values, told.tolist(), strict=True))


def current_ranks() -> Ranks:
    """The ranks this process belongs to: one, unless torchrun started it (`ranks.py`)."""
    if not dist.is_available() or not dist.is_initialized():
        return Ranks()
    sharded = os.environ.get(SHARDED) == "1"
    return Ranks(dist.get_rank(), dist.get_world_size(), sharded)


def whole(tensor: Tensor) -> Tensor:
    """`tensor` itself, or all of it if it is sharded; every rank must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def laid_out_like(tensor: Tensor, pattern: Tensor) -> Tensor:
    """The whole `tensor`, sharded as `pattern` is if that is sharded."""
    if isinstance(pattern, DTensor) and tensor.shape == pattern.shape:
        return distribute_tensor(tensor.to(pattern.device), pattern.device_mesh, pattern.placements)
    return tensor


def load_whole(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put whole tensors into `model`, sharded or not."""
    own = model.state_dict()
    model.load_state_dict(
        {name: laid_out_like(tensor, own[name]) for name, tensor in tensors.items()}
    )


def _updated_by_rows(model: nn.Module) -> list[str]:
    """Names of the weights whose gradients are sparse."""
    return [
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and module.sparse and module.weight.requires_grad
    ]


def _mean_of_rows(gradient: Tensor, size: int) -> Tensor:
    """Mean over the ranks of a coalesced sparse gradient; each rank sends its own rows alone."""
    rows_U, values_UD = gradient.indices()[0], gradient.values()
    count = torch.tensor([len(rows_U)], device=rows_U.device)
    counts = [torch.empty_like(count) for _ in range(size)]
    dist.all_gather(counts, count)
    lengths = [int(number) for number in counts]
    found_rows, found_values = (_gathered(part, lengths) for part in (rows_U, values_UD / size))
    return torch.sparse_coo_tensor(found_rows.unsqueeze(0), found_values, gradient.shape).coalesce()


def _gathered(tensor: Tensor, lengths: list[int]) -> Tensor:
    """The tensors of all ranks, which differ in their first size, one after the other."""
    padded = tensor.new_zeros((max(lengths), *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded)
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])


def _shard(model: nn.Module, size: int) -> nn.Module:
    # A copy, because FSDP2 changes classes and weights in place and the caller's model is saved.
    sharded = copy.deepcopy(model)
    mesh = init_device_mesh(_device().type, (size,))
    for layer in _layers(sharded):
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    return sharded


def _layers(model: nn.Module) -> Iterable[nn.Module]:
    """The repeated layers: weights are gathered one of them at a time.

    The innermost first: peers are a list of networks, each with a list of layers, and what is in
    an outer one's part cannot be sharded again.
    """
    for module in reversed(list(model.modules())):
        if isinstance(module, nn.ModuleList):
            yield from module


def _device() -> torch.device:
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
