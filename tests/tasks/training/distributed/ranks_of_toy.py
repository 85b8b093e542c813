"""What each rank of `test_distributed.py` does, started by torchrun: argv is the output folder."""

import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file

from tasks.problems.text_classification import class_scores
from tasks.runtime.machine.device import SHARDED
from tasks.runtime.progress import SilentProgress
from tasks.training.auxiliary.adversary import adversary_of
from tasks.training.auxiliary.adversary_config import AdversaryConfig
from tasks.training.auxiliary.ema import running_average
from tasks.training.auxiliary.ema_config import EMAConfig
from tasks.training.auxiliary.layer_matching import matched_layers
from tasks.training.auxiliary.matching_config import LayerTerm, RelationTerm, TokenStateTerm
from tasks.training.auxiliary.objective import joined
from tasks.training.batching.batches import make_step
from tasks.training.batching.layouts import Layout
from tasks.training.distributed.steps import current_ranks, whole
from tasks.training.engine.loop import train
from tasks.training.engine.stepping import Stepper
from tasks.training.fitting.inference import predict_logits
from tasks.training.mutual.config import MutualTerm
from tasks.training.mutual.objective import MutualObjective, Peers, shared_rows
from tasks.training.objectives.config import blend
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.config import TrainingConfig

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
    path = Path(__file__).parents[1] / "conftest.py"
    spec = importlib.util.spec_from_file_location("toy_of_conftest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plain(student, examples, toy):
    """The network of a form of distillation, its rows and what it minimises."""
    return student, examples, OBJECTIVE


def matching(student, examples, toy):
    """Text vectors, tokens and relations of a frozen teacher that reads the same tokens."""
    terms = (
        LayerTerm(kind="hidden_mse"),
        TokenStateTerm(kind="token_mse"),
        RelationTerm(kind="relations", num_relation_heads=2),
    )
    one = matched_layers(student, toy.make_model(seed=7), terms, examples.input_ids.lengths)
    return one, replace(examples, teacher_ids=examples.input_ids)


def ema(student, examples, toy):
    """An average that begins elsewhere, so that there is something to learn from it."""
    one = running_average(student, EMAConfig(decay=0.8, weight=1.0), is_binary=False)
    with torch.no_grad():
        one.part.head.weight *= 20
    return one, examples


def adversary(student, examples, toy):
    """Every third text is of the other group: ranks hold unequal numbers of both."""
    groups = (np.arange(ROWS) % 3 == 0).astype(np.int64)
    examples = replace(examples, groups=groups, group_names=("en", "zh"))
    return adversary_of(student, examples, AdversaryConfig(max_lambda=2.0), seed=3), examples


def accompanied_by(*companions):
    """The form of a student with all of these beside it."""

    def form(student, examples, toy):
        beside = []
        for companion in companions:
            one, examples = companion(student, examples, toy)
            beside.append(one)
        network, objective = joined(student, OBJECTIVE, beside)
        return network, examples, objective

    return form


def mutual(student, examples, toy):
    """Two students that teach one another."""
    network = Peers([student, toy.make_model(seed=1, dropout=0.0)])
    rows = shared_rows([examples] * 2, [examples.example_ids] * 2, [0, 0])
    return network, rows, MutualObjective((OBJECTIVE,) * 2, rows, MutualTerm(weight=5.0))


def accompanied_peers(student, examples, toy):
    """Two students that teach one another, the first with all companions."""
    first, own, task = accompanied_by(matching, adversary, ema)(student, examples, toy)
    network = Peers([first, toy.make_model(seed=1, dropout=0.0)])
    rows = shared_rows([own, examples], [examples.example_ids] * 2, [0, 0])
    return network, rows, MutualObjective((task, OBJECTIVE), rows, MutualTerm(weight=5.0))


FORMS = {
    "sgd": plain,
    "matching": accompanied_by(matching),
    "ema": accompanied_by(ema),
    "adversary": accompanied_by(adversary),
    "companions": accompanied_by(matching, adversary, ema),
    "mutual": mutual,
    "accompanied_peers": accompanied_peers,
}


def descend(toy, form=plain, *, by_rows=False):
    """Plain gradient descent over all steps: Adam would turn rounding noise into whole steps."""
    ranks, examples = current_ranks(), toy.make_examples(ROWS)
    examples.labels[::5] = -1  # unlabelled rows: ranks hold unequal numbers of labels
    student = toy.make_model(dropout=0.0)
    student.backbone.get_input_embeddings().sparse = by_rows
    made, examples, objective = form(student, examples, toy)
    model, forward = ranks.networks(made)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    # Replicated ranks may split their shares into unequal numbers of passes.
    layout = Layout("padded", BATCH_SIZE) if ranks.sharded else Layout("bucketed", 16)
    run_step = Stepper(
        model, forward, objective.over(-(-ROWS // BATCH_SIZE)), optimizer, CONFIG,
        examples=examples, pad_token_id=0, layout=layout, ranks=ranks,
    )  # fmt: skip
    for number, start in enumerate(range(0, ROWS, BATCH_SIZE)):
        rows = np.arange(start, min(start + BATCH_SIZE, ROWS))
        share = ranks.share(rows)
        run_step(
            make_step(examples, rows, layout=layout, pad_token_id=0, number=number, share=share)
        )
    return {name: whole(tensor.detach()) for name, tensor in model.state_dict().items()}


def fit(toy, work, form=plain, *, crash_at=None):
    """The real loop; weights, and the losses of its history."""
    held_out = toy.make_examples(30, seed=9)
    model, examples, objective = form(toy.make_model(dropout=0.0), toy.make_examples(ROWS), toy)
    seen = []

    def validate(candidate):
        seen.append(1)
        if len(seen) == crash_at:
            raise CrashError
        logits = predict_logits(candidate, held_out.input_ids, pad_token_id=0)
        return class_scores(logits, held_out.labels)

    result = train(
        model, examples, objective, CONFIG, pad_token_id=0,
        validate=validate, seed=5, work=work, progress=SilentProgress(),
    )  # fmt: skip
    losses = torch.tensor([entry["loss"] for entry in result.state.steps])
    return {**model.state_dict(), "losses": losses}


def all_of_it(toy, folder):
    """Every result of one way of training, below `folder`; all ranks must call it."""
    folder.mkdir(parents=True, exist_ok=True)
    descended = {name: descend(toy, form) for name, form in FORMS.items()}
    # Sharded weights are not updated by rows: refused.
    by_rows = {} if current_ranks().sharded else descend(toy, by_rows=True)
    fitted = fit(toy, folder / "work")
    averaged = fit(toy, folder / "average", accompanied_by(ema))
    try:
        fit(toy, folder / "crashed", crash_at=2)
        raise AssertionError("the crash did not happen")
    except CrashError:
        resumed = fit(toy, folder / "crashed")
    if current_ranks().is_writer:
        for name, tensors in (
            *descended.items(), ("rows", by_rows),
            ("fit", fitted), ("average", averaged), ("resumed", resumed),
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
