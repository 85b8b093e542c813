"""When a network's passes are compiled: on CUDA, for runs long enough to win the time back.

Compiled functions share the weights of the network they were made from; checkpoints, optimizer and
export never see them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tasks.runtime.machine.device import compile_mode

# Compiling forward and backward takes about a minute; a 6x384 student gains a third (25,858 to
# 34,643 samples/s of 27 tokens on an H100), which pays that back after some 100 million tokens.
_TOKENS_WORTH_COMPILING = 100_000_000


def will_compile(model: nn.Module, *, num_tokens: int) -> bool:
    """Whether a run over `num_tokens` tokens, all epochs together, is compiled.

    Never with embeddings that are updated by rows: their gradients are sparse.
    """
    mode = compile_mode()
    if next(model.parameters()).device.type != "cuda" or mode == "never":
        return False
    if any(isinstance(module, nn.Embedding) and module.sparse for module in model.modules()):
        return False
    return mode != "auto" or num_tokens >= _TOKENS_WORTH_COMPILING


def compiled(model: nn.Module, *, static: bool) -> Callable[..., Tensor]:
    """`model` as a compiled function.

    Args:
        static: every pass has one shape. Otherwise sizes are symbols, compiled once for all.
    """
    options: dict[str, Any] = {"mode": "reduce-overhead"} if compile_mode() == "graphs" else {}
    return torch.compile(model, dynamic=not static, **options)
