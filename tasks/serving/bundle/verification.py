"""Is this MLflow model folder one of ours, whole and untouched? Asked before it is loaded.

Loading an MLflow model runs code that the folder names: `loader_module`, `code/`, a pickle or a
script, whatever `MLFLOW_ALLOW_PICKLE_DESERIALIZATION` says. So a folder is read first, as data, and
refused unless it consists of nothing but known files, runs nothing but one of our scripts, byte for
byte, and every file matches its digest. Only then hand it to `mlflow.pyfunc.load_model`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from data_contracts.errors import CorruptArtifact, UserError
from data_contracts.safe_yaml import load_yaml
from tasks.runtime.fingerprint import file_digest
from tasks.serving.bundle.assembly import script_digest
from tasks.serving.bundle.bundle import DIGESTS_FILE, file_digests, model_digest
from tasks.serving.bundle.interfaces import INTERFACES

_BUNDLE = "artifacts/bundle"
_ROOT_FILES = frozenset(
    {
        "MLmodel",
        "conda.yaml",
        "python_env.yaml",
        "requirements.txt",
        "input_example.json",
        "serving_input_example.json",
        "registered_model_meta",
    }
)
_BUNDLE_SUFFIXES = frozenset({".safetensors", ".onnx", ".json", ".txt", ".model", ".md", ".html"})
_PYFUNC_KEYS = frozenset(
    {"artifacts", "cloudpickle_version", "config", "env", "loader_module", "model_code_path"}
    | {"python_version", "streamable"}
)
_LOADER = "mlflow.pyfunc.loaders.code_model"
_SCRIPTS = {interface.script.name: interface.script for interface in INTERFACES.values()}
# A tokenizer's vocabulary, of tens of MiB: read by a parser that runs nothing. All other JSON of a
# model is looked into, however large: an `auto_map` may stand behind a MiB of spaces.
_VOCABULARY = "model/tokenizer.json"
# Keys by which a Hugging Face configuration asks for code from elsewhere to be run.
_CODE_KEYS = frozenset({"auto_map", "custom_pipelines", "_attn_implementation_internal"})
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*((==|>=|<=|<|>|=)[0-9][0-9A-Za-z.,<>=!]*)?")
_MAX_TEXT_BYTES = 1 << 20


def verify_model(
    folder: Path,
    *,
    expected_digest: str | None = None,
    was_loaded: bool = False,
) -> str:
    """The content digest of the model in `folder`, once everything about it was found in order.

    Args:
        folder: a downloaded MLflow model (it holds `MLmodel`).
        expected_digest: the digest its registry version is tagged with; pass it whenever there is
            one, because the folder's own list of digests can be replaced together with the files.
        was_loaded: whether to pass over the compiled script that MLflow leaves in a folder that it
            loads. Nobody can tell whose code that is: only for who loads the model by other means.
    Raises: CorruptArtifact naming the first thing found wrong.
    """
    names = _file_names(folder)
    if was_loaded:
        names = [name for name in names if not name.startswith("__pycache__/")]
    script = _script(names)
    _check_mlmodel(_yaml(folder / "MLmodel"), script)
    found_script = file_digest(folder / script)
    if found_script != script_digest(_SCRIPTS[script]):
        raise _refused(
            f"{script} is not the script that this release of Decant ships",
            folder,
            remedy="if another release registered it, run its recipe again, which registers the "
            "same student with the script of this release, and promote that version; otherwise "
            "somebody changed it: do not load it, and roll back to a version that verifies",
        )
    pip_requirements = _requirements(folder)
    bundle = folder / _BUNDLE
    listed = _mapping(_json(bundle / DIGESTS_FILE), DIGESTS_FILE)
    found, files = file_digests(bundle), _mapping(listed.get("files"), f"{DIGESTS_FILE}, files")
    names = sorted({*found, *files})
    if wrong := [one for one in names if one not in found or found[one] != files.get(one)]:
        raise _refused(f"{wrong[0]} does not match {DIGESTS_FILE}", folder)
    for name in found:
        if name.endswith(".json") and name.startswith("model/") and name != _VOCABULARY:
            _check_configuration(name, bundle / name)
    digest = model_digest(found, script, found_script, pip_requirements)
    if digest != listed.get("content_digest"):
        raise _refused(f"its content digest is not the one in {DIGESTS_FILE}", folder)
    if expected_digest is not None and digest != expected_digest:
        raise _refused(
            f"its content digest is {digest[:12]}…, its registry says {expected_digest[:12]}…",
            folder,
        )
    return digest


def _file_names(folder: Path) -> list[str]:
    names = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise _refused(f"{name} is a link or a device", folder)
        if path.is_file():
            names.append(name)
    return names


def _script(names: list[str]) -> str:
    """The name of the folder's one script, once every file's name was found to be allowed."""
    for name in names:
        inside = name.startswith(f"{_BUNDLE}/") and Path(name).suffix in _BUNDLE_SUFFIXES
        if not inside and name not in _ROOT_FILES and name not in _SCRIPTS:
            raise _refused(f"it holds {name!r}, which no model of ours does")
    scripts = [name for name in names if name in _SCRIPTS]
    if len(scripts) != 1:
        raise _refused(f"it holds {len(scripts)} scripts of ours, where there is one")
    needed = ["MLmodel", "requirements.txt", f"{_BUNDLE}/{DIGESTS_FILE}"]
    if missing := [name for name in needed if name not in names]:
        raise _refused(f"it lacks {missing[0]}")
    return scripts[0]


def _check_mlmodel(described: dict[Any, Any], script: str) -> None:
    flavors = _mapping(described.get("flavors"), "MLmodel, flavors")
    if set(flavors) != {"python_function"}:
        raise _refused("MLmodel names other flavours than python_function")
    pyfunc = _mapping(flavors["python_function"], "MLmodel, python_function")
    asked = {str(key) for key, value in pyfunc.items() if value is not None}
    if unknown := sorted(asked - _PYFUNC_KEYS):
        raise _refused(f"MLmodel asks to load {unknown[0]!r}")
    if pyfunc.get("loader_module") != _LOADER:
        raise _refused(f"MLmodel is loaded by {pyfunc.get('loader_module')!r}")
    # MLflow writes the whole path of the machine that saved it, and reads its last part.
    if Path(str(pyfunc.get("model_code_path"))).name != script:
        raise _refused(f"MLmodel runs something else than {script}")
    artifacts = _mapping(pyfunc.get("artifacts"), "MLmodel, artifacts")
    paths = {
        name: _mapping(entry, f"MLmodel, artifact {name}").get("path")
        for name, entry in artifacts.items()
    }
    if paths != {"bundle": _BUNDLE}:
        raise _refused(f"MLmodel reads its files from {paths}")


def _requirements(folder: Path) -> list[str]:
    lines = _text(folder / "requirements.txt").splitlines()
    wanted = [line for line in lines if line.strip()]
    mentioned = list(wanted)
    for name in ("conda.yaml", "python_env.yaml"):
        if (folder / name).is_file():
            mentioned += _strings(_yaml(folder / name).get("dependencies", []))
    for line in mentioned:
        # A requirement can also be a URL or an option such as --index-url: code from elsewhere.
        if not _REQUIREMENT.fullmatch(line) and line != "-r requirements.txt":
            raise _refused(f"its requirements hold {line!r}, which is no name with versions")
    return wanted


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [str(value)]


def _check_configuration(name: str, path: Path) -> None:
    found = _json(path, max_bytes=path.stat().st_size)
    if asked := sorted(_CODE_KEYS & set(found)) if isinstance(found, dict) else []:
        raise _refused(f"{name} asks for code through {asked[0]!r}")


def _text(path: Path, *, max_bytes: int = _MAX_TEXT_BYTES) -> str:
    if path.stat().st_size > max_bytes:
        raise _refused(f"{path.name} is larger than 1 MiB")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _refused(f"{path.name} is not UTF-8") from error


def _yaml(path: Path) -> dict[Any, Any]:
    text = _text(path)
    try:
        found = load_yaml(text, name=path.name, error=UserError)
    except UserError as error:
        raise _refused(f"{path.name} is not plain YAML") from error
    return _mapping(found, path.name)


def _json(path: Path, *, max_bytes: int = _MAX_TEXT_BYTES) -> Any:
    try:
        return json.loads(_text(path, max_bytes=max_bytes))
    except (ValueError, RecursionError) as error:
        raise _refused(f"{path.name} is not JSON") from error


def _mapping(found: Any, what: str) -> dict[Any, Any]:
    """`found`, which the folder's author chose: it can be anything that JSON or YAML spell."""
    if not isinstance(found, dict):
        raise _refused(f"{what} is no mapping")
    return found


_FETCH_AGAIN = (
    "fetch it again from the registry; if it recurs, the registry's storage was changed by someone "
    "else: do not load it, and roll back to a version that verifies"
)


def _refused(
    fact: str, folder: Path | None = None, *, remedy: str = _FETCH_AGAIN
) -> CorruptArtifact:
    where = f" ({folder})" if folder else ""
    return CorruptArtifact(
        f"this model must not be loaded{where}: {fact}",
        rule="a registered student consists of known files only, runs nothing but our own script, "
        "and every file matches its digest",
        remedy=remedy,
    )
