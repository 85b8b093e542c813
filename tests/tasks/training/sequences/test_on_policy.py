"""Steps that learn from the student's own texts, and what the teacher says of them."""

import pytest
import torch

from tasks.modeling.encoder_decoder.config import DecodingConfig, Seq2SeqShape
from tasks.modeling.encoder_decoder.network import (
    Seq2SeqTokens,
    build_seq2seq,
    decoder_states,
    output_projection,
)
from tasks.training.losses import IGNORE_INDEX
from tasks.training.sequences.on_policy import is_on_policy, student_labels
from tasks.training.sequences.token_signals import ask_teacher

TOKENS = Seq2SeqTokens(vocab_size=20, pad_token_id=0, eos_token_id=3, max_length_tokens=16)


def model(seed=0, dropout=0.0):
    torch.manual_seed(seed)
    shape = Seq2SeqShape(
        encoder_layers=1, decoder_layers=1, hidden_size=16, num_heads=2, intermediate_size=32,
        dropout=dropout,
    )  # fmt: skip
    return build_seq2seq(shape, TOKENS)


def sources(rows=4, length=6):
    ids = torch.randint(4, 20, (rows, length), generator=torch.Generator().manual_seed(0))
    return ids, torch.ones_like(ids)


def test_the_share_of_steps_is_lambda_and_the_same_every_time():
    """A coin from a global generator falls otherwise after a resume."""
    drawn = [is_on_policy(0.3, seed=1, step=step) for step in range(4000)]
    assert drawn == [is_on_policy(0.3, seed=1, step=step) for step in range(4000)]
    assert sum(drawn) / 4000 == pytest.approx(0.3, abs=0.03)
    assert not any(is_on_policy(0.0, seed=1, step=step) for step in range(100))
    assert all(is_on_policy(1.0, seed=1, step=step) for step in range(100))


def test_student_texts_follow_the_step_and_leave_the_student_in_training():
    """A student left in evaluation mode trains on without dropout, and nothing says so."""
    student = model(dropout=0.5).train()
    source, mask = sources()
    config = DecodingConfig(max_length_tokens=9)

    def write(step):
        return student_labels(student, source, mask, config, temperature=1.0, seed=1, step=step)

    torch.manual_seed(0)
    first = write(3)
    torch.manual_seed(1)
    assert torch.equal(first, write(3))
    assert student.training
    assert any(not torch.equal(first, write(step)) for step in (4, 5))
    for row in first.tolist():
        ends = [place for place, token in enumerate(row) if token == 3]
        after = row[ends[0] + 1 :] if ends else []
        assert all(token == IGNORE_INDEX for token in after)


def test_the_teacher_is_asked_about_every_valid_token_and_learns_nothing():
    """Dropout in the teacher, or its first token lost to a mask of padding, spoil all signals."""
    teacher = model(seed=1, dropout=0.5).train()
    source, mask = sources(rows=2)
    labels = torch.tensor([[5, 6, 3, IGNORE_INDEX], [7, 8, 9, 3]])
    found = ask_teacher(teacher, source, mask, labels, k=20, vocab_size=20)
    again = ask_teacher(teacher, source, mask, labels, k=20, vocab_size=20)
    assert torch.equal(found.log_probs_NK, again.log_probs_NK)
    assert teacher.training
    assert not found.log_probs_NK.requires_grad
    assert len(found.ids_NK) == 7  # as many as there are labels
    teacher.eval()
    matrix, _ = output_projection(teacher)
    for row, length, first in ((0, 3, 0), (1, 4, 3)):
        states = decoder_states(
            teacher, source[row : row + 1], mask[row : row + 1], labels[row : row + 1, :length]
        )
        expected = (states[0] @ matrix.T).log_softmax(-1)
        part = slice(first, first + length)
        torch.testing.assert_close(
            found.log_probs_NK[part],
            expected.gather(1, found.ids_NK[part]),
            atol=1e-5,
            rtol=1e-5,
        )


def test_top_tokens_and_tail_are_a_distribution():
    teacher = model(seed=1)
    source, mask = sources(rows=2)
    labels = torch.tensor([[5, 6, 3], [7, 8, 3]])
    found = ask_teacher(teacher, source, mask, labels, k=4, vocab_size=20)
    total = found.log_probs_NK.exp().sum(1) + found.tail_N.exp()
    torch.testing.assert_close(total, torch.ones(6))
    assert (found.log_probs_NK.diff(dim=1) <= 0).all()
    with pytest.raises(ValueError, match="must be in"):
        ask_teacher(teacher, source, mask, labels, k=21, vocab_size=20)
