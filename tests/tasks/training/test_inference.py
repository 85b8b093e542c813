"""Logits of many texts: each as if it had been read alone."""

import numpy as np
import torch

from tasks.training.inference import predict_logits


def test_each_text_is_answered_as_if_alone_and_in_the_order_given(toy):
    """Sorted into batches by length and not sorted back: every answer is another text's."""
    examples, model = toy["examples"](rows=37), toy["model"]().eval()
    found = predict_logits(model, examples.input_ids, pad_token_id=0, precision="fp32")
    values, offsets = examples.input_ids.values, examples.input_ids.offsets
    with torch.inference_mode():
        for row in range(37):
            ids = torch.tensor(values[offsets[row] : offsets[row + 1]].astype(np.int64))[None]
            alone = model(ids, torch.ones_like(ids))[0].numpy()
            np.testing.assert_allclose(found[row], alone, rtol=1e-4, atol=1e-5)


def test_the_batch_size_changes_no_answer(toy):
    """A larger machine that gets other labels."""
    examples, model = toy["examples"](rows=20), toy["model"]().eval()
    answers = [
        predict_logits(
            model, examples.input_ids, pad_token_id=0, precision="fp32", batch_tokens=tokens
        )
        for tokens in (16, 4096)
    ]
    np.testing.assert_allclose(*answers, rtol=1e-4, atol=1e-5)


def test_a_training_model_is_asked_without_dropout_and_goes_on_training(toy):
    """Validation with dropout on picks the wrong step; training without it overfits from there."""
    examples, model = toy["examples"](rows=8), toy["model"](dropout=0.5)
    model.train()
    first, second = (
        predict_logits(model, examples.input_ids, pad_token_id=0, precision="fp32")
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    assert model.training


def test_no_texts_have_no_logits(toy):
    """A part whose rows were all quarantined."""
    none = toy["examples"](rows=1).input_ids.__class__(np.zeros(0, np.int32), np.zeros(1, np.int64))
    found = predict_logits(toy["model"](), none, pad_token_id=0, precision="fp32")
    assert len(found) == 0
