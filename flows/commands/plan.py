"""`decant plan`: which steps are cached, which would run, and why."""

from rich.text import Text

from flows.console.options import Changes
from flows.console.progress import facts_text, output
from flows.orchestration.environment import prepare_environment, quieten
from flows.orchestration.planner import plan as make_plan
from flows.preflight.paths import check_places
from flows.preflight.refusals import check_before_run
from flows.recipe.loading.files import read_recipe
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.files.locations import home


def plan(
    recipe: str = "quickstart",
    *,
    set_: Changes = (),
) -> None:
    """Say which steps a run would find cached, which it would run, and why.

    Nothing is run. A step after one that will run may still turn out cached, if that comes out as
    it was.

    Parameters
    ----------
    recipe
        Name of a shipped recipe, or path of a YAML file.
    set_
        FIELD=VALUE: change a field, such as student.training.num_epochs=20, the value as in YAML,
        an item of a list by its number (data.sources.0.uri=my.csv); may be repeated. Default: none.
    """
    prepare_environment()
    quieten()
    chosen = read_recipe(recipe, set_)
    check_before_run(chosen)
    check_places(chosen, recipe)
    steps = make_plan(chosen, ArtifactStore(home()))
    console = output()
    for step in steps:
        if step.artifact is not None:
            line = f"cached  {step.name:<24} {facts_text(step.artifact.manifest.facts)}"
            console.print(Text(line.rstrip(), style="green"), soft_wrap=True)
        else:
            line = f"run     {step.name:<24} {'; '.join(step.reasons)}"
            console.print(Text(line, style="yellow"), soft_wrap=True)
    num_cached = sum(step.cached for step in steps)
    console.print(f"{num_cached} cached, {len(steps) - num_cached} to run")
