"""`infra/benchmarks/run`: sections one by one, each in a process of its own, then the report.

A section's result is a JSON file under results/; sections that have one are skipped unless they are
named. So an interrupted run goes on where it stopped. `report` renders speed.md, and the tables of
the other pages, from what is there.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

from infra.benchmarks.settings import HERE, Settings, needs_sib200, say
from tasks.runtime.machine.device import has_cuda

SECTIONS = {
    "train-quickstart": ("training", "distillation to equal quality, quickstart data"),
    "train-sib200": ("training", "the same on sib200, with a multilingual teacher"),
    "train-seeds": ("several_seeds", "the quickstart's three students, as a recipe trains them"),
    "train-seeds-sib200": ("several_seeds", "those of sib200"),
    "tokenize": ("tokenizing", "texts to token ids in Parquet"),
    "load": ("loading", "training batches from Parquet"),
    "score": ("scoring", "a student's answers to many texts"),
    "memory": ("memory", "peak memory and seconds against rows"),
    "gpu": ("gpu", "the engine on a GPU, against its targets and Hugging Face Trainer"),
}
_CHILD = "--in-this-process"


def main() -> int:
    """Run the sections that the command line names; 1 if one failed, 2 if one cannot run here."""
    arguments = _parser().parse_args()
    settings = _settings(arguments)
    named = [name for name in arguments.sections if name not in ("all", "report")]
    if arguments.in_this_process:
        return _measure(named[0], settings)
    if "gpu" in named and _lacks_gpu("gpu", settings):
        say("gpu: no CUDA device, nothing to measure")
        return 2
    failed = []
    if arguments.sections != ["report"]:
        for name in named or SECTIONS:
            failed += _section(name, settings, again=bool(named))
    if not settings.tiny:
        from infra.benchmarks.report import write_report
        from infra.benchmarks.tables import write_pages

        write_pages()
        say(f"wrote {write_report(settings.results, HERE)}")
    if failed:
        say(f"failed: {', '.join(failed)}; the log says why")
    return 1 if failed else 0


def _section(name: str, settings: Settings, *, again: bool) -> list[str]:
    """Run one section in a child process; its name in a list if it failed."""
    target = settings.results / f"{name}.json"
    if target.exists() and not again and not settings.tiny:
        say(f"{name}: has a result, skipped (name it to measure it again)")
        return []
    if needs_sib200(name) and not (settings.sib200 and settings.multilingual_model):
        say(f"{name}: skipped, needs --sib200 DIR and --multilingual-model DIR")
        return []
    if _lacks_gpu(name, settings):
        say(f"{name}: no CUDA device, skipped")
        return []
    say(f"{name}: {SECTIONS[name][1]}")
    started = time.monotonic()
    log = settings.work / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    options = [part for part in sys.argv[1:] if part not in (*SECTIONS, "all")]
    command = [sys.executable, "-m", "infra.benchmarks", name, *options, _CHILD]
    with log.open("w", encoding="utf-8") as errors:
        done = subprocess.run(command, stderr=errors, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        tail = log.read_text(encoding="utf-8").splitlines()[-8:]
        say(f"{name}: FAILED after {seconds:.0f} s\n    " + "\n    ".join([*tail, str(log)]))
        return [name]
    say(f"{name}: done in {seconds:.0f} s")
    return []


def _lacks_gpu(name: str, settings: Settings) -> bool:
    """Whether a section needs a GPU that this machine has not; smoke runs need none."""
    return name == "gpu" and not settings.tiny and not has_cuda()


def _measure(name: str, settings: Settings) -> int:
    """Measure one section here and write its JSON file."""
    from infra.benchmarks.machine import describe

    started, machine = time.monotonic(), describe()
    module = importlib.import_module(f"infra.benchmarks.{SECTIONS[name][0]}")
    found = module.run(settings, name)
    result = {
        "section": name,
        "settings": settings.record(),
        "machine": machine,
        "seconds": round(time.monotonic() - started, 1),
        **found,
    }
    settings.results.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1, ensure_ascii=False)
    (settings.results / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return 0


def _settings(arguments: argparse.Namespace) -> Settings:
    work = arguments.work.absolute()
    tiny = arguments.tiny
    results = arguments.results or (work / "tiny-results" if tiny else HERE / "results")
    rows = arguments.rows or ((200, 1000) if tiny else (10_000, 100_000, 1_000_000))
    return Settings(
        tiny=tiny,
        num_rounds=arguments.rounds or (1 if tiny else 7),
        work=work,
        results=results,
        sib200=arguments.sib200,
        multilingual_model=arguments.multilingual_model,
        memory_rows=tuple(rows),
        systems=tuple(arguments.systems.split(",")) if arguments.systems else (),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="infra/benchmarks/run",
        description="Measure Decant against what a user would pick instead.",
        epilog="\n".join(f"  {name:<20}{words}" for name, (_, words) in SECTIONS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = [*SECTIONS, "all", "report"]
    parser.add_argument(
        "sections", nargs="*", default=["all"], choices=known, metavar="SECTION",
        help="sections to measure (again); all: those without a result; report: only render",
    )  # fmt: skip
    parser.add_argument("--tiny", action="store_true", help="smoke run; results stay in --work")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (7; tiny: 1)")
    parser.add_argument("--rows", type=_numbers, help="table sizes of memory: 10000,1000000")
    parser.add_argument(
        "--systems",
        help="training: only these runs, such as decant,textbrewer,rates; others stay as measured",
    )
    parser.add_argument(
        "--sib200",
        type=Path,
        help="folder with <split>.<language>.parquet, columns index_id, text, label (SIB-200's "
        "tables, their category called label)",
    )
    parser.add_argument("--multilingual-model", type=Path, help="folder of a multilingual encoder")
    parser.add_argument("--results", type=Path, help="folder of the JSON files")
    parser.add_argument(
        "--work", type=Path, default=Path(".benchmarks"), help="artifacts, scratch, logs"
    )
    parser.add_argument(_CHILD, action="store_true", help=argparse.SUPPRESS)
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part.replace("_", "")) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
