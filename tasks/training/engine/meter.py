"""Loss terms between two lines of the history: summed on the device, read when a line is due.

    step 1   loss  loss_kd  loss_hard ┐
    step 2   loss  loss_kd            ├─ read → the mean of each term over the steps that had it
    step 3   loss  loss_kd  loss_hard ┘

Reading waits for the device, so it is done once a line, never every step. A term that a step does
not compute, as cross-entropy on texts that the student wrote itself, is no zero: counted as one it
would make the term look the smaller, the more such steps there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from data_contracts.errors import TrainingDiverged
from tasks.training.distributed.steps import Ranks

_COUNT = "count"


class Meter:
    """Sums of loss terms since the last reading.

    Sums not yet read travel in the checkpoint (float32 fits JSON exactly), so that a resumed run
    writes the same history.

    Args:
        unread: as `unread` gave it; empty if nothing is left over.
        ranks: whose parts of each term are added up. What is left over was summed already: it
            counts on the writer alone.
    """

    def __init__(self, unread: Mapping[str, float], ranks: Ranks) -> None:
        """Go on where `unread` stopped."""
        self._ranks = ranks
        names = [name for name in unread if name.partition("/")[0] != _COUNT]
        self._sums = {
            name: torch.tensor(unread[name] if ranks.is_writer else 0.0) for name in names
        }
        every = unread.get(_COUNT, 0)
        self._counts = {name: int(unread.get(f"{_COUNT}/{name}", every)) for name in names}
        self._steps_untold = 0

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """The terms that one step computed; any step computes `loss`."""
        for name, term in terms.items():
            count = self._counts.get(name, 0)
            self._sums[name] = self._sums[name].to(term) + term if count else term
            self._counts[name] = count + 1
        self._steps_untold += 1

    def read(self, step: int) -> dict[str, float]:
        """Mean of each term over the steps that computed it since the last reading; starts anew.

        Raises: TrainingDiverged if the loss is not finite.
        """
        totals = self._ranks.sums({name: float(total) for name, total in self._sums.items()})
        means = {name: total / self._counts[name] for name, total in totals.items()}
        if not math.isfinite(means["loss"]):
            raise TrainingDiverged(
                f"the loss is {means['loss']} at step {step}",
                rule="a model is registered only if its loss stayed finite",
                remedy="lower learning_rate or raise warmup_share, and look for odd rows",
            )
        self._sums, self._counts = {}, {}
        return means

    def unread(self) -> dict[str, float]:
        """The sums since the last reading, over how many steps, and `count/<name>` of fewer."""
        every = self._counts.get("loss", 0)
        fewer = {f"{_COUNT}/{name}": n for name, n in self._counts.items() if n != every}
        sums = {name: float(total) for name, total in self._sums.items()}
        return {**sums, _COUNT: every, **fewer}

    def take_steps(self) -> int:
        """Steps since last asked, for the progress bar."""
        taken, self._steps_untold = self._steps_untold, 0
        return taken
