"""Every layer of an encoder stays, each of its matrices as a product of two thinner ones.

    y = W x + b            W (M, N)                              M * N weights
    y = U (U' W) x + b     up U (M, R), down U' W (R, N)         R * (M + N) weights

The columns of U are the R principal directions of what W gives for real texts (not centred), so no
other product of that rank comes closer to its outputs there. Layers taken out are missed by those
above them; directions that carry little are not: the student begins close to the model that it is
cut out of, instead of learning its way back to it. It has the depth of that model and with it more,
smaller products a token than a shallow one of as many weights.

Such an encoder is saved under a file name of its own (`backbones.py`): whoever builds the plain
network of its configuration finds no weights, instead of weights for other matrices.

References: Chen et al. 2021, "DRONE: Data-aware Low-rank Compression for Large NLP Models",
    NeurIPS, section 3 (the best product for given inputs); Wang et al. 2024, arXiv:2403.07378.
Shapes: M rows (outputs), N columns (inputs), R rank, B texts, L length, T real tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from data_contracts.errors import SourceError
from tasks.modeling.layer_stack import layer_stack

_GRANULE = 16
_ROUNDING = 0.05  # of a rank: 0.3333 of a matrix is meant to be a third of it


class LowRankLinear(nn.Module):
    """A linear layer whose matrix is a product: `down` to the rank, `up` to the outputs."""

    def __init__(self, in_features: int, out_features: int, rank: int, *, bias: bool) -> None:
        """Draw both factors as `nn.Linear` draws its matrix."""
        super().__init__()
        self.down = nn.Linear(in_features, rank, bias=False)
        self.up = nn.Linear(rank, out_features, bias=bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., N) → (..., M)."""
        return self.up(self.down(inputs))


def rank_of(rows: int, columns: int, share: float) -> int:
    """The largest rank whose two factors have at most `share` of the matrix's weights; 1 at least.

    Above 16 it is a multiple of that: with others a step took a tenth longer.

    384 x 384, 1/3 → 64       1536 x 384, 1/3 → 96, for 102 is none
    """
    rank = int(share * rows * columns / (rows + columns) + _ROUNDING)
    return max(1, rank - rank % _GRANULE if rank > _GRANULE else rank)


def low_rank_shape(backbone: PreTrainedModel, share: float) -> PreTrainedModel:
    """`backbone` with two freshly drawn factors in the place of each matrix of its layers.

    Args:
        share: of each matrix's weights that its factors have, in (0, 1); noted in its config.
    """
    for parent, name, linear in _linear_layers(backbone):
        rows, columns = linear.out_features, linear.in_features
        rank = rank_of(rows, columns, share)
        setattr(parent, name, LowRankLinear(columns, rows, rank, bias=linear.bias is not None))
    backbone.config.low_rank = share
    return backbone


def factorize(
    backbone: PreTrainedModel, share: float, texts: Iterable[tuple[Tensor, Tensor]]
) -> PreTrainedModel:
    """`backbone` with each matrix of its layers as the best product for `texts`.

    Args:
        share: of each matrix's weights that its factors have, in (0, 1).
        texts: token ids and mask, two (B, L) int64 tensors each; what the student will read.
    """
    moments = _input_moments(backbone, texts)
    for parent, name, linear in _linear_layers(backbone):
        weight = linear.weight.detach().double()
        rank = rank_of(*weight.shape, share)
        directions = _principal_outputs(weight, moments[linear])[:, :rank]
        factors = LowRankLinear(
            linear.in_features, linear.out_features, rank, bias=linear.bias is not None
        )
        with torch.no_grad():
            factors.up.weight.copy_(directions)
            factors.down.weight.copy_(directions.T @ weight)
            if linear.bias is not None:
                factors.up.bias.copy_(linear.bias)
        setattr(parent, name, factors)
    backbone.config.low_rank = share
    return backbone


def _linear_layers(backbone: PreTrainedModel) -> list[tuple[nn.Module, str, nn.Linear]]:
    """Linear modules inside the layers: the module that each belongs to, its name there, itself.

    Raises: SourceError if there are none.
    """
    _, _, layers = layer_stack(backbone)
    found = [
        (parent, name, child)
        for parent in layers.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear)
    ]
    if not found:
        raise SourceError(
            f"the layers of a {backbone.config.model_type} model ({type(backbone).__name__}) hold "
            "no linear modules",
            rule="matrices of torch.nn.Linear are made products of two",
            remedy="leave out student.architecture.low_rank",
        )
    return found


@torch.no_grad()
def _input_moments(
    backbone: PreTrainedModel, texts: Iterable[tuple[Tensor, Tensor]]
) -> dict[nn.Linear, Tensor]:
    """Sums over real tokens of x x', of what each matrix is multiplied by: float64, (N, N)."""
    moments: dict[nn.Linear, Tensor] = {}
    is_real = torch.empty(0, dtype=torch.bool)

    def note(linear: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(linear, nn.Linear)
        read_TN = inputs[0].flatten(0, -2)[is_real].float()
        seen = (read_TN.T @ read_TN).double()
        moments[linear] = moments[linear] + seen if linear in moments else seen

    hooks = [linear.register_forward_pre_hook(note) for _, _, linear in _linear_layers(backbone)]
    was_training = backbone.training
    backbone.eval()
    for ids_BL, mask_BL in texts:
        is_real = mask_BL.flatten().bool()
        backbone(input_ids=ids_BL, attention_mask=mask_BL)
    backbone.train(was_training)
    for hook in hooks:
        hook.remove()
    return moments


def _principal_outputs(weight: Tensor, moment: Tensor) -> Tensor:
    """Orthonormal directions of the outputs, those of most power first: (M, min(M, N)).

    Args:
        weight: float64, (M, N).
        moment: of the inputs, float64, (N, N).
    """
    rows, columns = weight.shape
    if rows <= columns:
        _, directions = torch.linalg.eigh(weight @ moment @ weight.T)
        return directions.flip(1)
    # The same directions by way of the smaller side: W S v, where S S is the moment.
    powers, axes = torch.linalg.eigh(moment)
    root = weight @ (axes * powers.clamp(min=0).sqrt()) @ axes.T
    _, turned = torch.linalg.eigh(root.T @ root)
    directions, _ = torch.linalg.qr(root @ turned.flip(1))
    return directions
