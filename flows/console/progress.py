"""What a person sees while a recipe runs: a live bar on a terminal, plain lines elsewhere.

Both write to stderr, so that stdout holds the result alone. Bars show rate and remaining time;
plain lines come at most one every few seconds, so that a log of an hour stays readable.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from flows.orchestration.runner import LISTENER, Listener
from tasks.runtime.redaction import redact
from tasks.runtime.stages import StageOutcome

_LINE_EVERY_SECONDS = 5.0
_RESUMED_SECONDS = 0.05
_MAX_FACTS = 4


def seconds_text(seconds: float) -> str:
    """`3.2 s` or `4 min 05 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def facts_text(facts: dict[str, float | int | str]) -> str:
    """The first few facts of a step as `rows 2,348 · accuracy 0.9532`."""
    shown = []
    for name, value in list(facts.items())[:_MAX_FACTS]:
        if isinstance(value, int):
            text = f"{value:,}"
        else:
            text = f"{value:.4g}" if isinstance(value, float) else value
        shown.append(f"{name.replace('_', ' ')} {text}")
    return " · ".join(shown)


def _finished_text(name: str, outcome: StageOutcome, seconds: float) -> str:
    how = "cached" if outcome.cached else f"built in {seconds_text(seconds)}"
    facts = facts_text(outcome.artifact.manifest.facts)
    return f"✓ {name:<24} {how:<20} {facts}".rstrip()


class TerminalListener:
    """A live line of each running step, and a lasting line for each finished one."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`."""
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[step]}"),
            TextColumn("{task.description}", style="dim"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            _RateColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=console,
            transient=True,
        )
        self._running: dict[str, _StepBar] = {}

    def __enter__(self) -> TerminalListener:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def say(self, message: str) -> None:
        """Print a lasting line."""
        _say(self._bars, message)

    def step_started(self, name: str) -> _StepBar:
        """Show the step without a total yet."""
        self._running[name] = _StepBar(self._bars, name)
        return self._running[name]

    def step_finished(self, name: str, outcome: StageOutcome, seconds: float) -> None:
        """Print its lasting line in place of its bar."""
        self._running.pop(name).remove()
        self._bars.console.print(Text(_finished_text(name, outcome, seconds)), soft_wrap=True)

    def step_left(self, name: str) -> None:
        """Take its bar away."""
        self._running.pop(name).remove()


class _StepBar:
    """The live line of one step."""

    def __init__(self, bars: Progress, step: str) -> None:
        self._bars = bars
        self._step = step
        self._task = self._add("", None, "")

    def start(self, description: str, *, total: int, unit: str) -> None:
        """Show a bar of `total` units."""
        # A new task, because rate and remaining time are measured from its beginning.
        self.remove()
        self._task = self._add(redact(description), total, unit)

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        """Move the bar."""
        if note:
            self._bars.update(self._task, advance=amount, note=redact(note))
        else:
            self._bars.update(self._task, advance=amount)

    def say(self, message: str) -> None:
        """Print a lasting line."""
        _say(self._bars, message)

    def validated(self, number: int, figures: dict[str, float]) -> None:
        """Nothing: the bar shows the loss."""

    def remove(self) -> None:
        """Take the line away."""
        self._bars.remove_task(self._task)

    def _add(self, description: str, total: int | None, unit: str) -> TaskID:
        return self._bars.add_task(description, step=self._step, unit=unit, note="", total=total)


def _say(bars: Progress, message: str) -> None:
    bars.console.print(Text(f"  {redact(message)}", style="dim"), soft_wrap=True)


class _RateColumn(TextColumn):
    """Units a second."""

    def render(self, task) -> Text:
        """`412/s`, or nothing before the first units are done."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s")


class LineListener:
    """Plain lines for logs and pipes."""

    def __init__(self, stream=None) -> None:
        """Write to `stream`, by default stderr."""
        self._stream = stream or sys.stderr

    def __enter__(self) -> LineListener:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def say(self, message: str) -> None:
        """One line."""
        self._print(f"  {redact(message)}")

    def step_started(self, name: str) -> _StepLines:
        """Nothing yet: most steps are over at once."""
        return _StepLines(name, self._print)

    def step_finished(self, name: str, outcome: StageOutcome, seconds: float) -> None:
        """One line a step."""
        self._print(_finished_text(name, outcome, seconds))

    def step_left(self, name: str) -> None:
        """Nothing: its lines are printed."""

    def _print(self, line: str) -> None:
        # One write a line: steps that run side by side share the stream.
        self._stream.write(f"{line}\n")
        self._stream.flush()


class _StepLines:
    """What one step reports, as lines."""

    def __init__(self, step: str, print_line: Callable[[str], None]) -> None:
        self._step = step
        self._print = print_line
        self._description = self._unit = ""
        self._done = self._resumed_at = self._total = 0
        self._started_at = self._told_at = time.monotonic()

    def start(self, description: str, *, total: int, unit: str) -> None:
        """Count from zero."""
        self._description, self._unit = redact(description), unit
        self._done, self._resumed_at, self._total = 0, 0, total
        self._started_at = time.monotonic()

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        """A line with rate and remaining time, if the last one is some seconds old."""
        self._done += amount
        now = time.monotonic()
        if now - self._started_at < _RESUMED_SECONDS:
            self._resumed_at = self._done  # what a checkpoint held was not done now
        if now - self._told_at < _LINE_EVERY_SECONDS:
            return
        self._told_at = now
        rate = (self._done - self._resumed_at) / max(now - self._started_at, 1e-9)
        left = f", {seconds_text((self._total - self._done) / rate)} left" if rate else ""
        self._print(
            f"  {self._step}: {self._description}: {self._done:,} of {self._total:,} "
            f"{self._unit}, {rate:,.1f}/s{left} {redact(note)}".rstrip()
        )

    def say(self, message: str) -> None:
        """One line."""
        self._print(f"  {self._step}: {redact(message)}")

    def validated(self, number: int, figures: dict[str, float]) -> None:
        """Nothing: lines show the loss."""


@contextmanager
def listening() -> Iterator[Listener]:
    """Show progress on stderr while the block lasts: bars on a terminal, lines elsewhere."""
    console = Console(stderr=True)
    with TerminalListener(console) if console.is_terminal else LineListener() as listener:
        token = LISTENER.set(listener)
        try:
            yield listener
        finally:
            LISTENER.reset(token)


def output() -> Console:
    """Console for results on stdout; wide enough for a table where there is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=120)
