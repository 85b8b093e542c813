"""The side of a study that is Optuna's: how values are drawn, and what is kept of a trial."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from flows.recipe.search_space import CategoricalParameter, FloatParameter, Parameter, Tuning
from flows.studies.results import State, TrialRecord

if TYPE_CHECKING:
    import optuna

_STATES: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned"}


def open_study(folder: Path, tuning: Tuning, *, lower_is_better: bool) -> optuna.study.Study:
    """The study kept in `folder`, begun if there is none."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if tuning.pruner == "median":
        pruner = optuna.pruners.MedianPruner(
            n_startup_trials=tuning.num_startup_trials, n_warmup_steps=tuning.warmup_validations
        )
    return optuna.create_study(
        study_name="study",
        storage=f"sqlite:///{folder / 'study.db'}",
        sampler=sampler_of(tuning, 0),
        pruner=pruner,
        direction="minimize" if lower_is_better else "maximize",
        load_if_exists=True,
    )


def sampler_of(tuning: Tuning, seed: int) -> optuna.samplers.BaseSampler:
    """What draws the next value, from a stream of its own."""
    import optuna

    if tuning.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    # Each parameter by itself: drawn and stored one by one, so that a kill loses none.
    return optuna.samplers.TPESampler(
        n_startup_trials=tuning.num_startup_trials, multivariate=False, seed=seed
    )


def drawn_value(trial: optuna.trial.Trial, parameter: Parameter) -> JsonValue:
    """The value of `parameter` in `trial`: drawn now, unless it was drawn before."""
    path = parameter.path
    if isinstance(parameter, CategoricalParameter):
        label = trial.suggest_categorical(path, parameter.labels)
        return parameter.choices[parameter.labels.index(label)]
    if isinstance(parameter, FloatParameter):
        return trial.suggest_float(path, parameter.low, parameter.high, log=parameter.log)
    return trial.suggest_int(
        path, parameter.low, parameter.high, step=parameter.step, log=parameter.log
    )


def record_of(trial: optuna.trial.FrozenTrial, parameters: tuple[Parameter, ...]) -> TrialRecord:
    """What the database holds of a trial."""
    values: dict[str, JsonValue] = {}
    for parameter in parameters:
        if parameter.path in trial.params:
            found = trial.params[parameter.path]
            if isinstance(parameter, CategoricalParameter):
                found = parameter.choices[parameter.labels.index(found)]
            values[parameter.path] = found
    attributes = trial.user_attrs
    return TrialRecord(
        number=trial.number,
        state=_STATES.get(trial.state.name, "failed"),
        value=trial.value if trial.state.name == "COMPLETE" else None,
        values=values,
        reason=attributes.get("reason", ""),
        latency_ms_p50=attributes.get("latency_ms_p50"),
        flops=attributes.get("flops"),
        num_parameters=attributes.get("num_parameters"),
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna warns of a pruned trial without a report; the reason is kept beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
