"""What a reader of the registry must know about a student, as Markdown.

The sections follow Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv:1810.03993).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data_contracts.evaluation import EvaluationReport, Gate, language_of_texts
from tasks.metrics.answer_spans import longest_answer
from tasks.serving.bundle.interfaces import Column, Interface, Parameter
from tasks.serving.registry.gates import INT8_VARIANT

_ROUNDS = f"The {INT8_VARIANT} variant rounds, so a few texts are answered differently (see above)."
_KINDS = {"strings": "list of string", "doubles": "list of double", "entities": "list of records"}


def write_card(
    report: EvaluationReport,
    *,
    model_name: str,
    licence: str,
    gates: Sequence[Gate],
    serving: Mapping[str, Any],
    interface: Interface,
    labels: Sequence[str],
    example: Mapping[str, str],
    lineage: Mapping[str, Any],
) -> str:
    """The card's text. Figures are the report's; nothing is measured here.

    Args:
        serving: the delivered serving.json.
        interface: what the model is asked and answers.
        labels: the label set, in the order of the logits; empty where answers are texts.
        example: a row of the input, for the code sample.
    """
    sections = (
        _opening(report, model_name, licence, interface, labels),
        _usage(model_name, interface, example),
        _quality(report),
        _comparisons(report),
        _variants(report),
        _gates(gates),
        _data(report),
        _limits(report, serving, interface),
        _lineage(lineage),
    )
    return "\n\n".join(sections) + "\n"


def _opening(
    report: EvaluationReport,
    name: str,
    licence: str,
    interface: Interface,
    labels: Sequence[str],
) -> str:
    task = report.problem.replace("_", " ")
    asked = language_of_texts(report.problem, report.source_language, report.target_language)
    lines = (
        f"# {name}",
        "",
        f"A small {interface.noun} for **{report.target_language}**, distilled from a teacher that "
        f"reads **{report.source_language}**.",
        "",
        f"- Task: {task}, {len(labels)} labels" if labels else f"- Task: {task}",
        f"- Language of the texts it is asked about: {asked}",
        f"- Recipe: {report.recipe}; delivered: {report.delivered}",
        f"- Licence: {_line(licence)}",
    )
    return "\n".join(lines)


def _usage(name: str, interface: Interface, example: Mapping[str, str]) -> str:
    cells = ", ".join(
        f"{json.dumps(column)}: [{json.dumps(text, ensure_ascii=False)}]"
        for column, text in example.items()
    )
    params = f', params={{"variant": "{INT8_VARIANT}"}}' if _has_forms(interface) else ""
    return f"""## Use

```python
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model("models:/{name}@champion")
model.predict(pd.DataFrame({{{cells}}}){params})
```

Input, a row for each question; an answer for each row, in the same order:

{_columns("Input", interface.inputs)}

{_columns("Answer", interface.outputs)}

{_parameters(interface.parameters)}"""


def _has_forms(interface: Interface) -> bool:
    """Whether a request can choose among forms of the model: one that writes texts has one."""
    return any(one.name == "variant" for one in interface.parameters)


def _columns(title: str, columns: Iterable[Column]) -> str:
    rows = [(f"`{one.name}`", _KINDS.get(one.kind, one.kind), one.meaning) for one in columns]
    return _table((title, "Type", "Meaning"), rows)


def _parameters(parameters: Iterable[Parameter]) -> str:
    rows = [(f"`{one.name}`", f"`{one.default}`", one.meaning) for one in parameters]
    return _table(("Parameter", "Default", "Meaning"), rows)


def _quality(report: EvaluationReport) -> str:
    compared = [metric.name for metric in report.metrics if metric.compared]
    rows = [
        (
            system.display,
            system.language,
            str(system.num_examples),
            *(
                _mean_sd(system.mean[name], system.sd[name] if system.sd else None)
                for name in compared
            ),
            f"{len(system.seeds)}",
        )
        for system in report.systems.values()
    ]
    header = ("System", "Language", "Test texts", *_titles(report, compared), "Seeds")
    return "## Quality\n\n" + _table(header, rows) + "\n\nIn detail: see report.html beside this."


def _comparisons(report: EvaluationReport) -> str:
    rows = [
        (
            f"{one.of} − {one.against}",
            report.metric(one.metric).display,
            f"{100 * one.difference:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]",
            f"{one.confidence:.0%}",
            "yes" if one.paired else "no",
        )
        for one in report.comparisons
    ]
    header = ("Difference", "Metric", "Points [interval]", "Confidence", "Same texts")
    note = (
        "\n\nThe student is the mean over its seeds here: this is about how it was trained. The "
        "forms that ship (below) are compared by themselves.\nIntervals tell the uncertainty of "
        "the test set, not that of training again."
    )
    return "## Differences\n\n" + _table(header, rows) + note


def _variants(report: EvaluationReport) -> str:
    rows = [
        (
            name,
            f"{100 * one.scores[report.primary.name]:.1f}",
            f"{one.size_bytes / 1e6:.2f} MB",
            f"{one.latency_ms_p50:.2f} / {one.latency_ms_p95:.2f} ms",
            f"{one.throughput_texts_per_second:.0f}/s",
            f"{one.agreement:.1%}",
            _minus_teacher(report, name),
        )
        for name, one in report.variants.items()
    ]
    header = (
        *(
            "Variant",
            *_titles(report, [report.primary.name]),
            "Weights",
            "Latency p50 / p95",
            "Throughput",
            "Same answer",
        ),
        "Minus teacher [interval]",
    )
    note = (
        f"\n\nThe delivered model: {report.delivered}, fixed in advance and never the best on the "
        f"test set. Times: {report.speed.processor}, "
        f"{report.speed.num_threads} threads."
    )
    return "## Variants\n\n" + _table(header, rows) + note


def _minus_teacher(report: EvaluationReport, variant: str) -> str:
    for one in report.delivered_comparisons:
        if one.of == variant and one.metric == report.primary.name:
            return f"{100 * one.difference:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
    return "not measured"


def _gates(gates: Sequence[Gate]) -> str:
    rows = [(gate.name, "passed" if gate.passed else "**failed**", gate.detail) for gate in gates]
    note = (
        "\n\nGates on what ships ask the delivered model (seed 0) in every form; the gain over no "
        "distillation is asked of the mean over seeds."
    )
    return "## Gates at registration\n\n" + _table(("Gate", "Result", "Detail"), rows) + note


def _data(report: EvaluationReport) -> str:
    rows = [
        (
            one.source,
            one.role,
            str(one.rows_in),
            str(one.rows_out),
            str(sum(one.quarantined.values())),
            str(sum(one.deduplicated.values())),
        )
        for one in report.data
    ]
    header = ("Source", "Role", "Rows in", "Used", "Set aside", "Copies dropped")
    return "## Data\n\n" + _table(header, rows)


def _limits(report: EvaluationReport, serving: Mapping[str, Any], interface: Interface) -> str:
    length = serving["max_length_tokens"]
    lines = [
        interface.limits,
        f"Texts are cut after {length} tokens, as in training."
        if interface.is_cut
        else f"Texts beyond {length} tokens are read in overlapping windows of that length.",
        *_answer_length(report, serving),
        *([_ROUNDS] if _has_forms(interface) else []),
        *(f"Found when it was evaluated: {warning}." for warning in report.warnings),
        *report.notes,
    ]
    return "## Limits\n\n" + "\n".join(f"- {_line(line)}" for line in lines)


def _answer_length(report: EvaluationReport, serving: Mapping[str, Any]) -> list[str]:
    """How long an answer is that nobody asks to be longer, where answers are stretches of texts."""
    if report.problem != "question_answering":
        return []
    return [
        f"Answers have {longest_answer(serving)} words (characters, in scripts without spaces) at "
        "most, unless a request allows more."
    ]


def _lineage(lineage: Mapping[str, Any]) -> str:
    rows = [
        (entry["name"], entry["stage"] or "collected", entry["key"][:12])
        for entry in lineage["artifacts"]
    ]
    header = ("Input", "Stage", "Key")
    return (
        "## Lineage\n\n"
        + _table(header, rows)
        + "\n\nFull keys, digests, configurations and sources: lineage.json beside this."
    )


def _titles(report: EvaluationReport, names: Sequence[str]) -> list[str]:
    """Names of metrics as column heads."""
    displays = [report.metric(name).display for name in names]
    return [display[0].upper() + display[1:] for display in displays]


def _mean_sd(mean: float, sd: float | None) -> str:
    return f"{100 * mean:.1f}" + ("" if sd is None else f" ± {100 * sd:.1f}")


def _line(text: str) -> str:
    """`text` as one line: line ends of a YAML block would end the item or the cell it stands in."""
    return " ".join(text.split())


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_line(cell).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)])
