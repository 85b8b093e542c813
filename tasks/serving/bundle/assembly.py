"""A registered model's script: one problem's script with everything of ours that it imports, as one
file.

    token_classifier.py ─ imports ─► origins.py, windows.py, frames.py ─► base.py
                                     tasks/{corpus/text/units,modeling/heads/joined_units}.py

    assembled            docstring · imports from elsewhere · modules, the needed before the needing
                         · the script itself

Plain text put together from plain text: comments stay, bytes depend on the sources only, and a
reader of the registry sees what runs. MLflow's models-from-code takes one file; modules beside it
(`code_paths`) would be run from wherever the model was fetched, which verification refuses.
"""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_OURS = ("tasks", "flows", "data_contracts")


@cache
def assembled(script: Path) -> str:
    """The text of `script` that needs nothing of this repository.

    Raises: ValueError if an import of ours cannot be written into the file.
    """
    modules: dict[Path, _Module] = {}
    _collect(script, modules)
    imports = sorted({line for module in modules.values() for line in module.imports}, key=_order)
    names: dict[str, str] = {}
    for path, module in modules.items():
        for name in module.defines:
            if name in names:
                raise ValueError(
                    f"{path.name} and {names[name]} both define {name}: in one file, one would "
                    "replace the other"
                )
            names[name] = path.name
    docstring = ast.get_docstring(ast.parse(script.read_text("utf-8")), clean=False)
    head = [f'"""{docstring}"""', "from __future__ import annotations", "\n".join(imports)]
    bodies = [module.body for module in modules.values() if module.body]
    return "\n\n".join(head) + "\n\n" + "\n\n\n".join(bodies) + "\n"


def script_digest(script: Path) -> str:
    """SHA-256 of the assembled script's bytes, 64 hex characters."""
    return hashlib.sha256(assembled(script).encode()).hexdigest()


@dataclass
class _Module:
    """What a module gives to the file: imports from elsewhere, its names, its text."""

    imports: list[str] = field(default_factory=list)
    defines: list[str] = field(default_factory=list)
    body: str = ""


def _collect(path: Path, modules: dict[Path, _Module]) -> None:
    """Read `path` after the modules it imports; dictionaries keep that order."""
    if path in modules:
        return
    text = path.read_text("utf-8")
    lines = text.splitlines()
    module = _Module()
    kept: list[str] = []
    end = 0
    for number, node in enumerate(ast.parse(text).body):
        begin, end = end, node.end_lineno or 0
        is_docstring = number == 0 and isinstance(node, ast.Expr)
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            if (imported or "").partition(".")[0] in _OURS:
                _collect(_source(path, node), modules)
            elif imported != "__future__":
                module.imports.append(ast.unparse(node))
        elif not is_docstring:
            kept += lines[begin:end]
            module.defines += _defined(node)
    module.body = "\n".join([*kept, *lines[end:]]).strip("\n")
    modules[path] = module


def _source(path: Path, node: ast.Import | ast.ImportFrom) -> Path:
    """The file of a module of ours that is imported by `from module import names`."""
    if not isinstance(node, ast.ImportFrom) or any(alias.asname for alias in node.names):
        raise ValueError(
            f"{path.name}:{node.lineno}: in a portable script, modules of this repository are "
            "imported as `from module import name`, without another name"
        )
    return _ROOT / ((node.module or "").replace(".", "/") + ".py")


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    flat = [
        item
        for target in targets
        for item in (target.elts if isinstance(target, ast.Tuple) else [target])
    ]
    return [item.id for item in flat if isinstance(item, ast.Name)]


def _order(line: str) -> tuple[bool, str]:
    return line.startswith("from "), line
