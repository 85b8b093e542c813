"""How the texts of a step become the tensors of one or several forward passes.

    padded     one pass, each text padded to the longest of the step
    bucketed   passes of texts of similar length, each padded to its own longest
    rows       texts packed into rows of fixed width         ┐ `packing.py`; which kernel reads
    varlen     texts packed into one stream (flash attention)│ them: `modeling/attention.py`
    flex       the same, attention over blocks               ┘

A step is `batch_size` texts however it is laid out: the loss is divided by what the whole step
holds, so every layout gives the same gradient (to float tolerance; dropout draws other masks), and
so does any number of passes. That is why the layout is chosen for the device at hand and enters no
cache key. A pass that runs out of device memory is laid out again in passes half as large.

Sizes of packed passes are few, so that compiled kernels fit all steps: one if steps hold texts of
all lengths (their token counts hardly differ), at most eight if texts were grouped by length.

Shapes: B texts of a pass, L length, R rows, W row width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from tasks.modeling.attention import choose_kernel
from tasks.modeling.texts import PackedKernel, Packing, Texts, moved
from tasks.modeling.units import Units
from tasks.runtime.device import max_tokens_per_pass
from tasks.training.examples import RaggedIds
from tasks.training.packing import (
    Placement,
    block_bounds,
    fill_rows,
    fill_stream,
    filler_segments,
    lay_out,
)

LayoutKind = Literal["padded", "bucketed", "rows", "varlen", "flex"]

# 64k tokens keep an H100 busy with a 6x384 student; passes of 128k were no faster.
_CUDA_PASS_TOKENS = 65536
# Twice that for scoring, which keeps no activations for a backward pass.
_CUDA_SCORING_TOKENS = 131072
_CPU_PASS_TOKENS = 16384
_SIZES_IF_GROUPED = 8
_STANDARD_DEVIATIONS = 3  # a step of ungrouped texts that needs a second pass: 1 in 700
_PROBED_TEXTS = 6


@dataclass(frozen=True)
class Layout:
    """How steps are laid out; `for_training` and `for_inference` choose one.

    Args:
        pass_tokens: positions of a pass at most, filler and padding included: bounds memory.
        width: of a row; of a block for `flex`.
        granule: packed passes hold a multiple of so many positions.
        longest: tokens of the longest text there is.
        max_texts: texts of a packed pass at most, so that shapes are static; 0 if one call of
            `make_passes` lays out all texts there are, and so can count.
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


def padded_layout(*, grouped: bool = True) -> Layout:
    """The layout of a CPU: whole steps padded; in buckets if a step mixes lengths or is bounded."""
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
        granule = _up(largest / _SIZES_IF_GROUPED, unit)
        return replace(layout, pass_tokens=_up(largest, granule), granule=granule)
    spread = _STANDARD_DEVIATIONS * math.sqrt(batch_size) * float(lengths.std())
    expected = min(batch_size * float(lengths.mean()) + spread, float(batch_size * longest))
    size = _up(max(expected / math.ceil(expected / bound), longest), unit)
    return replace(layout, pass_tokens=size, granule=size)


def for_training(
    model: nn.Module,
    input_ids: RaggedIds,
    *,
    batch_size: int,
    grouped: bool,
    pad_token_id: int,
    precision: str,
    compiled: bool,
) -> Layout:
    """The fastest layout for training where `model` lies: packed on CUDA, padded elsewhere."""
    lengths = input_ids.lengths
    if not _packs(model, input_ids, pad_token_id=pad_token_id):
        return padded_layout(grouped=grouped)
    kind, width = _kernel(
        lengths,
        model,
        attention_dropout=_attention_dropout(model),
        precision=precision,
        compiled=compiled,
    )
    return packed_layout(kind, lengths, batch_size=batch_size, grouped=grouped, width=width)


def for_inference(
    model: nn.Module,
    input_ids: RaggedIds,
    *,
    pass_tokens: int,
    pad_token_id: int,
    precision: str,
    compiled: bool,
) -> Layout:
    """The fastest layout for scoring all of `input_ids` where `model` lies.

    Args:
        pass_tokens: positions of a pass at most on a CPU; a GPU starts from what keeps it busy.
    """
    if not _packs(model, input_ids, pad_token_id=pad_token_id):
        return Layout("bucketed", min(pass_tokens, max_tokens_per_pass() or pass_tokens))
    lengths = input_ids.lengths
    kind, width = _kernel(
        lengths, model, attention_dropout=0.0, precision=precision, compiled=compiled
    )
    bound = max_tokens_per_pass() or _CUDA_SCORING_TOKENS
    return scoring_layout(kind, lengths, width=width, pass_tokens=bound)


def scoring_layout(
    kind: PackedKernel, lengths: np.ndarray, *, width: int, pass_tokens: int
) -> Layout:
    """A packed layout that reads all texts in passes of one size."""
    longest, total = int(lengths.max()), int(lengths.sum())
    layout = Layout(kind, 0, width, longest=longest)
    size = _up(max(min(pass_tokens, total), longest), layout._unit())
    return replace(layout, pass_tokens=size, granule=size)


@dataclass(frozen=True)
class Pass:
    """Texts of one forward pass, and which of the step they are: indices into its rows."""

    texts: Texts
    members: np.ndarray


def make_passes(
    input_ids: RaggedIds,
    rows: np.ndarray,
    layout: Layout,
    *,
    pad_token_id: int,
    units: Units | None = None,
) -> Iterator[Pass]:
    """The passes that read the texts `rows`, each text once.

    Args:
        units: what is read out of each text, for heads over units.
    """
    for one in _text_passes(input_ids, rows, layout, pad_token_id):
        yield one if units is None else _read_out(one, units, rows[one.members])


def _read_out(one: Pass, units: Units, rows: np.ndarray) -> Pass:
    """`one` with the places of the units of its texts, which are `rows`."""
    texts = one.texts
    if texts.packing is None:
        first_tokens = np.arange(len(rows)) * texts.input_ids.shape[1]
    else:
        first_tokens = texts.packing.first_tokens_S.numpy()[: len(rows)]
    places = np.repeat(first_tokens, units.counts(rows)) + units.positions[units.of(rows)]
    read_out = torch.from_numpy(places.astype(np.int64, copy=False))
    return replace(one, texts=replace(texts, read_out_U=read_out))


def _text_passes(
    input_ids: RaggedIds, rows: np.ndarray, layout: Layout, pad_token_id: int
) -> Iterator[Pass]:
    lengths = input_ids.offsets[rows + 1] - input_ids.offsets[rows]
    if layout.kind == "padded":
        everything = np.arange(len(rows))
        yield Pass(_padded(input_ids, rows, pad_token_id=pad_token_id), everything)
    elif layout.kind == "bucketed":
        order = np.argsort(-lengths, kind="stable")  # longest first: memory peaks at once
        start = 0
        while start < len(order):
            widest = max(1, int(lengths[order[start]]))
            members = order[start : start + max(1, layout.pass_tokens // widest)]
            yield Pass(_padded(input_ids, rows[members], pad_token_id=pad_token_id), members)
            start += len(members)
    else:
        yield from _packed_passes(input_ids, rows, lengths, layout, pad_token_id)


def pad(input_ids: RaggedIds, rows: np.ndarray, *, pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask of `rows`, right-padded to the longest: two (B, L) int64 tensors."""
    starts = input_ids.offsets[rows]
    lengths = input_ids.offsets[rows + 1] - starts
    columns = np.arange(int(lengths.max(initial=1)))
    real = columns[None, :] < lengths[:, None]
    ids = np.full(real.shape, pad_token_id, dtype=np.int64)
    ids[real] = input_ids.values[(starts[:, None] + columns[None, :])[real]]
    return torch.from_numpy(ids), torch.from_numpy(real.astype(np.int64))


def pad_steps(
    input_ids: RaggedIds, steps: Sequence[np.ndarray], *, pad_token_id: int
) -> list[Texts]:
    """`pad` for several steps at once, each to its own longest text: half the time for small steps.

    Args:
        steps: rows of each, at least one.
    """
    rows = np.concatenate(steps)
    sizes = np.fromiter(map(len, steps), np.int64, len(steps))
    starts = input_ids.offsets.take(rows)
    lengths = input_ids.offsets.take(rows + 1) - starts
    longest = np.maximum(np.maximum.reduceat(lengths, np.cumsum(sizes) - sizes), 1)
    widths = np.repeat(longest, sizes)
    firsts = np.cumsum(widths) - widths  # where each row begins among the cells of all steps
    cells = np.arange(widths.sum())
    real = cells < np.repeat(firsts + lengths, widths)
    # What follows a text is read and then covered: that is cheaper than picking the text out.
    read = input_ids.values.take(cells + np.repeat(starts - firsts, widths), mode="clip")
    ids = torch.from_numpy(np.where(real, read, np.int64(pad_token_id)))
    mask = torch.from_numpy(real.astype(np.int64))
    counts = (sizes * longest).tolist()
    parts = zip(
        ids.split(counts), mask.split(counts), sizes.tolist(), longest.tolist(), strict=True
    )
    return [Texts(one.view(B, L), real.view(B, L)) for one, real, B, L in parts]


def _padded(input_ids: RaggedIds, rows: np.ndarray, *, pad_token_id: int) -> Texts:
    return Texts(*pad(input_ids, rows, pad_token_id=pad_token_id))


def _packed_passes(
    input_ids: RaggedIds,
    rows: np.ndarray,
    lengths: np.ndarray,
    layout: Layout,
    pad_token_id: int,
) -> Iterator[Pass]:
    in_rows = layout.kind == "rows"
    if in_rows:
        placement = fill_rows(lengths, width=layout.width)
        rows_per_pass = layout.pass_tokens // layout.width
    else:
        placement, rows_per_pass = fill_stream(lengths, width=layout.pass_tokens), 1
    pass_of_text = placement.row // rows_per_pass
    order = np.argsort(pass_of_text, kind="stable")
    counts = np.bincount(pass_of_text)
    max_texts = layout.max_texts or int(counts.max())
    for stop, count in zip(np.cumsum(counts), counts, strict=True):
        members = order[stop - count : stop]
        inside = Placement(placement.row[members] % rows_per_pass, placement.column[members])
        used = (
            (int(inside.row.max()) + 1) * layout.width
            if in_rows
            else int(inside.column[-1] + lengths[members[-1]])
        )
        size = min(_up(used, layout.granule), layout.pass_tokens)
        num_segments = max_texts + (1 if in_rows else filler_segments(size, layout.longest))
        packed = lay_out(
            input_ids.values,
            input_ids.offsets[rows[members]],
            lengths[members],
            inside,
            shape=(size // layout.width, layout.width) if in_rows else (1, size),
            pad_token_id=pad_token_id,
            num_segments=num_segments,
            stream_longest=None if in_rows else layout.longest,
        )
        starts = packed.segment_starts
        blocks = None
        if layout.kind == "flex":
            assert starts is not None
            blocks = torch.from_numpy(block_bounds(starts, size=size, block_size=layout.width))
        packing = Packing(
            kernel=cast(PackedKernel, layout.kind),
            position_ids_RW=torch.from_numpy(packed.position_ids),
            segment_ids_RW=torch.from_numpy(packed.segment_ids),
            first_tokens_S=torch.from_numpy(packed.first_tokens),
            num_tokens_S=torch.from_numpy(packed.num_tokens),
            longest=layout.longest,
            segment_starts=None if starts is None else torch.from_numpy(starts),
            block_bounds=blocks,
        )
        yield Pass(Texts(torch.from_numpy(packed.input_ids), packing=packing), members)


def _packs(model: nn.Module, input_ids: RaggedIds, *, pad_token_id: int) -> bool:
    """Whether to pack: on CUDA, and only if `model` is shown to read packed texts as it reads
    padded ones. An encoder may use absolute columns in ways that no signature tells."""
    lengths = input_ids.lengths
    if next(model.parameters()).device.type != "cuda" or not getattr(model, "can_pack", False):
        return False
    return bool(len(lengths) and lengths.min() >= 1) and reads_packed_texts(
        model, input_ids, pad_token_id=pad_token_id
    )


@torch.no_grad()
def reads_packed_texts(model: nn.Module, input_ids: RaggedIds, *, pad_token_id: int) -> bool:
    """Whether the shortest texts among the first get the same logits packed as padded, in fp32."""
    head = np.arange(min(len(input_ids), _PROBED_TEXTS * 8))
    rows = head[np.argsort(input_ids.lengths[head], kind="stable")][:_PROBED_TEXTS]
    device = next(model.parameters()).device
    width = _up(int(input_ids.lengths[rows].max()) * 2, 8)
    packed = scoring_layout("rows", input_ids.lengths[rows], width=width, pass_tokens=1 << 20)
    # A head over units reads the first token of each text here; one over texts does not look.
    num_texts = len(input_ids)
    units = Units(np.arange(num_texts + 1), np.zeros(num_texts, dtype=np.int32))
    was_training = model.training
    model.eval()
    try:
        found = []
        for layout in (Layout("padded", 0), packed):
            passes = make_passes(input_ids, rows, layout, pad_token_id=pad_token_id, units=units)
            for one in passes:
                logits = model(moved(one.texts, device))[: len(rows)].float()
                found.append(logits[torch.from_numpy(np.argsort(one.members)).to(device)])
    finally:
        model.train(was_training)
    # Rounding is below 1e-5 of the largest logit; a position off, or a neighbour seen, far above.
    return bool((found[0] - found[1]).abs().max() <= 1e-3 * found[0].abs().max())


def _kernel(lengths: np.ndarray, model: nn.Module, **facts: Any) -> tuple[PackedKernel, int]:
    config = cast(Any, model).backbone.config
    return choose_kernel(
        mean_length=float(lengths.mean()),
        longest=int(lengths.max()),
        head_size=config.hidden_size // config.num_attention_heads,
        **facts,
    )


def _attention_dropout(model: nn.Module) -> float:
    """Its name differs by family: BERT's and RoBERTa's, then DistilBERT's and ModernBERT's."""
    config = cast(Any, model).backbone.config
    for name in ("attention_probs_dropout_prob", "attention_dropout"):
        if (value := getattr(config, name, None)) is not None:
            return float(value)
    return 0.0


def _up(value: float, unit: int) -> int:
    return math.ceil(value / unit) * unit
