"""What every loss over positions promises, as checks that each family's tests call.

A loss is given as `loss(student, teacher, mask, normalizer=...)`, its reference as a function of
one position's float64 rows to a number: written by hand, without torch.
"""

import pytest
import torch


def draw(*shape, seed, scale=2.0, dtype=torch.float32):
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale).to(dtype)


DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Promises:
    """Checks that hold for any loss that adds up over positions."""

    draw = staticmethod(draw)

    @staticmethod
    def equals(loss, reference, student, teacher):
        """The value, in float32 and float64, over valid rows and a normalizer that is no count."""
        mask = torch.arange(len(student)) % 3 != 1
        expected = 0.0
        for row in mask.nonzero().flatten().tolist():
            expected += reference(student[row].double().numpy(), teacher[row].double().numpy())
        for dtype, rel in ((torch.float64, 1e-9), (torch.float32, 2e-4)):
            found = loss(student.to(dtype), teacher.to(dtype), mask, normalizer=3.5)
            assert found.dtype == dtype
            assert found.item() == pytest.approx(expected / 3.5, rel=rel, abs=1e-7)

    @staticmethod
    def has_the_gradient_of_finite_differences(loss, student, teacher):
        mask = torch.arange(len(student)) % 3 != 1
        assert torch.autograd.gradcheck(
            lambda s: loss(s, teacher.double(), mask, normalizer=2.0),
            (student.double().requires_grad_(),),
            eps=1e-6,
            atol=1e-6,
        )

    @staticmethod
    def ignores_what_is_masked(loss, student, teacher):
        """NaN in padding is the strictest garbage: it must reach neither value nor gradient."""
        plain = student.clone().requires_grad_()
        expected = loss(plain, teacher, None, normalizer=5)
        expected.backward()
        waste = torch.full_like(student[:2], torch.nan)
        longer = torch.cat([waste[:1], student, waste[1:]]).requires_grad_()
        mask = torch.ones(len(longer), dtype=torch.bool)
        mask[[0, -1]] = False
        found = loss(longer, torch.cat([waste[:1], teacher, waste[1:]]), mask, normalizer=5)
        found.backward()
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)
        torch.testing.assert_close(longer.grad[1:-1], plain.grad)
        assert torch.equal(longer.grad[[0, -1]], torch.zeros_like(waste))
        nothing = loss(longer, longer.detach(), torch.zeros_like(mask), normalizer=5)
        assert nothing.item() == 0.0

    @staticmethod
    def adds_up_over_passes(loss, student, teacher):
        """One pass, two, or one with nothing valid: the same sum and the same gradient."""
        mask = torch.arange(len(student)) >= len(student) // 3
        total = int(mask.sum())
        gradients, values = [], []
        first = len(student) // 3  # a pass that is masked altogether
        for cuts in ([len(student)], [first, 1, len(student) - first - 1]):
            leaf = student.clone().requires_grad_()
            value, start = 0.0, 0
            for size in cuts:
                part = slice(start, start + size)
                one = loss(leaf[part], teacher[part], mask[part], normalizer=total)
                one.backward()
                value, start = value + one.item(), start + size
            gradients.append(leaf.grad)
            values.append(value)
        assert values[1] == pytest.approx(values[0], rel=1e-5)
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-7)

    @staticmethod
    def does_not_mind_axes(loss, student, teacher):
        """(B, L, C) and (B·L, C): dividing by B alone would make the loss grow with the length."""
        flat = loss(student, teacher, None, normalizer=len(student))
        shape = (2, len(student) // 2, *student.shape[1:])
        mask = torch.ones(shape[:2], dtype=torch.bool)
        folded = loss(student.reshape(shape), teacher.reshape(shape), mask, normalizer=len(student))
        assert folded.item() == pytest.approx(flat.item(), rel=1e-6)

    @staticmethod
    def computes_sixteen_bits_in_float32(loss, student, teacher):
        """What was rounded on its way in is not rounded again."""
        for dtype in (torch.bfloat16, torch.float16):
            leaf, teaches = student.to(dtype).requires_grad_(), teacher.to(dtype)
            found = loss(leaf, teaches, None, normalizer=3)
            found.backward()
            exact = leaf.detach().double().requires_grad_()
            expected = loss(exact, teaches.double(), None, normalizer=3)
            expected.backward()
            assert found.dtype == torch.float32
            assert found.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)
            torch.testing.assert_close(leaf.grad.double(), exact.grad, rtol=1e-2, atol=1e-4)

    @staticmethod
    def stays_finite(loss, student, teacher, dtypes=DTYPES):
        for dtype in dtypes:
            leaf = student.to(dtype, copy=True).requires_grad_()
            value = loss(leaf, teacher.to(dtype), None, normalizer=1)
            value.backward()
            assert value.dtype == torch.float32
            assert torch.isfinite(value)
            assert torch.isfinite(leaf.grad).all()

    @staticmethod
    def leaves_the_teacher_alone(loss, student, teacher):
        """No gradient into it, not a bit of it changed, and `inference_mode` signals accepted."""
        before = teacher.clone()
        teacher = teacher.clone().requires_grad_()
        loss(student.clone().requires_grad_(), teacher, None, normalizer=1).backward()
        assert teacher.grad is None
        assert torch.equal(teacher.detach(), before)
        with torch.inference_mode():
            signal = before.clone()
        leaf = student.clone().requires_grad_()
        loss(leaf, signal, None, normalizer=1).backward()
        assert leaf.grad.abs().sum() > 0

    @staticmethod
    def is_the_same_under_autocast(loss, student, teacher):
        expected = loss(student, teacher, None, normalizer=2)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = loss(student, teacher, None, normalizer=2)
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.fixture
def promises():
    return Promises


EXTREMES = (
    torch.tensor([[1e4, -1e4, 0.0, 5.0], [-1e4, -1e4, -1e4, -1e4], [1e4, 1e4, -1e4, 0.0]]),
    torch.tensor([[-1e4, 1e4, 0.0, 5.0], [1e4, -1e4, 3.0, 0.0], [-1e4, 1e4, 1e4, 0.0]]),
)


@pytest.fixture
def extremes():
    """Student and teacher logits of ±1e4, (3, 4)."""
    return EXTREMES


@pytest.fixture
def pinned():
    """Student and teacher logits, (3, 4), whose losses other packages computed (see each test)."""
    student = [[2.0, -1.0, 0.5, 0.0], [0.3, 1.7, -2.2, 0.9], [-0.4, 0.1, 1.1, -1.3]]
    teacher = [[1.0, 0.5, -1.5, 2.0], [2.4, -0.6, 0.2, -1.0], [0.0, 1.9, -0.7, 0.8]]
    return torch.tensor(student, dtype=torch.float64), torch.tensor(teacher, dtype=torch.float64)
