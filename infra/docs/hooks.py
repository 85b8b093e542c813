"""MkDocs hooks: the reference pages, written at build time by the project's own interpreter."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[2]
PAGES: dict[str, str] = {}


def on_config(config: MkDocsConfig) -> None:
    """Write the pages, and list those of the Python API in the navigation."""
    command = [ROOT / ".venv" / "bin" / "python", "-m", "infra.docs.reference_pages"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    PAGES.update(json.loads(done.stdout))
    api = [{Path(page).stem: page} for page in PAGES if page.startswith("reference/api/")]
    (reference,) = (part["Reference"] for part in config.nav or [] if "Reference" in part)
    reference.append({"Python API": api})


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the written pages to those in the folder."""
    for path, text in PAGES.items():
        files.append(File.generated(config, path, content=text))
