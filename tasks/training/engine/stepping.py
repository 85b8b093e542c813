"""One optimizer step, in as many passes as the device's memory asks for.

The loss of each pass is divided by what the whole step holds, and gradients add up, so a step has
the same gradient in one pass as in ten. A pass that does not fit is laid out again in passes half
as large, for this step and those to come. Nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from data_contracts.errors import ResourceExhausted
from tasks.modeling.texts import moved
from tasks.runtime.machine.device import compile_mode
from tasks.training.batching.batches import Rows, Step, make_step
from tasks.training.batching.layouts import Layout
from tasks.training.distributed.steps import Ranks
from tasks.training.objectives.fused import fused
from tasks.training.objectives.objective import StepObjective
from tasks.training.optimization.config import TrainingConfig
from tasks.training.optimization.row_updates import clip_gradients


class Stepper:
    """Runs steps on `model`; callable with a `Step`.

    Args:
        model: the network whose weights `optimizer` changes; if it has a method `after_step`, that
            is called then.
        forward: `model`, or a compiled form of it; plain objectives are then compiled, too.
        layout: how passes are laid out; the attribute shrinks when memory runs out.
        ranks: the processes that share each step; `forward` reduces gradients over them.
    """

    def __init__(
        self,
        model: nn.Module,
        forward: Callable[..., Tensor],
        objective: StepObjective,
        optimizer: torch.optim.Optimizer,
        config: TrainingConfig,
        *,
        examples: Rows,
        pad_token_id: int,
        layout: Layout,
        ranks: Ranks = Ranks(),  # noqa: B008  # frozen
    ) -> None:
        """Find the device that `model` lies on."""
        self.layout = layout
        self._model, self._forward = model, forward
        self._optimizer, self._config = optimizer, config
        self._examples, self._pad_token_id = examples, pad_token_id
        self._ranks = ranks
        self._device = next(model.parameters()).device
        is_compiled = hasattr(forward, "_orig_mod")
        objective = objective.to(self._device)
        self._objective = fused(objective) if is_compiled else objective
        # A recorded graph writes gradients where its next replay writes: add them up elsewhere.
        is_recorded = is_compiled and compile_mode() == "graphs"
        self._keep_buffers = self._device.type == "cuda" and is_recorded
        if self._keep_buffers:
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.grad = torch.zeros_like(parameter)

    def __call__(self, step: Step) -> dict[str, Tensor]:
        """Change the weights by one step; the loss terms of the step, left on the device.

        Raises: ResourceExhausted if not even the smallest pass fits.
        """
        self._model.train()
        while (terms := self._gradient(self._laid_out(step))) is None:
            # A rank that repeats its step alone would wait for the others for ever.
            smaller = self.layout.halved() if self._ranks.size == 1 else None
            if smaller is None:
                raise ResourceExhausted(
                    f"a pass of {self.layout.pass_tokens} tokens does not fit the memory of "
                    f"{self._device}",
                    rule="at least the longest text fits, with its activations",
                    remedy="lower max_length_tokens, train a smaller model, use a larger device "
                    "or, with several processes, set DECANT_MAX_TOKENS_PER_PASS",
                )
            torch.cuda.empty_cache()
            self.layout = smaller
        self._ranks.sum_rows(self._model)
        clip_gradients(self._model.parameters(), self._config.max_grad_norm)
        self._optimizer.step()
        if after_step := getattr(self._model, "after_step", None):
            after_step()
        return terms

    def _laid_out(self, step: Step) -> Step:
        if step.layout == self.layout:
            return step
        return make_step(
            self._examples,
            step.rows,
            layout=self.layout,
            pad_token_id=self._pad_token_id,
            number=step.number,
            share=step.share,
        )

    def _gradient(self, step: Step) -> dict[str, Tensor] | None:
        """Gradients of the whole step in the weights; its terms, or None if memory ran out."""
        self._optimizer.zero_grad(set_to_none=not self._keep_buffers)
        sums: dict[str, Tensor] = {}
        try:
            for number, batch in enumerate(step.passes, start=1):
                is_last = number == len(step.passes)
                with self._ranks.reducing(self._forward, is_last=is_last):
                    terms = self._pass(moved(batch, self._device), step)
                for name, term in terms.items():
                    sums[name] = sums[name] + term if name in sums else term
        except torch.OutOfMemoryError:
            return None
        return sums

    def _pass(self, batch: Any, step: Step) -> dict[str, Tensor]:
        with torch.autocast(
            self._device.type, dtype=torch.bfloat16, enabled=self._config.precision == "bf16"
        ):
            terms = self._objective.terms(self._forward, batch, step)
        factor = self._ranks.loss_factor(len(step.rows))
        (terms["loss"] * factor if factor != 1.0 else terms["loss"]).backward()
        # Of each term this rank's part, which the meter sums over the ranks.
        return {name: term.detach() * (factor / self._ranks.size) for name, term in terms.items()}
