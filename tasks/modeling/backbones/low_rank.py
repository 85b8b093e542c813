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
from tasks.modeling.backbones.layer_stack import linear_layers

_GRANULE = 16
_TOLERANCE = 1e-3  # of a share: 0.3333 is meant to be a third
_RIDGE = 1e-6  # what the texts do not show is weighed by the weights alone


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
    """The rank whose two factors have about `share` of the matrix's weights, and not more.

    A multiple of 16 from there on, for with others a step took a tenth longer; and 1 at least.

    384 x 384, 1/3 → 64       1536 x 384, 1/3 → 96 (102.4 would be a third)
    """
    rank = int(share * (1 + _TOLERANCE) * rows * columns / (rows + columns))
    return max(1, rank - rank % _GRANULE if rank > _GRANULE else rank)


def low_rank_shape(backbone: PreTrainedModel, share: float) -> PreTrainedModel:
    """`backbone` with two freshly drawn factors in the place of each matrix of its layers.

    Args:
        share: of each matrix's weights that its factors have, in (0, 1); noted in its config.
    """
    for parent, name, linear in _matrices(backbone):
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
    moments = _moments(backbone, texts)
    for parent, name, linear in _matrices(backbone):
        weight = linear.weight.detach().double()
        rank = rank_of(linear.out_features, linear.in_features, share)
        directions = _principal_outputs(weight, moments[linear], rank)
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


def _matrices(backbone: PreTrainedModel) -> list[tuple[nn.Module, str, nn.Linear]]:
    """`linear_layers`, of which there must be some.

    Raises: SourceError if there are none.
    """
    if found := linear_layers(backbone):
        return found
    raise SourceError(
        f"the layers of a {backbone.config.model_type} model ({type(backbone).__name__}) hold no "
        "linear modules",
        rule="matrices of torch.nn.Linear are made products of two",
        remedy="leave out student.architecture.low_rank",
    )


@torch.no_grad()
def _moments(
    backbone: PreTrainedModel, texts: Iterable[tuple[Tensor, Tensor]]
) -> dict[nn.Linear, Tensor]:
    """Sums over real tokens of v v', v the shorter of what goes into a matrix and what it gives.

    Returns: float64, (min(M, N), min(M, N)), of each matrix; what it gives is without the bias.
    Raises: SourceError if a matrix is not multiplied by each token of the texts.
    """
    moments: dict[nn.Linear, Tensor] = {}
    is_real = torch.empty(0, dtype=torch.bool)

    def note(linear: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        assert isinstance(linear, nn.Linear)
        vectors = inputs[0]
        if linear.out_features <= linear.in_features:
            vectors = outputs if linear.bias is None else outputs - linear.bias
        vectors = vectors.flatten(0, -2)
        if len(vectors) != len(is_real):
            raise _reads_no_tokens(backbone)
        read = vectors[is_real].double()
        seen = read.T @ read
        moments[linear] = moments[linear] + seen if linear in moments else seen

    matrices = [linear for _, _, linear in _matrices(backbone)]
    hooks = [linear.register_forward_hook(note) for linear in matrices]
    was_training = backbone.training
    backbone.eval()
    try:
        for ids_BL, mask_BL in texts:
            is_real = mask_BL.flatten().bool()
            backbone(input_ids=ids_BL, attention_mask=mask_BL)
    finally:
        for hook in hooks:
            hook.remove()
    backbone.train(was_training)
    if len(moments) < len(matrices):
        raise _reads_no_tokens(backbone)
    return moments


def _reads_no_tokens(backbone: PreTrainedModel) -> SourceError:
    return SourceError(
        f"a matrix in the layers of a {backbone.config.model_type} model "
        f"({type(backbone).__name__}) is multiplied by something other than each token",
        rule="a product comes close to a matrix on the tokens that it is multiplied by",
        remedy="leave out student.architecture.low_rank",
    )


def _principal_outputs(weight: Tensor, moment: Tensor, rank: int) -> Tensor:
    """Orthonormal directions of the outputs, those of most power first: (M, R).

    Args:
        weight: float64, (M, N).
        moment: of the outputs if M <= N, else of the inputs; as `_moments` gives it.
    """
    rows, columns = weight.shape
    if rows <= columns:
        unseen = weight @ weight.T
        power = moment + _RIDGE * moment.trace() / unseen.trace() * unseen
        _, directions = torch.linalg.eigh(power)
        return directions.flip(1)[:, :rank]
    unseen = torch.eye(columns, dtype=moment.dtype)
    powers, axes = torch.linalg.eigh(moment + _RIDGE * moment.trace() / columns * unseen)
    root = weight @ (axes * powers.clamp(min=0).sqrt())
    return torch.linalg.svd(root, full_matrices=False).U[:, :rank]
