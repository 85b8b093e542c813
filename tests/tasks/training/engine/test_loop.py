"""The training loop: exact resume, early stopping, preemption, and what a step really computes."""

import json
import math
import os
import shutil
import signal
import time

import pytest
import torch

from data_contracts.errors import Preempted, TrainingDiverged
from tasks.problems.text_classification import class_scores
from tasks.runtime.progress import SilentProgress
from tasks.training.batching.batches import make_step
from tasks.training.batching.examples import pseudo_labels, unlabelled
from tasks.training.batching.layouts import Layout, packed_layout
from tasks.training.engine import loop
from tasks.training.engine.checkpoints import load_checkpoint, save_checkpoint
from tasks.training.engine.loop import train
from tasks.training.fitting.inference import predict_logits
from tasks.training.objectives.config import ObjectiveConfig, blend
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.adamw import prepare_embeddings, prepare_weights
from tasks.training.optimization.config import TrainingConfig


class StopAfter(SilentProgress):
    """Raises, as a crash would, or signals, as a scheduler would, at the n-th validation."""

    def __init__(self, validations, action):
        self.left, self.action = validations, action

    def tick(self):
        self.left -= 1
        if self.left == 0:
            self.action()


class CrashError(Exception):
    pass


def crash():
    raise CrashError


CONFIG = TrainingConfig(
    selection="accuracy",
    num_epochs=6,
    batch_size=8,
    learning_rate=3e-3,
    precision="fp32",
    patience=9,
)
OBJECTIVE = Objective(blend(0.5, 2.0))


def run(toy, work, *, config=CONFIG, stop=None, examples=None, objective=OBJECTIVE, layout=None):
    model = toy["model"]()
    held_out = toy["examples"](30, seed=9)

    def validate(candidate):
        if stop:
            stop.tick()
        logits = predict_logits(candidate, held_out.input_ids, pad_token_id=0)
        return class_scores(logits, held_out.labels)

    result = train(
        model, examples or toy["examples"](), objective, config, pad_token_id=0,
        validate=validate, seed=5, work=work, progress=SilentProgress(), layout=layout,
    )  # fmt: skip
    return model, result


def equal(left, right):
    return all(torch.equal(left.state_dict()[name], right.state_dict()[name])
               for name in left.state_dict())  # fmt: skip


def test_the_toy_problem_is_learned(toy, tmp_path):
    """A loop without backward or optimizer step, like the article's, stays at one in three."""
    longer = CONFIG.model_copy(update={"num_epochs": 25})
    _, result = run(toy, tmp_path, config=longer)
    assert max(entry["accuracy"] for entry in result.state.validations) > 0.9


@pytest.mark.parametrize("crash_at", [1, 2, 4])
def test_a_crash_and_resume_ends_with_the_same_bits(toy, tmp_path, crash_at):
    """Randomness that is no function of (seed, step) makes a resumed model another one."""
    undisturbed, calm = run(toy, tmp_path / "calm")
    with pytest.raises(CrashError):
        run(toy, tmp_path / "rough", stop=StopAfter(crash_at, crash))
    resumed, rough = run(toy, tmp_path / "rough")
    assert equal(undisturbed, resumed)
    assert calm.history() == rough.history()


@pytest.mark.parametrize("updates", ["rows", "frozen"])
def test_a_resumed_run_with_other_embedding_updates_ends_with_the_same_bits(toy, tmp_path, updates):
    """Rows whose last step is not in the checkpoint come back as if they had never occurred."""

    def model():
        made = toy["model"]()
        prepare_embeddings(made.backbone.get_input_embeddings(), updates)
        return made

    prepared = {**toy, "model": model}
    start = model().backbone.get_input_embeddings().weight
    undisturbed, _ = run(prepared, tmp_path / "calm")
    with pytest.raises(CrashError):
        run(prepared, tmp_path / "rough", stop=StopAfter(3, crash))
    resumed, _ = run(prepared, tmp_path / "rough")
    assert equal(undisturbed, resumed)
    changed = (undisturbed.backbone.get_input_embeddings().weight != start).any(1)
    # The toy's texts hold no 0, 1, 3, 7 to 9 and nothing above 29.
    never = torch.tensor([0, 1, 3, 7, 8, 9, 30, 31])
    assert not changed[never].any()
    assert changed.any() == (updates == "rows")


@pytest.mark.parametrize(
    "training",
    [
        {"trainable": "lora", "lora": {"rank": 2, "dropout": 0.2}, "embedding_updates": "rows"},
        {"trainable": "last_layers", "num_trainable_layers": 1},
        {"trainable": "bias"},
    ],
)
def test_a_resumed_run_of_few_weights_ends_with_the_same_bits(toy, tmp_path, training):
    """Optimizer state is matched by position: among other weights it belongs to others."""
    config = TrainingConfig.model_validate({**CONFIG.model_dump(), **training})

    def model():
        made = toy["model"]()
        prepare_weights(made.backbone, config, seed=5)
        return made

    prepared = {**toy, "model": model}
    undisturbed, _ = run(prepared, tmp_path / "calm", config=config)
    with pytest.raises(CrashError):
        run(prepared, tmp_path / "rough", config=config, stop=StopAfter(3, crash))
    resumed, _ = run(prepared, tmp_path / "rough", config=config)
    assert equal(undisturbed, resumed)
    start = model().state_dict()
    changed = {n for n, w in undisturbed.state_dict().items() if not torch.equal(w, start[n])}
    trained = {name for name, weight in model().named_parameters() if weight.requires_grad}
    assert changed == trained


@pytest.mark.parametrize("kind", ["rows", "bucketed"])
def test_a_packed_run_resumes_in_mid_epoch_with_the_same_bits(toy, tmp_path, kind):
    """Steps laid out ahead and thrown away by the crash must neither be skipped nor run twice."""
    layout = Layout("bucketed", 24)
    if kind == "rows":
        lengths = toy["examples"]().input_ids.lengths
        layout = packed_layout("rows", lengths, batch_size=8, grouped=False, width=12)
    short = {"num_epochs": 3, "validations_per_epoch": 3, "group_by_length": False}
    config = CONFIG.model_copy(update=short)
    undisturbed, calm = run(toy, tmp_path / "calm", config=config, layout=layout)
    stop = StopAfter(5, crash)
    with pytest.raises(CrashError):
        run(toy, tmp_path / "rough", config=config, layout=layout, stop=stop)
    resumed, rough = run(toy, tmp_path / "rough", config=config, layout=layout)
    assert equal(undisturbed, resumed)
    assert calm.history() == rough.history()
    assert calm.layout == layout


def test_sigterm_saves_a_checkpoint_and_resumes_exactly(toy, tmp_path):
    """A preempted run that returns normally would register a half-trained model."""
    undisturbed, calm = run(toy, tmp_path / "calm")
    stop = StopAfter(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Preempted):
        run(toy, tmp_path / "rough", stop=stop)
    resumed, rough = run(toy, tmp_path / "rough")
    assert equal(undisturbed, resumed)
    assert calm.history() == rough.history()


def test_a_corrupt_checkpoint_is_passed_over_for_its_predecessor(toy, tmp_path, monkeypatch):
    """Loading a torn checkpoint trains on from garbage, silently."""
    monkeypatch.setattr(loop, "_LARGEST_SHARE_SAVING", math.inf)  # after every validation
    with pytest.raises(CrashError):
        run(toy, tmp_path / "rough", stop=StopAfter(4, crash))
    newest = sorted((tmp_path / "rough" / "checkpoints").glob("step-*"))[-1]
    weights = newest / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    checkpoint = load_checkpoint(tmp_path / "rough" / "checkpoints")
    assert checkpoint.state["step"] < int(newest.name.removeprefix("step-"))
    undisturbed, _ = run(toy, tmp_path / "calm")
    resumed, _ = run(toy, tmp_path / "rough")
    assert equal(undisturbed, resumed)


def test_writing_checkpoints_does_not_become_what_training_does(toy, tmp_path, monkeypatch):
    """A student that validates often spends its time on a slow disk; one that writes none loses
    all it learned when it is killed."""
    written = []

    def slowly(*arguments, **options):
        written.append(options["step"])
        time.sleep(1.0)
        save_checkpoint(*arguments, **options)

    monkeypatch.setattr(loop, "save_checkpoint", slowly)
    _, result = run(toy, tmp_path)
    assert len(result.state.validations) > 1
    assert written == [result.state.validations[0]["step"]]


def test_checkpoints_hold_no_pickle(toy, tmp_path):
    """A pickle among the checkpoints runs code on the next resume."""
    with pytest.raises(CrashError):
        run(toy, tmp_path, stop=StopAfter(3, crash))
    names = {path.suffix for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()}
    assert names == {".safetensors", ".json"}


def test_training_stops_after_patience_and_keeps_the_best_weights(toy, tmp_path):
    """Returning the last weights instead of the best ships the overfitted student."""
    config = CONFIG.model_copy(update={"num_epochs": 40, "patience": 2})
    model, result = run(toy, tmp_path, config=config)
    assert result.state.stopped_early
    best = max(result.state.validations, key=lambda entry: (entry["accuracy"], -entry["loss"]))
    assert result.state.best_step == best["step"]
    held_out = toy["examples"](30, seed=9)
    logits = predict_logits(model, held_out.input_ids, pad_token_id=0)
    assert class_scores(logits, held_out.labels)["accuracy"] == best["accuracy"]


def test_the_last_step_is_kept_where_it_is_asked_for(toy, tmp_path):
    """A step that a hundred validation rows preferred by chance, a quarter into the training."""
    seen = []

    def validate(candidate):
        seen.append({name: tensor.clone() for name, tensor in candidate.state_dict().items()})
        return {"accuracy": 1 / len(seen), "loss": float(len(seen))}

    config = TrainingConfig(
        selection="last", num_epochs=9, batch_size=8, learning_rate=3e-3, precision="fp32"
    )
    model = toy["model"]()
    result = train(
        model, toy["examples"](), OBJECTIVE, config, pad_token_id=0, seed=5,
        validate=validate, work=tmp_path, progress=SilentProgress(),
    )  # fmt: skip
    assert len(seen) == config.num_epochs > config.patience
    assert not result.state.stopped_early
    assert result.state.best_step == result.state.step == result.steps_planned
    assert result.state.best_validation["loss"] == len(seen)
    assert all(torch.equal(seen[-1][name], tensor) for name, tensor in model.state_dict().items())
    assert not torch.equal(seen[0]["head.weight"], seen[-1]["head.weight"])


def test_a_score_that_stands_still_ends_no_training_whose_loss_falls(toy, tmp_path):
    """Tagging that has decided no entity yet scored 0 five times, and step 1 was delivered."""
    losses = iter([0.9, 0.7, 0.6, 0.5, 0.55, 0.52, 0.4])
    config = CONFIG.model_copy(update={"num_epochs": 40, "patience": 2})
    result = train(
        toy["model"](), toy["examples"](), OBJECTIVE, config, pad_token_id=0, seed=5,
        validate=lambda _: {"accuracy": 0.0, "loss": next(losses)},
        work=tmp_path, progress=SilentProgress(),
    )  # fmt: skip
    told = [entry["loss"] for entry in result.state.validations]
    assert told == [0.9, 0.7, 0.6, 0.5, 0.55, 0.52]
    assert result.state.best_validation["loss"] == 0.5


def test_gold_labels_have_no_influence_on_a_pure_soft_target_student(toy, tmp_path):
    """If a Chinese label leaked into the loss, "no label in the loss" would be a lie."""
    examples = toy["examples"]()
    shuffled = toy["examples"]()
    shuffled.labels[:] = (shuffled.labels + 1) % 3
    objective = Objective(blend(1.0, 2.0))
    first, _ = run(toy, tmp_path / "a", examples=examples, objective=objective)
    second, _ = run(toy, tmp_path / "b", examples=shuffled, objective=objective)
    assert equal(first, second)


def test_gold_labels_have_no_influence_beside_pseudo_labels(toy, tmp_path):
    """The delivered student: soft targets and the teacher's own choices, whatever the gold says."""
    shuffled = toy["examples"]()
    shuffled.labels[:] = (shuffled.labels + 1) % 3
    first, _ = run(toy, tmp_path / "a", examples=pseudo_labels(toy["examples"]()))
    second, _ = run(toy, tmp_path / "b", examples=pseudo_labels(shuffled))
    assert equal(first, second)


def test_a_step_without_labels_trains_nothing_and_does_not_fail(toy, tmp_path):
    """0 times a constant has no gradient to follow: backward would raise in mid-run."""
    objective = Objective(blend(0.0))
    model, _ = run(toy, tmp_path, examples=unlabelled(toy["examples"]()), objective=objective)
    assert all(torch.isfinite(weight).all() for weight in model.state_dict().values())


def test_infinite_loss_stops_the_training(toy, tmp_path):
    """A diverged model that goes on to registration answers NaN to its users."""
    examples = toy["examples"]()
    examples.teacher_logits[3, 0] = float("nan")
    with pytest.raises(TrainingDiverged, match="nan"):
        run(toy, tmp_path, examples=examples)


def test_a_text_scores_the_same_alone_and_padded_beside_a_longer_one(toy):
    """Padding that leaks into attention or pooling makes answers depend on the neighbours."""
    model = toy["model"]().eval()
    examples = toy["examples"](20)
    together = predict_logits(model, examples.input_ids, pad_token_id=0)
    alone = predict_logits(model, examples.input_ids, pad_token_id=0, batch_tokens=1)
    torch.testing.assert_close(
        torch.from_numpy(together), torch.from_numpy(alone), rtol=1e-5, atol=1e-5
    )


def test_scoring_does_not_leave_the_model_in_evaluation_mode(toy):
    """Validation that switches dropout off for good changes every later step."""
    model = toy["model"]()
    model.train()
    predict_logits(model, toy["examples"](4).input_ids, pad_token_id=0)
    assert model.training


def test_the_objective_is_alpha_kl_plus_the_rest_cross_entropy(toy):
    """alpha means the opposite in half of the toolkits."""
    examples = toy["examples"](12)
    step = make_step(examples, torch.arange(12).numpy(), layout=Layout("padded", 0), pad_token_id=0)
    batch = step.passes[0]
    logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    terms = Objective(blend(0.3, 2.0))(
        logits, batch.labels_A, batch.teacher_logits_AC, num_examples=12, num_labelled=12
    )
    kd = (
        torch.nn.functional.kl_div(
            (logits.double() / 2).log_softmax(1),
            (batch.teacher_logits_AC.double() / 2).softmax(1),
            reduction="batchmean",
        )
        * 4
    )
    hard = torch.nn.functional.cross_entropy(logits.double(), batch.labels_A)
    assert terms["loss"].item() == pytest.approx((0.3 * kd + 0.7 * hard).item(), rel=1e-5)
    assert terms["loss_kd"].item() == pytest.approx(kd.item(), rel=1e-5)


def test_resume_state_is_plain_json(toy, tmp_path):
    """State that needs Python objects to be read back needs a pickle sooner or later."""
    with pytest.raises(CrashError):
        run(toy, tmp_path, stop=StopAfter(2, crash))
    newest = sorted((tmp_path / "checkpoints").glob("step-*"))[-1]
    assert json.loads((newest / "state.json").read_text())["step"] > 0
    shutil.rmtree(tmp_path / "checkpoints")


def test_schedules_follow_the_steps_of_the_loop(toy, tmp_path):
    """A weight that stays at its start, or starts anew after a resume, trains another student."""
    terms = [
        {"kind": "kl", "name": "kd", "weight": {"start": 1, "end": 0}},
        {"kind": "hard", "weight": {"kind": "cosine", "start": 0, "end": 1}},
    ]
    objective = Objective(ObjectiveConfig.model_validate({"terms": terms}).loss_terms)
    undisturbed, result = run(toy, tmp_path / "a", objective=objective)
    entries = result.history()["steps"]
    last = result.steps_planned - 1
    for entry in entries:  # a line is written after the step that it names
        assert entry["weight_kd"] == pytest.approx(1 - (entry["step"] - 1) / last)
    assert entries[-1]["weight_hard"] == 1
    assert entries[-1]["weight_kd"] == 0
    fixed, _ = run(toy, tmp_path / "b", objective=Objective(blend(0.5)))
    assert not equal(undisturbed, fixed)
    with pytest.raises(CrashError):
        run(toy, tmp_path / "c", objective=objective, stop=StopAfter(3, crash))
    resumed, _ = run(toy, tmp_path / "c", objective=objective)
    assert equal(undisturbed, resumed)
