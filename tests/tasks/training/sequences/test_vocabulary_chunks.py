"""Large vocabularies met chunk by chunk, against all logits at once in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tasks.training.losses import IGNORE_INDEX
from tasks.training.losses.topk import SparseTargets
from tasks.training.sequences.losses import token_terms
from tasks.training.sequences.vocabulary_chunks import over_vocabulary
from tests.tasks.training.sequences.forty_words import blended, problem


def whole(states, matrix, bias, labels, targets, mask):
    """The same objective in float64 with all logits at once."""
    logits = states.double() @ matrix.double().T + bias.double()
    hard = F.cross_entropy(
        logits, labels, ignore_index=IGNORE_INDEX, reduction="sum", label_smoothing=0.1
    )
    q = (logits / 2.0).log_softmax(-1)
    rest = logits.shape[1] - targets.ids_NK.shape[1]
    tail = torch.log(torch.tensor(float(rest)).double())
    tail = tail + (targets.tail_N.double() - tail) / 2.0
    p = torch.cat([targets.log_probs_NK.double() / 2.0, tail[:, None]], 1).log_softmax(-1)
    kept = q.gather(1, targets.ids_NK)
    others = (1 - kept.exp().sum(1, keepdim=True)).log()
    kl = (p.exp() * (p - torch.cat([kept, others], 1))).sum(1)
    return 0.7 * kl[mask].sum() * 4.0 / 17 + 0.3 * hard / 17


def chunked(states, matrix, bias, labels, targets, mask, chunk):
    return over_vocabulary(
        lambda logits, *rest: token_terms(
            logits, *rest, terms=blended(0.7, 2.0), label_smoothing=0.1,
            num_tokens=17, num_taught=17,
        ),
        states,
        matrix,
        bias,
        (labels, targets.ids_NK, targets.log_probs_NK, targets.tail_N, mask),
        chunk_tokens=chunk,
    )  # fmt: skip


@pytest.mark.parametrize("chunk", [1, 3, 7, 23, 100])
def test_chunks_give_the_loss_and_gradients_of_the_whole(chunk):
    """A chunk without one valid token is 0/0 in other toolkits: the first two here are such."""
    states, matrix, bias, labels, targets, mask = problem()
    leaves = [value.clone().requires_grad_() for value in (states, matrix, bias)]
    terms = chunked(*leaves, labels, targets, mask, chunk)
    (3.0 * terms["loss"]).backward()
    references = [value.double().requires_grad_() for value in (states, matrix, bias)]
    expected = whole(*references, labels, targets, mask)
    (3.0 * expected).backward()
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    for leaf, reference in zip(leaves, references, strict=True):
        torch.testing.assert_close(leaf.grad.double(), reference.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("chunk", [3, 100])
def test_sixteen_bits_change_the_loss_by_their_rounding_only(chunk, autocast):
    """Loss and softmax of a vocabulary in bf16, or chunks added up in it: three digits, then two.

    The reference reads what bf16 keeps of the same numbers; logits are rounded once more, to a
    256th of themselves.
    """
    states, matrix, bias, labels, targets, mask = problem()
    rounded = [value.bfloat16() for value in (states, matrix, bias)]
    kept = [value.float() if autocast else value for value in rounded]
    leaves = [value.clone().requires_grad_() for value in kept]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        terms = chunked(*leaves, labels, targets, mask, chunk)
    terms["loss"].backward()
    references = [value.double().requires_grad_() for value in rounded]
    expected = whole(*references, labels, targets, mask)
    expected.backward()
    assert {value.dtype for value in terms.values()} == {torch.float32}
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=5e-3)
    for leaf, reference in zip(leaves, references, strict=True):
        assert leaf.grad.dtype == leaf.dtype
        apart = (leaf.grad.double() - reference.grad).norm() / reference.grad.norm()
        assert apart < 2e-2


def test_terms_are_told_without_a_gradient_and_add_up_to_the_loss():
    states, matrix, bias, labels, targets, mask = problem()
    terms = chunked(states, matrix.requires_grad_(), bias, labels, targets, mask, 5)
    assert not terms["loss_kd"].requires_grad
    assert terms["loss"].item() == pytest.approx(
        0.7 * terms["loss_kd"].item() + 0.3 * terms["loss_hard"].item(), rel=1e-5
    )


def test_no_token_at_all_is_a_loss_of_zero_with_a_gradient_of_zero():
    """A step whose rows have no target must not stop a training, nor make ranks wait."""
    states, matrix, bias, labels, targets, mask = (
        value[:0] if isinstance(value, torch.Tensor) and len(value) == 23 else value
        for value in problem()
    )
    none = SparseTargets(targets.ids_NK[:0], targets.log_probs_NK[:0], targets.tail_N[:0])
    matrix.requires_grad_()
    terms = chunked(states, matrix, bias, labels, none, mask, 5)
    terms["loss"].backward()
    assert terms["loss"].item() == 0.0
    assert matrix.grad.abs().max() == 0.0


def test_splitting_a_step_leaves_its_gradient_unchanged():
    """Means of micro-batches with ragged lengths weigh the tokens of short ones more."""
    states, matrix, bias, labels, targets, mask = problem()
    gradients = []
    for cuts in ([23], [4, 9, 10]):
        leaf = matrix.clone().requires_grad_()
        for part in torch.arange(23).split(cuts):
            some = SparseTargets(
                targets.ids_NK[part], targets.log_probs_NK[part], targets.tail_N[part]
            )
            chunked(states[part], leaf, bias, labels[part], some, mask[part], 5)["loss"].backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-7)


def test_logits_are_never_all_there_at_once():
    """Memory that grows with tokens times vocabulary: 6.6 GB for 8,192 tokens of 200,000 words."""
    sizes = []

    def terms(logits, labels):
        sizes.append(logits.numel())
        return {"loss": logits.sum() * 0.0}

    states, matrix = torch.zeros(300, 2, requires_grad=True), torch.zeros(100_000, 2)
    labels = torch.zeros(300, dtype=torch.long)
    over_vocabulary(terms, states, matrix, None, (labels,))["loss"].backward()
    assert max(sizes) <= 1 << 22
    assert sum(sizes) == 300 * 100_000


class Copies(TorchDispatchMode):
    """Counts 16-bit copies that are made of float32 tensors of one shape."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.count = shape, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._to_copy.default and made.dtype == torch.bfloat16:
            self.count += made.shape == self.shape
        return made


def test_sixteen_bits_copy_the_output_matrix_once_for_all_chunks():
    """Autocast keeps what it copied until it ends: 24 chunks of 50,000 words by 256 held 0.6 GB."""
    states, matrix, bias, labels, targets, mask = problem()
    leaves = [value.clone().requires_grad_() for value in (states, matrix, bias)]
    with Copies(matrix.shape) as copies, torch.autocast("cpu", torch.bfloat16):
        chunked(*leaves, labels, targets, mask, 3)
    assert copies.count == 1


def test_validation_takes_no_gradient():
    states, matrix, bias, labels, targets, mask = problem()
    with torch.no_grad():
        terms = chunked(states, matrix.requires_grad_(), bias, labels, targets, mask, 5)
    assert not terms["loss"].requires_grad
    seen = []

    def watched(logits, labels):
        seen.append(logits.requires_grad)
        return {"loss": logits.sum()}

    with torch.no_grad():
        over_vocabulary(watched, states, matrix, bias, (labels,))
    # An output matrix that is trained is no reason: half a validation went into its gradient.
    assert seen == [False]
