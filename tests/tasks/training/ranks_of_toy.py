"""What each rank of `test_distributed.py` does, started by torchrun: argv is the output folder."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file

from tasks.problems.text_classification import class_scores
from tasks.runtime.device import SHARDED
from tasks.runtime.progress import SilentProgress
from tasks.training.batches import make_step
from tasks.training.config import TrainingConfig
from tasks.training.distributed import current_ranks, whole
from tasks.training.inference import predict_logits
from tasks.training.layouts import Layout
from tasks.training.loop import train
from tasks.training.objective_config import blend
from tasks.training.objectives import Objective
from tasks.training.stepping import Stepper

# 57 rows in steps of 8: the last step has one row, and so nothing for the second rank.
ROWS, BATCH_SIZE = 57, 8
OBJECTIVE = Objective(blend(0.5, 2.0))
CONFIG = TrainingConfig(
    selection="accuracy",
    num_epochs=3,
    batch_size=BATCH_SIZE,
    learning_rate=3e-3,
    precision="fp32",
    patience=9,
)


class CrashError(Exception):
    """Stands for a machine that goes down."""


def load_toy():
    path = Path(__file__).with_name("conftest.py")
    spec = importlib.util.spec_from_file_location("toy_of_conftest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def descend(toy, *, by_rows=False):
    """Plain gradient descent over all steps: Adam would turn rounding noise into whole steps."""
    ranks, examples = current_ranks(), toy.make_examples(ROWS)
    examples.labels[::5] = -1  # unlabelled rows: ranks hold unequal numbers of labels
    made = toy.make_model(dropout=0.0)
    made.backbone.get_input_embeddings().sparse = by_rows
    model, forward = ranks.networks(made)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    # Replicated ranks may split their shares into unequal numbers of passes.
    layout = Layout("padded", BATCH_SIZE) if ranks.sharded else Layout("bucketed", 16)
    run_step = Stepper(
        model, forward, OBJECTIVE, optimizer, CONFIG,
        examples=examples, pad_token_id=0, layout=layout, ranks=ranks,
    )  # fmt: skip
    for start in range(0, ROWS, BATCH_SIZE):
        rows = np.arange(start, min(start + BATCH_SIZE, ROWS))
        run_step(make_step(examples, rows, layout=layout, pad_token_id=0, share=ranks.share(rows)))
    return {name: whole(tensor.detach()) for name, tensor in model.state_dict().items()}


def fit(toy, work, *, crash_at=None):
    """The real loop; weights, and the losses of its history."""
    model, held_out = toy.make_model(dropout=0.0), toy.make_examples(30, seed=9)
    seen = []

    def validate(candidate):
        seen.append(1)
        if len(seen) == crash_at:
            raise CrashError
        logits = predict_logits(candidate, held_out.input_ids, pad_token_id=0)
        return class_scores(logits, held_out.labels)

    result = train(
        model, toy.make_examples(ROWS), OBJECTIVE, CONFIG, pad_token_id=0,
        validate=validate, seed=5, work=work, progress=SilentProgress(),
    )  # fmt: skip
    losses = torch.tensor([entry["loss"] for entry in result.state.steps])
    return {**model.state_dict(), "losses": losses}


def all_of_it(toy, folder):
    """Every result of one way of training, below `folder`; all ranks must call it."""
    folder.mkdir(parents=True, exist_ok=True)
    descended = descend(toy)
    # Sharded weights are not updated by rows: refused.
    by_rows = {} if current_ranks().sharded else descend(toy, by_rows=True)
    fitted = fit(toy, folder / "work")
    try:
        fit(toy, folder / "crashed", crash_at=2)
        raise AssertionError("the crash did not happen")
    except CrashError:
        resumed = fit(toy, folder / "crashed")
    if current_ranks().is_writer:
        for name, tensors in (
            ("sgd", descended), ("rows", by_rows), ("fit", fitted), ("resumed", resumed),
        ):  # fmt: skip
            contiguous = {key: tensor.contiguous() for key, tensor in tensors.items()}
            save_file(contiguous, folder / f"{name}.safetensors")


def main():
    folder, toy = Path(sys.argv[1]), load_toy()
    dist.init_process_group("gloo")
    for sharded in ("0", "1"):
        os.environ[SHARDED] = sharded
        all_of_it(toy, folder / ("fsdp" if sharded == "1" else "ddp"))
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
