"""What a teacher says of given tokens, against the whole softmax in float64."""

import pytest
import torch

from tasks.modeling.encoder_decoder.network import decoder_states, output_projection
from tasks.training.sequences import token_signals
from tasks.training.sequences.token_signals import ask_teacher, from_topk, likeliest, to_topk
from tests.tasks.training.sequences.forty_words import draw
from tests.tasks.training.sequences.test_on_policy import model, sources


@pytest.mark.parametrize("num_tokens", [0, 1, 3, 7])
def test_tokens_scored_piece_by_piece_are_those_of_one_piece(monkeypatch, num_tokens):
    """A border of pieces read twice, or passed over, gives every later token its neighbour's."""
    monkeypatch.setattr(token_signals, "_CHUNK_LOGITS", 3 * 11)  # three tokens a piece
    states, matrix, bias = draw(num_tokens, 5, seed=1), draw(11, 5, seed=2), draw(11, seed=3)
    found = likeliest(states, matrix, bias, k=4)
    expected = (states.double() @ matrix.double().T + bias.double()).log_softmax(-1)
    order = expected.argsort(dim=-1, descending=True)
    assert torch.equal(found.ids_NK, order[:, :4])
    best = expected.gather(1, order[:, :4])
    # float32 resolves 2e-6 at the size of these logits
    torch.testing.assert_close(found.log_probs_NK.double(), best, atol=1e-5, rtol=1e-5)
    rest = expected.gather(1, order[:, 4:]).exp().sum(-1).log()
    torch.testing.assert_close(found.tail_N.double(), rest, atol=1e-5, rtol=1e-5)


def test_a_vocabulary_larger_than_a_piece_is_scored_token_by_token(monkeypatch):
    """A piece of no token at all would end in an error of `range`, for the largest vocabularies."""
    monkeypatch.setattr(token_signals, "_CHUNK_LOGITS", 4)
    states, matrix = draw(3, 5, seed=1), draw(11, 5, seed=2)
    assert torch.equal(
        likeliest(states, matrix, None, k=1).ids_NK[:, 0], (states @ matrix.T).argmax(-1)
    )


def test_a_teacher_in_16_bits_gives_a_distribution_in_32():
    """Three digits of a partition over the vocabulary: no longer a distribution, and stored."""
    states, matrix = draw(6, 8, seed=1).bfloat16(), draw(40, 8, seed=2).bfloat16()
    found = likeliest(states, matrix, None, k=5)
    assert found.log_probs_NK.dtype == found.tail_N.dtype == torch.float32
    total = found.log_probs_NK.exp().sum(-1) + found.tail_N.exp()
    torch.testing.assert_close(total, torch.ones(6))


@pytest.mark.parametrize("k", [0, 12])
def test_more_tokens_than_there_are_and_none_are_refused(k):
    with pytest.raises(ValueError, match=r"must be in \[1, 11\]"):
        likeliest(draw(3, 5), draw(11, 5), None, k=k)


def test_rows_beyond_the_vocabulary_are_never_named_by_a_teacher():
    """Rows that pad a pretrained matrix are no words, and a bias may make them the likeliest."""
    teacher = model(seed=1).eval()
    teacher.final_logits_bias = torch.linspace(-1.0, 9.0, 20).unsqueeze(0)
    source, mask = sources(rows=2)
    labels = torch.tensor([[5, 6, 3], [7, 8, 3]])
    found = ask_teacher(teacher, source, mask, labels, k=4, vocab_size=17)
    with torch.no_grad():
        states = decoder_states(teacher, source, mask, labels).reshape(6, -1)
    matrix, bias = output_projection(teacher)
    assert bias is not None
    expected = (states @ matrix.T + bias)[:, :17].log_softmax(-1).detach()
    values, ids = expected.topk(4)
    assert torch.equal(found.ids_NK, ids)
    torch.testing.assert_close(found.log_probs_NK, values, atol=1e-5, rtol=1e-5)


def test_all_tokens_of_a_vocabulary_leave_nothing_to_the_rest():
    """A rest of +inf or NaN where no token is left makes the first loss NaN."""
    found = likeliest(draw(3, 5, seed=1), draw(4, 5, seed=2), None, k=4)
    assert found.tail_N.tolist() == [-torch.inf] * 3
    back = from_topk(to_topk(found))
    assert torch.equal(back.ids_NK, found.ids_NK)
    assert torch.equal(back.tail_N, found.tail_N)
