import numpy as np
import pyarrow as pa
import pytest
import torch

from data_contracts.errors import SourceError
from tasks.problems import load_model
from tasks.serving.scoring.networks import load_network, padded, token_batches


def ragged(rng, num_texts, longest):
    return [rng.integers(4, 30, size=n).tolist() for n in rng.integers(1, longest, num_texts)]


@pytest.mark.parametrize("budget", [64, 100, 1000])
def test_batches_hold_every_row_once_within_the_budget(budget):
    """A row left out has no answer; a batch beyond the budget is memory nobody planned."""
    lengths = np.random.default_rng(0).integers(1, 90, 500)
    batches = token_batches(lengths, budget)
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    for rows in batches:
        assert len(rows) * lengths[rows].max() <= budget or len(rows) == 1
    if budget == 1000:
        padding = sum(len(rows) * lengths[rows].max() for rows in batches) / lengths.sum()
        assert padding < 1.25  # in the order given it would be 2.0


def test_padding_keeps_each_text_and_masks_the_rest():
    """A token of the neighbour in a row changes its answer."""
    values, offsets = np.arange(10, 16), np.array([0, 1, 4, 6])
    ids, mask = padded(values, offsets, np.array([2, 0, 1]), pad_token_id=7)
    assert ids.tolist() == [[14, 15, 7], [10, 7, 7], [11, 12, 13]]
    assert mask.tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize(("variant", "tolerance"), [("safetensors", 1e-5), ("onnx_int8", 0.05)])
def test_answers_are_those_of_the_network_alone_with_each_text(exported, variant, tolerance):
    """Sorted, padded and threaded, another text's answer comes back in the row."""
    folder = exported.path / "model"
    texts = ragged(np.random.default_rng(1), 60, 16)
    model = load_model(folder)
    with torch.no_grad():
        alone = [model(torch.tensor([t]), torch.ones(1, len(t), dtype=torch.int64)) for t in texts]
    expected = torch.cat(alone).numpy()
    network = load_network(folder, variant, pad_token_id=0, batch_tokens=64, precision="fp32")
    found = network.logits(pa.array(texts, pa.list_(pa.int32())))
    assert found.dtype == np.float32
    # For int8: 8-bit rounding, as in the tests of the export.
    assert np.abs(found - expected).max() < tolerance * max(1, np.ptp(expected))
    assert network.logits(pa.array([], pa.list_(pa.int32()))).shape[0] == 0


def test_answers_do_not_depend_on_the_number_of_threads(exported, monkeypatch):
    """A file scored on another machine of the cluster would hold other labels."""
    texts = pa.array(ragged(np.random.default_rng(2), 200, 16), pa.list_(pa.int32()))
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        network = load_network(
            exported.path / "model", "onnx_int8", pad_token_id=0, batch_tokens=64
        )
        found.append(network.logits(texts))
    assert np.array_equal(*found)


@pytest.mark.parametrize("variant", ["onnx_int8", "safetensors"])
def test_equal_texts_get_equal_answers_wherever_they_stand(exported, variant):
    """The same prediction twice in a file, positive above and neutral below: an int8 scale is its
    batch's, and the batches differed."""
    texts = ragged(np.random.default_rng(3), 40, 16)
    order = np.random.default_rng(4).permutation(np.tile(np.arange(40), 5))
    network = load_network(exported.path / "model", variant, pad_token_id=0, batch_tokens=64)
    logits = network.logits(pa.array([texts[row] for row in order], pa.list_(pa.int32())))
    once = network.logits(pa.array([texts[row] for row in np.unique(order)], pa.list_(pa.int32())))
    for row in range(40):
        assert len(np.unique(logits[order == row], axis=0)) == 1
    assert np.abs(logits - once[order]).max() < 0.05 * np.ptp(once)


def test_a_folder_without_the_graph_is_named(tmp_path):
    """onnxruntime says NO_SUCHFILE and a path inside a temporary folder."""
    with pytest.raises(SourceError, match=r"no model\.int8\.onnx"):
        load_network(tmp_path, "onnx_int8", pad_token_id=0, batch_tokens=64)
