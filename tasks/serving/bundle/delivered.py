"""Where a delivered student lies: a registry's version or a folder → its verified model files.

    models:/name@alias  models:/name/3  models:/name     a registered version; the champion if none
    folder                                               an export, its model/, or a downloaded copy

Whatever comes out of a registry is verified before any file of it is read: MLflow itself would run
what the folder names.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_contracts.errors import SourceError, UserError
from tasks.serving.bundle.verification import verify_model
from tasks.serving.registry.registry import CHAMPION, DIGEST_TAG, registry_with

_REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:[/@](?P<which>[^/@]+))?")
_BUNDLE_MODEL = Path("artifacts") / "bundle" / "model"
_SERVING_FILE = "serving.json"


@contextmanager
def delivered_model(uri: str) -> Iterator[Path]:
    """The folder with `serving.json`, tokenizer, labels and weights, while the block lasts.

    Args:
        uri: see the module's text.
    Raises:
        UserError: no such model, version, alias or folder.
        CorruptArtifact: the version is not one of ours, or was changed.
        TransientError: the registry cannot be reached.
    """
    if not uri.startswith("models:"):
        yield _in_folder(uri)
        return
    match = _REGISTERED.fullmatch(uri)
    if match is None:
        raise UserError(
            f"{uri!r} does not name a version",
            rule="registered models are named models:/name@alias or models:/name/version",
            remedy="decant status lists names, versions and aliases",
        )
    name = match["name"]
    registry = registry_with(name)
    from mlflow.artifacts import download_artifacts

    version = registry.resolve(name, match["which"] or CHAMPION)
    with tempfile.TemporaryDirectory(prefix="decant-model-") as target:
        with registry.calls():
            folder = Path(download_artifacts(f"models:/{name}/{version}", dst_path=target))
        # Whoever loads a model from a registry in a local folder leaves its compiled script there;
        # of this copy nothing compiled is ever run.
        for compiled in sorted(folder.rglob("__pycache__")):
            shutil.rmtree(compiled)
        verify_model(folder, expected_digest=registry.tags(name, version).get(DIGEST_TAG))
        yield folder / _BUNDLE_MODEL


def _in_folder(uri: str) -> Path:
    folder = Path(uri.removeprefix("file://")).expanduser()
    if (folder / "MLmodel").is_file():
        verify_model(folder, was_loaded=True)  # nothing but its bundle is read here
        return folder / _BUNDLE_MODEL
    for candidate in (folder, folder / "model"):
        if (candidate / _SERVING_FILE).is_file():
            return candidate
    fact = f"{folder} holds no delivered student: there is no {_SERVING_FILE}"
    raise SourceError(
        fact if folder.exists() else f"there is no folder {folder}",
        rule="texts are scored by a registered model, or the folder that the step export wrote",
        remedy=f"give models:/{folder.name}@champion if {folder.name} is a registered name, or run "
        "the recipe: decant run",
    )
