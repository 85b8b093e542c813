"""Losses over tokens against float64 references; the traps of others."""

import pytest
import torch
import torch.nn.functional as F

from tasks.training.losses import IGNORE_INDEX
from tasks.training.losses.divergences import jsd_loss, reverse_kl_loss, total_variation_loss
from tasks.training.losses.topk import topk_kl_loss
from tasks.training.sequences.losses import SettledTerm, token_pulls, token_terms
from tasks.training.sequences.token_signals import from_topk, likeliest, to_topk
from tasks.training.sequences.topk_signals import TopKCodec
from tasks.training.sequences.vocabulary_chunks import over_vocabulary
from tests.tasks.training.sequences.forty_words import all_of, blended, draw, problem, sparse


def dense_kl(student, teacher, temperature=1.0):
    """Σ p (log p - log q) · T² a token, in float64."""
    p = (teacher.double() / temperature).log_softmax(-1)
    q = (student.double() / temperature).log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1) * temperature**2


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
