"""How much each loss term of a writer of texts pulls, measured at validations.

The counterpart of `diagnostics.TrainingProbe` for encoder-decoders: a term that is told with a
large loss may have no gradient, and a weight says nothing of either. One forward pass over a fixed
draw of the rows that are trained on; gradients at the logits, in the chunks that training has.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from tasks.modeling.evaluation_mode import evaluation_mode
from tasks.modeling.texts import moved
from tasks.runtime.seeding import generator
from tasks.training.batching.batches import make_step
from tasks.training.batching.layouts import Layout
from tasks.training.objectives.gradient_shares import shares_of_norms
from tasks.training.optimization.config import TrainingConfig
from tasks.training.sequences.examples import Seq2SeqExamples
from tasks.training.sequences.objective import Seq2SeqObjective

_PROBED_TEXTS = 64
_PASS_TOKENS = 4096


class SequenceProbe:
    """Shares of the terms of `objective` in the gradient at the logits.

    Args:
        examples: what is trained on.
        objective: what is minimised.
        config: of the training, its precision resolved.
        pad_token_id: of the tokenizer of the sources.
        planned_steps: that schedules run over.
        seed: of the draw.
    """

    def __init__(
        self,
        examples: Seq2SeqExamples,
        objective: Seq2SeqObjective,
        config: TrainingConfig,
        *,
        pad_token_id: int,
        planned_steps: int,
        seed: int,
    ) -> None:
        """Draw the texts."""
        draws = generator(seed, "probe").integers(len(examples), size=_PROBED_TEXTS)
        layout = Layout("bucketed", _PASS_TOKENS)
        self._step = make_step(examples, np.unique(draws), layout=layout, pad_token_id=pad_token_id)
        self._objective = objective.over(planned_steps)
        self._is_bf16 = config.precision == "bf16"

    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """`share_<name>` of each term after `step` steps, together 1; nothing of a single term.

        See `gradient_shares`.

        Args:
            model: the network of the objective, left in its mode.
        """
        if len(self._objective.loss_terms) < 2:
            return {}
        device = next(model.parameters()).device
        squares: dict[str, Tensor] = {}
        with evaluation_mode(model):
            for batch in self._step.passes:
                with torch.autocast(device.type, torch.bfloat16, self._is_bf16):
                    found = self._objective.pulls(
                        model, moved(batch, device), replace(self._step, number=step)
                    )
                for name, value in found.items():
                    squares[name] = squares[name] + value if name in squares else value
        norms = {name.removeprefix("pull_"): value.sqrt() for name, value in squares.items()}
        return {name: float(share) for name, share in shares_of_norms(norms).items()}
