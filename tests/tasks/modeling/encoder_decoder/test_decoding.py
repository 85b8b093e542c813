"""What a model writes: as transformers' own search does, whatever shares the batch."""

import itertools
import math

import pytest
import torch

from tasks.modeling.encoder_decoder.config import DecodingConfig, Seq2SeqShape
from tasks.modeling.encoder_decoder.decoding import decode, sample
from tasks.modeling.encoder_decoder.network import (
    Seq2SeqTokens,
    build_seq2seq,
    decoder_states,
    output_projection,
    save_seq2seq,
)

PAD, EOS = 0, 3


def model(vocab_size=12, seed=0, **changes):
    torch.manual_seed(seed)
    shape = Seq2SeqShape(
        **{
            "encoder_layers": 1,
            "decoder_layers": 2,
            "hidden_size": 16,
            "num_heads": 2,
            "intermediate_size": 32,
            "dropout": 0.0,
            **changes,
        }
    )
    network = build_seq2seq(shape, Seq2SeqTokens(vocab_size, PAD, EOS, 32)).eval()
    with torch.no_grad():  # far from even, so that texts differ and end at different lengths
        network.get_input_embeddings().weight.mul_(3.0)
    return network


def sources(rows=5, length=7, vocab_size=12, seed=0):
    rng = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, vocab_size, (rows, length), generator=rng)
    mask = torch.ones_like(ids)
    for row in range(rows):  # ragged
        mask[row, length - row % 3 :] = 0
    return ids.masked_fill(mask == 0, PAD), mask


def log_probability(network, source, mask, token_ids):
    """Of a text, token by token, from one pass over the whole of it."""
    target = torch.tensor([token_ids])
    matrix, bias = output_projection(network)
    logits = torch.nn.functional.linear(
        decoder_states(network, source[None], mask[None], target)[0], matrix, bias
    )
    logits[:, PAD] = -torch.inf
    return logits.log_softmax(-1).gather(1, target[0][:, None]).sum().item()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 1},
        {"num_beams": 4},
        {"num_beams": 4, "length_penalty": 0.2},
        {"num_beams": 3, "length_penalty": 2.0, "min_length_tokens": 4},
        {"num_beams": 2, "no_repeat_ngram_size": 2},
        {"num_beams": 1, "no_repeat_ngram_size": 3, "min_length_tokens": 6},
    ],
)
def test_texts_are_those_of_transformers_own_search(seed, settings, tmp_path):
    """A search of our own that finds other texts than the folder's consumers get is a wrong one."""
    network = model(seed=seed, positions="learned" if seed % 2 else "sinusoidal")
    config = DecodingConfig(max_length_tokens=11, **settings)
    source, mask = sources(seed=seed)
    found = decode(network, source, mask, config)
    save_seq2seq(network, tmp_path, config)  # sets the generation settings
    expected = network.generate(input_ids=source, attention_mask=mask)
    for hypotheses, row in zip(found, expected.tolist(), strict=True):
        written = row[1:]
        if EOS in written:
            written = written[: written.index(EOS) + 1]
        assert list(hypotheses[0].token_ids) == [t for t in written if t != PAD]


def test_a_beam_as_wide_as_everything_finds_the_best_of_all_texts():
    """Against brute force: every text of up to three tokens, scored one by one."""
    network = model(vocab_size=6)
    source, mask = sources(rows=2, vocab_size=6)
    config = DecodingConfig(num_beams=40, max_length_tokens=3, length_penalty=0.7)
    for row, hypotheses in enumerate(decode(network, source, mask, config)):
        words = [token for token in range(6) if token not in (PAD, EOS)]
        candidates = [
            (*prefix, EOS) for size in range(3) for prefix in itertools.product(words, repeat=size)
        ] + list(itertools.product(words, repeat=3))
        scored = {
            ids: log_probability(network, source[row], mask[row], ids) / len(ids) ** 0.7
            for ids in candidates
        }
        best = max(scored, key=lambda ids: scored[ids])
        assert hypotheses[0].token_ids == best
        assert hypotheses[0].score == pytest.approx(scored[best], abs=1e-4)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_text_is_written_the_same_alone_and_among_others(num_beams):
    """Finished texts leave the batch: keys of the wrong row would go on with another's text."""
    network = model(seed=2)
    source, mask = sources(rows=7)
    config = DecodingConfig(num_beams=num_beams, max_length_tokens=12)
    together = decode(network, source, mask, config)
    assert len({len(found[0].token_ids) for found in together}) > 1
    for row in range(7):
        alone = decode(network, source[row : row + 1], mask[row : row + 1], config)[0]
        assert [h.token_ids for h in alone] == [h.token_ids for h in together[row]]
        assert alone[0].score == pytest.approx(together[row][0].score, abs=1e-4)


def test_hypotheses_are_ranked_and_carry_their_own_probability():
    """Interpolation and reports read these figures: off by the start token, all are wrong."""
    network = model(seed=1)
    source, mask = sources()
    config = DecodingConfig(num_beams=4, max_length_tokens=10, length_penalty=0.6)
    for row, hypotheses in enumerate(decode(network, source, mask, config)):
        assert len(hypotheses) == 4
        assert len({h.token_ids for h in hypotheses}) == 4
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True)
        for h in hypotheses:
            expected = log_probability(network, source[row], mask[row], h.token_ids)
            assert h.log_probability == pytest.approx(expected, abs=1e-3)
            assert h.score == pytest.approx(expected / len(h.token_ids) ** 0.6, abs=1e-3)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_lengths_stay_inside_their_limits(num_beams):
    network = model(seed=3)
    source, mask = sources()
    config = DecodingConfig(num_beams=num_beams, min_length_tokens=5, max_length_tokens=8)
    for hypotheses in decode(network, source, mask, config):
        for h in hypotheses:
            assert 6 <= len(h.token_ids) <= 8
            assert EOS not in h.token_ids[:5]


@pytest.mark.parametrize("num_beams", [1, 3])
def test_no_run_of_tokens_is_written_twice(num_beams):
    """Small models fall into loops: the same clause until the length runs out."""
    network = model(seed=4)
    source, mask = sources()
    config = DecodingConfig(num_beams=num_beams, max_length_tokens=20, no_repeat_ngram_size=2)
    free = DecodingConfig(num_beams=num_beams, max_length_tokens=20)

    def repeats(hypotheses):
        ids = hypotheses[0].token_ids
        pairs = list(itertools.pairwise(ids))
        return len(pairs) - len(set(pairs))

    assert max(map(repeats, decode(network, source, mask, free))) > 0
    assert max(map(repeats, decode(network, source, mask, config))) == 0


def test_a_text_that_cannot_be_written_is_empty():
    """Ten tokens, none of them twice, and twelve to write: no hypothesis, and an IndexError."""
    network = model(seed=4)
    source, mask = sources()
    config = DecodingConfig(
        num_beams=2, min_length_tokens=12, max_length_tokens=16, no_repeat_ngram_size=1
    )
    for hypotheses in decode(network, source, mask, config):
        assert [h.token_ids for h in hypotheses] == [(EOS,)]
        assert hypotheses[0].log_probability == -math.inf


def test_rows_that_pad_the_vocabulary_are_never_written():
    network = model(vocab_size=30)
    source, mask = sources()
    config = DecodingConfig(num_beams=2, max_length_tokens=12)
    limited = decode(network, source, mask, config, vocab_size=9)
    assert all(token < 9 for found in limited for h in found for token in h.token_ids)
    assert any(
        token >= 9
        for found in decode(network, source, mask, config)
        for h in found
        for token in h.token_ids
    )


def test_samples_follow_their_generator_and_the_models_distribution():
    """Two runs that draw different texts train different students from one recipe."""
    network = model(vocab_size=8)
    source, mask = (value[:1].expand(4000, -1) for value in sources(vocab_size=8))
    config = DecodingConfig(max_length_tokens=1)

    def draw(seed, temperature=1.0):
        rng = torch.Generator().manual_seed(seed)
        return sample(network, source, mask, config, temperature=temperature, generator=rng)

    first = draw(1)
    assert first == draw(1)
    assert first != draw(2)
    counts = torch.zeros(8)
    for h in first:
        counts[h.token_ids[0]] += 1
    expected = torch.tensor(
        [0.0 if t == PAD else log_probability(network, source[0], mask[0], [t]) for t in range(8)]
    ).exp()
    expected[PAD] = 0.0
    torch.testing.assert_close(counts / 4000, expected, atol=0.03, rtol=0)
    cold = {h.token_ids for h in draw(1, temperature=0.001)}
    assert cold == {decode(network, source[:1], mask[:1], config)[0][0].token_ids}
    with pytest.raises(ValueError, match="temperature"):
        draw(1, temperature=0.0)
