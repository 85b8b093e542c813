"""Losses over tokens and large vocabularies against float64 references; the traps of others."""

import pytest
import torch
import torch.nn.functional as F

from tasks.training.losses import IGNORE_INDEX
from tasks.training.losses.divergences import jsd_loss, reverse_kl_loss, total_variation_loss
from tasks.training.losses.topk import SparseTargets, topk_kl_loss
from tasks.training.sequence_losses import (
    SettledTerm,
    over_vocabulary,
    token_pulls,
    token_terms,
)
from tasks.training.token_signals import from_topk, likeliest, to_topk
from tasks.training.topk_signals import TopKCodec


def draw(*shape, seed=0, scale=2.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def sparse(logits, k):
    """Signals of given logits: a projection that is the identity."""
    return likeliest(logits, torch.eye(logits.shape[1]), None, k=k)


def dense_kl(student, teacher, temperature=1.0):
    """Σ p (log p - log q) · T² a token, in float64."""
    p = (teacher.double() / temperature).log_softmax(-1)
    q = (student.double() / temperature).log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1) * temperature**2


def blended(alpha, temperature=1.0):
    return SettledTerm("kd", "kl", alpha, temperature), SettledTerm("hard", "hard", 1 - alpha)


def all_of(tensor):
    return torch.ones(len(tensor), dtype=torch.bool)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 6.0])
def test_sparse_loss_is_the_dense_one_when_every_token_is_kept(temperature):
    """A sparse loss that differs here is biased everywhere, and nobody can say by how much."""
    student, teacher = draw(5, 11, seed=1), draw(5, 11, seed=2)
    loss = topk_kl_loss(
        student, sparse(teacher, 11), all_of(student), temperature=temperature, normalizer=5
    )
    expected = dense_kl(student, teacher, temperature).mean().item()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_stored_signals_give_the_dense_loss_when_every_token_is_kept():
    """The same through bytes: only the rounding of the codec may remain."""
    student, teacher = draw(40, 33, seed=1), draw(40, 33, seed=2)
    codec = TopKCodec(33, 33)
    stored = from_topk(codec.decode(codec.encode(to_topk(sparse(teacher, 33)))))
    loss = topk_kl_loss(student, stored, all_of(student), temperature=1.0, normalizer=40)
    assert loss.item() == pytest.approx(dense_kl(student, teacher).mean().item(), abs=1e-3)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_the_tail_is_one_more_class_of_both_sides(k):
    """Renormalising the teacher over k and not the student pulls every student off course."""
    student, teacher = draw(4, 11, seed=1).double(), draw(4, 11, seed=2).double()
    p, q = teacher.softmax(-1), student.softmax(-1)
    expected = 0.0
    for row in range(4):
        order = p[row].argsort(descending=True)
        kept, rest = order[:k], order[k:]
        expected += (p[row, kept] * (p[row, kept] / q[row, kept]).log()).sum()
        expected += p[row, rest].sum() * (p[row, rest].sum() / q[row, rest].sum()).log()
    loss = topk_kl_loss(
        student.float(),
        sparse(teacher.float(), k),
        all_of(student),
        temperature=1.0,
        normalizer=1,
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss.item() <= dense_kl(student, teacher).sum().item() + 1e-6


def test_sparse_loss_is_zero_for_a_student_that_equals_its_teacher():
    """A floor above zero that moves with k misleads early stopping and every comparison."""
    teacher = draw(6, 50, seed=3)
    loss = topk_kl_loss(
        teacher.clone(), sparse(teacher, 7), all_of(teacher), temperature=1.0, normalizer=6
    )
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_a_teacher_that_is_sure_gives_a_finite_loss_and_gradient():
    """1 minus the kept mass is rounding noise here: its logarithm is NaN or a wild gradient."""
    teacher = torch.full((3, 20), -60.0)
    teacher[:, 4] = 60.0
    student = (draw(3, 20) * 30).requires_grad_()
    loss = topk_kl_loss(student, sparse(teacher, 4), all_of(student), temperature=2.0, normalizer=3)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_rows_that_pad_the_output_matrix_are_no_tokens():
    """Vocabularies padded to a round size: mass on rows that are no words, shapes that differ."""
    states, matrix = draw(4, 6, seed=1), draw(13, 6, seed=2)
    padded = torch.cat([matrix, torch.full((3, 6), 9.0)])
    found = likeliest(states, padded[:13], None, k=13)
    expected = (states @ matrix.T).log_softmax(-1)
    torch.testing.assert_close(expected.gather(1, found.ids_NK), found.log_probs_NK)
    assert found.ids_NK.max() < 13


def test_masked_tokens_add_nothing_whatever_stands_there():
    """Padding that counts changes the order of methods; 0 · NaN of garbage ends a training."""
    student, teacher = draw(6, 9, seed=1), draw(6, 9, seed=2)
    mask = torch.tensor([True, False, True, True, False, False])
    labels = torch.tensor([3, IGNORE_INDEX, 1, 0, IGNORE_INDEX, IGNORE_INDEX])
    targets = sparse(teacher, 4)
    targets.log_probs_NK[~mask] = torch.nan
    targets.ids_NK[~mask] = 12345
    leaf = student.clone().requires_grad_()
    terms = token_terms(
        leaf, labels, targets.ids_NK, targets.log_probs_NK, targets.tail_N, mask,
        terms=blended(0.5), num_tokens=3, num_taught=3,
    )  # fmt: skip
    terms["loss"].backward()
    alone = sparse(teacher[mask], 4)
    expected = token_terms(
        student[mask], labels[mask], alone.ids_NK, alone.log_probs_NK, alone.tail_N,
        all_of(alone.tail_N), terms=blended(0.5), num_tokens=3, num_taught=3,
    )  # fmt: skip
    assert terms["loss"].item() == pytest.approx(expected["loss"].item(), rel=1e-6)
    assert leaf.grad[~mask].abs().max() == 0.0


def test_temperature_scales_as_for_dense_targets():
    """Without T² the gradient falls as 1/T², and alpha silently means something else."""
    norms = []
    for temperature in (4.0, 8.0, 16.0):
        student = draw(6, 30, seed=1, scale=1.0).requires_grad_()
        targets = sparse(draw(6, 30, seed=2, scale=1.0), 30)
        topk_kl_loss(
            student, targets, all_of(student), temperature=temperature, normalizer=6
        ).backward()
        norms.append(student.grad.norm().item())
    assert max(norms) / min(norms) < 1.3


def problem(num_tokens=23, width=8, vocabulary=40, k=6):
    states = draw(num_tokens, width, seed=1, scale=1.0)
    matrix = draw(vocabulary, width, seed=2, scale=1.0)
    bias = draw(vocabulary, seed=3)
    labels = torch.arange(num_tokens) % vocabulary
    labels[:6] = IGNORE_INDEX  # with chunks of three the first two are masked altogether
    targets = sparse(draw(num_tokens, vocabulary, seed=4), k)
    mask = labels != IGNORE_INDEX
    return states, matrix, bias, labels, targets, mask


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


TERMS = (
    SettledTerm("reverse", "reverse_kl", 0.4, 2.0),
    SettledTerm("jsd", "jsd", 0.3, 2.0, {"beta": 0.2}),
    SettledTerm("near", "total_variation", 0.2, 1.0),
    SettledTerm("hard", "hard", 0.1),
)


@pytest.mark.parametrize("chunk", [1, 3, 23])
def test_a_list_of_terms_is_the_weighted_sum_of_dense_losses(chunk):
    """Terms of one temperature share their arrays, chunks are summed: against neither, in
    float64, with all tokens kept."""
    states, matrix, bias, labels, targets, mask = (
        value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
        for value in problem(k=40)
    )
    leaves = [value.clone().requires_grad_() for value in (states, matrix, bias)]
    found = over_vocabulary(
        lambda logits, *rest: token_terms(
            logits, *rest, terms=TERMS, label_smoothing=0.1, num_tokens=17, num_taught=17
        ),
        *leaves,
        (labels, targets.ids_NK, targets.log_probs_NK.double(), targets.tail_N.double(), mask),
        chunk_tokens=chunk,
    )
    found["loss"].backward()
    others = [value.clone().requires_grad_() for value in (states, matrix, bias)]
    logits = (others[0] @ others[1].T + others[2])[mask]
    teacher = torch.empty_like(logits).scatter(
        1, targets.ids_NK[mask], targets.log_probs_NK[mask].double()
    )
    apart = {
        "reverse": reverse_kl_loss(logits, teacher, temperature=2.0, normalizer=17),
        "jsd": jsd_loss(logits, teacher, temperature=2.0, normalizer=17, beta=0.2),
        "near": total_variation_loss(logits, teacher, temperature=1.0, normalizer=17),
        "hard": F.cross_entropy(logits, labels[mask], reduction="sum", label_smoothing=0.1) / 17,
    }
    expected = sum(term.weight * apart[term.title] for term in TERMS)
    expected.backward()
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    for title, value in apart.items():
        assert found[f"loss_{title}"].item() == pytest.approx(value.item(), rel=1e-6), title
    for leaf, other in zip(leaves, others, strict=True):
        torch.testing.assert_close(leaf.grad, other.grad, rtol=1e-6, atol=1e-9)


def test_terms_in_16_bits_are_finite_and_near_those_in_32():
    """Logits of a step in bfloat16, states that grew: inf - inf in one token ends a training."""

    def evaluated(scale, **autocast):
        states, matrix, bias, labels, targets, mask = problem()
        leaf = (states * scale).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, **autocast):
            terms = over_vocabulary(
                lambda logits, *rest: token_terms(
                    logits, *rest, terms=TERMS, num_tokens=17, num_taught=17
                ),
                leaf, matrix, bias, chunk_tokens=5,
                per_token=(labels, targets.ids_NK, targets.log_probs_NK, targets.tail_N, mask),
            )  # fmt: skip
        terms["loss"].backward()
        return terms["loss"], leaf.grad

    rough, exact = evaluated(1.0)[0], evaluated(1.0, enabled=False)[0]
    assert rough.item() == pytest.approx(exact.item(), rel=0.02)
    for value in evaluated(1e4):
        assert torch.isfinite(value).all()


def test_terms_of_one_temperature_share_what_is_as_large_as_the_vocabulary():
    """Four terms must not take four times the memory of one: arrays are counted as autograd keeps
    them."""

    def kept(*terms):
        sizes = {}
        logits, targets = draw(30, 400, seed=1).requires_grad_(), sparse(draw(30, 400, seed=2), 5)

        def keep(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            token_terms(
                logits, torch.zeros(30, dtype=torch.long), targets.ids_NK, targets.log_probs_NK,
                targets.tail_N, all_of(targets.tail_N), terms=terms, num_tokens=30,
            )  # fmt: skip
        return sum(size for size in sizes.values() if size >= 30 * 400)

    one = kept(SettledTerm("kd", "kl", 1.0, 2.0))
    assert one > 0
    assert kept(*(SettledTerm(kind, kind, 1.0, 2.0) for kind in ("kl", "reverse_kl", "jsd"))) == one


def test_a_term_without_weight_costs_nothing_and_is_told_as_nothing():
    """A teacher's signals asked for by a weight of 0: students without any could not be trained."""
    states, matrix, _, labels, *_ = problem()
    terms = blended(0.0)
    found = token_terms(states @ matrix.T, labels, terms=terms, num_tokens=17)
    assert found["loss_kd"].item() == 0.0
    assert found["loss"].item() == found["loss_hard"].item() > 0
    nothing = (SettledTerm("hard", "hard", 0.0),)
    leaf = (states @ matrix.T).requires_grad_()
    token_terms(leaf, labels, terms=nothing, num_tokens=17)["loss"].backward()
    assert leaf.grad.abs().max() == 0.0


@pytest.mark.parametrize("chunk", [1, 5, 23])
def test_pulls_are_the_norms_of_each_term_s_gradient_in_the_logits(chunk):
    """Norms of chunks added up, and not their squares, make a long text pull harder."""
    states, matrix, bias, labels, targets, mask = problem()
    signals = (labels, targets.ids_NK, targets.log_probs_NK, targets.tail_N, mask)
    settings = {"label_smoothing": 0.1, "num_tokens": 17, "num_taught": 17}
    with torch.no_grad():
        found = over_vocabulary(
            lambda logits, *rest: token_pulls(logits, *rest, terms=TERMS, **settings),
            states, matrix.requires_grad_(), bias, signals, chunk_tokens=chunk,
        )  # fmt: skip
    for term in TERMS:
        leaf = (states @ matrix.detach().T + bias).requires_grad_()
        token_terms(leaf, *signals, terms=[term], **settings)["loss"].backward()
        expected = leaf.grad.square().sum().item()
        assert found[f"pull_{term.title}"].item() == pytest.approx(expected, rel=1e-4)
    assert found["loss"].item() == 0.0


def test_tokens_that_are_not_aligned_are_refused():
    """Cached signals of another text would broadcast or be cut off without a word."""
    student, targets = draw(5, 9), sparse(draw(4, 9), 3)
    with pytest.raises(ValueError, match="align"):
        topk_kl_loss(student, targets, all_of(student), temperature=1.0, normalizer=5)
    with pytest.raises(ValueError, match="temperature"):
        topk_kl_loss(student, sparse(draw(5, 9), 3), all_of(student), temperature=0.0, normalizer=5)
