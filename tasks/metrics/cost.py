"""What an answer costs, of any network: operations by shape, milliseconds by clock.

FLOPs are those of matrix products, attention included, two for a multiplication and its addition;
norms, activations and look-ups of embeddings are left out (some per cent). They are counted by
running the network on tensors without content, so that a model too large for this machine costs
nothing either.

Shapes: B batch, L length.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tasks.metrics.latency import Latency, Text, cpu_threads, measure_latency


def count_flops(encoder: nn.Module, *, length: int) -> int:
    """Floating-point operations of one text of `length` tokens, at batch 1.

    Args:
        encoder: a Hugging Face encoder on any device, `meta` included; left as it is.
    """
    with torch.device("meta"):
        shadow: Any = copy.deepcopy(encoder).to("meta").eval()
        input_ids = torch.zeros((1, length), dtype=torch.int64)
    # Plain products: the fused kernels of a CPU are not counted.
    shadow.set_attn_implementation("eager")
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        shadow(input_ids=input_ids)
    return int(counter.get_total_flops())


def network_latency(
    network: nn.Module, texts: Sequence[np.ndarray], *, num_threads: int, max_seconds: float
) -> Latency:
    """Milliseconds of the network alone, text after text at batch 1 on the CPU.

    Args:
        network: maps (B, L) int64 ids and mask to logits.
        texts: token ids of each text, timed one by one.
        num_threads: of arithmetic; 0: as many as now.
        max_seconds: see `measure_latency`.
    """
    was_training = network.training
    network.eval()
    names = [str(number) for number in range(len(texts))]
    ids = {
        name: torch.as_tensor(np.array(text, dtype=np.int64))[None]
        for name, text in zip(names, texts, strict=True)
    }

    def answer(asked: Sequence[Text]) -> np.ndarray[tuple[int, ...], np.dtype[np.floating]]:
        with torch.inference_mode():
            input_ids = ids[str(asked[0])]
            return network(input_ids, torch.ones_like(input_ids)).float().numpy()

    try:
        with cpu_threads(num_threads or torch.get_num_threads()):
            return measure_latency(answer, names, max_seconds=max_seconds)
    finally:
        network.train(was_training)
