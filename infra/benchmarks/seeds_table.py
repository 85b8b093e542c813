"""The part of speed.md on all students of a recipe: seconds until the last reached its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.benchmarks.rounds import summary
from infra.benchmarks.settings import needs_sib200


def lines(section: str, result: Mapping, names: Mapping[str, str]) -> list[str]:
    """Words and a table of what `several_seeds` measured.

    Args:
        names: of the systems, as a reader knows them.
    """
    ours, material = result["systems"]["decant"], result["material"]
    num_rounds = len(ours["seconds"])
    on_sib200 = needs_sib200(section)
    trained = "side by side, one thread each"
    if on_sib200:
        trained = f"one after the other, for {material['epochs']} epochs instead of the recipe's 20"
    measured = "one run each"
    if num_rounds > 1:
        measured = (
            f"medians of {num_rounds} rounds in turns with quartiles in brackets, *times* is of "
            "rounds"
        )
    told = [
        f"## Distillation: {'sib200' if on_sib200 else 'quickstart'}, "
        f"{result['num_students']} students",
        "",
        f"{material['rows']:,} rows, mean {material['student_tokens_mean']} tokens; students "
        f"{material['student']}, {material['student_parameters']:,} parameters; teacher "
        f"{material['teacher_parameters']:,}; batches of {material['batch_size']}, peak rate "
        f"{material['learning_rate']}, alpha {material['alpha']}, T {material['temperature']}. "
        "All students that the recipe asks for. Decant's teacher reads each text once for all of "
        f"them; they are trained {trained}. The others train them one after the other with all "
        "threads; their teacher reads in every step, or once where the cache is written by hand. "
        f"Maths, precision, validation ({len(ours['points'][0])} times each) and what is "
        f"counted as above; {measured}.",
    ]
    columns = [("in all", {name: found["seconds"] for name, found in result["systems"].items()})]
    for target in reversed(result["targets"]):
        points = f"{100 * target['tolerance']:.1f} below"
        columns.insert(0, (points, target["seconds"]))
        scores = ", ".join(f"{100 * score:.1f}" for score in target["scores"])
        told[-1] += f" *{points}*: in all, had each training stopped at its score ({scores} %)."
        columns.insert(0, (f"one, {points}", target["seconds_of_one"]))
    beside = "" if on_sib200 else " (Decant's with another one beside it)"
    told[-1] += (
        f" *one*: the same of one student with signals of its own, in the mean over them{beside}."
    )
    told[-1] += " Scores lie so many points below the lowest best of the systems."
    heads = "".join(f" s, {head} | times |" for head, _ in columns)
    told += ["", f"| system |{heads} best accuracy of each student |"]
    told.append("|---|" + "---:|---:|" * len(columns) + "---|")
    for system, found in result["systems"].items():
        cells = [names[system]]
        for _, seconds in columns:
            cells.append(_figure(seconds[system]))
            pairs = zip(seconds[system], seconds["decant"], strict=True)
            times = _figure([theirs / own for theirs, own in pairs])
            cells.append("" if system == "decant" else times)
        cells.append(", ".join(f"{100 * score:.2f}" for score in found["best"]) + " %")
        told.append(f"| {' | '.join(cells)} |")
    return [*told, ""]


def _figure(rounds: Sequence[float]) -> str:
    """The median, and the quartiles if there were several rounds."""
    rate = summary(list(rounds))
    if len(rounds) == 1:
        return f"{rate.median:.1f}"
    return f"{rate.median:.1f} [{rate.lower_quartile:.1f}, {rate.upper_quartile:.1f}]"
