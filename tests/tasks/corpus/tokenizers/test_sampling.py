"""The sample a tokenizer is trained on: bounded, and the same whatever the order of the parts."""

import random

import pyarrow as pa

from tasks.corpus.tokenizers.sampling import sample_texts


def chunks(texts, size):
    return [pa.array(texts[at : at + size]) for at in range(0, len(texts), size)]


def test_few_texts_are_all_taken_once():
    """A small corpus whose tokenizer changed because a sample left texts out."""
    texts = [f"text {number % 50}" for number in range(200)]
    assert sorted(sample_texts(chunks(texts, 30), 50)) == sorted(set(texts))


def test_the_sample_does_not_depend_on_order_or_parts():
    """Another vocabulary each time the files are listed otherwise: every id changes."""
    texts = [f"text {number}" for number in range(2000)]
    first = sample_texts(chunks(texts, 100), 150)
    random.Random(0).shuffle(texts)
    assert len(first) == 150
    assert set(sample_texts(chunks(texts + texts[:500], 77), 150)) == set(first)
    # Spread over the whole stream, not its beginning.
    numbers = [int(text.split()[1]) for text in first]
    assert 700 < sum(numbers) / 150 < 1300  # mean 1000, deviation 577 / sqrt(150) = 47
