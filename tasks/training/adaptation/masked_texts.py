"""Texts some of whose words are hidden, other ones at each step: what a language model learns from.

    tokens     <s> 我 们 住 的 酒 店 很 干 净 </s>
    words           0  0  1  2  3  3  4  5  5          (corpus/words.py)
    chosen                      3  3                   15 % of the tokens, whole words
    read       <s> 我 们 住 的 _  _  很 干 净 </s>       80 % hidden, 10 % another token, 10 % as is
    asked for                   酒 店

Which words are chosen is a function of (seed, step, token), computed by hashing: it depends neither
on the processes that share a step nor on how the step is laid out, and a resumed run draws what an
undisturbed one draws. The other tokens, and the answers, are among those that occur in the texts.

References: Devlin et al. 2019, arXiv:1810.04805, section 3.1 and appendix A.1 (15 %, 80/10/10).
Shapes: N tokens of some rows, U chosen tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tasks.corpus.text.words import BEGINS, SPECIAL
from tasks.modeling.heads.units import Units, ranges
from tasks.modeling.texts import Texts
from tasks.runtime.seeding import derive_seed
from tasks.training.batching.layouts import Layout
from tasks.training.batching.passes import make_passes
from tasks.training.batching.ragged import RaggedIds

_HIDDEN, _OTHER = 0.8, 0.9  # bounds of the shares 80 / 10 / 10
_WORD, _FATE, _REPLACEMENT = range(3)  # what a random number is drawn for


@dataclass(frozen=True)
class MaskedBatch:
    """Texts with hidden words.

    Args:
        texts: `read_out_U` points to the chosen tokens.
        labels_U: int64, which of the candidates each of them is.
    """

    texts: Texts
    labels_U: Tensor


@dataclass(frozen=True)
class Masking:
    """How words are hidden.

    Args:
        share: of a text's tokens that are chosen, about; whole words are.
        mask_token_id: what is read instead.
        candidates: int32, (candidates,), sorted: ids that occur in the texts.
        seed: decides what is chosen.
    """

    share: float
    mask_token_id: int
    candidates: np.ndarray
    seed: int


@dataclass(frozen=True)
class MaskedTexts:
    """Rows for the training loop.

    Args:
        input_ids: tokens of each text, as they are.
        word_marks: uint8, (tokens,): BEGINS, CONTINUES or SPECIAL.
        step: of the run, whose masks are drawn.
    """

    input_ids: RaggedIds
    word_marks: np.ndarray
    masking: Masking
    step: int = 0

    def __len__(self) -> int:
        return len(self.input_ids)

    def at(self, step: int) -> MaskedTexts:
        """The same texts, masked as step `step` masks them."""
        return replace(self, step=step)

    def normalizers(self, rows: np.ndarray) -> tuple[int, int]:
        """(texts, chosen tokens) of `rows`; at least one, by which a sum is divided."""
        chosen = self._chosen(*self._tokens_of(rows))
        return len(rows), max(1, int(chosen.sum()))

    def batches(
        self, rows: np.ndarray, layout: Layout, *, pad_token_id: int
    ) -> Iterator[MaskedBatch]:
        """The masked texts `rows`, pass by pass."""
        tokens_N, lengths = self._tokens_of(rows)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        chosen_N = self._chosen(tokens_N, lengths)
        original_N = self.input_ids.values[tokens_N].astype(np.int32)
        masked = RaggedIds(self._masked(original_N, tokens_N, chosen_N), offsets)
        place_N = np.arange(len(tokens_N)) - np.repeat(offsets[:-1], lengths)
        counts = np.concatenate([[0], np.cumsum(chosen_N)])[offsets]
        units = Units(counts, place_N[chosen_N].astype(np.int32))
        labels = np.searchsorted(self.masking.candidates, original_N[chosen_N])
        everything = np.arange(len(rows))
        for one in make_passes(masked, everything, layout, pad_token_id=pad_token_id, units=units):
            yield MaskedBatch(one.texts, torch.from_numpy(labels[units.of(one.members)]))

    def _tokens_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the tokens of `rows` among all tokens, (N,), and the length of each row."""
        starts = self.input_ids.offsets[rows]
        lengths = self.input_ids.offsets[rows + 1] - starts
        return ranges(starts, lengths), lengths

    def _chosen(self, tokens_N: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Which tokens are chosen, bool, (N,): words in random order, as many as the share wants.

        The word that passes the wanted number is taken if more than half of it fits, so that the
        share holds on average. A text of a single word is left alone: nothing tells it. Of a chosen
        word only candidates are asked for: [UNK] and the like are no answers.
        """
        marks_N = self.word_marks[tokens_N]
        in_text_N = marks_N != SPECIAL
        text_N = np.repeat(np.arange(len(lengths)), lengths)
        begins = np.flatnonzero(marks_N == BEGINS)
        if not len(begins):
            return np.zeros(len(tokens_N), dtype=bool)
        word_N = np.cumsum(marks_N == BEGINS) - 1
        sizes = np.bincount(word_N[in_text_N], minlength=len(begins))
        text_of_word = text_N[begins]
        num_tokens = np.bincount(text_N[in_text_N], minlength=len(lengths))
        num_words = np.bincount(text_of_word, minlength=len(lengths))
        wanted = np.maximum(1.0, self.masking.share * num_tokens)
        order = np.lexsort((self._random(tokens_N[begins], _WORD), text_of_word))
        ends = np.cumsum(sizes[order])
        first_words = np.concatenate([[0], np.cumsum(num_words)])[:-1]
        text = text_of_word[order]
        before = ends - sizes[order] - np.concatenate([[0], ends])[first_words[text]]
        is_first = np.arange(len(order)) == first_words[text]
        taken = (before + sizes[order] / 2 <= wanted[text]) | is_first
        chosen_words = np.zeros(len(begins), dtype=bool)
        chosen_words[order] = taken & (num_words[text] > 1)
        is_answer_N = np.isin(self.input_ids.values[tokens_N], self.masking.candidates)
        return chosen_words[word_N] & in_text_N & is_answer_N

    def _masked(
        self, original_N: np.ndarray, tokens_N: np.ndarray, chosen_N: np.ndarray
    ) -> np.ndarray:
        """What is read: int32, (N,)."""
        candidates = self.masking.candidates
        masked_N = original_N.copy()
        chosen = np.flatnonzero(chosen_N)
        fate = self._random(tokens_N[chosen], _FATE)
        masked_N[chosen[fate < _HIDDEN]] = self.masking.mask_token_id
        replaced = chosen[(fate >= _HIDDEN) & (fate < _OTHER)]
        draws = self._random(tokens_N[replaced], _REPLACEMENT) * len(candidates)
        masked_N[replaced] = candidates[draws.astype(np.int64)]
        return masked_N

    def _random(self, tokens: np.ndarray, use: int) -> np.ndarray:
        """Uniform numbers in [0, 1), a function of (seed, step, use, token)."""
        base = derive_seed(self.masking.seed, "masks", self.step, use)
        with np.errstate(over="ignore"):
            return _mixed(tokens.astype(np.uint64) + np.uint64(base)) / 2.0**64


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """SplitMix64: neighbouring uint64 numbers become unrelated ones.

    References: Steele et al. 2014, "Fast splittable pseudorandom number generators", figure 14.
    """
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
