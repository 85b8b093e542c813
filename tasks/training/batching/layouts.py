"""How the texts of a step become the tensors of one or several forward passes.

    padded     one pass, each text padded to the longest of the step
    bucketed   passes of texts of similar length, each padded to its own longest
    rows       texts packed into rows of fixed width         ┐ `packing.py`; which kernel reads
    varlen     texts packed into one stream (flash attention)│ them: `modeling/attention.py`
    flex       the same, attention over blocks               ┘

A step is `batch_size` texts however it is laid out: the loss is divided by what the whole step
holds, so every layout gives the same gradient (to float tolerance; dropout draws other masks) and
so does any number of passes (losses that compare the texts of a pass aside, see `pass_terms.py`).
That is why the layout is chosen for the device at hand and enters no cache key. A pass that runs
out of device memory is laid out again in passes half as large.

Sizes of packed passes on a GPU are few, so that compiled kernels fit all steps: one if steps hold
texts of all lengths (their token counts hardly differ), at most eight if texts were grouped by
length.

Shapes: B texts of a pass, L length, R rows, W row width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from tasks.modeling.texts import PackedKernel
from tasks.runtime.machine.device import max_tokens_per_pass

LayoutKind = Literal["padded", "bucketed", "rows", "varlen", "flex"]

# 64k tokens keep an H100 busy with a 6x384 student; passes of 128k were no faster.
_CUDA_PASS_TOKENS = 65536
_CPU_PASS_TOKENS = 16384
_SIZES_IF_GROUPED = 8
_STANDARD_DEVIATIONS = 3  # a step of ungrouped texts that needs a second pass: 1 in 700


@dataclass(frozen=True)
class Layout:
    """How steps are laid out; `for_training` and `for_inference` choose one.

    Args:
        pass_tokens: positions of a pass at most, filler and padding included: bounds memory.
        width: of a row; of a block for `flex`.
        granule: packed passes hold a multiple of so many positions; with 1 their texts alone.
        longest: tokens of the longest text there is.
        max_texts: texts of a packed pass at most, so that shapes are static; 0 if they need not be,
            or if one call of `make_passes` lays out all texts there are, and so can count.
    """

    kind: LayoutKind
    pass_tokens: int
    width: int = 0
    granule: int = 0
    longest: int = 0
    max_texts: int = 0

    @property
    def is_packed(self) -> bool:
        """Whether texts share rows."""
        return self.kind in get_args(PackedKernel)

    @property
    def is_static(self) -> bool:
        """Whether every pass has the same shape."""
        return self.is_packed and self.granule == self.pass_tokens

    @property
    def is_exact(self) -> bool:
        """Whether packed passes hold their texts and nothing else."""
        return self.is_packed and self.granule == 1

    def halved(self) -> Layout | None:
        """The same in passes half as large; None if a pass cannot be smaller."""
        if not self.is_packed:
            smaller = self.pass_tokens // 2
            return replace(self, kind="bucketed", pass_tokens=smaller) if smaller else None
        unit = self._unit()
        smaller = self.pass_tokens // 2 // unit * unit
        if smaller < max(unit, self.longest):
            return None
        return replace(self, pass_tokens=smaller, granule=min(self.granule, smaller))

    def _unit(self) -> int:
        return max(1, self.width if self.kind == "rows" else math.lcm(128, self.width or 1))

    def facts(self) -> dict[str, str | int]:
        """What a training record keeps of it."""
        return {"layout": self.kind, "tokens_per_pass": self.pass_tokens}


def stream_layout(lengths: np.ndarray, *, batch_size: int, grouped: bool = True) -> Layout:
    """The layout of a CPU: the texts of a step in a stream that holds nothing else.

    In as many passes as `padded_layout` would take: one where texts are grouped.

    Args:
        lengths: tokens of every text of the run.
        batch_size: texts a step.
        grouped: whether texts of similar length share a step.
    """
    longest = int(lengths.max())
    most = max(_CPU_PASS_TOKENS, batch_size * longest) if grouped else _CPU_PASS_TOKENS
    bound = max(max_tokens_per_pass() or most, longest)
    return Layout("varlen", bound, granule=1, longest=longest)


def padded_layout(*, grouped: bool = True) -> Layout:
    """Whole steps padded; in buckets if a step mixes lengths or is bounded."""
    bound = max_tokens_per_pass()
    return Layout("padded" if grouped and not bound else "bucketed", bound or _CPU_PASS_TOKENS)


def packed_layout(
    kind: PackedKernel,
    lengths: np.ndarray,
    *,
    batch_size: int,
    grouped: bool,
    width: int = 0,
    pass_tokens: int | None = None,
) -> Layout:
    """A packed layout whose passes fit the steps of a run.

    Args:
        lengths: tokens of every text of the run.
        batch_size: texts a step.
        grouped: whether texts of similar length share a step.
        width: of a row, or of a block for `flex`.
        pass_tokens: positions of a pass at most.
    """
    bound = pass_tokens or max_tokens_per_pass() or _CUDA_PASS_TOKENS
    batch_size = min(batch_size, len(lengths))
    longest = int(lengths.max())
    layout = Layout(kind, bound, width, longest=longest, max_texts=batch_size)
    unit = layout._unit()
    bound = max(bound, longest)
    if grouped:
        largest = min(bound, batch_size * longest)
        granule = round_up(largest / _SIZES_IF_GROUPED, unit)
        return replace(layout, pass_tokens=round_up(largest, granule), granule=granule)
    spread = _STANDARD_DEVIATIONS * math.sqrt(batch_size) * float(lengths.std())
    expected = min(batch_size * float(lengths.mean()) + spread, float(batch_size * longest))
    size = round_up(max(expected / math.ceil(expected / bound), longest), unit)
    return replace(layout, pass_tokens=size, granule=size)


def scoring_layout(
    kind: PackedKernel, lengths: np.ndarray, *, width: int, pass_tokens: int
) -> Layout:
    """A packed layout that reads all texts in passes of one size."""
    longest, total = int(lengths.max()), int(lengths.sum())
    layout = Layout(kind, 0, width, longest=longest)
    size = round_up(max(min(pass_tokens, total), longest), layout._unit())
    return replace(layout, pass_tokens=size, granule=size)


def round_up(value: float, unit: int) -> int:
    """The next multiple of `unit`."""
    return math.ceil(value / unit) * unit
