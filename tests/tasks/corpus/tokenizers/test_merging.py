"""Merges replayed for many pieces at once give the ids of the library, piece by piece."""

import itertools
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from tasks.corpus.tokenizers.merging import merger_of

CHARACTERS = "abc开灯𠀀"


def model(merges, unk_token="[UNK]", **options):
    """A byte-pair model of CHARACTERS that learned `merges` in this order."""
    tokens = ["[UNK]", *CHARACTERS]
    tokens += [token for token in dict.fromkeys(map("".join, merges)) if token not in tokens]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return Tokenizer(models.BPE(vocabulary, merges, unk_token=unk_token, **options))


def found(tokenizer, pieces):
    codes = np.frombuffer("".join(pieces).encode("utf-32-le"), np.uint32)
    merger = merger_of(tokenizer)
    assert merger is not None
    read = merger.encode(codes, np.array([len(piece) for piece in pieces], np.int64))
    bounds = [0, *read.lengths.cumsum().tolist()]
    assert read.ids.dtype == np.int32
    assert bounds[-1] == len(read.ids)
    return [read.ids[a:b].tolist() for a, b in itertools.pairwise(bounds)]


def expected(tokenizer, pieces):
    return [tokenizer.encode(piece, add_special_tokens=False).ids for piece in pieces]


@st.composite
def learned(draw):
    """Merges in any order, those whose parts come later among them, and none twice."""
    tokens, merges = list(CHARACTERS), []
    for _ in range(draw(st.integers(0, 12))):
        left, right = draw(st.sampled_from(tokens)), draw(st.sampled_from(tokens))
        merges.append((left, right))
        tokens.append(left + right)
    return draw(st.permutations(list(dict.fromkeys(merges))))


@settings(max_examples=200, deadline=None)
@given(learned(), st.lists(st.text(CHARACTERS + "?", max_size=12), max_size=20))
def test_any_merges_on_any_pieces_give_the_ids_of_the_library(merges, pieces):
    """One rare order of joins that ends in other tokens: a model that reads noise, now and then."""
    tokenizer = model(merges)
    assert found(tokenizer, pieces) == expected(tokenizer, pieces)


def test_overlapping_pairs_are_joined_from_the_left():
    """aaa read as a·aa: every repeated sign would be another token than in training."""
    tokenizer = model([("a", "a"), ("aa", "aa"), ("aa", "a")])
    pieces = ["a" * number for number in range(1, 30)]
    assert found(tokenizer, pieces) == expected(tokenizer, pieces)
    assert found(tokenizer, ["aaa"]) == [[tokenizer.token_to_id("aaa")]]


def test_pieces_do_not_join_their_neighbours():
    """The end of one text merged with the beginning of the next."""
    tokenizer = model([("a", "b"), ("b", "a")])
    a, b = tokenizer.token_to_id("a"), tokenizer.token_to_id("b")
    assert found(tokenizer, ["a", "b", "a", "b"]) == [[a], [b], [a], [b]]


def test_pairs_that_share_slots_of_the_table_are_told_apart():
    """A look-up that ends at the first slot: some pairs, by chance, would never be joined."""
    rng = random.Random(0)
    letters = [chr(0x4E00 + number) for number in range(300)]
    merges = sorted({(rng.choice(letters), rng.choice(letters)) for _ in range(20_000)})
    rng.shuffle(merges)
    tokens = ["[UNK]", *letters, *dict.fromkeys(map("".join, merges))]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="[UNK]"))
    pieces = ["".join(rng.choices(letters, k=rng.randrange(1, 40))) for _ in range(2000)]
    assert found(tokenizer, pieces) == expected(tokenizer, pieces)


def test_threads_that_share_a_merger_do_not_disturb_one_another():
    """Ids of one chunk among those of another, on some runs."""
    tokenizer = model([("a", "b"), ("ab", "ab"), ("b", "c"), ("c", "a")])
    merger = merger_of(tokenizer)
    assert merger is not None
    rng = random.Random(1)
    chunks = [rng.choices("abc", k=3000) for _ in range(32)]

    def ids(chunk):
        codes = np.frombuffer("".join(chunk).encode("utf-32-le"), np.uint32)
        return merger.encode(codes, np.full(300, 10)).ids.tolist()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ids, chunks)) == [ids(chunk) for chunk in chunks]


@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.5},
        {"fuse_unk": True},
        {"byte_fallback": True},
        {"ignore_merges": True},
        {"continuing_subword_prefix": "##"},
        {"end_of_word_suffix": "</w>"},
        {"unk_token": None},
    ],
)
def test_models_that_do_more_than_merge_are_left_to_the_library(options):
    """A pretrained model's special rule silently skipped."""
    assert merger_of(model([], **options)) is None


def test_models_of_another_kind_are_left_to_the_library():
    """Merges looked for where there are none."""
    assert merger_of(Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))) is None
