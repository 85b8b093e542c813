"""Attention that stays inside each text of a packed batch, for any encoder of transformers.

Registered as `decant` with `transformers.AttentionInterface`; what is packed decides the kernel:

    padded   2-D attention mask      transformers' own SDPA attention, unchanged (on a CPU written
                                     out with dropout or of short texts in bf16: cpu_attention.py)
    rows     4-D boolean mask        the same SDPA, block-diagonal mask of (R, 1, W, W)
    varlen   cu_seq_lens_q           torch.nn.attention.varlen (flash attention; bf16 or fp16), on a
                                     CPU texts gathered side by side: cpu_attention.py
    flex     BlockMask               flex_attention, computing only blocks that share a text

Measured on an H100 over 65,536 tokens, 12 heads, forward + backward in ms:

    mean length, head size    varlen    flex        rows of 128    rows of 256
    28, 32                    2.48      1.02        0.85           1.14
    28, 64                    3.59      1.76        1.10           1.36
    120 (longest 512), 32     1.26      0.89
    120 (longest 512), 64     1.74      1.91

so `choose_kernel` takes rows where all texts are short, flex for ragged or narrow-headed long ones,
varlen for the rest. Padding length classes to multiples of 16 loses to all of them (2.7 ms).

Shapes: B batch, H heads, L length, D head size, R rows, W row width, N packed tokens.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from data_contracts.errors import RecipeError
from tasks.modeling.attention.cpu_attention import (
    SideBySide,
    attention_over_stream,
    is_faster_written_out,
    written_out_attention,
)
from tasks.modeling.texts import PackedKernel, Packing, Texts

ATTENTION = "decant"
_ROW_WIDTHS = (128, 256)  # the measured ones
_SHORT_TEXTS = 64.0  # between the measured means 28 and 120


@dataclass(frozen=True)
class Attended:
    """What one layer's attention reads, before dropout: Q, K and V of all heads.

    Args:
        query, key, value: float, (B, H, L, D), padded.
        scaling: of the products of queries and keys.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    scaling: float


class Recording:
    """What attention reads, layer after layer.

    No list, for FSDP2 hands each sharded layer copies of all lists, and what is added is lost.
    """

    def __init__(self) -> None:
        """Of no layer yet."""
        self._layers: list[Attended] = []

    def append(self, layer: Attended) -> None:
        """Note what the next layer reads."""
        self._layers.append(layer)

    def __getitem__(self, layer: int) -> Attended:
        return self._layers[layer]


def choose_kernel(
    *,
    mean_length: float,
    longest: int,
    head_size: int,
    attention_dropout: float,
    precision: str,
    compiled: bool,
) -> tuple[PackedKernel, int]:
    """The fastest kernel for a length profile on a GPU, and its width of a row or of a block.

    Args:
        mean_length, longest: tokens a text.
        attention_dropout: of the pass to come (0 in evaluation); only rows can apply it.
        precision: varlen has no fp32.
        compiled: flex attention without torch.compile holds all N x N scores.
    Returns: the kernel, and the row width for `rows`, the block size for `flex`, 0 for `varlen`.
    """
    for width in _ROW_WIDTHS:
        if longest <= width and mean_length <= _SHORT_TEXTS:
            return "rows", width
    prefers_flex = mean_length <= _SHORT_TEXTS or head_size <= 32 or precision == "fp32"
    if attention_dropout == 0 and compiled and prefers_flex:
        return "flex", 64 if head_size <= 32 else 128
    if attention_dropout == 0 and precision != "fp32":
        return "varlen", 0
    return "rows", -(-longest // 128) * 128


def install(backbone: PreTrainedModel) -> bool:
    """Let `backbone` read packed texts; whether it can. Padded texts give the same bits as before.

    An encoder can if its attention goes through the interface and it takes position ids.
    """
    takes_positions = "position_ids" in inspect.signature(backbone.forward).parameters
    decodes = getattr(backbone.config, "is_decoder", False)
    able = bool(getattr(backbone, "_supports_attention_backend", False))
    if not (able and takes_positions and not decodes and backbone._can_set_attn_implementation()):
        return False
    # Whoever asked for "eager" wants its exact arithmetic, for instance to trace a graph.
    if backbone.config._attn_implementation != "sdpa":
        return backbone.config._attn_implementation == ATTENTION
    backbone.set_attn_implementation(ATTENTION)
    return True


def first_position(backbone: nn.Module) -> int:
    """The position id of a text's first token: `padding_idx + 1` in RoBERTa's descendants, else 0.

    They count positions from the padding id on (fairseq's habit), and hide it when they derive the
    ids themselves; packed texts must bring their own.
    """
    for module in backbone.modules():
        if hasattr(module, "create_position_ids_from_input_ids"):
            return int(cast(int, module.padding_idx)) + 1
    return 0


def encoder_inputs(texts: Texts, *, first_position: int) -> dict[str, Any]:
    """Keyword arguments of an encoder's forward that keep the attention inside each text."""
    packing = texts.packing
    if packing is None:
        return {"input_ids": texts.input_ids, "attention_mask": texts.attention_mask_BL}
    inputs: dict[str, Any] = {
        "input_ids": texts.input_ids,
        "position_ids": packing.position_ids_RW + first_position,
        "max_length_q": packing.longest,
    }
    if packing.kernel == "rows":
        segments_RW = packing.segment_ids_RW
        inputs["attention_mask"] = segments_RW[:, None, :, None] == segments_RW[:, None, None, :]
    elif packing.kernel == "varlen":
        inputs["cu_seq_lens_q"] = packing.segment_starts
        if texts.input_ids.device.type == "cpu":
            assert packing.segment_starts is not None
            inputs["side_by_side"] = SideBySide(packing.segment_starts)
    else:
        inputs["attention_mask"] = _document_mask(packing)
    return inputs


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | BlockMask | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    max_length_q: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    side_by_side: SideBySide | None = None,
    recorded: Recording | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The registered function: (B, H, L, D) queries, keys, values → (B, L, H, D).

    Args:
        sliding_window: tokens at this distance or further do not see each other (ModernBERT).
        max_length_q: tokens of the longest text, if packed.
        cu_seq_lens_q: start of each segment, for `varlen`.
        side_by_side: where these lie, for `varlen` on a CPU.
        recorded: gets what is read, layer after layer; of padded texts alone.
    Raises: ValueError for what a kernel cannot do, instead of leaving it out.
    """
    window = sliding_window
    if recorded is not None:
        _check_all_seen(packed=max_length_q is not None, length=query.shape[2], window=window)
        default = query.shape[-1] ** -0.5
        recorded.append(Attended(query, key, value, default if scaling is None else scaling))
    if window is not None and (max_length_q is None or max_length_q <= window):
        window = None  # padded: already in the mask; packed: no text is that long
    if cu_seq_lens_q is not None or isinstance(attention_mask, BlockMask):
        odd = [name for name in ("softcap", "position_bias", "s_aux") if kwargs.get(name)]
        if (dropout and side_by_side is None) or odd:
            raise ValueError(f"packed without rows, yet asked for {odd or f'dropout {dropout}'}")
    if isinstance(attention_mask, BlockMask):
        return _flex(query, key, value, attention_mask, scaling, window), None
    if cu_seq_lens_q is not None:
        if side_by_side is not None:
            found = attention_over_stream(
                query, key, value, side_by_side,
                dropout_probability=dropout, scaling=scaling, window=window,
            )  # fmt: skip
            return found, None
        assert max_length_q is not None
        return _varlen(query, key, value, cu_seq_lens_q, max_length_q, scaling, window), None
    if window is not None and attention_mask is not None:
        columns = torch.arange(query.shape[2], device=query.device)
        attention_mask = attention_mask & ((columns[:, None] - columns).abs() < window)
    on_cpu = query.device.type == "cpu" and query.shape[1] == key.shape[1]
    if on_cpu and (dropout or is_faster_written_out(query)):
        found = written_out_attention(query, key, value, attention_mask, dropout, scaling)
        return found.transpose(1, 2).contiguous(), None
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout, scaling, is_causal=False, **kwargs
    )


def _check_all_seen(*, packed: bool, length: int, window: int | None) -> None:
    """Refuse to record attention that is not over all tokens of a padded text."""
    if packed:
        raise ValueError("attention is recorded of padded texts alone")
    if window is not None and length > window:
        raise RecipeError(
            f"texts have up to {length} tokens, but a layer sees {window - 1} to either side",
            rule="attention and relations are compared where each token sees all of its text",
            remedy=f"set max_length_tokens to {window} at most, or compare token states",
        )


def _varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segment_starts: Tensor,
    longest: int,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    query_NHD, key_NHD, value_NHD = (part[0].transpose(0, 1) for part in (query, key, value))
    # Only what differs from the defaults: older versions of torch know fewer options.
    options: dict[str, Any] = {}
    if scaling is not None and not math.isclose(scaling, query.shape[-1] ** -0.5):
        options["scale"] = scaling
    if window is not None:
        options["window_size"] = (window - 1, window - 1)
    if query.shape[1] != key.shape[1]:
        options["enable_gqa"] = True
    starts, most = segment_starts, longest
    output = varlen_attn(query_NHD, key_NHD, value_NHD, starts, starts, most, most, **options)
    return cast(Tensor, output).unsqueeze(0)


def _flex(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: BlockMask,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    def banded(score: Tensor, batch: Tensor, head: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        del batch, head
        return torch.where((q - kv).abs() < cast(int, window), score, float("-inf"))

    attend = flex_attention
    if query.device.type == "cuda" and not torch.compiler.is_compiling():
        attend = _compiled_flex()
    output = attend(
        query,
        key,
        value,
        score_mod=None if window is None else banded,
        block_mask=mask,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return cast(Tensor, output).transpose(1, 2)


@cache
def _compiled_flex() -> Any:
    return torch.compile(flex_attention, dynamic=False)


def _document_mask(packing: Packing) -> BlockMask:
    """A block mask from block bounds known beforehand: without the N x N mask, which is 4 GB."""
    assert packing.block_bounds is not None
    documents = packing.segment_ids_RW[0]
    first, last = packing.block_bounds
    num_blocks = first.shape[0]
    # Each block sees a contiguous range of blocks, because each text is contiguous.
    columns = torch.arange(num_blocks, device=first.device)
    indices = (first[:, None] + columns[None, :]) % num_blocks

    def same_text(batch: Tensor, head: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        del batch, head
        return documents[q] == documents[kv]

    return BlockMask.from_kv_blocks(
        (last - first + 1).to(torch.int32)[None, None],
        indices.to(torch.int32)[None, None].contiguous(),
        BLOCK_SIZE=documents.shape[0] // num_blocks,
        mask_mod=same_text,
    )


AttentionInterface.register(ATTENTION, packed_attention)
# 2-D masks become what SDPA reads; 4-D and block masks pass through transformers unchanged.
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
