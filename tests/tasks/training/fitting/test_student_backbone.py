"""Where a student starts: products fit for all its languages, with a head that belongs to them."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from data_contracts.errors import ContractViolation, SourceError
from tasks.corpus.tables import write_table
from tasks.modeling.backbones.encoder import load_backbone
from tasks.modeling.config import PretrainedArchitecture
from tasks.modeling.heads.classifier import EncoderClassifier, save_classifier
from tasks.training.fitting.student_backbone import copy_teachers_head, student_backbone

WORDS = ["[PAD]", "[UNK]", *(f"word{number}" for number in range(40))]
PRODUCTS = PretrainedArchitecture(init="pretrained", num_layers=2, low_rank=0.5)
WHOLE = PretrainedArchitecture(init="pretrained", num_layers=2)
ENGLISH, CHINESE = range(2, 22), range(22, 42)


def network(pooling="mean"):
    torch.manual_seed(3)
    shape = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=16, type_vocab_size=1,
    )  # fmt: skip
    backbone = BertModel(shape, add_pooling_layer=False)
    with torch.no_grad():  # each language has half of the dimensions, and they are read
        backbone.embeddings.word_embeddings.weight[list(ENGLISH), 8:] = 0
        backbone.embeddings.word_embeddings.weight[list(CHINESE), :8] = 0
        for parameter in backbone.encoder.parameters():
            if parameter.ndim == 2:
                parameter.mul_(10)
    return EncoderClassifier(backbone, num_labels=3, pooling=pooling, dropout=0.0).eval()


def save_words(folder):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture
def teacher(tmp_path):
    """`teacher` of the inputs."""
    folder = tmp_path / "teacher" / "model"
    save_classifier(network(), folder, problem="text_classification")
    save_words(folder)
    return {"teacher": SimpleNamespace(path=folder.parent)}


def write_tokens(folder, *parts):
    """Tokens: of each part the role, the language, the number of texts and the words they use."""
    rng = np.random.default_rng(0)
    for number, (role, language, count, words) in enumerate(parts):
        ids = [rng.choice(words, 6).tolist() for _ in range(count)]
        table = pa.table(
            {"input_ids": pa.array(ids, pa.list_(pa.int32())), "language": [language] * count}
        )
        write_table(table, folder / role / f"part-{number:05d}.parquet")
    facts = {"vocab_size": len(WORDS), "pad_token_id": 0, "max_length_tokens": 16}
    (folder / "tokens.json").write_text(json.dumps(facts))
    save_words(folder / "tokenizer")
    return folder


def distance(backbone, words):
    """How far its states are from the teacher's on texts of `words`, beside what they vary."""
    ids = torch.from_numpy(np.random.default_rng(5).choice(words, (64, 6)))
    with torch.no_grad():
        mine, theirs = (
            one.eval()(input_ids=ids).last_hidden_state for one in (backbone, network().backbone)
        )
    return float((mine - theirs).square().mean() / theirs.var())


def test_a_language_with_few_rows_has_its_share_of_the_directions(teacher, tmp_path):
    """Students of a small target corpus beside a large source one, fit for the source alone."""
    few = ("transfer", "zh", 1500, CHINESE)
    mixed = write_tokens(tmp_path / "mixed", ("train", "en", 15000, ENGLISH), few)
    alone = write_tokens(tmp_path / "alone", ("train", "en", 15000, ENGLISH))
    roles = ("transfer", "train")
    of_both = student_backbone(PRODUCTS, mixed, teacher, read_roles=roles)
    of_english = student_backbone(PRODUCTS, alone, teacher, read_roles=roles)
    assert distance(of_both, CHINESE) < 0.8 * distance(of_english, CHINESE)
    assert distance(of_both, CHINESE) < 2 * distance(of_both, ENGLISH)


def test_the_same_texts_in_other_parts_give_the_same_start(teacher, tmp_path):
    """Weights that depend on how many workers wrote the tokens."""
    whole = write_tokens(tmp_path / "whole", ("transfer", "zh", 40, CHINESE))
    split = tmp_path / "split"
    write_tokens(split, ("transfer", "zh", 40, CHINESE))
    path = split / "transfer" / "part-00000.parquet"
    table = pa.parquet.read_table(path)
    path.unlink()
    write_table(table.slice(0, 13), path)
    write_table(table.slice(13), split / "transfer" / "part-00001.parquet")
    one, other = (student_backbone(PRODUCTS, tokens, teacher) for tokens in (whole, split))
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def test_products_for_no_texts_are_refused(teacher, tmp_path):
    """An Arrow error about empty chunks, after the teacher was trained."""
    tokens = write_tokens(tmp_path / "tokens", ("train", "en", 3, ENGLISH))
    with pytest.raises(ContractViolation, match="transfer"):
        student_backbone(PRODUCTS, tokens, teacher, read_roles=("transfer",))


def test_a_student_of_products_is_no_model_to_start_from(teacher, tmp_path):
    """Products of products, or a network built from a configuration that lacks them."""
    tokens = write_tokens(tmp_path / "tokens", ("transfer", "zh", 20, CHINESE))
    delivered = tmp_path / "delivered" / "model"
    backbone = student_backbone(PRODUCTS, tokens, teacher)
    student = EncoderClassifier(backbone, num_labels=3, pooling="mean", dropout=0.0)
    save_classifier(student, delivered, problem="text_classification")
    save_words(delivered)
    again = {"teacher": SimpleNamespace(path=delivered.parent)}
    with pytest.raises(SourceError, match="low_rank"):
        student_backbone(WHOLE, tokens, again)


@pytest.mark.parametrize(
    ("architecture", "pooling", "num_labels", "is_copied"),
    [
        (PRODUCTS, "mean", 3, True),
        (WHOLE, "mean", 3, False),
        (PRODUCTS, "cls", 3, False),
        (PRODUCTS, "mean", 2, False),
        (PRODUCTS.model_copy(update={"num_layers": 1}), "mean", 3, False),
    ],
)
def test_the_teacher_s_head_is_kept_where_it_fits(
    teacher, tmp_path, architecture, pooling, num_labels, is_copied
):
    """A head on states that it was not trained for is worse than one that is drawn."""
    tokens = write_tokens(tmp_path / "tokens", ("transfer", "zh", 20, CHINESE))
    backbone = student_backbone(architecture, tokens, teacher)
    torch.manual_seed(9)
    student = EncoderClassifier(backbone, num_labels=num_labels, pooling=pooling, dropout=0.0)
    drawn = student.head.weight.clone()
    copy_teachers_head(student, architecture, teacher)
    theirs = network().head.weight
    assert torch.equal(student.head.weight, theirs if is_copied else drawn)


def test_a_head_is_found_whatever_its_encoder_calls_its_layers(tmp_path):
    """DistilBERT writes n_layers: a KeyError, after the teacher was trained."""
    torch.manual_seed(0)
    shape = DistilBertConfig(dim=16, n_heads=4, hidden_dim=32, n_layers=2, vocab_size=40)
    folder = tmp_path / "teacher" / "model"
    models = [
        EncoderClassifier(DistilBertModel(shape), num_labels=3, pooling="mean", dropout=0.0)
        for _ in range(2)
    ]
    save_classifier(models[0], folder, problem="text_classification")
    copy_teachers_head(models[1], PRODUCTS, {"teacher": SimpleNamespace(path=folder.parent)})
    assert torch.equal(models[1].head.weight, models[0].head.weight)


def test_an_adapted_student_keeps_what_it_has_read(teacher, tmp_path):
    """The teacher's head on states that reading on has moved away from it."""
    folder = tmp_path / "adapted" / "model"
    save_classifier(network(), folder, problem="text_classification")
    inputs = {**teacher, "adapted": SimpleNamespace(path=folder.parent)}
    tokens = write_tokens(tmp_path / "tokens", ("transfer", "zh", 5, CHINESE))
    backbone = student_backbone(PRODUCTS, tokens, inputs)
    assert all(
        map(
            torch.equal,
            backbone.state_dict().values(),
            load_backbone(folder).state_dict().values(),
        )
    )
    torch.manual_seed(9)
    student = EncoderClassifier(backbone, num_labels=3, pooling="mean", dropout=0.0)
    drawn = student.head.weight.clone()
    copy_teachers_head(student, PRODUCTS, inputs)
    assert torch.equal(student.head.weight, drawn)
