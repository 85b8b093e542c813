"""MLflow: a bundle as a pyfunc model with its problem's signature, saved or uploaded.

mlflow is imported inside functions, as in `registry.py`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.serving.bundle.assembly import assembled
from tasks.serving.bundle.interfaces import INTERFACES, Column, Example, Interface, input_rows
from tasks.serving.bundle.verification import verify_model
from tasks.serving.registry.gates import INT8_VARIANT
from tasks.serving.registry.registry import Registry

_ENTITY = {"start": "long", "end": "long", "text": "string", "label": "string", "score": "double"}


def log_model(
    registry: Registry,
    run_id: str,
    *,
    problem: str,
    bundle: Path,
    digest: str,
    pip_requirements: list[str],
    examples: Sequence[Example],
) -> str:
    """Upload the bundle as a pyfunc model, read it back, and return its `models:/…` URI.

    Args:
        problem: a key of `INTERFACES`.
        examples: shown as the model's input example.
    Raises: CorruptArtifact if what the server gives back is not what was sent.
    """
    import mlflow
    from mlflow.artifacts import download_artifacts
    from mlflow.models import Model

    with (
        registry.calls(),
        mlflow.start_run(run_id=run_id),
        _described(problem, bundle, digest, pip_requirements, examples) as description,
    ):
        # What mlflow.pyfunc.log_model calls, with `save_model` put right first.
        info = Model.log(
            artifact_path=None,
            name="model",
            flavor=PortablePyfunc,
            flavor_name="pyfunc.ModelFromCode",
            **description,
        )
        with tempfile.TemporaryDirectory() as folder:
            download_artifacts(info.model_uri, dst_path=folder)
            verify_model(Path(folder), expected_digest=digest)
    return info.model_uri


def save_model(
    folder: Path,
    *,
    problem: str,
    bundle: Path,
    digest: str,
    pip_requirements: list[str],
    examples: Sequence[Example],
) -> None:
    """Write into `folder` what `log_model` uploads: for consumers without a registry."""
    from mlflow.models import Model

    with _described(problem, bundle, digest, pip_requirements, examples) as description:
        metadata = description.pop("metadata")
        PortablePyfunc.save_model(str(folder), Model(metadata=metadata), **description)
    verify_model(folder, expected_digest=digest)


@contextmanager
def _described(
    problem: str,
    bundle: Path,
    digest: str,
    pip_requirements: list[str],
    examples: Sequence[Example],
) -> Iterator[dict[str, Any]]:
    """Arguments for MLflow, while the assembled script lies where they say."""
    import pandas as pd

    interface = INTERFACES[problem]
    with tempfile.TemporaryDirectory() as folder, _nothing_compiled():
        script = Path(folder) / interface.script.name
        script.write_text(assembled(interface.script), encoding="utf-8")
        rows = pd.DataFrame(input_rows(problem, examples))
        has_forms = any(parameter.name == "variant" for parameter in interface.parameters)
        yield {
            "python_model": str(script),
            "artifacts": {"bundle": str(bundle)},
            "signature": signature(interface),
            "input_example": (rows, {"variant": INT8_VARIANT}) if has_forms else rows,
            "pip_requirements": pip_requirements,
            "metadata": {"content_digest": digest},
        }


@contextmanager
def _nothing_compiled() -> Iterator[None]:
    """MLflow tries the model before it uploads its folder: the script's compiled form, left there
    by Python, would go along, and verification refuses it."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def signature(interface: Interface) -> Any:
    """The interface as an MLflow ModelSignature."""
    from mlflow.models import ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema

    return ModelSignature(
        inputs=Schema([_column(column) for column in interface.inputs]),
        outputs=Schema([_column(column) for column in interface.outputs]),
        params=ParamSchema(
            [ParamSpec(one.name, DataType[one.kind], one.default) for one in interface.parameters]
        ),
    )


def _column(column: Column) -> Any:
    from mlflow.types import ColSpec, DataType
    from mlflow.types.schema import Array, Object, Property

    kinds: dict[str, Any] = {
        "strings": Array(DataType.string),
        "doubles": Array(DataType.double),
        "entities": Array(
            Object([Property(name, DataType[kind]) for name, kind in _ENTITY.items()])
        ),
    }
    kind = kinds[column.kind] if column.kind in kinds else DataType[column.kind]
    return ColSpec(kind, column.name, required=column.required)


class PortablePyfunc:
    """MLflow's pyfunc flavour without the absolute paths of the machine that saves.

    MLflow describes a model by where its script and files lay before they were copied; loading
    reads the copies. Whoever sees the registry would learn users' names and folders.
    """

    @staticmethod
    def save_model(path: str, mlflow_model: Any, **arguments: Any) -> None:
        """As `mlflow.pyfunc.save_model`; paths in MLmodel are relative to the model's folder."""
        import mlflow.pyfunc

        mlflow.pyfunc.save_model(path=path, mlflow_model=mlflow_model, **arguments)
        described = mlflow_model.flavors["python_function"]
        described["model_code_path"] = Path(described["model_code_path"]).name
        for artifact in described["artifacts"].values():
            artifact["uri"] = artifact["path"]
        mlflow_model.save(str(Path(path) / "MLmodel"))
