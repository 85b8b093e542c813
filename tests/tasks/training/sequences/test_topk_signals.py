"""Signals come back from their bytes: ids exactly, log-probabilities within a stated error."""

import numpy as np
import pyarrow as pa
import pytest

from data_contracts.errors import ContractViolation, CorruptArtifact
from data_contracts.tables import arrow_schema, check_table, load_contract
from tasks.corpus.tables import read_table, write_table
from tasks.training.sequences.topk_signals import MAX_ERROR_NATS, TopK, TopKCodec


def signals(num_tokens, k, vocab_size, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.choice(vocab_size, k, replace=False) for _ in range(num_tokens)])
    log_probs = -np.sort(rng.exponential(4.0, (num_tokens, k)), axis=1).astype(np.float32)
    tail = -rng.exponential(6.0, num_tokens).astype(np.float32)
    return TopK(ids.astype(np.int32), log_probs, tail)


@pytest.mark.parametrize("vocab_size", [2, 3, 255, 256, 257, 8000, 65_536, 65_537, 250_037])
@pytest.mark.parametrize("k", [1, 2, 7, 64])
def test_ids_come_back_exactly_whatever_the_width_of_an_id(vocab_size, k):
    """One bit lost at a byte border names another word, silently, in every seventh signal."""
    k = min(k, vocab_size)
    given = signals(50, k, vocab_size)
    given.ids_NK[0, -1], given.ids_NK[1, 0] = vocab_size - 1, vocab_size - 1
    codec = TopKCodec(vocab_size, k)
    found = codec.decode(codec.encode(given))
    np.testing.assert_array_equal(found.ids_NK, given.ids_NK)


def test_packed_ids_are_the_bits_of_the_ids_one_after_the_other():
    """The layout is a contract with files written years ago: it is spelt out here by hand."""
    # 3 bits an id: 5 = 101, 1 = 001, 6 = 110, little end first → 0b10_001_101, 0b0000000_1
    codec = TopKCodec(vocab_size=8, k=3)
    given = TopK(
        np.array([[5, 1, 6]], dtype=np.int32),
        np.array([[-0.5, -1.0, -2.0]], dtype=np.float32),
        np.array([-3.0], dtype=np.float32),
    )
    packed = codec.encode(given)[0]
    assert packed[:2].tolist() == [0b10001101, 0b00000001]
    assert packed[2:].view("<u2").tolist() == [1024, 2048, 4096, 6144]


def test_log_probabilities_come_back_within_the_stated_error():
    """An error that grows with the distance from zero would flatten exactly the unlikely tokens."""
    given = signals(2000, 64, 50_000, seed=3)
    codec = TopKCodec(50_000, 64)
    found = codec.decode(codec.encode(given))
    inside = given.log_probs_NK > -31.9
    error = np.abs(found.log_probs_NK - given.log_probs_NK)[inside].max()
    assert error <= MAX_ERROR_NATS + 4e-6  # float32 itself resolves 2e-6 at 32
    inside = given.tail_N > -31.9
    assert np.abs(found.tail_N - given.tail_N)[inside].max() <= MAX_ERROR_NATS + 4e-6
    assert MAX_ERROR_NATS < 2.5e-4


def test_impossible_and_very_unlikely_tokens_become_the_lowest_value_not_zero():
    """An integer that wraps round turns an impossible token into a certain one."""
    codec = TopKCodec(10, 3)
    given = TopK(
        np.array([[1, 2, 3]], dtype=np.int32),
        np.array([[-40.0, -np.inf, 1e-7]], dtype=np.float32),
        np.array([-np.inf], dtype=np.float32),
    )
    found = codec.decode(codec.encode(given))
    np.testing.assert_allclose(found.log_probs_NK, [[-32.0, -32.0, 0.0]], atol=1e-3)
    np.testing.assert_allclose(found.tail_N, [-32.0], atol=1e-3)


@pytest.mark.parametrize("vocab_size", [8000, 32_000, 65_536, 131_072, 250_037, 1_000_000])
def test_a_token_costs_at_most_300_bytes_at_k_64(vocab_size):
    """Signals that outgrow the disk are not written, and teachers are then run every epoch."""
    codec = TopKCodec(vocab_size, 64)
    bits = int(np.ceil(np.log2(vocab_size)))
    assert codec.token_bytes == -(-64 * bits // 8) + 2 * 65
    assert codec.token_bytes <= 300
    assert codec.encode(signals(3, 64, vocab_size)).shape == (3, codec.token_bytes)


def test_tokens_are_independent_and_none_are_allowed():
    """A text without signals, or one cut out of the middle of a part, must decode alone."""
    codec = TopKCodec(1000, 5)
    packed = codec.encode(signals(40_000, 5, 1000))  # more than a chunk
    alone = codec.decode(packed[20_000:20_003].reshape(-1))
    whole = codec.decode(packed)
    np.testing.assert_array_equal(alone.ids_NK, whole.ids_NK[20_000:20_003])
    np.testing.assert_array_equal(alone.log_probs_NK, whole.log_probs_NK[20_000:20_003])
    assert len(codec.decode(np.empty(0, dtype=np.uint8))) == 0


def test_with_every_token_kept_there_is_no_tail():
    """A tail of e^-32 over no token at all would be a class that a student can never reach."""
    codec = TopKCodec(4, 4)
    found = codec.decode(codec.encode(signals(2, 4, 4)))
    assert np.isneginf(found.tail_N).all()


def test_bytes_that_are_not_signals_are_refused():
    """A file of another k would otherwise decode into other words."""
    codec = TopKCodec(1000, 5)
    packed = codec.encode(signals(4, 5, 1000))
    with pytest.raises(CorruptArtifact, match="whole number of tokens"):
        codec.decode(packed.reshape(-1)[:-1])
    with pytest.raises(CorruptArtifact, match="vocabulary of 1000"):
        codec.decode(np.full((1, codec.token_bytes), 255, dtype=np.uint8))
    one_more = signals(4, 5, 1000)
    one_more.ids_NK[2, 3] = 1000  # as many bits: only the number tells
    with pytest.raises(CorruptArtifact, match="token 1000 of a vocabulary of 1000"):
        codec.decode(TopKCodec(1001, 5).encode(one_more))


@pytest.mark.parametrize(("vocab_size", "k"), [(10, 0), (10, 11), (1 << 26, 3)])
def test_impossible_layouts_are_refused(vocab_size, k):
    with pytest.raises(ValueError, match="vocabulary has"):
        TopKCodec(vocab_size, k)


def test_ids_outside_the_vocabulary_are_not_written():
    """Rows that pad an output matrix to a round size are not words."""
    given = signals(2, 3, 12)
    given.ids_NK[1, 1] = 11
    with pytest.raises(ValueError, match="vocabulary of 11"):
        TopKCodec(11, 3).encode(given)
    with pytest.raises(ValueError, match="not"):
        TopKCodec(12, 4).encode(signals(2, 3, 12))
    with pytest.raises(ValueError, match="not"):
        TopKCodec(12, 3).encode(TopK(given.ids_NK, given.log_probs_NK[:, :2], given.tail_N))
    given.ids_NK[1, 1] = -1  # cast to bits, it would spoil all ids after it
    with pytest.raises(ValueError, match="ids from -1"):
        TopKCodec(12, 3).encode(given)


CONTRACT = "teacher_signals_seq2seq"


def table(codec, **changes):
    given = TopK(
        np.array([[1, 2], [3, 4], [0, 9]], dtype=np.int32),
        np.full((3, 2), -1.5, dtype=np.float32),
        np.full(3, -2.0, dtype=np.float32),
    )
    packed = codec.encode(given)
    columns = {
        "example_id": ["0" * 32, "1" * 32],
        "target_text": ["你好", ""],
        "target_ids": [[5, 3], [3]],
        "topk": [packed[:2].tobytes(), packed[2:].tobytes()],
        "hypotheses": [["你好", "您好"], []],
        "hypothesis_scores": [[-0.1, -0.7], []],
        **changes,
    }
    return pa.table(columns, schema=arrow_schema(load_contract(CONTRACT)))


def test_signals_survive_parquet(tmp_path):
    """Bytes taken for text, or a list that lost its empty rows, come back as another signal."""
    codec = TopKCodec(vocab_size=10, k=2)
    made = table(codec)
    check_table(made, CONTRACT)
    write_table(made, tmp_path / "part.parquet")
    found = read_table(tmp_path / "part.parquet")
    assert found.equals(made)
    first = codec.decode(np.frombuffer(found["topk"][0].as_py(), dtype=np.uint8))
    assert first.ids_NK.tolist() == [[1, 2], [3, 4]]


def test_impossible_signals_are_refused():
    codec = TopKCodec(vocab_size=10, k=2)
    with pytest.raises(ContractViolation, match="hypothesis_scores"):
        check_table(table(codec, hypothesis_scores=[[0.5, -1.0], []]), CONTRACT)
    with pytest.raises(ContractViolation, match="target_ids"):
        check_table(table(codec, target_ids=[[-1, 3], [3]]), CONTRACT)
