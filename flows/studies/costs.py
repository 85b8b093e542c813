"""What an answer of a network costs: size, operations and time, for designs and for trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from tasks.modeling.heads.classifier import EncoderWithHead

_MAX_TEXTS = 100


@dataclass(frozen=True)
class Costs:
    """What an answer of the trial's student costs; None where it was not measured.

    Args:
        latency_ms_p50: milliseconds of the network at batch 1 on validation rows.
        flops: operations a text of mean length.
        num_parameters: weights, embeddings included.
    """

    latency_ms_p50: float | None = None
    flops: int | None = None
    num_parameters: int | None = None

    def as_dict(self) -> dict[str, float | int | None]:
        """By name."""
        return asdict(self)


def validation_texts(tokens: Path) -> list[np.ndarray]:
    """Token ids of some validation rows of a tokens artifact, spread over all of them."""
    import numpy as np

    from tasks.training.batching.examples import read_rows

    rows = read_rows(tokens, ["validation"])["input_ids"]
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(_MAX_TEXTS, len(rows))).astype(np.int64))
    return [np.asarray(ids, dtype=np.int64) for ids in rows.take(chosen).to_pylist()]


def costs_of_network(
    model: EncoderWithHead,
    texts: Sequence[np.ndarray],
    *,
    num_threads: int,
    max_seconds: float,
) -> Costs:
    """Costs of `model`, on the CPU, on texts given as token ids.

    Args:
        num_threads, max_seconds: of timing, see `tasks.metrics.cost.network_latency`.
    """
    import numpy as np

    from tasks.metrics.cost import network_latency
    from tasks.modeling.heads.classifier import num_parameters

    length = max(1, round(float(np.mean([len(text) for text in texts]))))
    latency = network_latency(model, texts, num_threads=num_threads, max_seconds=max_seconds)
    return Costs(latency.p50_ms, flops_of_network(model, length), num_parameters(model))


def flops_of_network(model: EncoderWithHead, length: int) -> int:
    """Operations of one text of `length` tokens; of a head over units, those of one unit."""
    from tasks.metrics.cost import count_flops

    head = 2 * model.head.in_features * model.head.out_features
    return count_flops(model.backbone, length=length) + head
