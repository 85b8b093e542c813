import unicodedata

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from tasks.corpus.text.normalization import NormalizationConfig
from tasks.corpus.text.normalization import normalize as corpus_normalize
from tasks.modeling.backbones.low_rank import low_rank_shape
from tasks.modeling.heads.classifier import EncoderClassifier, save_classifier
from tasks.serving.portable.base import batches, load_safetensors, normalize

NASTY = (
    "ｆｕｌｌ　ｗｉｄｔｈ １２３",
    "e\u0301te\u0301 x² ﬁne ①",
    "\u202eesrever\u202c a\u200bb\u00adc\ufeff",
    "می\u200cخواهم ZWNJ\u200chere",
    "👩\u200d🔬 👍🏽\u200d x\u200dy ❤\ufe0f\u200d🔥",
    "क\u094d\u200dष \U000e0041\U000e0042tag",
    "tab\tand\r\nline\u2028end\u3000wide\x00\x1b\x1f\x85",
    "caf\u200be\u0301 A\u030a\u200d",
    "schÃ¶n â€œquoted”",
    "",
    " \u200d ",
)


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
@pytest.mark.parametrize("repair", [False, True])
@settings(deadline=None)  # the first text imports ftfy; a busy machine is not a failure
@given(
    text=st.one_of(
        st.sampled_from(NASTY),
        st.text(max_size=40),
        st.text(
            alphabet="ab e\u0301é\u200c\u200d\u200b\ufeff\u202e👩🏽🔬❤\ufe0fमی²ﬁ\x07\t\u2028　",
            max_size=12,
        ),
    )
)
def test_texts_are_normalised_as_the_training_corpus(form, repair, text):
    """Texts normalised differently in service are read with other tokens than in training."""
    config = NormalizationConfig(unicode_form=form, repair_encoding=repair)
    found = normalize(text, unicode_form=form, repair_encoding=repair)
    assert found == corpus_normalize(text, config)[0]
    assert unicodedata.is_normalized(form, found)


def test_batches_hold_every_text_once_and_mask_the_rest():
    """A token of the neighbour in a row, or a text that no batch holds."""
    texts = [[5, 6, 7], [8], [9, 9], [4, 4, 4, 4]]
    seen = {}
    for rows, ids, mask in batches(texts, 3, pad_token_id=1):
        assert ids.shape == mask.shape
        assert (ids[mask == 0] == 1).all()
        for place, row in enumerate(rows):
            seen[row] = ids[place][mask[place] == 1].tolist()
    assert [seen[row] for row in range(4)] == texts
    assert np.concatenate([rows for rows, _, _ in batches(texts, 3, 0)]).tolist() == [1, 2, 0, 3]


def low_rank_folder(folder):
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=12, type_vocab_size=1,
    )  # fmt: skip
    backbone = low_rank_shape(BertModel(shape, add_pooling_layer=False), 0.5)
    model = EncoderClassifier(backbone, num_labels=3, pooling="mean", dropout=0.0).eval()
    save_classifier(model, folder, problem="text_classification")
    return model


def test_a_student_of_products_answers_without_this_repository_s_networks(tmp_path):
    """A registered student that no consumer can load in the form that they ask for first."""
    model = low_rank_folder(tmp_path)
    ids = np.array([[5, 9, 4, 0], [7, 7, 3, 9]])
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 1]])
    with torch.no_grad():
        expected = model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    found = load_safetensors(lambda name: tmp_path / name)(ids, mask)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_products_that_lack_a_factor_are_refused(tmp_path):
    """Weights drawn at random in the place of those that a damaged file has lost."""
    low_rank_folder(tmp_path)
    path = tmp_path / "model.low_rank.safetensors"
    factors = load_file(path)
    del factors["encoder.layer.1.output.dense.up.bias"], factors["embeddings.LayerNorm.weight"]
    save_file(factors, path)
    with pytest.raises(MlflowException, match=r"low_rank.safetensors lacks .*LayerNorm"):
        load_safetensors(lambda name: tmp_path / name)
