"""Dropout whose masks are drawn four to a word."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tasks.modeling.attention.packed_attention import packed_attention
from tasks.modeling.backbones.dropout import CpuDropout, dropout, install


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_a_share_is_dropped_and_the_mean_is_kept(probability: float):
    """Else every loss would be of a network more, or less, noisy than its recipe says."""
    torch.manual_seed(0)
    num_elements = 400_001  # no multiple of four
    found = dropout(torch.ones(num_elements), probability)
    deviation = (probability * (1 - probability) / num_elements) ** 0.5
    assert float((found == 0).double().mean()) == pytest.approx(probability, abs=5 * deviation)
    kept = found[found != 0]
    assert float(kept.min()) == float(kept.max()) == pytest.approx(1 / (1 - probability), rel=2e-4)


def test_the_four_numbers_of_a_word_are_independent():
    """Bits that hang together would drop neighbours together: a sign bit that is never set, say."""
    torch.manual_seed(0)
    dropped = (dropout(torch.ones(100_000, 4), 0.25) == 0).double()
    deviation = (0.25 * 0.75 / 100_000) ** 0.5
    assert (dropped.mean(0) - 0.25).abs().max() < 5 * deviation
    assert (torch.corrcoef(dropped.T) - torch.eye(4)).abs().max() < 5 / 100_000**0.5


def test_the_seed_decides_the_mask_whatever_the_number_of_threads():
    """A resumed run on a machine with more cores would go on with other masks."""
    threads = torch.get_num_threads()
    masks = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            torch.manual_seed(7)
            masks.append(dropout(torch.ones(64, 1024), 0.3))
    finally:
        torch.set_num_threads(threads)
    torch.manual_seed(8)
    assert torch.equal(*masks)
    assert not torch.equal(masks[0], dropout(torch.ones(64, 1024), 0.3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_dropped_gets_no_gradient_and_the_rest_its_factor(dtype: torch.dtype):
    """A mask that only the forward pass knows trains weights that had no part in the answer."""
    torch.manual_seed(0)
    inputs = torch.ones(50, 40, dtype=dtype, requires_grad=True)
    found = dropout(inputs, 0.2)
    assert found.dtype == dtype
    found.sum().backward()
    assert torch.equal(inputs.grad, found.detach())


def test_nothing_is_dropped_in_evaluation_or_at_probability_zero():
    """A served model that drops answers differently each time."""
    inputs = torch.randn(3, 5)
    assert torch.equal(CpuDropout(0.5).eval()(inputs), inputs)
    assert torch.equal(CpuDropout(0.0).train()(inputs), inputs)


def test_exchanged_layers_leave_weights_and_their_names():
    """A checkpoint written before would no longer be found, or a layer forgotten stays slow."""
    model = nn.ModuleDict(
        {"body": nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.3)), "last": nn.Dropout(0.1)}
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    install(model)
    kinds = [type(part) for part in model.modules() if isinstance(part, nn.Dropout)]
    assert kinds == [CpuDropout, CpuDropout]
    assert model["body"][1].p == 0.3
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("scaling", [None, 0.7])
@pytest.mark.parametrize("kind", ["none", "bool", "additive"])
def test_written_out_attention_is_softmax_attention_under_that_mask(
    kind: str, scaling: float | None
):
    """Written out by hand, attention may forget the scale, or look at padding."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 5, 4) for _ in range(3))
    seen = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    seen[1, ..., 3:] = False
    far_away = torch.zeros(seen.shape).masked_fill(~seen, -1e9)
    mask = {"none": None, "bool": seen, "additive": far_away}[kind]
    torch.manual_seed(1)
    found, _ = packed_attention(nn.Module(), query, key, value, mask, 0.4, scaling)
    torch.manual_seed(1)
    factors = dropout(torch.ones(2, 3, 5, 5), 0.4).double()
    expected = torch.empty(2, 5, 3, 4, dtype=torch.double)
    for text in range(2):
        for head in range(3):
            q, k, v = (part[text, head].double() for part in (query, key, value))
            scores = q @ k.T * (scaling or 0.5)  # 1/sqrt(4)
            if mask is not None:
                scores[:, ~seen[text, 0, 0]] = -torch.inf
            weights = scores.exp() / scores.exp().sum(1, keepdim=True)
            expected[text, :, head] = (weights * factors[text, head]) @ v
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
