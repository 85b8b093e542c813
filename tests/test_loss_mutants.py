"""The tests of the losses can fail: each mutant below is a disaster of some toolkit, and is caught.

A mutant is a module with one line changed, as a slip would change it. A fresh interpreter imports
torch once and forks; each child imports the mutant in the module's place and runs the tests of its
family until the first failure.
"""

import contextlib
import gc
import importlib.util
import json
import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRAINING = "tasks/training"
pytestmark = pytest.mark.slow
# Without plugins, which take seconds to import.
OPTIONS = (
    "-x",
    "-q",
    "--import-mode=importlib",
    f"--config-file={os.devnull}",
    f"--rootdir={ROOT}",
)
# name: (module, the tests that must fail, the line as it is, the line as it must not be)
# Of a file whose tests train, one test is named.
MUTANTS = {
    "T² dropped": (
        "losses/divergences", "losses/test_divergences",
        "valid_sum(divergence_BC, mask_B) * temperature**2 /", "valid_sum(divergence_BC, mask_B) /",
    ),
    "KL in the wrong direction": (
        "losses/divergences", "losses/test_divergences",
        "return _scaled(_kl(log_p, log_q),", "return _scaled(_kl(log_q, log_p),",
    ),
    "reverse KL in the wrong direction": (
        "losses/divergences", "losses/test_divergences",
        "return _scaled(_kl(log_q, log_p),", "return _scaled(_kl(log_p, log_q),",
    ),
    "mean over classes for batchmean": (
        "losses/divergences", "losses/test_divergences",
        "return valid_sum(divergence_BC, mask_B) *",
        "return valid_sum(divergence_BC, mask_B) / divergence_BC.shape[-1] *",
    ),
    "mean over the pass for the whole step": (
        "losses/divergences", "losses/test_divergences",
        "temperature**2 / normalizer", "temperature**2 / len(divergence_BC)",
    ),
    "normalised twice": (
        "losses/divergences", "losses/test_divergences",
        "temperature**2 / normalizer", "temperature**2 / normalizer / normalizer",
    ),
    "masked positions in the sum": (
        "losses/divergences", "losses/test_divergences",
        "valid_sum(divergence_BC, mask_B)", "valid_sum(divergence_BC, None)",
    ),
    "mask ignored everywhere": (
        "losses/positions", "losses/test_divergences",
        "    if mask_B is None:\n        return values_BD\n",
        "    if mask_B is not False:\n        return values_BD\n",
    ),
    "mask applied after the loss, where NaN stays NaN": (
        "losses/positions", "losses/test_divergences",
        "values_BD.masked_fill(~mask_B.reshape(*mask_B.shape, *([1] * trailing)), 0.0)",
        "values_BD * mask_B.reshape(*mask_B.shape, *([1] * trailing))",
    ),
    "probabilities where logarithms belong": (
        "losses/divergences", "losses/test_divergences",
        'F.kl_div(log_q, log_p, reduction="none", log_target=True)',
        'F.kl_div(log_q.exp(), log_p.exp(), reduction="none")',
    ),
    "log of a softmax": (
        "losses/positions", "losses/test_divergences",
        "student = F.log_softmax(cleared(student_logits_BC, mask_B) / temperature, dim=-1)",
        "student = F.softmax(cleared(student_logits_BC, mask_B) / temperature, dim=-1).log()",
    ),
    "temperature for the student alone": (
        "losses/positions", "losses/test_divergences",
        "F.log_softmax(cleared(constant(teacher_logits_BC), mask_B) / temperature,",
        "F.log_softmax(cleared(constant(teacher_logits_BC), mask_B),",
    ),
    "arithmetic in 16 bits": (
        "losses/positions", "losses/test_divergences",
        "return values if values.dtype == torch.float64 else values.float()", "return values",
    ),
    "a teacher that is trained": (
        "losses/positions", "losses/test_divergences",
        "return teacher.clone() if teacher.is_inference() else teacher.detach()", "return teacher",
    ),
    "another toolkit's beta": (
        "losses/divergences", "losses/test_divergences",
        "log_m = _log_mixture(log_p, log_q, beta)", "log_m = _log_mixture(log_q, log_p, beta)",
    ),
    "weights of the JSD swapped": (
        "losses/divergences", "losses/test_divergences",
        "beta * _kl(log_p, log_m) + (1 - beta) * _kl(log_q, log_m)",
        "(1 - beta) * _kl(log_p, log_m) + beta * _kl(log_q, log_m)",
    ),
    "hard labels averaged by torch": (
        "losses/hard", "losses/test_hard", 'reduction="sum"', 'reduction="mean"',
    ),
    "unlabelled rows not ignored": (
        "losses/hard", "losses/test_hard", "ignore_index=IGNORE_INDEX", "ignore_index=0",
    ),
    "T² in one part of decoupled KD": (
        "losses/logits", "losses/test_logits",
        "alpha * target_part +", "alpha * target_part / temperature**2 +",
    ),
    "the target among the others": (
        "losses/logits", "losses/test_logits",
        "logits_BC.masked_fill(is_target_BC, -torch.inf).logsumexp(-1)", "logits_BC.logsumexp(-1)",
    ),
    "padding in the mean of a class": (
        "losses/correlations", "losses/test_correlations",
        "cleared(values_BC, mask_B).sum(0)", "values_BC.sum(0)",
    ),
    "half of the binary KL": (
        "losses/multi_label", "losses/test_multi_label", "(yes + no).mean", "yes.mean",
    ),
    "padding in the softmax of a text": (
        "objectives/unit_distributions", "objectives/test_unit_distributions", "ABSENT = -1e4",
        "ABSENT = 0.0",
    ),
    "the end where the start belongs": (
        "objectives/unit_distributions", "objectives/test_unit_distributions",
        "enumerate((1, 2))", "enumerate((2, 1))",
    ),
    "a teacher renormalised over its top k": (
        "losses/topk", "losses/test_topk",
        "    log_p = at_least_float32(log_p).log_softmax(-1)",
        "    log_p = log_p - log_p[..., : ids_BK.shape[-1]].logsumexp(-1, keepdim=True)",
    ),
    "no tail": (
        "losses/topk", "losses/test_topk",
        "if num_others := student.shape[-1] - ids_BK.shape[-1]:", "if num_others := 0:",
    ),
    "a tail that is not softened": (
        "losses/topk", "losses/test_topk",
        "(spread + (tail_B - spread) / temperature)", "(tail_B)",
    ),
    "other divergences of tokens softened twice": (
        "losses/topk", "losses/test_topk",
        "mask_B, temperature=1.0, normalizer", "mask_B, temperature=temperature, normalizer",
    ),
    "a teacher that rules out tokens without a floor": (
        "losses/topk", "losses/test_topk",
        "log_p_BE.clamp(min=_LEAST_LOG_PROB).to(log_q_BE.dtype)", "log_p_BE.to(log_q_BE.dtype)",
    ),
    "teachers' logits averaged": (
        "losses/teachers", "losses/test_teachers", 'if average == "logits":', "if True:",
    ),
    "padding looked at": (
        "losses/attention", "losses/test_attention",
        "student.masked_fill(unseen, lowest)", "student",
    ),
    "texts weighed by the square of their length": (
        "losses/attention", "losses/test_attention",
        "num_keys_B = pairs_BLL.any(-2).sum(-1).clamp(min=1)",
        "num_keys_B = mask_BL.sum().expand(len(mask_BL))",
    ),
    "padding related to texts": (
        "losses/geometry", "losses/test_geometry",
        "distances = distances.masked_fill(~pairs_BB, 0.0)", "distances = distances * 1.0",
    ),
    "padding among the wrong answers": (
        "losses/embeddings", "losses/test_embeddings",
        "similarities_BB.masked_fill(~mask_B.unsqueeze(0), lowest)", "similarities_BB * 1.0",
    ),
    "wrong answers counted by pass": (
        "losses/embeddings", "losses/test_embeddings",
        "-cleared(right_B, mask_B).sum() / normalizer",
        "-cleared(right_B, mask_B).mean()",
    ),
    "a distance that shrinks with the width": (
        "losses/embeddings", "losses/test_embeddings",
        ".square().sum() / normalizer", ".square().mean(-1).sum() / normalizer",
    ),
    "heads added up": (
        "losses/attention", "losses/test_attention",
        "(student - teacher).square().mean(1)", "(student - teacher).square().sum(1)",
    ),
    "padding in the softmax of attention": (
        "losses/attention", "losses/test_attention",
        "teacher.masked_fill(unseen, lowest)", "teacher",
    ),
    "a sum over the width": (
        "losses/hidden", "losses/test_hidden", ".square().mean(-1).sum()", ".square().sum()",
    ),
    "a weight forgotten": (
        "objectives/objective", "objectives/test_objective", "total = total + weight * value",
        "total = total + value",
    ),
    "the step forgotten": (
        "objectives/objective", "objectives/test_objective",
        "value_at(value, step, total_steps", "value_at(value, 0, total_steps",
    ),
    "labelled rows divided by all": (
        "objectives/objective", "objectives/test_objective",
        'options["normalizer"] = num_labelled', 'options["normalizer"] = len(labels_B)',
    ),
    "a schedule without its end": (
        "optimization/schedules", "optimization/test_schedules", "        return value.end\n",
        "        return value.start\n",
    ),
    "a weight of a term over tokens forgotten": (
        "sequences/losses", "sequences/test_losses",
        "loss is None else loss + term.weight * value", "loss is None else loss + value",
    ),
    "one divergence for terms of every temperature": (
        "sequences/losses", "sequences/test_losses",
        "if term.temperature not in coarse:",
        "coarse = {term.temperature: v for v in coarse.values()}\n            if not coarse:",
    ),
    "the step forgotten by a term over tokens": (
        "sequences/objective", "sequences/test_objective",
        "value_at(term.weight, step, total_steps", "value_at(term.weight, 0, total_steps",
    ),
    "the student's own texts as labels": (
        "sequences/objective", "sequences/test_objective",
        'weight / kept * whole) for term in terms if term.kind != "hard"',
        'weight / kept * whole) for term in terms',
    ),
    # A teacher in training mode teaches the noise of its dropout: wherever one is asked.
    "signals of a teacher in training mode": (
        "fitting/inference", "fitting/test_inference",
        "        evaluation_mode(model),\n        # Under",
        "        torch.inference_mode(model.train() is model),\n        # Under",
    ),
    "predictions of each token by a teacher in training mode": (
        "sequences/token_signals", "sequences/test_on_policy",
        "    with evaluation_mode(teacher), ", "    teacher.train()\n    with ",
    ),
    "a teacher in training mode beside its student": (
        "auxiliary/layer_matching", "auxiliary/test_layer_matching",
        "teacher.requires_grad_(False).eval()", "teacher.requires_grad_(False).train()",
    ),
    "padding compared token by token": (
        "auxiliary/layer_matching", "auxiliary/test_layer_views",
        "return loss(mine, theirs, mask_BL, normalizer",
        "return loss(mine, theirs, mask_BL | True, normalizer",
    ),
    "tokens divided by texts": (
        "auxiliary/layer_matching", "auxiliary/test_layer_views",
        "normalizer = num_tokens if one.term.reads_tokens else len(step.rows)",
        "normalizer = len(step.rows)",
    ),
    "attention of the layer below": (
        "auxiliary/layer_views", "auxiliary/test_layer_views",
        "recorded[layer - 1]", "recorded[layer - 2]",
    ),
    "the lowest layers for the topmost": (
        "auxiliary/matching_config",
        "auxiliary/test_layer_matching::test_the_k_topmost_layers_are_paired_from_the_top",
        "return tuple((student - below, teacher - below)",
        "return tuple((count - below, count - below)",
    ),
    "bridges that are not clipped": (
        "engine/stepping",
        "auxiliary/test_layer_matching::test_bridges_are_clipped_with_the_student",
        "clip_gradients(self._model.parameters(),",
        'clip_gradients(getattr(self._model, "student", self._model).parameters(),',
    ),
    "bridges that a resumed run builds anew": (
        "engine/loop",
        "auxiliary/test_layer_matching::"
        "test_bridges_are_trained_and_resumed_and_the_teacher_stays_as_it_is"
        "[hidden_mse]",
        "load_whole(model, checkpoint.model)",
        "load_whole(model, {**checkpoint.model, **{name: weight for name, weight in "
        'model.state_dict().items() if "projections" in name}})',
    ),
    "a teacher in the checkpoints of its student": (
        "auxiliary/layer_matching",
        "auxiliary/test_layer_matching::test_checkpoints_hold_the_bridges_and_no_weight_of_the_teacher",
        "    bridges = nn.ModuleList(projections)\n",
        "    bridges = nn.ModuleList([*projections, teacher])\n",
    ),
    "a peer left in evaluation mode": (
        "engine/stepping", "mutual/test_objective",
        "        self._model.train()\n", "        self._model.train(self._model.training)\n",
    ),
    "a peer that teaches itself": (
        "mutual/objective", "mutual/test_objective", "enumerate(shared) if j != k]",
        "enumerate(shared)]",
    ),
    "a running average in training mode": (
        "auxiliary/network", "auxiliary/test_ema",
        "self.part(reader).eval()", "self.part(reader).train(mode)",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def exit_codes():
    """What the tests said to each mutant: pytest's exit codes."""
    found = subprocess.run(
        [sys.executable, __file__],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(exit_codes, name):
    """Tests that pass over a wrong loss pass over a year of wrong students."""
    assert exit_codes[name] == pytest.ExitCode.TESTS_FAILED, f"survived: {name}"


def test_the_loss_as_it_is_passes(exit_codes):
    """Mutants caught by a broken harness."""
    assert exit_codes[""] == pytest.ExitCode.OK


def mutated(name):
    """Path of the module, and its text with the line changed; every line is found once."""
    module, _, line, slip = MUTANTS[name]
    path = ROOT / TRAINING / f"{module}.py"
    text = path.read_text(encoding="utf-8")
    assert text.count(line) == 1, f"{name}: {line!r} is {text.count(line)} times in {path}"
    return path, text.replace(line, slip)


class Mutant(SourceFileLoader):
    """Loads a changed text as the module; found before the module itself."""

    def __init__(self, path, text):
        module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        super().__init__(module, str(path))
        self.text = text

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def get_code(self, fullname):
        return compile(self.text, self.path, "exec")


def exit_code_of(name):
    """Run a mutant's tests in a child; the loss as it is if no name is given."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = pytest.ExitCode.INTERNAL_ERROR
    try:
        if name:
            sys.meta_path.insert(0, Mutant(*mutated(name)))
        tests = MUTANTS[name][1] if name else "losses/test_hard"
        file, separator, test = tests.partition("::")
        path = ROOT / "tests" / TRAINING / f"{file}.py"
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            # Only the fixtures of training's tests: those above them are of whole pipelines.
            fixtures = f"--confcutdir={ROOT / 'tests' / TRAINING}"
            code = pytest.main([f"{path}{separator}{test}", fixtures, *OPTIONS])
    finally:
        os._exit(code)


if __name__ == "__main__":
    # Imported once for all children, with the modules of ours that lie below training.
    import scipy.spatial.distance
    import scipy.stats  # noqa: F401
    import torch
    from transformers import BertModel, ElectraModel  # noqa: F401  # with the modules that are slow

    import tasks.modeling.heads.classifier
    import tasks.problems.matching  # noqa: F401

    assert not [name for name in sys.modules if name.startswith("tasks.training")]
    torch.set_num_threads(1)
    gc.freeze()  # a child that collects garbage would look at all that its parent has
    print(json.dumps({name: exit_code_of(name) for name in ("", *MUTANTS)}))
