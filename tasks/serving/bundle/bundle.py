"""Everything a registered student consists of, in one folder with a digest for each file.

    bundle/
      model/          both variants, tokenizer, labels, serving.json     the content digest covers
      MODEL_CARD.md  report.html  report.json  lineage.json              these ride along
      digests.json    SHA-256 of each file above, and the content digest

The *content digest* identifies a version: it covers what decides an answer (model files, script,
requirements) and leaves out what describes it. So measuring latency again, on the same student,
is the same version; a changed weight, label, requirement or line of the script is another one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version as package_version
from pathlib import Path

from tasks.runtime.fingerprint import content_digest, file_digest, fingerprint
from tasks.serving.bundle.assembly import script_digest

DIGESTS_FILE = "digests.json"
LINEAGE_FILE = "lineage.json"
CARD_FILE = "MODEL_CARD.md"

# What the portable scripts import. Torch is a range: its wheels differ by machine (CPU, CUDA), and
# a pin such as 2.13.0+cpu is not on the public index.
_PINNED = ("mlflow", "numpy", "onnxruntime", "pandas", "safetensors", "tokenizers", "transformers")
_TORCH = "torch<2.14,>=2.10"  # in the order in which MLflow writes it


def requirements(*, repair_encoding: bool) -> list[str]:
    """What a consumer installs: the versions this student was checked with, sorted by name.

    Args:
        repair_encoding: whether texts are repaired with ftfy before they are read.
    """
    names = (*_PINNED, "ftfy") if repair_encoding else _PINNED
    return sorted([*(f"{name}=={_public_version(name)}" for name in names), _TORCH])


def write_bundle(
    folder: Path,
    *,
    model: Path,
    script: Path,
    pip_requirements: Iterable[str],
    documents: Mapping[str, Path | str],
) -> str:
    """Fill `folder` and return the content digest, 64 hex characters.

    Args:
        model: the export artifact's `model/`.
        script: the portable script that will answer.
        documents: name in the bundle -> a file to copy, or its text.
    """
    shutil.copytree(model, folder / "model")
    for name, document in documents.items():
        if isinstance(document, Path):
            shutil.copyfile(document, folder / name)
        else:
            (folder / name).write_text(document, encoding="utf-8")
    files = file_digests(folder)
    digest = model_digest(files, script.name, script_digest(script), pip_requirements)
    text = json.dumps({"content_digest": digest, "files": files}, indent=2, sort_keys=True)
    (folder / DIGESTS_FILE).write_text(text + "\n", encoding="utf-8")
    return digest


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 by POSIX path of every file below `folder`, except the list of digests itself."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in found}
    return {name: file_digest(path) for name, path in named.items() if name != DIGESTS_FILE}


def model_digest(
    files: Mapping[str, str], script: str, sha256_of_script: str, pip_requirements: Iterable[str]
) -> str:
    """The content digest from the files' digests: `model/*`, the script and the requirements."""
    decisive = [(name, sha256) for name, sha256 in files.items() if name.startswith("model/")]
    decisive.append((script, sha256_of_script))
    decisive.append(("requirements.txt", fingerprint(sorted(pip_requirements))))
    return content_digest(decisive)


def _public_version(package: str) -> str:
    return package_version(package).partition("+")[0]
