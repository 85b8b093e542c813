"""What a teacher says of each token it was asked about, in few bytes: its k likeliest and the rest.

A distribution over V tokens becomes k ids, k log-probabilities and one more for everything else
(the tail), so that the k + 1 numbers are a distribution again and nothing has to be renormalised:

    token        ids, likeliest first               log-probabilities            tail
    k = 2        [ 17, 4 ]                          [ -0.11, -2.53 ]             -4.02
    bytes        k · ceil(log2 V) bits, rounded up  k · 2                        2

At k = 64: 258 bytes a token for V = 65,536, 274 for 250,037, 290 for a million. Ids come back
exactly. A log-probability is stored in steps of 1/2048 nat down to -32, so it comes back within
1/4096 nat (0.024 % of the probability); half precision would be 16 times coarser at -8. What is
less likely than e^-32 comes back as e^-32.

Shapes: N tokens, K = k, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_contracts.errors import CorruptArtifact

STEPS_PER_NAT = 2048
MAX_ERROR_NATS = 0.5 / STEPS_PER_NAT
"""How far a log-probability above -32 may lie from what was encoded (float32 rounding aside)."""

_LOWEST = np.iinfo(np.uint16).max
_CHUNK_TOKENS = 16_384
_MAX_ID_BITS = 25  # an id then touches four bytes at most, wherever it starts


@dataclass(frozen=True)
class TopK:
    """Sparse distributions over the vocabulary.

    Args:
        ids_NK: int32, different within a token, likeliest first.
        log_probs_NK: float32, nats.
        tail_N: float32, log-probability of all other tokens together; -inf if there are none.
    """

    ids_NK: np.ndarray
    log_probs_NK: np.ndarray
    tail_N: np.ndarray

    def __len__(self) -> int:
        return len(self.ids_NK)


@dataclass(frozen=True)
class TopKCodec:
    """Layout of the bytes of one token: ids packed bit by bit, then 16-bit log-probabilities.

    Args:
        vocab_size: V: number of tokens scored, without rows that only pad a matrix.
        k: likeliest tokens kept; V of them lose nothing.
    Raises: ValueError if k is not in [1, V].
    """

    vocab_size: int
    k: int

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.vocab_size <= 1 << _MAX_ID_BITS:
            raise ValueError(
                f"k is {self.k}, the vocabulary has {self.vocab_size} tokens: k must be in [1, V] "
                f"and V at most 2 ** {_MAX_ID_BITS}"
            )

    @property
    def id_bits(self) -> int:
        """Bits of one id: ceil(log2 V), at least one."""
        return max(1, (self.vocab_size - 1).bit_length())

    @property
    def id_bytes(self) -> int:
        """Bytes of the ids of one token."""
        return -(-self.k * self.id_bits // 8)

    @property
    def token_bytes(self) -> int:
        """Bytes of one token, the tail included."""
        return self.id_bytes + 2 * (self.k + 1)

    def encode(self, signals: TopK) -> np.ndarray:
        """Bytes of each token, uint8, (N, token_bytes).

        Raises: ValueError if shapes or ids do not fit the codec.
        """
        ids_NK = np.asarray(signals.ids_NK)
        num_tokens = len(ids_NK)
        if ids_NK.shape != (num_tokens, self.k) or signals.log_probs_NK.shape != ids_NK.shape:
            raise ValueError(
                f"ids {ids_NK.shape} and log-probabilities {signals.log_probs_NK.shape} are not "
                f"both (tokens, {self.k})"
            )
        if num_tokens and (ids_NK.min() < 0 or ids_NK.max() >= self.vocab_size):
            raise ValueError(
                f"ids from {ids_NK.min()} to {ids_NK.max()} of a vocabulary of {self.vocab_size}"
            )
        packed = np.empty((num_tokens, self.token_bytes), dtype=np.uint8)
        for start in range(0, num_tokens, _CHUNK_TOKENS):
            part = slice(start, start + _CHUNK_TOKENS)
            packed[part, : self.id_bytes] = self._packed_ids(ids_NK[part])
            values = np.concatenate(
                [signals.log_probs_NK[part], signals.tail_N[part, None]], axis=1
            )
            packed[part, self.id_bytes :] = _quantised(values).view(np.uint8)
        return packed

    def decode(self, packed: np.ndarray) -> TopK:
        """The signals in `packed`, uint8, (N, token_bytes) or as many bytes in one dimension.

        Raises: CorruptArtifact if they are no whole number of tokens, or an id is out of range.
        """
        packed = np.asarray(packed, dtype=np.uint8)
        if packed.size % self.token_bytes:
            raise CorruptArtifact(
                f"{packed.size} bytes are no whole number of tokens of {self.token_bytes} bytes",
                rule=f"the {self.k} likeliest of {self.vocab_size} tokens take that many",
                remedy="delete the teacher_signals artifact and run again",
            )
        packed = packed.reshape(-1, self.token_bytes)
        ids_NK = self._unpacked_ids(packed[:, : self.id_bytes])
        if len(ids_NK) and ids_NK.max() >= self.vocab_size:
            raise CorruptArtifact(
                f"a signal names token {ids_NK.max()} of a vocabulary of {self.vocab_size}",
                rule="signals name tokens of the teacher's vocabulary",
                remedy="delete the teacher_signals artifact and run again",
            )
        quantised = np.ascontiguousarray(packed[:, self.id_bytes :]).view("<u2")
        values = quantised.astype(np.float32) * np.float32(-1.0 / STEPS_PER_NAT)
        tail_N = values[:, -1]
        if self.k == self.vocab_size:
            tail_N = np.full(len(values), -np.inf, dtype=np.float32)
        return TopK(ids_NK, values[:, :-1], tail_N)

    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """First byte of each id, and the bit of it at which the id starts; little end first."""
        first_bits = np.arange(self.k) * self.id_bits
        return first_bits // 8, (first_bits % 8).astype(np.uint32)

    def _packed_ids(self, ids_NK: np.ndarray) -> np.ndarray:
        first, shifts = self._places()
        shifted_NK = ids_NK.astype(np.uint32) << shifts
        # Three bytes more, so that every id may write four: they stay zero and are cut off.
        packed = np.zeros((len(ids_NK), self.id_bytes + 3), dtype=np.uint8)
        for place in range(self.k):  # neighbours share a byte: one id after the other
            for byte in range(4):
                part = shifted_NK[:, place] >> np.uint32(8 * byte)
                packed[:, first[place] + byte] |= part.astype(np.uint8)
        return packed[:, : self.id_bytes]

    def _unpacked_ids(self, packed: np.ndarray) -> np.ndarray:
        first, shifts = self._places()
        ids_NK = np.empty((len(packed), self.k), dtype=np.int32)
        mask = np.uint32((1 << self.id_bits) - 1)
        for start in range(0, len(packed), _CHUNK_TOKENS):
            part = np.pad(packed[start : start + _CHUNK_TOKENS], ((0, 0), (0, 3)))
            words = part[:, first].astype(np.uint32)
            for byte in range(1, 4):
                words |= part[:, first + byte].astype(np.uint32) << np.uint32(8 * byte)
            ids_NK[start : start + len(part)] = (words >> shifts) & mask
        return ids_NK


def _quantised(log_probs: np.ndarray) -> np.ndarray:
    """Steps below zero, little-endian uint16; -inf and all beyond the range become the lowest."""
    steps = np.nan_to_num(-log_probs * np.float32(STEPS_PER_NAT), nan=np.inf, posinf=_LOWEST)
    return np.clip(np.rint(steps), 0, _LOWEST).astype("<u2")
