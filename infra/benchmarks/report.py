"""speed.md from the sections' JSON files: every figure with its quartiles, machine and command.

Rendering measures nothing, so wording can change without a run. What is slower than a peer is
printed like what is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from infra.benchmarks import gpu_figures, plots, seeds_table
from infra.benchmarks.machine import moment
from infra.benchmarks.measured import NotMeasuredError, read_result
from infra.benchmarks.settings import needs_sib200

NAMES = {
    "decant": "**Decant**",
    "decant_signals": "Decant, teacher signals alone (once, not an epoch)",
    "trainer_default": "Hugging Face Trainer KD, padded to max_length",
    "trainer_tuned": "Hugging Face Trainer KD, tuned",
    "trainer_tuned_bf16": "Hugging Face Trainer KD, tuned, bf16",
    "trainer_tuned_cached": "Hugging Face Trainer KD, tuned, logits cached by hand",
    "textbrewer": "TextBrewer GeneralDistiller",
    "decant_bf16": "Decant, student in bf16 too (`precision: auto`)",
    "trainer_whole_vocabulary": "Hugging Face Trainer KD, tuned, student with the whole vocabulary",
    "textbrewer_whole_vocabulary": "TextBrewer, student with the whole vocabulary",
    "sentence_transformers_mse": "sentence-transformers MSELoss (another objective)",
    "datasets_map": "datasets.map, processes",
    "datasets_map_rust_threads": "datasets.map, one process, Rust threads",
    "decant_open": "Decant, Parquet files to examples",
    "decant_int8": "**Decant**, `decant score`, int8",
    "decant_torch": "Decant, `decant score`, torch",
    "pipeline": "transformers.pipeline, batch 1 (its default)",
    "pipeline_32": "transformers.pipeline, batch 32",
    "onnx_fp32": "ONNX Runtime fp32, batches of 32 in order",
    "onnx_int8": "ONNX Runtime int8, batches of 32 in order",
    "sentence_transformers": "sentence-transformers encode (no answers)",
}


def write_report(results: Path, target: Path) -> Path:
    """Write `speed.md` and its plots into `target` from the JSON files in `results`."""
    found = {path.stem: read_result(path) for path in sorted(results.glob("*.json"))}
    lines = [
        "# Speed",
        "",
        "Decant against what a user would pick instead, on one machine. Rates are medians over "
        "rounds in turns, with quartiles in brackets, and *times* is Decant's over the other's in "
        "each; trainings to the end are one run each, unless rounds are named, and *times* is "
        "the other's seconds over Decant's: above 1 Decant is faster. Seconds and rates of a CPU "
        "are told to show what the ratios were made of: on another machine, or day, they are "
        "others. Written by `infra/benchmarks/run report` from `results/*.json`; "
        "`infra/benchmarks/run` measures what has no result yet.",
        "",
    ]
    for name, section in (
        ("train-quickstart", partial(_training, "train-quickstart")),
        ("train-sib200", partial(_training, "train-sib200")),
        ("train-seeds", partial(_several_seeds, "train-seeds")),
        ("train-seeds-sib200", partial(_several_seeds, "train-seeds-sib200")),
        ("tokenize", _tokenizing),
        ("load", _loading),
        ("score", _scoring),
        ("memory", _memory),
        ("gpu", _gpu),
    ):
        if name in found:
            lines += _told(name, found[name], section, target)
    path = target / "speed.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _told(
    name: str, result: Mapping, section: Callable[[Mapping, Path], list[str]], target: Path
) -> list[str]:
    """A section; of a result that lacks a field that was not measured in its day, one line."""
    try:
        return section(result, target)
    except NotMeasuredError as missing:
        command = _command(result, name)
        return [
            f"{name}: measured before {missing} was recorded; `{command}` measures it again.",
            "",
        ]


def _training(name: str, result: Mapping, target: Path) -> list[str]:
    material, aims = result["material"], result["targets"]
    whole = {system: curve["seconds"] for system, curve in result["curves"].items()}
    parts = result["curves"]["decant"]["parts"]
    agreement = result["loss_agreement"]
    last, against_fp32 = result["last_loss_agreement"], result["signal_agreement"]
    lines = [
        f"## Distillation: {name.removeprefix('train-')}",
        "",
        f"{material['rows']:,} rows, mean {material['student_tokens_mean']} tokens (longest "
        f"{material['student_tokens_max']}, limit {material['max_length_tokens']}); student "
        f"{material['student']}, {material['student_parameters']:,} parameters; teacher "
        f"{material['teacher_parameters']:,}. Everywhere the same rows, token ids, initial "
        f"weights, AdamW, {material['epochs']} epochs of batches of {material['batch_size']}, peak "
        f"rate {material['learning_rate']}, linear schedule; alpha {material['alpha']}, T "
        f"{material['temperature']}. Decant's time holds teacher signals "
        f"({parts['teacher signals']:.1f} s, {result['signal_precision']}), validation, "
        "checkpoints and the published artifact; the others' holds validation (the same function), "
        "not set-up. Imports are in nobody's. Decant's student learns in the machine's precision "
        f"too ({result['signal_precision']}), the others in fp32 unless named. One run "
        "each. A score is reached when the validation "
        f"that found it is over: so all are clocked, Decant's "
        f"{len(result['curves']['decant']['points'])} too.",
        "",
        "Seconds to a validation accuracy that all reached: the lowest of the systems' bests, "
        + " or ".join(
            f"less {100 * aim['tolerance']:.1f} points{words}"
            for aim, words in zip(aims, (" (fixed beforehand)", " (one text)"), strict=False)
        )
        + ".",
        "",
        "| system | "
        + " | ".join(f"s to {100 * aim['score']:.2f} % | times" for aim in aims)
        + " | s in all | times | best accuracy |",
        "|---|" + "---:|---:|" * len(aims) + "---:|---:|---:|",
    ]
    for system, curve in result["curves"].items():
        cells = [NAMES[system]]
        for seconds in (*(aim["seconds"] for aim in aims), whole):
            cells.append(f"{seconds[system]:.1f}")
            times = f"{seconds[system] / seconds['decant']:.1f}"
            cells.append("" if system == "decant" else times)
        cells.append(f"{100 * max(score for _, _, score in curve['points']):.2f} %")
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"![accuracy against seconds](speed-{name}.png)",
        "",
        *_epoch_rates(result),
        f"The first batch's loss is {agreement['decant']:.6f}; the others differ by "
        + ", ".join(f"{v:.1g} ({k})" for k, v in agreement.items() if k != "decant")
        + " (TextBrewer's after subtracting the teacher's entropy, which no student changes). "
        f"After {last['steps']} steps of each system's own loop over the same batches (fp32, no "
        f"dropout, no warm-up) the loss over their rows is {last['decant']:.6f}, from "
        f"{last['before']:.6f}; the others differ by {last['trainer']:.1g} (trainer), "
        f"{last['textbrewer']:.1g} (textbrewer). "
        "Decant's signals against the teacher in fp32: the same choice for "
        f"{against_fp32['same_choice']:.2%} of the rows, logits off by "
        f"{against_fp32['largest_difference']:.2g} at most (standard deviation "
        f"{against_fp32['standard_deviation']:.2g}).",
        "",
    ]
    plots.draw_curves(result, NAMES, target / f"speed-{name}.png")
    return [*lines, *_when(result), *_colophon(result, name)]


def _several_seeds(name: str, result: Mapping, target: Path) -> list[str]:
    return [*seeds_table.lines(name, result, NAMES), *_colophon(result, name)]


def _epoch_rates(result: Mapping) -> list[str]:
    """What an epoch without validation does a second, if it was measured."""
    if not result["rates"]:
        return []
    return [
        "Samples a second within an epoch, without validation. Decant's teacher reads each text "
        "once for all epochs, so its rate stands apart:",
        "",
        *_rates(result["rates"], result["ratios"], "samples/s"),
        "",
        *_on_whole_vocabulary(result),
    ]


def _when(result: Mapping) -> list[str]:
    """What of a section was measured at another time than the rest."""
    now = moment(result["machine"])
    earlier: dict[str, list[str]] = {}
    for name, then in result["when"].items():
        if then != now and (name != "rates" or result["rates"]):
            earlier.setdefault(then, []).append(NAMES.get(name, "samples a second"))
    told = "; ".join(f"{then}: {', '.join(names)}" for then, names in earlier.items())
    return [f"Measured at another time: {told}.".replace("**", ""), ""] if told else []


def _on_whole_vocabulary(result: Mapping) -> list[str]:
    """What the rows of students with the whole vocabulary are."""
    if "trainer_whole_vocabulary" not in result["rates"]:
        return []
    return [
        "All other rows train the student that Decant makes, its vocabulary cut to the tokens of "
        "its texts: equal arithmetic. The peers cannot cut one; *whole vocabulary* is the student "
        "as their user has it, the same layers of the teacher and all its tokens.",
        "",
    ]


def _tokenizing(result: Mapping, target: Path) -> list[str]:
    lines = [
        "## Tokenization to Parquet",
        "",
        f"{result['rows']:,} texts of the quickstart's length profile, the same tokenizer file, "
        f"{result['workers']} threads (Decant) or processes (datasets). Decant's time holds "
        "reading the Parquet file; the others' texts are open in memory.",
        "",
        *_rates(result["rates"], result["ratios"], "rows/s"),
        "",
    ]
    for case in result.get("further", []):
        lines += [
            f"{case['rows']:,} texts ({case['texts']}), tokenizer: {case['tokenizer']}; the rest "
            "as above:",
            "",
            *_rates(case["rates"], case["ratios"], "rows/s"),
            "",
        ]
    return [*lines, *_colophon(result, " ".join(["tokenize", *result.get("options", [])]))]


def _loading(result: Mapping, target: Path) -> list[str]:
    lines = [
        "## Loading on one core",
        "",
        f"Padded batches of an epoch in random order, from {result['rows']:,} rows; one thread.",
        "",
        "| examples | batch | Decant rows/s | DataLoader over datasets, rows/s | times |",
        "|---|---:|---:|---:|---:|",
    ]
    mapped = "mapped files with teacher logits (the DataLoader reads none)"
    for kind, words in (("", "in memory, no logits"), ("mapped_", mapped)):
        for size in (32, 256):
            if f"decant_{kind}{size}" not in result["rates"]:
                continue
            ours, theirs = (
                result["rates"][name] for name in (f"decant_{kind}{size}", f"dataloader_{size}")
            )
            times = _times(result["ratios"][f"dataloader_{kind}{size}"])
            lines.append(f"| {words} | {size} | {_figure(ours)} | {_figure(theirs)} | {times} |")
    opened = _figure(result["rates"]["decant_open"])
    return [
        *lines,
        "",
        f"Opening the Parquet files, page checksums verified: {opened} rows/s.",
        "",
        *_colophon(result, "load"),
    ]


def _scoring(result: Mapping, target: Path) -> list[str]:
    lines = ["## Scoring", ""]
    for shape, found in result["students"].items():
        tokens = found["tokens_per_text"]
        lines += [
            f"Student {shape}, texts of mean {tokens} tokens; tokens/s are texts/s times that. "
            "Decant's time is file to file, with reading, normalising and writing; the others' "
            "begins and ends in memory.",
            "",
            *_rates(found["rates"], found["ratios"], "texts/s", tokens=tokens),
            "",
        ]
    return [*lines, *_colophon(result, "score")]


def _memory(result: Mapping, target: Path) -> list[str]:
    plots.draw_memory(result, target / "speed-memory.png")
    steps = [step for step in result["sizes"][0]["steps"] if step != "nothing"]
    lines = [
        "## Memory and time against rows",
        "",
        "Distinct texts of the quickstart's length profile through the public stages; each step in "
        "a process of its own. Peak anonymous memory in MiB (pages of mapped files, which the "
        "kernel takes back, are left out), its largest worker's added (seconds). Imports alone: "
        f"{result['sizes'][0]['steps']['nothing']['peak_mib']:,.0f} MiB."
        + _how_trained(result.get("training")),
        "",
        "| rows | " + " | ".join(steps) + " |",
        "|---:|" + "---:|" * len(steps),
    ]
    for size in result["sizes"]:
        cells = (size["steps"][step] for step in steps)
        lines.append(
            f"| {size['rows']:,} | "
            + " | ".join(f"{cell['peak_mib']:,.0f} ({cell['seconds']:.1f})" for cell in cells)
            + " |"
        )
    if result["slopes"]:
        slopes = [result["slopes"][step] for step in steps]
        lines += [
            "| bytes a row, the last two sizes | "
            + " | ".join(f"{slope['bytes_a_row']:,.0f}" for slope in slopes)
            + " |",
            "| microseconds a row | "
            + " | ".join(f"{slope['microseconds_a_row']:,.1f}" for slope in slopes)
            + " |",
        ]
    return [*lines, "", "![memory and seconds](speed-memory.png)", "", *_colophon(result, "memory")]


def _gpu(result: Mapping, target: Path) -> list[str]:
    card = next(one for one in result["records"] if one["section"] == "peak")
    return [
        "## On a GPU",
        "",
        f"{card['device']}, torch {card['torch']}; texts of mean 27 tokens, a vocabulary of "
        "250,000. Decant's students train on cached signals; the Trainer's teacher reads in every "
        "step.",
        "",
        *gpu_figures.targets_table(result["targets"]).splitlines(),
        "",
        *gpu_figures.table(result["records"]).splitlines(),
        "",
        *_colophon(result, "gpu"),
    ]


def _how_trained(training: Mapping | None) -> str:
    if training is None:
        return ""
    return (
        " Signals are those of a teacher of one layer; training is the engine's own, on mapped "
        f"rows with logits: the first {training['steps']} steps of {training['batch_size']} in "
        f"the order of all rows, {training['validations']} validations and a checkpoint included."
    )


def _rates(
    rates: Mapping[str, Mapping],
    ratios: Mapping[str, Mapping],
    unit: str,
    *,
    tokens: float | None = None,
) -> Iterable[str]:
    extra = " tokens/s |" if tokens else ""
    yield f"| system | {unit} |{extra} times |"
    yield "|---|---:|" + ("---:|" if tokens else "") + "---:|"
    for name, rate in rates.items():
        times = _times(ratios[name]) if name in ratios else ""
        more = f" {rate['median'] * tokens:,.0f} |" if tokens else ""
        yield f"| {NAMES.get(name, name)} | {_figure(rate)} |{more} {times} |"


def _figure(rate: Mapping) -> str:
    low, high = rate["lower_quartile"], rate["upper_quartile"]
    return f"{rate['median']:,.0f} [{low:,.0f}, {high:,.0f}]"


def _times(ratio: Mapping) -> str:
    low, high = ratio["lower_quartile"], ratio["upper_quartile"]
    return f"{ratio['median']:.2f} [{low:.2f}, {high:.2f}]"


def _colophon(result: Mapping, section: str) -> list[str]:
    machine = result["machine"]
    packages = ", ".join(f"{name} {found}" for name, found in machine["packages"].items())
    no_rounds = section in ("memory", "gpu") or "systems" in result or not result.get("rates", True)
    rounds = "" if no_rounds else f", {result['settings']['num_rounds']} rounds"
    return [
        f"<sub>{machine['date']}, commit {machine['commit']}; {machine['processor']}, "
        f"{machine['cores']} cores, {machine['threads']} threads, "
        f"{' '.join(machine['flags'])}, {machine['memory_gib']} GiB, {machine['system']}, Python "
        f"{machine['python']}; {packages}{rounds}, {result['seconds']:.0f} s. "
        f"`{_command(result, section)}`{_remark(result)}</sub>",
        "",
    ]


def _remark(result: Mapping) -> str:
    """What somebody wrote down with a result, such as that it was kept in print alone."""
    return f"; {result['remark']}" if "remark" in result else ""


def _command(result: Mapping, section: str) -> str:
    """What measures a section again."""
    options = ""
    if section == "memory":
        options = " --rows " + ",".join(map(str, result["settings"]["memory_rows"]))
    elif needs_sib200(section):
        options = " --sib200 DIR --multilingual-model DIR"
    return f"infra/benchmarks/run {section}{options}"
