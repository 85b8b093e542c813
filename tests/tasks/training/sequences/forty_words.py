"""Twenty-three tokens over a vocabulary of forty, some without a label, and a teacher's signals."""

import torch

from tasks.training.losses import IGNORE_INDEX
from tasks.training.sequences.losses import SettledTerm
from tasks.training.sequences.token_signals import likeliest


def draw(*shape, seed=0, scale=2.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def sparse(logits, k):
    """Signals of given logits: a projection that is the identity."""
    return likeliest(logits, torch.eye(logits.shape[1]), None, k=k)


def blended(alpha, temperature=1.0):
    return SettledTerm("kd", "kl", alpha, temperature), SettledTerm("hard", "hard", 1 - alpha)


def all_of(tensor):
    return torch.ones(len(tensor), dtype=torch.bool)


def problem(num_tokens=23, width=8, vocabulary=40, k=6):
    states = draw(num_tokens, width, seed=1, scale=1.0)
    matrix = draw(vocabulary, width, seed=2, scale=1.0)
    bias = draw(vocabulary, seed=3)
    labels = torch.arange(num_tokens) % vocabulary
    labels[:6] = IGNORE_INDEX  # with chunks of three the first two are masked altogether
    targets = sparse(draw(num_tokens, vocabulary, seed=4), k)
    mask = labels != IGNORE_INDEX
    return states, matrix, bias, labels, targets, mask
