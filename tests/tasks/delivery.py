"""What every encoder must stand on its way to a consumer."""

import numpy as np
import torch

from tasks.modeling.heads.classifier import EncoderClassifier, save_classifier
from tasks.problems import load_model
from tasks.serving.export.onnx_export import export_onnx, predict_onnx
from tasks.training.batching.layouts import stream_layout
from tasks.training.batching.passes import make_passes
from tasks.training.batching.ragged import RaggedIds

TEXTS = [np.array([5, 9, 4]), np.array([7, 7, 3, 9, 11])]


def check_delivery(backbone, folder):
    """Texts read alone, packed, after saving and loading, and by the ONNX graph: one answer."""
    model = EncoderClassifier(backbone, num_labels=3, pooling="mean", dropout=0.0).eval()
    with torch.no_grad():
        expected = torch.cat([
            model(torch.from_numpy(text)[None], torch.ones(1, len(text), dtype=torch.long))
            for text in TEXTS
        ]).numpy()  # fmt: skip
        lengths = np.array([len(text) for text in TEXTS])
        ids = RaggedIds(np.concatenate(TEXTS).astype(np.int32), np.cumsum([0, *lengths]))
        layout = stream_layout(lengths, batch_size=2)
        (packed,) = make_passes(ids, np.arange(2), layout, pad_token_id=0)
        assert packed.texts.packing is not None
        np.testing.assert_allclose(model(packed.texts)[:2].numpy(), expected, atol=1e-5)
    save_classifier(model, folder, problem="text_classification")
    loaded = load_model(folder)
    found = loaded.state_dict()
    assert found.keys() == model.state_dict().keys()
    assert all(torch.equal(weight, found[name]) for name, weight in model.state_dict().items())
    logits = predict_onnx(export_onnx(loaded), TEXTS, pad_token_id=0)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
