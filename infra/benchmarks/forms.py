"""What each form of distillation gains over plain KD: the tables of ablations.md.

    python -m infra.benchmarks.forms [FORM…] [--seeds 2] [--store FOLDER] [--set a.b=c]…
    python -m infra.benchmarks.forms --list

    FORM    names from the list below, or recipe files, such as a study's best.yaml; none: all names
    --set   changes every recipe, such as data.sources.3.max_rows_per_template=20 for fewer rows

Every form runs through the pipeline as `decant run` would, up to the evaluation, in one store:
rows, tokens, teacher and signals are built once, and a form that was run before costs nothing. A
line a form is printed as soon as it is there. Test texts are the same, so differences are paired:
intervals are of a bootstrap over test texts, of the mean over seeds. They do not cover training
again; what the same seed gave with and without the form stands beside them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_contracts.errors import TrainingDiverged, UserError
from data_contracts.evaluation import EvaluationReport
from flows.orchestration.environment import prepare_environment, quieten, stay_offline
from flows.orchestration.partial import Preparations, step_of
from flows.orchestration.runner import SilentListener, call_directly
from flows.recipe.loading.files import encoder_recipe, read_recipe
from flows.recipe.recipe import Recipe
from flows.runs.pointers import RunLog
from tasks.corpus.tables import read_table
from tasks.metrics.intervals import Interval, difference_interval, resample_scores
from tasks.metrics.measures import primary_measure
from tasks.metrics.statistics import Measure, Statistics, rows, totals
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.files.locations import home

PLAIN = "plain"
# Nothing but students is trained, and next to nothing is timed.
ALWAYS = (
    "baselines={pseudo_labels: false, supervised: false, linear: false}",
    "evaluation.speed={latency_seconds: 0.5, max_rounds: 1, round_texts: 8}",
)


@dataclass(frozen=True)
class Form:
    """A form of distillation: a recipe, changes to it, and the form it is compared with."""

    title: str
    recipe: str = "quickstart"
    changes: tuple[str, ...] = ()
    against: str = PLAIN


def _loss(kind: str, weight: float = 0.8, fields: str = "temperature: 2.0") -> tuple[str, ...]:
    """In place of the quickstart's KL term; the hard labels' part stays."""
    term = f"{{kind: {kind}, weight: {weight}, {fields}}}"
    return (f"distillation={{terms: [{term}, {{kind: hard, weight: 0.2}}]}}",)


_DEEP = "{num_layers: 6, hidden_size: 112, num_heads: 4, intermediate_size: 448, dropout: 0.2}"
_LORA = (
    "{num_epochs: 3, batch_size: 16, learning_rate: 1.0e-3, class_weights: sqrt, "
    "trainable: lora, lora: {rank: 8, alpha: 16}}"
)

FORMS: dict[str, Form] = {
    PLAIN: Form("plain KD: 0.8 · 4 · KL at T = 2, 0.2 · hard labels"),
    "hard": Form("the teacher's decisions alone", changes=("distillation.alpha=0",)),
    "soft": Form("no hard labels", changes=("distillation={alpha: 1, temperature: 2.0}",)),
    "losses": Form("recipe `losses`: JSD giving way to DKD", "losses"),
    "reverse_kl": Form("reverse KL", changes=_loss("reverse_kl")),
    "jsd": Form("JSD", changes=_loss("jsd")),
    "skew_kl": Form("skew KL", changes=_loss("skew_kl")),
    "total_variation": Form("total variation", changes=_loss("total_variation")),
    "decoupled": Form(
        "DKD, beta = 2", changes=_loss("decoupled", fields="temperature: 2.0, beta: 2.0")
    ),
    "dist": Form("DIST", changes=_loss("dist")),
    "standardised": Form("standardised logits", changes=_loss("standardised")),
    "logit_mse": Form(
        "logit MSE, centred", changes=_loss("logit_mse", weight=0.1, fields="centered: true")
    ),
    "layer_matching": Form("recipe `layer_matching`: cosine and CKA", "layer_matching"),
    "contrastive": Form(
        "layers compared by contrast",
        changes=("student.matching=[{kind: contrastive, layers: last, weight: 0.1}]",),
    ),
    "low_rank_teacher": Form(
        "a teacher fine-tuned by LoRA", changes=(f"teacher.training={_LORA}",)
    ),
    "several_teachers": Form("recipe `several_teachers`: both", "several_teachers"),
    "self_distillation": Form("recipe `self_distillation`", "self_distillation"),
    "companions": Form("recipe `companions`: layers and average", "companions"),
    "mutual": Form("recipe `mutual_quickstart`", "mutual_quickstart"),
    "adaptation": Form("recipe `adaptation_quickstart`", "adaptation_quickstart"),
    "two_languages": Form(
        "a student that reads English too",
        "language_temperature",
        ("student.training.language_temperature=null",),
    ),
    "language_temperature": Form(
        "recipe `language_temperature`", "language_temperature", against="two_languages"
    ),
    "domain_adversary": Form("recipe `domain_adversary`", "domain_adversary", (), "two_languages"),
    "wide_shallow": Form("recipe `wide_shallow`: 1 x 272", "wide_shallow"),
    "deep_narrow": Form("deep and narrow: 6 x 112", changes=(f"student.architecture={_DEEP}",)),
    "narrow_embeddings": Form("recipe `narrow_embeddings`: 48 wide", "narrow_embeddings"),
    "static_student": Form("recipe `static_student`", "static_student"),
}


@dataclass(frozen=True)
class Measured:
    """A form's students on the test rows."""

    measure: Measure
    examples: tuple[str, ...]
    seeds: tuple[Statistics, ...]
    seconds: tuple[float, ...]
    num_parameters: int

    @property
    def scores(self) -> list[float]:
        """One a seed, points."""
        return [100 * float(self.measure.score(totals(one))) for one in self.seeds]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("forms", nargs="*", metavar="FORM")
    parser.add_argument("--list", action="store_true", help="say what forms there are")
    parser.add_argument("--seeds", type=int, default=2, help="students a form")
    parser.add_argument("--store", type=Path, default=home())
    parser.add_argument("--set", action="append", default=[], help="a change of every recipe")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(f"{name:<22}{form.title}" for name, form in FORMS.items()))
        return
    if unknown := [name for name in asked.forms if name not in FORMS and not Path(name).is_file()]:
        parser.error(f"no form or file is called {', '.join(unknown)}; see --list")
    prepare_environment()
    quieten()
    stay_offline()
    changes = (*ALWAYS, f"num_seeds={asked.seeds}", *asked.set)
    for line in table(asked.forms or list(FORMS), changes, ArtifactStore(asked.store)):
        print(line, flush=True)


def table(names: Sequence[str], changes: Iterable[str], store: ArtifactStore) -> Iterator[str]:
    """The lines of the table, each as soon as its form was run."""
    measured: dict[str, Measured] = {}

    def run(name: str) -> Measured:
        if name not in measured:
            say(f"{name}: {form_of(name).title}")
            measured[name] = run_form(recipe_of(name, changes), store)
        return measured[name]

    yield "| form | weights | accuracy | minus | difference | by seed | s a student |"
    yield "|---|---|---|---|---|---|---|"
    for name in names:
        form = form_of(name)
        try:
            plain = run(form.against)
            yield line(form, run(name), plain if name != form.against else None)
        except (UserError, TrainingDiverged) as error:  # the others are worth having all the same
            yield f"| {form.title} | | {error.fact} | | | | |"


def form_of(name: str) -> Form:
    """The form of that name, or of the recipe in that file."""
    return FORMS.get(name) or Form(f"recipe `{Path(name).stem}`", name)


def recipe_of(name: str, changes: Iterable[str] = ()) -> Recipe:
    """The recipe of form `name`, under a name of its own."""
    form = form_of(name)
    own = Path(name).stem.lower().replace("_", "-")
    mine = (*form.changes, *changes, f"name=form-{own}", "tuning=null")
    return encoder_recipe(read_recipe(form.recipe, mine))


def run_form(recipe: Recipe, store: ArtifactStore) -> Measured:
    """Run `recipe` up to its evaluation, with what `store` has, and read what came out."""
    goal = step_of(recipe, "evaluation")
    log = RunLog(store.root, recipe.name)
    with log.run((*(node.name for node in goal.needs()), goal.name)) as running:
        running.step = goal.name
        prepared = Preparations(
            store, log, SilentListener(), call_directly, run_id=running.name, workers=1
        )
        evaluation = prepared.artifact(goal)
        students = [
            prepared.artifact(step_of(recipe, f"student-seed-{i}")) for i in range(recipe.num_seeds)
        ]
    seconds = tuple(student.manifest.duration_seconds for student in students)
    return read_evaluation(evaluation.path, seconds)


def read_evaluation(folder: Path, seconds: tuple[float, ...] = ()) -> Measured:
    """The students of the evaluation in `folder`.

    Args:
        seconds: that each took to train, told on.
    """
    report = EvaluationReport.model_validate_json((folder / "report.json").read_bytes())
    found = [
        read_table(path).sort_by("example_id")
        for path in sorted((folder / "statistics").glob("student_*.parquet"))
    ]
    student = report.systems["student"]
    return Measured(
        primary_measure(report.primary.name, target_language=report.target_language),
        tuple(found[0]["example_id"].to_pylist()),
        tuple(rows(np.array(one["statistics"].to_pylist())) for one in found),
        seconds,
        student.num_parameters or 0,
    )


def difference(of: Measured, against: Measured) -> tuple[Interval, list[float]]:
    """The mean over seeds of `of` minus `against`, a fraction, and what each seed gave, points.

    Raises: ValueError if the test examples are not the same.
    """
    if of.examples != against.examples:
        raise ValueError(
            f"{len(of.examples)} and {len(against.examples)} test examples, not the same ones: "
            "forms are compared on one test set"
        )
    both = resample_scores([of.seeds, against.seeds], score=of.measure.score)
    by_seed = [one - other for one, other in zip(of.scores, against.scores, strict=False)]
    return difference_interval(*both), by_seed


def line(form: Form, of: Measured, against: Measured | None) -> str:
    """A form's line of the table."""
    scores = of.scores
    spread = f" ± {statistics.stdev(scores):.1f}" if len(scores) > 1 else ""
    compared = " | | "
    if against is not None:
        gain, by_seed = difference(of, against)
        low, high = 100 * gain.low, 100 * gain.high
        told = ", ".join(f"{one:+.1f}" for one in by_seed)
        other = "plain KD" if form.against == PLAIN else FORMS[form.against].title
        compared = f"{other} | {100 * gain.estimate:+.1f} [{low:+.1f}, {high:+.1f}] | {told}"
    seconds = f"{statistics.median(of.seconds):.0f}" if of.seconds else ""
    return (
        f"| {form.title} | {of.num_parameters:,} | {statistics.mean(scores):.1f}{spread} "
        f"| {compared} | {seconds} |"
    )


def say(message: str) -> None:
    """Progress, apart from the table."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
