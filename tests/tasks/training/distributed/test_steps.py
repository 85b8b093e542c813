"""Two processes on gloo train as one does: gradients, the whole loop, resume, DDP and FSDP2."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from data_contracts.errors import UserError
from tasks.training.distributed.steps import Ranks

SCRIPT = Path(__file__).with_name("ranks_of_toy.py")
# Too few ranks hold a row of such a step for the mean of means to be the mean.
UNEVEN = np.arange(7)


def test_ranks_share_each_step_without_loss_or_copy():
    """A row trained on twice, or by nobody."""
    for size in (1, 2, 3, 7):
        shares = [Ranks(rank, size).share(UNEVEN) for rank in range(size)]
        assert sorted(np.concatenate(shares)) == list(UNEVEN)
    last = np.arange(1)
    assert Ranks(1, 2).share(last).tolist() == [0]
    assert Ranks(1, 2).loss_factor(len(last)) == 0.0  # takes part, adds nothing
    assert Ranks(0, 2).loss_factor(len(last)) == 2.0


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Tensors by way of training (one process, DDP, FSDP2) and by what was done."""
    folder = tmp_path_factory.mktemp("ranks")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = subprocess.run(
        [sys.executable, *torchrun, str(SCRIPT), str(folder)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    spec = importlib.util.spec_from_file_location("ranks_of_toy", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.all_of_it(script.load_toy(), folder / "one")
    return {
        way: {path.stem: load_file(path) for path in (folder / way).glob("*.safetensors")}
        for way in ("one", "ddp", "fsdp")
    }


@pytest.mark.slow
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_gradients_of_two_ranks_sum_to_those_of_one_process(results, way):
    """Averaging means of unequal shares: rows of the short last step would count more."""
    expected, found = results["one"]["sgd"], results[way]["sgd"]
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        scale = tensor.abs().max().clamp(min=1e-3)
        assert float((found[name] - tensor).abs().max() / scale) < 1e-6, name


@pytest.mark.slow
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
@pytest.mark.parametrize(
    ("form", "prefix"),
    [("matching", "student."), ("ema", "student."), ("adversary", "classifier."),
     ("companions", "student."), ("mutual", "peers.0."),
     ("accompanied_peers", "peers.0.student.")],
)  # fmt: skip
def test_companions_train_over_ranks_as_in_one_process(results, form, prefix, way):
    """A bridge to the teacher, an average, an adversary or a peer of which each rank has its own,
    or sums that are divided by what one rank read."""
    expected, found = results["one"][form], results[way][form]
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        scale = tensor.abs().max().clamp(min=1e-3)
        # Terms that pull against one another leave small weights with the rounding of large ones.
        assert float((found[name] - tensor).abs().max() / scale) < 1e-5, name
    name = "backbone.encoder.layer.0.output.dense.weight"
    alone = results["one"]["sgd"][name]
    assert float((expected[prefix + name] - alone).abs().max()) > 1e-4, "the form has no effect"


@pytest.mark.slow
@pytest.mark.parametrize("way", ["one", "ddp"])
def test_gradients_of_rows_sum_to_the_dense_ones(results, way):
    """Embeddings updated by rows would drift apart over the ranks, or NCCL refuse them."""
    expected, found = results["one"]["sgd"], results[way]["rows"]
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        scale = tensor.abs().max().clamp(min=1e-3)
        assert float((found[name] - tensor).abs().max() / scale) < 1e-6, name


def test_weights_updated_by_rows_are_not_sharded(toy):
    """FSDP2 would fail in its first step, in words about tensors."""
    model = toy["model"]()
    model.backbone.get_input_embeddings().sparse = True
    with pytest.raises(UserError, match=r"word_embeddings\.weight is updated by rows"):
        Ranks(0, 2, sharded=True).networks(model)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
@pytest.mark.parametrize(
    ("what", "networks"), [("fit", [""]), ("average", ["student.", "average."])]
)
def test_the_loop_learns_in_two_ranks_what_it_learns_in_one(results, what, networks, way):
    """Order, history or the chosen step would depend on how many machines were free."""
    expected, found = results["one"][what], results[way][what]
    torch.testing.assert_close(found["losses"], expected["losses"], rtol=1e-4, atol=0)
    names = ("head.weight", "backbone.embeddings.word_embeddings.weight")
    for name in (network + name for network in networks for name in names):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["one", "ddp", "fsdp"])
def test_ranks_resume_with_the_same_bits(results, way):
    """A checkpoint written by one rank of two would forget the other's half."""
    for name, tensor in results[way]["fit"].items():
        assert torch.equal(results[way]["resumed"][name], tensor), name
