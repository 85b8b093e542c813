"""Logits of many texts: each as if it had been read alone."""

import itertools
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode

from tasks.training.batching import layout_choice
from tasks.training.fitting import inference
from tasks.training.fitting.inference import predict_logits


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


def test_weights_are_cast_once_for_all_passes(toy):
    """A teacher of 300 million weights cast to bf16 in every pass reads memory, not texts."""
    examples, model = toy["examples"](rows=37), toy["model"]().eval()
    weight = next(part for part in model.modules() if isinstance(part, torch.nn.Linear)).weight

    class Casts(TorchDispatchMode):
        passes = casts = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            cast = func is torch.ops.aten._to_copy.default
            self.casts += cast and args[0].data_ptr() == weight.data_ptr()
            self.passes += func is torch.ops.aten.embedding.default
            return func(*args, **(kwargs or {}))

    with Casts() as seen:
        predict_logits(model, examples.input_ids, pad_token_id=0, precision="bf16", batch_tokens=40)
    assert seen.passes > 3
    assert seen.casts == 1


def test_equal_texts_are_read_once_and_get_one_answer(toy):
    """A teacher that reads the same sentence for each of its translations."""
    examples, model = toy["examples"](rows=30), toy["model"]().eval()
    ids, rows = examples.input_ids, np.random.default_rng(0).integers(0, 30, 200)
    lengths = ids.lengths[rows]
    repeated = type(ids)(
        np.concatenate([ids.values[ids.offsets[row] : ids.offsets[row + 1]] for row in rows]),
        np.concatenate([[0], np.cumsum(lengths)]),
    )
    num_read = []
    model.register_forward_pre_hook(lambda _, args: num_read.append(len(args[0].input_ids)))
    found = predict_logits(model, repeated, pad_token_id=0, precision="fp32")
    texts = {ids.values[a:b].tobytes() for a, b in itertools.pairwise(ids.offsets.tolist())}
    assert sum(num_read) <= len(texts) < 31
    alone = predict_logits(model, ids, pad_token_id=0, precision="fp32")
    np.testing.assert_allclose(found, alone[rows], rtol=1e-4, atol=1e-5)


def test_no_texts_have_no_logits(toy):
    """A part whose rows were all quarantined."""
    none = toy["examples"](rows=1).input_ids.__class__(np.zeros(0, np.int32), np.zeros(1, np.int64))
    found = predict_logits(toy["model"](), none, pad_token_id=0, precision="fp32")
    assert len(found) == 0


def test_parts_share_compiled_code_whatever_their_longest_texts(toy, monkeypatch):
    """A teacher compiled again for each of a thousand parts: minutes for seconds of reading.
    (Laid out as on CUDA, traced and not turned into kernels: that needs the device.)"""
    counter = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    monkeypatch.setattr(inference, "will_compile", lambda *_, **__: True)
    monkeypatch.setattr(layout_choice, "_is_on_gpu", lambda _: True)
    monkeypatch.setenv("DECANT_MAX_TOKENS_PER_PASS", "384")
    examples, model = toy["examples"](rows=600), toy["model"]().eval()
    ids, layouts = examples.input_ids, set()
    for longest in (6, 7, 8, 9):
        rows = np.flatnonzero(ids.lengths <= longest)[10 * longest :]
        part = [ids.values[ids.offsets[row] : ids.offsets[row + 1]] for row in rows]
        layouts.add(
            layout_choice.for_inference(
                model, inference.RaggedIds.from_arrow(pa.array(part, pa.list_(pa.int32()))),
                pass_tokens=0, pad_token_id=0, precision="fp32", compiled=True,
                max_length_tokens=16,
            )
        )  # fmt: skip
        found = predict_logits(
            model, part, pad_token_id=0, planned_tokens=10**9, max_length_tokens=16
        )
        alone = [model(*_padded(text))[0].detach().numpy() for text in part]
        np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-5)
    # Kernels for longer texts compile the longest in, which the one traced here does not.
    assert (counter.frame_count, len(layouts)) == (1, 1)


PARTS = """
import sys
from pathlib import Path
import numpy as np, torch
from transformers import BertConfig, BertModel
from tasks.modeling.heads.classifier import EncoderClassifier
from tasks.training.fitting.inference import predict_logits
torch.set_num_threads(1)
config = BertConfig(vocab_size=32, hidden_size=64, num_hidden_layers=1, num_attention_heads=2,
                    intermediate_size=128, max_position_embeddings=16, type_vocab_size=1)
backbone = BertModel(config, add_pooling_layer=False)
model = EncoderClassifier(backbone, num_labels=3, pooling="mean", dropout=0.0)
rng = np.random.default_rng(0)
for part in range(80):
    texts = list(rng.integers(4, 32, (100 + part, 8)).astype(np.int32))
    predict_logits(model, texts, pad_token_id=0, precision="bf16")
    if part in (39, 79):
        status = Path("/proc/self/status").read_text().splitlines()
        print(next(line.split()[1] for line in status if line.startswith("RssAnon")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_parts():
    """A teacher that reads hundreds of millions of rows, killed for memory on the second day.
    (Of a last pass of another size each: it grew where oneDNN multiplies bf16, from AVX-512 on.)"""
    root = Path(__file__).parents[4]
    command = [sys.executable, "-c", PARTS]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    early, late = (int(value) / 1024 for value in done.stdout.split())
    # Code for 40 sizes more takes 95 MiB; what else comes and goes, a few.
    assert late - early < 20, (early, late)


def _padded(text):
    ids = torch.from_numpy(text.astype(np.int64))[None]
    return ids, torch.ones_like(ids)
