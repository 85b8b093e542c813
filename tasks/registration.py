"""Gates, then the registry: a student that passed becomes a version; aliases say which one serves.

    export + evaluation ─ gates ─┬ refused: the run is on record, nothing is registered
                                 └ passed:  upload → read back and verify → version → aliases

Registering is idempotent: a version is known by the digest of what decides its answers, which is
looked up first, under a lock. So is the record of a refusal, by that digest, the evaluation and
what the gates said. `champion` moves last, so whoever follows it never meets a version that is not
complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from data_contracts.artifacts import Artifact, StageSummary
from data_contracts.errors import GateRefused, UserError
from data_contracts.evaluation import EvaluationReport, Gate
from tasks.runtime.fingerprint import fingerprint
from tasks.runtime.stages import Stage, StageConfig, Workspace
from tasks.serving.registry.gates import FIELD_OF, GatesConfig
from tasks.serving.registry.records import AliasChange, VersionRecord, safe_name

VERSION = 3


class Config(StageConfig):
    """Under which name and conditions a student is registered."""

    model_name: str = Field(
        description="registered name: 1 to 64 of a-z, 0-9, dot, underscore, dash"
    )
    gates: GatesConfig = Field(
        default=GatesConfig(), description="what a student must show before it is registered"
    )
    promote: bool = Field(
        default=True,
        description="whether passing makes it the champion at once; otherwise it is only the "
        "challenger, until `decant promote`",
    )
    licence: str = Field(
        default="not stated; it follows from the licences of the data and of the teacher",
        min_length=1,
        description="licence of the student, as the model card states it",
    )
    example_texts: tuple[str | tuple[str, ...], ...] = Field(
        min_length=1,
        description="texts in the target language shown as the model's input example; lists of "
        "texts where the model is asked with several columns",
    )

    @field_validator("model_name")
    @classmethod
    def _name_is_safe(cls, name: str) -> str:
        try:
            return safe_name(name)
        except UserError as error:
            raise ValueError(str(error)) from error


def register(config: Config, inputs: Mapping[str, Artifact], workspace: Workspace) -> StageSummary:
    """Register the exported student if it passes; write `record.json`.

    Args:
        inputs: `export` and `evaluation`.
    Raises:
        GateRefused: with every failed gate, its value, threshold and remedy.
        TransientError: the registry cannot be reached.
        CorruptArtifact: the registry gave back other bytes than were sent.
    """
    from tasks.serving.bundle.assembly import script_digest
    from tasks.serving.bundle.bundle import requirements, write_bundle
    from tasks.serving.bundle.interfaces import INTERFACES, input_rows
    from tasks.serving.bundle.model_card import write_card
    from tasks.serving.bundle.pyfunc import log_model
    from tasks.serving.registry import tracking
    from tasks.serving.registry.lineage import trace_lineage
    from tasks.serving.registry.registry import CHALLENGER, DIGEST_TAG, Registry

    export, evaluation = inputs["export"].path, inputs["evaluation"].path
    report = EvaluationReport.model_validate_json((evaluation / "report.json").read_bytes())
    training, history = _json(export / "training.json"), _json(export / "history.json")
    serving = _json(export / "model" / "serving.json")
    interface = INTERFACES[serving["problem"]]
    (example, *_) = input_rows(serving["problem"], config.example_texts)
    lineage = trace_lineage(inputs, workspace.store)
    wanted = requirements(repair_encoding=serving["normalization"]["repair_encoding"])
    registry = Registry()
    with registry.lock(config.model_name):
        tracking.end_killed_runs(registry, config.model_name)
        gates = _gates(config, report, training, evaluation, registry)
        card = write_card(
            report,
            model_name=config.model_name,
            licence=config.licence,
            gates=gates,
            serving=serving,
            interface=interface,
            labels=_json(export / "model" / "labels.json")["labels"],
            example=example,
            lineage=lineage,
        )
        with _folder(workspace.work / "bundle") as bundle:
            digest = write_bundle(
                bundle,
                model=export / "model",
                script=interface.script,
                pip_requirements=wanted,
                documents={
                    "MODEL_CARD.md": card,
                    "lineage.json": _text(lineage),
                    "report.json": evaluation / "report.json",
                    "report.html": evaluation / "report.html",
                },
            )
            passed = all(gate.passed for gate in gates)
            version = registry.find(config.model_name, digest)
            tags = {
                "recipe": report.recipe,
                "model_name": config.model_name,
                "gates": "passed" if passed else "refused",
                DIGEST_TAG: digest,
                # What was measured and asked: the same student, measured again, is another record.
                "evaluation_digest": inputs["evaluation"].content_digest,
                "gates_digest": fingerprint([gate.model_dump() for gate in gates]),
            }
            if not passed and (run_id := tracking.find_run(registry, tags)):
                raise _refused(config, gates, run_id)
            if not passed or version is None:
                with tracking.tracked_run(registry, name=report.recipe, tags=tags) as run_id:
                    tracking.log_evaluation(
                        registry,
                        run_id,
                        report=report,
                        gates=gates,
                        history=history,
                        lineage=lineage,
                        evaluation=evaluation,
                    )
                    if not passed:
                        raise _refused(config, gates, run_id)
                    workspace.progress.say(f"registration: uploading {config.model_name}")
                    source = log_model(
                        registry,
                        run_id,
                        problem=serving["problem"],
                        bundle=bundle,
                        digest=digest,
                        pip_requirements=wanted,
                        examples=config.example_texts,
                    )
                    version = registry.create_version(
                        config.model_name,
                        source=source,
                        run_id=run_id,
                        tags=_tags(report, digest, inputs),
                        description=_description(report),
                    )
        registry.set_alias(config.model_name, CHALLENGER, version, why="registered")
        if config.promote:
            registry.promote(config.model_name, version, why="passed its gates")
        record = {
            "model_name": config.model_name,
            "version": version,
            "digest": digest,
            "problem": serving["problem"],
            "script_sha256": script_digest(interface.script),
            "run_id": registry.run_id(config.model_name, version),
            "gates": [gate.model_dump() for gate in gates],
            "aliases": registry.aliases(config.model_name),
        }
    (workspace.output / "record.json").write_text(_text(record), encoding="utf-8")
    return StageSummary(facts={"model": config.model_name, "version": version})


def still_holds(artifact: Artifact) -> bool:
    """Whether the version on record is still in the registry (someone may have deleted it), and
    carries the script of this release: verification, and with it batch scoring, refuses another.
    """
    from tasks.serving.bundle.assembly import script_digest
    from tasks.serving.bundle.interfaces import INTERFACES
    from tasks.serving.registry.registry import is_registered

    record = _json(artifact.path / "record.json")
    interface = INTERFACES.get(record.get("problem", ""))
    if interface is None or record["script_sha256"] != script_digest(interface.script):
        return False
    return is_registered(record["model_name"], record["version"], record["digest"])


def promote(model_name: str, which: str | int = "challenger") -> AliasChange:
    """Make a version, given by number or alias, the champion; the former one becomes `previous`.

    Raises: UserError if there is no such model or version.
    """
    from tasks.serving.registry.registry import registry_with

    registry = registry_with(model_name)
    with registry.lock(model_name):
        version = registry.resolve(model_name, which)
        return registry.promote(model_name, version, why=f"promoted by hand ({which})")


def rollback(model_name: str) -> AliasChange:
    """Exchange `champion` and `previous`; a second call undoes the first.

    Raises: UserError if there is no such model or it has no previous champion.
    """
    from tasks.serving.registry.registry import registry_with

    registry = registry_with(model_name)
    with registry.lock(model_name):
        registry.resolve(model_name, "champion")
        return registry.rollback(model_name)


def versions(model_name: str | None = None) -> list[VersionRecord]:
    """Registered versions with their aliases, of one model or of all, newest first."""
    from tasks.serving.registry.databases import is_unmade
    from tasks.serving.registry.registry import Registry, tracking_uri

    return [] if is_unmade(tracking_uri()) else Registry().versions(model_name)


def lineage(model_name: str, which: str | int = "champion") -> dict[str, Any]:
    """A registered version's lineage.json, with `model_name`, `model_version` and `digest` added.

    Raises: UserError if there is no such model or version.
    """
    from tasks.serving.registry.registry import registry_with

    registry = registry_with(model_name)
    version = registry.resolve(model_name, which)
    found = registry.read_json(model_name, version, "artifacts/bundle/lineage.json")
    digest = registry.tags(model_name, version).get("content_digest", "")
    return {"model_name": model_name, "model_version": version, "digest": digest, **found}


def _gates(
    config: Config,
    report: EvaluationReport,
    training: Mapping[str, Any],
    evaluation: Path,
    registry: Any,
) -> list[Gate]:
    from tasks.serving.registry.champion import compare_with_champion
    from tasks.serving.registry.gates import report_gates

    gates = report_gates(config.gates, report, training)
    against = compare_with_champion(config.gates, config.model_name, report, evaluation, registry)
    return [*gates, against] if against else gates


def _refused(config: Config, gates: Sequence[Gate], run_id: str) -> GateRefused:
    failed = [gate for gate in gates if not gate.passed]
    lines = []
    for gate in failed:
        line = f"{gate.name}: {_figure(gate.value)}, allowed {_figure(gate.threshold)}"
        if gate.name in FIELD_OF:
            field = FIELD_OF[gate.name]
            line += f" by {field}: {getattr(config.gates, field):g}"
        lines.append(f"{line} ({gate.detail})")
    return GateRefused(
        f"{config.model_name} did not pass {len(failed)} of {len(gates)} gates and was not "
        "registered:\n  " + "\n  ".join(lines),
        rule="a student is registered only if it passes every gate of registration.gates, those "
        "included that a recipe leaves as they are",
        remedy="train longer or on more text, enlarge the student, or give more test examples if "
        "an interval is wide; to accept this student anyway, change registration.gates in the "
        f"recipe. All figures are in MLflow run {run_id}",
    )


def _tags(report: EvaluationReport, digest: str, inputs: Mapping[str, Artifact]) -> dict[str, str]:
    from tasks.serving.registry.registry import DIGEST_TAG

    return {
        DIGEST_TAG: digest,
        report.primary.name: f"{report.variants['safetensors'].scores[report.primary.name]:.6f}",
        "num_test_examples": str(report.systems["student"].num_examples),
        "variants": ",".join(report.variants),
        "recipe": report.recipe,
        "language": report.target_language,
        "export_key": inputs["export"].key,
        "evaluation_key": inputs["evaluation"].key,
    }


def _description(report: EvaluationReport) -> str:
    student = report.systems["student"]
    score = report.variants["safetensors"].scores[report.primary.name]
    return (
        f"{report.problem.replace('_', ' ')} in {report.target_language}, distilled from "
        f"{report.source_language}: {report.primary.display} {score:.1%} on "
        f"{student.num_examples} test texts. Model card, report and lineage are in its artifacts."
    )


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:g}"


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """An empty folder, removed afterwards: a killed attempt's leftovers must not be uploaded."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _text(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


STAGE = Stage("registration", VERSION, register, still_holds=still_holds)
