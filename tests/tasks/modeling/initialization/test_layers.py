"""A student cut out of a pretrained encoder answers as that encoder's layers do."""

import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from data_contracts.errors import RecipeError
from tasks.corpus.tokenizers.trimming import trim_tokenizer
from tasks.modeling.config import PretrainedArchitecture
from tasks.modeling.initialization.layers import chosen_layers, copy_backbone

TEXTS = [f"打开{room}的灯 {n}" for n, room in enumerate(("客厅", "卧室", "厨房", "书房"))]
OTHERS = [f"включи свет {room}, пожалуйста" for room in ("на кухне", "в зале", "в гараже")]
WIDTH = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}


def bert(vocab_size):
    shape = BertConfig(
        **WIDTH, vocab_size=vocab_size, num_hidden_layers=6, pad_token_id=1,
        max_position_embeddings=32,
    )  # fmt: skip
    return BertModel(shape, add_pooling_layer=False)


def xlm_roberta(vocab_size):
    shape = XLMRobertaConfig(
        **WIDTH, vocab_size=vocab_size, num_hidden_layers=6, pad_token_id=1, type_vocab_size=1,
        max_position_embeddings=34,
    )  # fmt: skip
    return XLMRobertaModel(shape, add_pooling_layer=False)


def distilbert(vocab_size):
    shape = DistilBertConfig(
        dim=16, n_heads=2, hidden_dim=32, n_layers=6, vocab_size=vocab_size, pad_token_id=1,
        max_position_embeddings=32,
    )  # fmt: skip
    return DistilBertModel(shape)


MAKERS = {"bert": bert, "xlm_roberta": xlm_roberta, "distilbert": distilbert}


@pytest.fixture(params=MAKERS)
def model(request, tmp_path):
    """(folder, network, tokenizer) of a pretrained encoder with six layers, weights at random."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        [*TEXTS, *OTHERS] * 3,
        trainers.UnigramTrainer(
            vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    torch.manual_seed(7)
    # More rows than tokens, as multilingual-e5-small has.
    network = MAKERS[request.param](tokenizer.get_vocab_size() + 5).eval()
    folder = tmp_path / "model"
    network.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder, network, tokenizer


def architecture(layers, **fields):
    return PretrainedArchitecture(init="pretrained", layers=layers, **fields)


def student(folder, tokenizer, path, layers=(0, 2, 5), max_length_tokens=32):
    tokenizer.save(str(path))
    return copy_backbone(
        folder,
        architecture(layers),
        tokenizer=path,
        pad_token_id=tokenizer.token_to_id("<pad>"),
        max_length_tokens=max_length_tokens,
    ).eval()


def states(network, tokenizer, texts):
    """Hidden states of `texts`, each padded by two."""
    found = []
    for text in texts:
        ids = tokenizer.encode(text).ids
        padded = torch.tensor([ids + [tokenizer.token_to_id("<pad>")] * 2])
        mask = torch.tensor([[1] * len(ids) + [0, 0]])
        with torch.no_grad():
            hidden = network(input_ids=padded, attention_mask=mask).last_hidden_state
        found.append(hidden[0, : len(ids)])
    return torch.cat(found)


def trimmed(tokenizer):
    return trim_tokenizer(tokenizer, pa.array(TEXTS))


def test_a_trimmed_student_reads_its_texts_as_an_untrimmed_one(model, tmp_path):
    """Embeddings one row off: the pretrained student starts worse than a random one."""
    folder, _, tokenizer = model
    cut = trimmed(tokenizer)
    assert cut.get_vocab_size() < tokenizer.get_vocab_size() - 10
    small = student(folder, cut, tmp_path / "cut.json")
    large = student(folder, tokenizer, tmp_path / "whole.json")
    assert small.get_input_embeddings().num_embeddings == cut.get_vocab_size()
    assert large.get_input_embeddings().num_embeddings == tokenizer.get_vocab_size()
    torch.testing.assert_close(
        states(small, cut, TEXTS), states(large, tokenizer, TEXTS), rtol=0, atol=0
    )


def test_all_layers_in_order_are_the_model_itself(model, tmp_path):
    """A copy that loses a norm or a position would be found by no other comparison."""
    folder, network, tokenizer = model
    copy = student(folder, tokenizer, tmp_path / "t.json", layers=tuple(range(6)))
    torch.testing.assert_close(
        states(copy, tokenizer, TEXTS), states(network, tokenizer, TEXTS), rtol=1e-5, atol=1e-6
    )


def test_the_layers_asked_for_are_copied_in_their_order(model, tmp_path):
    """Layers 0, 1, 2 whatever was asked for."""
    folder, network, tokenizer = model
    copy = student(folder, tokenizer, tmp_path / "t.json", layers=(4, 1))
    expected, found = network.state_dict(), copy.state_dict()
    for new, old in ((0, 4), (1, 1)):
        names = [name for name in found if f"layer.{new}." in name]
        assert len(names) >= 16
        for name in names:
            source = name.replace(f"layer.{new}.", f"layer.{old}.")
            assert torch.equal(found[name], expected[source]), name
    assert copy.config.num_hidden_layers == 2


def test_a_layer_that_is_chosen_twice_is_two(model, tmp_path):
    """One module in two places: weights that are tied, and a first checkpoint that fails."""
    folder, _, tokenizer = model
    copy = student(folder, tokenizer, tmp_path / "t.json", layers=(0, 0, 2))
    weights = copy.state_dict()
    lower = [name for name in weights if "layer.0." in name]
    assert len(lower) >= 16
    for name in lower:
        again = weights[name.replace("layer.0.", "layer.1.")]
        assert torch.equal(weights[name], again), name
        assert weights[name].data_ptr() != again.data_ptr(), name
    save_file(dict(weights), tmp_path / "checkpoint.safetensors")
    copy.save_pretrained(tmp_path / "saved")
    found = AutoModel.from_pretrained(tmp_path / "saved").state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in weights.items())


def test_a_saved_student_is_loaded_with_the_same_answers(model, tmp_path):
    """Two layers in the file, six in the configuration: four of them at random."""
    folder, _, tokenizer = model
    cut = trimmed(tokenizer)
    copy = student(folder, cut, tmp_path / "cut.json")
    copy.save_pretrained(tmp_path / "saved")
    again = AutoModel.from_pretrained(tmp_path / "saved").eval()
    torch.testing.assert_close(
        states(again, cut, TEXTS), states(copy, cut, TEXTS), rtol=1e-5, atol=1e-6
    )


def test_texts_longer_than_the_model_reads_are_refused(model, tmp_path):
    """An index error inside the embedding, at the first long text, hours later."""
    folder, _, tokenizer = model
    with pytest.raises(RecipeError, match="texts have up to 33 tokens"):
        student(folder, tokenizer, tmp_path / "t.json", max_length_tokens=33)


@pytest.mark.parametrize(
    ("layers", "count", "expected"),
    [
        ("uniform", 4, (0, 4, 7, 11)),
        ("uniform", 2, (0, 11)),
        ("uniform", 1, (0,)),
        ("first", 3, (0, 1, 2)),
        ("last", 3, (9, 10, 11)),
        ((0, 4, 8, 11), None, (0, 4, 8, 11)),
    ],
)
def test_layers_are_chosen_as_told(layers, count, expected):
    """The last layers where the first were meant."""
    assert chosen_layers(architecture(layers, num_layers=count), 12) == expected


def test_layers_that_are_not_there_are_refused():
    with pytest.raises(RecipeError, match="of a model with 6"):
        chosen_layers(architecture((0, 6)), 6)
    with pytest.raises(RecipeError, match="of a model with 2"):
        chosen_layers(architecture("last", num_layers=3), 2)


@pytest.mark.parametrize(
    "fields",
    [
        {"layers": "uniform"},
        {"layers": (0, 1), "num_layers": 2},
        {"layers": ()},
        {"layers": (-1,)},
        {"layers": "middle", "num_layers": 1},
    ],
)
def test_contradicting_fields_are_refused(fields):
    """Which of two numbers of layers counts would be a guess."""
    with pytest.raises(ValueError, match="layers"):
        PretrainedArchitecture(init="pretrained", **fields)


def test_an_architecture_of_whole_matrices_is_written_as_it_always_was():
    """Every student that was cut out of a model trained again, for a field that it does not use."""
    whole = architecture((0, 1)).model_dump()
    assert whole.keys() == {
        "init", "model", "layers", "num_layers", "hidden_size", "intermediate_size", "dropout",
        "pooling",
    }  # fmt: skip
    products = architecture((0, 1), low_rank=0.5)
    assert PretrainedArchitecture.model_validate(products.model_dump()) == products
