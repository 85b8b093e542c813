"""`decant status`: the last run of each recipe, step by step, and the registered models."""

from rich.console import Console
from rich.text import Text

from flows.console.progress import facts_text, output, seconds_text
from flows.orchestration.environment import answer_soon, prepare_environment, quieten
from flows.runs.pointers import RunLog, RunRecord, recipes_run
from tasks.runtime.files.locations import home


def status() -> None:
    """Show the steps of the last run of each recipe, and the aliases of the registered models."""
    prepare_environment()
    answer_soon()
    quieten()
    root = home()
    console = output()
    recipes = recipes_run(root)
    if not recipes:
        console.print(f"nothing was ever run under {root}", markup=False)
    for recipe in recipes:
        log = RunLog(root, recipe)
        if record := log.last_run():
            console.print(Text(f"{recipe}: {_state(log, record)}", style="bold"))
            for name in record.steps:
                console.print(Text(_step_line(log, record, name)), soft_wrap=True)
    _print_registry(console)


def _state(log: RunLog, record: RunRecord) -> str:
    if record.state == "running" and not log.is_alive(record):
        return f"killed, started {record.started_at}; the same command resumes it"
    if record.state == "failed":
        where = f" in {record.failed_step}" if record.failed_step else ""  # or before any step
        return f"failed{where}, {record.finished_at}: {record.error}"
    if record.state == "running":
        return f"running since {record.started_at}"
    return f"completed {record.finished_at}"


def _step_line(log: RunLog, record: RunRecord, name: str) -> str:
    step = log.step(name)
    if name == record.failed_step:
        return f"  ✗  {name:<24} failed"
    if step is None or step.run != record.run:
        # Steps are on record once they are over: one that is at work is not told from one to come.
        told = "not finished" if record.state == "running" else "not reached"
        return f"  -  {name:<24} {told}"
    how = "cached" if step.cached else f"built in {seconds_text(step.seconds)}"
    return f"  ✓  {name:<24} {how:<20} {facts_text(step.facts)}".rstrip()


def _print_registry(console: Console) -> None:
    from tasks.registration import versions

    for record in versions():
        aliases = f" ({', '.join(record.aliases)})" if record.aliases else ""
        line = f"{record.model_name} version {record.version}{aliases}, {record.created_at}"
        console.print(Text(line), soft_wrap=True)
