"""From an evaluation to a table of quality.md: `python -m infra.benchmarks.quality EVALUATION`.

    EVALUATION         folder of the artifact `evaluation`: the one of `decant report RECIPE`'s page
    --corpus FOLDER    artifact `corpus` of the same run
    --join PATTERN     tables of the test rows, `{language}` in their name, with a text and a key
                       that is the same for one sentence in all languages; with --corpus: scores
                       over all languages, whose intervals resample sentences, not rows
    --against OTHER    evaluation of a run with the same test rows: its student, compared in pairs,
                       in the table over all languages, or without --corpus as a last line

A student of several languages answers one sentence in each: its answers hang together, and an
interval that takes them for independent is too narrow. The sums of all languages' answers to one
sentence are therefore drawn together (a cluster bootstrap).
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from data_contracts.evaluation import TEACHER, TEACHER_ON_TARGET, EvaluationReport
from infra.benchmarks.forms import Measured, difference, read_evaluation
from tasks.corpus.readers.text_formats import read_delimited
from tasks.corpus.text.normalization import NormalizationConfig, normalize

_RESAMPLES = 2000


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--join", help="such as DIR/test.{language}.tsv")
    parser.add_argument("--text", default="text", help="its text column")
    parser.add_argument("--key", default="index_id", help="its key column")
    parser.add_argument("--against", type=Path, help="such as one of another recipe's")
    asked = parser.parse_args()
    if bool(asked.corpus) != bool(asked.join):
        parser.error("--corpus and --join go together: the keys of its rows are there")
    report = read_report(asked.evaluation)
    if asked.corpus:
        check_pooled(report)
    print("\n".join(systems_table(report)))
    if by_language := [group for group in report.groups if group.column == "language"]:
        print("\n" + "\n".join(language_table(report, by_language)))
    other = f"Student of {read_report(asked.against).recipe}" if asked.against else ""
    if asked.corpus:
        rights = rights_by_sentence(report, asked.evaluation, asked)
        if asked.against:
            theirs = rights_by_sentence(read_report(asked.against), asked.against, asked)
            rights[other] = theirs["student"]
        print("\n" + "\n".join(pooled_table(report, rights)))
    elif asked.against:
        students = [read_evaluation(folder) for folder in (asked.evaluation, asked.against)]
        try:
            line = against_line(other, *students)
        except ValueError as error:
            raise SystemExit(f"--against {asked.against}: {error}") from error
        print("\n" + line)


def read_report(evaluation: Path) -> EvaluationReport:
    """The report in the folder of an evaluation.

    Raises: SystemExit if the folder has none.
    """
    path = evaluation / "report.json"
    if not path.is_file():
        raise SystemExit(
            f"{path} does not exist: an evaluation is the folder that holds a report.json, the one "
            "of `decant report RECIPE`'s page"
        )
    return EvaluationReport.model_validate_json(path.read_bytes())


def check_pooled(report: EvaluationReport) -> None:
    """Refuse what a table over all languages cannot be made of.

    Raises: SystemExit for another metric than accuracy, and where there is one language.
    """
    if report.primary.name != "accuracy":
        raise SystemExit(
            f"{report.recipe} is measured by {report.primary.display}: the table over all "
            "languages counts answers that are right or wrong, which is accuracy; leave --corpus "
            "and --join out"
        )
    if not any(group.column == "language" for group in report.groups):
        raise SystemExit(
            f"{report.recipe} has labelled test rows in {report.target_language} alone: there is "
            "no table over several languages; leave --corpus and --join out"
        )


def systems_table(report: EvaluationReport) -> Iterator[str]:
    """One line a system: primary metric, what the student has more, what it keeps."""
    metric = report.primary
    yield f"| | {metric.display}, {report.target_language} | student minus it |"
    yield "|---|---|---|"
    for name, system in report.systems.items():
        mean = f"{100 * system.mean[metric.name]:.1f}"
        spread = f" ± {100 * system.sd[metric.name]:.1f}" if system.sd else ""
        found = report.comparison(f"student_minus_{name}")
        gain = ""
        if found:
            low, high = 100 * found.low, 100 * found.high
            gain = f"{100 * found.difference:+.1f} [{low:+.1f}, {high:+.1f}]"
        size = f", {system.num_parameters:,} parameters" if system.num_parameters else ""
        yield f"| {system.display} ({system.language}{size}) | {mean}{spread} | {gain} |"
    yield ""
    for kept in report.retention:
        if kept.metric == metric.name:
            share, low, high = (f"{100 * one:.1f}" for one in (kept.value, kept.low, kept.high))
            teacher = report.systems[kept.against]
            yield f"Kept of {teacher.display} ({teacher.language}): {share} % [{low}, {high}]"


def against_line(name: str, student: Measured, other: Measured) -> str:
    """Another student of the same test rows, as a line of the systems' table.

    Raises: ValueError if the test rows or the metrics are not the same.
    """
    if student.measure.name != other.measure.name:
        raise ValueError(
            f"its students are measured by {other.measure.metric.display}, those here by "
            f"{student.measure.metric.display}: give a run of the same problem"
        )
    gain, by_seed = difference(student, other)
    spread = f" ± {statistics.stdev(other.scores):.1f}" if len(other.scores) > 1 else ""
    told = ", ".join(f"{one:+.1f}" for one in by_seed)
    return (
        f"| {name} ({other.num_parameters:,} parameters) "
        f"| {statistics.mean(other.scores):.1f}{spread} "
        f"| {100 * gain.estimate:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] "
        f"(by seed {told}) |"
    )


def language_table(report: EvaluationReport, groups: list) -> Iterator[str]:
    """One line a language, one column a system: the primary metric."""
    names = list(dict.fromkeys(name for group in groups for name in group.scores))
    yield "| | " + " | ".join(report.systems[name].display for name in names) + " |"
    yield "|---" * (len(names) + 1) + "|"
    for group in groups:
        # A teacher may read one of the languages alone.
        cells = (
            f"{100 * group.scores[name][report.primary.name]:.1f}" if name in group.scores else ""
            for name in names
        )
        yield f"| {group.value} | " + " | ".join(cells) + " |"


def rights_by_sentence(
    report: EvaluationReport, evaluation: Path, asked: argparse.Namespace
) -> dict[str, dict[str, np.ndarray]]:
    """Share of right answers, a mean over seeds, by system and language, (S,) in order of the keys.

    Sentences that a language lacks are NaN.

    Raises: SystemExit if test rows of a language are not in its table, or the corpus has none or
        is another run's.
    """
    source = report.source_language
    paths = sorted((asked.corpus / "rows" / "test").glob("*.parquet"))
    if not paths:
        raise SystemExit(
            f"{asked.corpus} has no test rows: --corpus is the folder of the artifact `corpus`"
        )
    columns = ["example_id", "text", "language"]
    rows = pd.concat([pd.read_parquet(path, columns=columns) for path in paths])
    languages = [g.value for g in report.groups if g.column == "language" and g.value != source]
    keys_of = {}
    for language in languages:
        own = rows[rows["language"] == language]
        table = Path(asked.join.format(language=language))
        if not table.is_file():
            raise SystemExit(f"--join names {table} for {language}, which does not exist")
        keys = keys_by_text(table, asked.corpus, text=asked.text, key=asked.key)
        if unknown := sum(text not in keys for text in own["text"]):
            raise SystemExit(
                f"{unknown} of {len(own)} test rows in {language} are not in {table}: a mean over "
                "the others would be another test; --join names the tables they were made from"
            )
        keys_of[language] = dict(zip(own["example_id"], map(keys.get, own["text"]), strict=True))
    everything = sorted({key for keys in keys_of.values() for key in keys.values()})
    found: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for language, keys in keys_of.items():
        folder = evaluation / "predictions"
        if language != report.target_language:
            folder /= language
        runs: dict[str, list[np.ndarray]] = defaultdict(list)
        for path in sorted(folder.glob("*.parquet")):
            answered = pd.read_parquet(path)
            if not answered["example_id"].isin(keys).all():
                continue  # the teacher's test rows, in its own language
            rights = (answered["label"] == answered["prediction"]).astype(float)
            of_key = dict(zip(map(keys.get, answered["example_id"]), rights, strict=True))
            system = path.stem.rstrip("0123456789").rstrip("_")
            runs[system].append(np.array([of_key.get(key, np.nan) for key in everything]))
        for system, seeds in runs.items():
            found[system][language] = np.mean(seeds, axis=0)
    complete = {name: one for name, one in found.items() if len(one) == len(languages)}
    if "student" not in complete:
        raise SystemExit(
            f"no answers of a student to the test rows of {asked.corpus} in {evaluation}"
        )
    return complete


def keys_by_text(table: Path, corpus: Path, *, text: str, key: str) -> dict[str, str]:
    """The key of each text of a TSV file, texts in the form that the corpus has them in."""
    config = json.loads((corpus / "manifest.json").read_text("utf-8"))["key_parts"]["config"]
    form = NormalizationConfig.model_validate(config["normalization"])
    columns = {"text": text, "label": key}
    return {
        normalize(found, form)[0]: name
        for batch in read_delimited(table, columns, delimiter="\t")
        for found, name in zip(batch.texts, batch.labels, strict=True)
        if name is not None
    }


def pooled_table(
    report: EvaluationReport, rights: dict[str, dict[str, np.ndarray]]
) -> Iterator[str]:
    """Mean over the languages, the student's difference and share, sentences resampled together.

    Raises: SystemExit if a system answered in other languages than the student.
    """
    languages = list(rights["student"])
    for name, found in rights.items():
        if set(found) != set(languages):
            raise SystemExit(
                f"{name} answered test rows in {', '.join(sorted(found))}, the student in "
                f"{', '.join(sorted(languages))}: means over other languages are no comparison; "
                "give --against a run with the same ones"
            )
    # (systems, languages, sentences)
    values = np.array([[rights[name][one] for one in languages] for name in rights])
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, values.shape[2], size=(_RESAMPLES, values.shape[2]))
    # A resample at a time: all at once are gigabytes at a few thousand sentences.
    means = np.array([_means(values[:, :, one]) for one in drawn]).T  # (systems, resamples)
    estimates = _means(values)
    of = {name: (estimates[i], means[i]) for i, name in enumerate(rights)}
    student = of["student"]
    named = ", ".join(languages)
    yield f"Mean over {len(languages)} languages ({named}), {values.shape[2]} sentences:"
    yield ""
    yield "| | accuracy | student minus it | student keeps of it |"
    yield "|---|---|---|---|"
    for name, (estimate, resamples) in of.items():
        shown = report.systems[name].display if name in report.systems else name
        cells = ["", ""]
        if name != "student":
            low, high = 100 * np.percentile(student[1] - resamples, [2.5, 97.5])
            cells[0] = f"{100 * (student[0] - estimate):+.1f} [{low:+.1f}, {high:+.1f}]"
        if name in (TEACHER, TEACHER_ON_TARGET):
            low, high = 100 * np.percentile(student[1] / resamples, [2.5, 97.5])
            cells[1] = f"{100 * student[0] / estimate:.1f} % [{low:.1f}, {high:.1f}]"
        yield f"| {shown} | {100 * estimate:.1f} | " + " | ".join(cells) + " |"


def _means(values: np.ndarray) -> np.ndarray:
    """Of each system over its languages, of (systems, languages, sentences), NaN left out."""
    return np.nanmean(np.nanmean(values, axis=2), axis=1)


if __name__ == "__main__":
    main()
