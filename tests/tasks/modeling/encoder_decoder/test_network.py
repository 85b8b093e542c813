"""Encoder-decoders: what is trained, saved and cut out of a teacher is one and the same model."""

import json

import pytest
import torch
from safetensors import safe_open
from transformers import (
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForConditionalGeneration,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from data_contracts.errors import RecipeError, SourceError
from tasks.modeling.encoder_decoder.config import DecodingConfig, PretrainedSeq2Seq, Seq2SeqShape
from tasks.modeling.encoder_decoder.decoding import decode
from tasks.modeling.encoder_decoder.network import (
    Seq2SeqTokens,
    build_seq2seq,
    check_tokens,
    cut_layers,
    decoder_states,
    load_seq2seq,
    output_projection,
    save_seq2seq,
    shifted_right,
    spread,
)

TOKENS = Seq2SeqTokens(vocab_size=50, pad_token_id=0, eos_token_id=3, max_length_tokens=16)
SMALL = {
    "vocab_size": 50, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32, "max_position_embeddings": 32, "pad_token_id": 1, "bos_token_id": 0,
    "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
FAMILIES = {
    "bart": (BartConfig, BartForConditionalGeneration),
    "m2m_100": (M2M100Config, M2M100ForConditionalGeneration),
    "marian": (MarianConfig, MarianMTModel),
    "mbart": (MBartConfig, MBartForConditionalGeneration),
}


def shape(**changes):
    return Seq2SeqShape(
        **{
            "encoder_layers": 3,
            "decoder_layers": 2,
            "hidden_size": 16,
            "num_heads": 2,
            "intermediate_size": 32,
            "dropout": 0.0,
            **changes,
        }
    )


def built(seed=0, **changes):
    torch.manual_seed(seed)
    return build_seq2seq(shape(**changes), TOKENS).eval()


def texts(rows=3, length=6, seed=0):
    drawn = torch.randint(4, 50, (rows, length), generator=torch.Generator().manual_seed(seed))
    return drawn, torch.ones_like(drawn)


def logits(model, input_ids, mask, target_ids):
    matrix, bias = output_projection(model)
    return torch.nn.functional.linear(
        decoder_states(model, input_ids, mask, target_ids), matrix, bias
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_states_times_output_matrix_are_the_logits_of_transformers(family):
    """A family that scales its logits would be trained on other numbers than it writes by."""
    config, kind = FAMILIES[family]
    torch.manual_seed(0)
    model = kind(config(**SMALL)).eval()
    model.final_logits_bias = torch.linspace(-1, 1, 50)[None] if family != "m2m_100" else None
    source, mask = texts()
    target, _ = texts(seed=1)
    expected = model(
        input_ids=source,
        attention_mask=mask,
        decoder_input_ids=shifted_right(target, 2),
    ).logits
    torch.testing.assert_close(logits(model, source, mask, target), expected)


@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_one_matrix_embeds_source_and_target_and_writes(positions):
    """Untied, a vocabulary is paid for three times: most of a small student."""
    model = built(positions=positions)
    rows = [value for value in model.parameters() if value.shape == (50, 16)]
    assert len(rows) == 1
    assert output_projection(model)[0] is model.get_input_embeddings().weight


@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_layers_are_as_many_as_asked_on_each_side(positions):
    """A decoder as deep as its encoder costs the speed that the student was made for."""
    model = built(positions=positions, encoder_layers=3, decoder_layers=1)
    assert len(model.get_submodule("model.encoder.layers")) == 3
    assert len(model.get_submodule("model.decoder.layers")) == 1


def test_weights_follow_the_seed():
    first, again, other = built(1).state_dict(), built(1).state_dict(), built(2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_padding_of_source_and_target_changes_nothing():
    """A text must not read differently because a longer one shares its batch."""
    model = built()
    source, mask = texts()
    target, _ = texts(seed=1)
    alone = decoder_states(model, source, mask, target)
    wide = torch.cat([source, torch.full((3, 4), 17)], 1)
    wide_mask = torch.cat([mask, torch.zeros(3, 4, dtype=torch.long)], 1)
    wide_target = torch.cat([target, torch.zeros(3, 2, dtype=torch.long)], 1)
    padded = decoder_states(model, wide, wide_mask, wide_target)
    torch.testing.assert_close(padded[:, :6], alone, atol=1e-5, rtol=1e-5)


def test_a_position_does_not_see_the_token_that_it_predicts():
    """Shifted by one too few, a model copies its answer: loss 0 in training, noise in use."""
    model = built()
    source, mask = texts()
    target, _ = texts(seed=1)
    changed = target.clone()
    changed[:, 3] = 7
    before, after = (decoder_states(model, source, mask, t) for t in (target, changed))
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_the_first_target_token_is_predicted_from_the_start_token():
    """Starting from padding (as Marian does), masks made of decoder inputs lose the first token."""
    assert shifted_right(torch.tensor([[5, 6, 7, 3]]), 0).tolist() == [[0, 5, 6, 7]]
    assert built().config.decoder_start_token_id == 0


@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_a_saved_model_writes_the_same_and_is_read_by_transformers(positions, tmp_path):
    """A folder that only this project can read is not a delivery."""
    model = built(positions=positions)
    save_seq2seq(model, tmp_path, DecodingConfig(num_beams=3, max_length_tokens=9))
    source, mask = texts()
    target, _ = texts(seed=1)
    again = load_seq2seq(tmp_path)
    assert not again.training
    expected = decoder_states(model, source, mask, target)
    torch.testing.assert_close(decoder_states(again, source, mask, target), expected)
    foreign = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, local_files_only=True)
    assert foreign.generation_config.num_beams == 3
    assert foreign.generation_config.max_length == 10
    settings = json.loads((tmp_path / "generation_config.json").read_text("utf-8"))
    assert settings["do_sample"] is False
    assert not list(tmp_path.glob("*.bin"))
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in list(file.keys())} == {"F32"}


@pytest.mark.parametrize("family", ["m2m_100", "mbart"])
def test_generate_starts_from_the_token_that_we_start_from(family, tmp_path):
    """A delivered folder whose `generate` fails, or starts from what the model never read."""
    config, kind = FAMILIES[family]
    torch.manual_seed(0)
    model = kind(config(**{**SMALL, "decoder_start_token_id": None, "init_std": 0.5}))
    model.save_pretrained(tmp_path / "foreign")
    decoding = DecodingConfig(max_length_tokens=8)
    save_seq2seq(load_seq2seq(tmp_path / "foreign"), tmp_path / "ours", decoding)
    saved = load_seq2seq(tmp_path / "ours")
    source, mask = texts()
    written = saved.generate(input_ids=source, attention_mask=mask)
    assert set(written[:, 0].tolist()) == {SMALL["eos_token_id"]}
    found = [one[0].token_ids for one in decode(saved, source, mask, decoding)]
    for ours, theirs in zip(found, written.tolist(), strict=True):
        assert list(ours) == theirs[1 : len(ours) + 1]


def test_a_greedy_model_is_saved_whatever_would_rank_its_beams(tmp_path):
    """A penalty beside one beam is refused by transformers' save: hours of training were lost."""
    model = built().eval()
    decoding = DecodingConfig(num_beams=1, length_penalty=0.6, max_length_tokens=9)
    save_seq2seq(model, tmp_path, decoding)
    source = torch.tensor([[5, 6, 7, 3]])
    found = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).generate(input_ids=source)
    (hypotheses,) = decode(model, source, torch.ones_like(source), decoding)
    assert tuple(found[0, 1:].tolist()) == hypotheses[0].token_ids


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_seq2seq(built(), tmp_path / name, DecodingConfig())
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_student_with_all_layers_is_its_teacher():
    """Weights left at random under a right name look like a bad learning rate."""
    teacher = built()
    student = cut_layers(teacher, PretrainedSeq2Seq(init="pretrained")).eval()
    source, mask = texts()
    target, _ = texts(seed=1)
    expected = decoder_states(teacher, source, mask, target)
    torch.testing.assert_close(decoder_states(student, source, mask, target), expected)
    assert student.get_input_embeddings().weight is not teacher.get_input_embeddings().weight


def test_a_student_takes_the_layers_named_in_that_order():
    teacher = built(encoder_layers=3, decoder_layers=2)
    student = cut_layers(
        teacher, PretrainedSeq2Seq(init="pretrained", encoder_layers=(2, 0), decoder_layers=1)
    )
    assert (student.config.encoder_layers, student.config.decoder_layers) == (2, 1)
    for stack, place, number in (("encoder", 0, 2), ("encoder", 1, 0), ("decoder", 0, 1)):
        mine = student.get_submodule(f"model.{stack}.layers.{place}").state_dict()
        theirs = teacher.get_submodule(f"model.{stack}.layers.{number}").state_dict()
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_cutting_draws_nothing_from_the_random_state():
    """A student's dropout that depends on how it was made cannot be resumed exactly."""
    teacher = built()
    torch.manual_seed(5)
    cut_layers(teacher, PretrainedSeq2Seq(init="pretrained", decoder_layers=1))
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))


def test_layers_are_spread_from_the_first_to_the_last():
    assert spread(4, 12) == (0, 4, 7, 11)
    assert spread(2, 6) == (0, 5)
    assert spread(1, 6) == (5,)
    assert spread(3, 3) == (0, 1, 2)


@pytest.mark.parametrize("layers", [4, (0, 3)])
def test_more_layers_than_the_teacher_has_are_refused(layers):
    with pytest.raises(RecipeError, match="with 3"):
        cut_layers(built(), PretrainedSeq2Seq(init="pretrained", encoder_layers=layers))


def test_an_unknown_family_is_refused_by_name(tmp_path):
    """T5 scales its states before the output matrix: trained without, it would write nonsense."""
    T5ForConditionalGeneration(
        T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    ).save_pretrained(tmp_path)
    with pytest.raises(SourceError, match="t5"):
        load_seq2seq(tmp_path)
    with pytest.raises(SourceError, match="no encoder-decoder"):
        load_seq2seq(tmp_path / "nothing")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_writer_is_read_whole_or_not_at_all(family, tmp_path):
    """A decoder drawn at random, or a traceback, for files of two models in one folder."""
    config, network = FAMILIES[family]
    network(config(**SMALL)).save_pretrained(tmp_path)
    load_seq2seq(tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    for change, fact in (({"decoder_layers": 2}, "lack 26 of"), ({"d_model": 32}, "another shape")):
        (tmp_path / "config.json").write_text(json.dumps({**told, **change}))
        with pytest.raises(SourceError, match=fact):
            load_seq2seq(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(told))
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(SourceError, match="cannot be read"):
        load_seq2seq(tmp_path)


def test_tokens_that_do_not_fit_the_model_are_refused_early():
    """An id beyond the matrix is an index error on a CPU and a dead process on a GPU."""
    check_tokens(built(), TOKENS, role="teacher")
    with pytest.raises(RecipeError, match="50 embedding rows, its tokenizer 51"):
        check_tokens(built(), Seq2SeqTokens(51, 0, 3, 16), role="teacher")
    with pytest.raises(RecipeError, match="up to 17 tokens"):
        check_tokens(built(), Seq2SeqTokens(50, 0, 3, 17), role="teacher")


def test_a_model_that_ends_or_pads_by_another_token_is_refused():
    """A vocabulary that fits by its size alone: texts that never end, and 0.00 BLEU."""
    with pytest.raises(RecipeError, match="has the eos_token_id 3, its tokenizer 2"):
        check_tokens(built(), Seq2SeqTokens(50, 0, 2, 16), role="teacher")
    with pytest.raises(RecipeError, match="has the pad_token_id 0, its tokenizer 1"):
        check_tokens(built(), Seq2SeqTokens(50, 1, 3, 16), role="teacher")


def test_impossible_shapes_and_settings_are_refused():
    with pytest.raises(ValueError, match="num_heads"):
        shape(hidden_size=20, num_heads=3)
    with pytest.raises(ValueError, match="end mark"):
        DecodingConfig(min_length_tokens=8, max_length_tokens=8)
    with pytest.raises(ValueError, match="decoder_layers is empty"):
        PretrainedSeq2Seq(init="pretrained", decoder_layers=())
