"""Hidden words: whole, as many as wanted, the same for the same seed and step, whoever draws."""

import numpy as np
import pytest
import torch

from tasks.corpus.text.words import BEGINS, CONTINUES, SPECIAL
from tasks.training.adaptation.masked_texts import MaskedTexts, Masking
from tasks.training.batching.batches import make_step
from tasks.training.batching.layouts import Layout
from tasks.training.batching.ragged import RaggedIds

MASK = 4


def made(rows=200, *, seed=3, share=0.15):
    """Texts [CLS] words of 1 to 3 tokens [SEP]; ids 10 to 59."""
    rng = np.random.default_rng(0)
    ids, marks, offsets = [], [], [0]
    for _ in range(rows):
        sizes = rng.integers(1, 4, rng.integers(1, 12)).tolist()
        ids += [2, *rng.integers(10, 60, sum(sizes)).tolist(), 3]
        marks += [SPECIAL, *(m for n in sizes for m in [BEGINS] + [CONTINUES] * (n - 1)), SPECIAL]
        offsets.append(len(ids))
    texts = RaggedIds(np.array(ids, np.uint16), np.array(offsets, np.int64))
    masking = Masking(share, MASK, np.arange(10, 60, dtype=np.int32), seed)
    return MaskedTexts(texts, np.array(marks, np.uint8), masking)


def drawn(texts, rows, *, step=0, layout=None):
    """(what is read, what was there, chosen) of each row, from the tensors of a step."""
    step = make_step(texts, rows, layout=layout or Layout("padded", 0), pad_token_id=0, number=step)
    found = {}
    for batch in step.passes:
        ids, mask = batch.texts.input_ids.numpy(), batch.texts.attention_mask_BL.numpy()
        chosen = np.zeros(ids.size, bool)
        chosen[batch.texts.read_out_U.numpy()] = True
        labels = np.full(ids.size, -1)
        labels[batch.texts.read_out_U.numpy()] = batch.labels_U.numpy()
        for row in range(len(ids)):
            here = mask[row].astype(bool)
            key = len(found)
            found[key] = (
                ids[row][here],
                labels.reshape(ids.shape)[row][here],
                chosen.reshape(ids.shape)[row][here],
            )
    return found, step


def original(texts, row):
    ids = texts.input_ids
    part = slice(ids.offsets[row], ids.offsets[row + 1])
    return ids.values[part].astype(int), texts.word_marks[part]


def test_words_are_hidden_whole_and_special_tokens_never():
    """Half a hidden word is told by its other half; a hidden [CLS] teaches nothing."""
    texts = made()
    found, _ = drawn(texts, np.arange(len(texts)))
    for row, (read, labels, chosen) in found.items():
        ids, marks = original(texts, row)
        assert not chosen[marks == SPECIAL].any()
        words = np.cumsum(marks == BEGINS)
        for word in np.unique(words[marks != SPECIAL]):
            assert len(set(chosen[(words == word) & (marks != SPECIAL)])) == 1
        assert (read[~chosen] == ids[~chosen]).all()
        assert (labels[chosen] + 10 == ids[chosen]).all(), "the label is what stood there"
        if (marks == BEGINS).sum() == 1:
            assert not chosen.any(), "nothing is left to tell a text's only word by"
        else:
            assert chosen.any()
            assert not chosen[marks != SPECIAL].all()


def test_tokens_that_are_no_answers_are_never_asked_for():
    """[UNK] inside a word was learned as whatever word's number came next; <mask> was a crash."""
    texts = made()
    unknown = np.isin(texts.input_ids.values, (12, 59))
    texts.input_ids.values[unknown] = np.where(np.arange(unknown.sum()) % 2, 1, 99)
    assert (texts.word_marks[unknown] != SPECIAL).all()
    found, _ = drawn(texts, np.arange(len(texts)))
    num_chosen = 0
    for row, (read, labels, chosen) in found.items():
        ids, _ = original(texts, row)
        assert not chosen[np.isin(ids, (1, 99))].any()
        assert (labels[chosen] + 10 == ids[chosen]).all()
        assert (read[~chosen] == ids[~chosen]).all()
        num_chosen += chosen.sum()
    _, asked = texts.normalizers(np.arange(len(texts)))
    assert asked == num_chosen > 100


def test_shares_are_those_of_the_paper():
    """80 / 10 / 10 of 15 %; 12 % if overlong words are never taken, 18 % if always."""
    texts = made(4000)
    rows = np.array([r for r in range(len(texts)) if (original(texts, r)[1] != SPECIAL).sum() > 12])
    found, _ = drawn(texts, rows)
    chosen_of, hidden, same, total = 0, 0, 0, 0
    for place, (read, labels, chosen) in found.items():
        _, marks = original(texts, rows[place])
        total += (marks != SPECIAL).sum()
        chosen_of += chosen.sum()
        hidden += (read[chosen] == MASK).sum()
        same += (read[chosen] == labels[chosen] + 10).sum()
    assert chosen_of / total == pytest.approx(0.15, abs=0.015)
    assert hidden / chosen_of == pytest.approx(0.8, abs=0.02)
    assert same / chosen_of == pytest.approx(0.1 + 0.1 / 50, abs=0.015)


def test_masks_are_a_function_of_seed_and_step_alone():
    """Masks that depend on the layout or on the processes make a resumed run another one."""
    texts, rows = made(40), np.array([7, 3, 30, 12])
    whole, step = drawn(texts, rows, step=5)
    again, _ = drawn(texts, rows, step=5)
    other_step, _ = drawn(texts, rows, step=6)
    other_seed, _ = drawn(made(40, seed=4), rows, step=5)
    for place in whole:
        assert all(np.array_equal(a, b) for a, b in zip(whole[place], again[place], strict=True))
    assert any(not np.array_equal(whole[p][0], other_step[p][0]) for p in whole)
    assert any(not np.array_equal(whole[p][0], other_seed[p][0]) for p in whole)
    # A rank that reads two of the rows, in passes of its own.
    halves = [
        make_step(
            texts, rows, layout=Layout("bucketed", 20), pad_token_id=0, number=5, share=rows[part]
        )
        for part in (slice(0, 2), slice(2, 4))
    ]
    labels = [b.labels_U for half in halves for b in half.passes]
    assert sorted(torch.cat(labels).tolist()) == sorted(step.passes[0].labels_U.tolist())
    assert {half.num_labelled for half in halves} == {step.num_labelled}
    assert step.num_labelled == len(step.passes[0].labels_U)
