import ast
import subprocess
import sys

import pytest

from tasks.serving.bundle.assembly import assembled, script_digest
from tasks.serving.bundle.interfaces import INTERFACES

SCRIPTS = sorted({interface.script for interface in INTERFACES.values()})


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_needs_nothing_of_this_repository(script):
    """A model that imports its maker's code loads on the maker's machine only."""
    tree = ast.parse(assembled(script))
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not {name.partition(".")[0] for name in imported} & {"tasks", "flows", "data_contracts"}
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert len(names) == len(set(names))
    assert ast.get_docstring(tree) == ast.get_docstring(ast.parse(script.read_text("utf-8")))


def test_scripts_run_on_their_own(tmp_path):
    """A name that is defined below its use, or was left behind in a module that is not there."""
    for script in SCRIPTS:
        (tmp_path / script.name).write_text(assembled(script), encoding="utf-8")
    names = [script.stem for script in SCRIPTS]
    code = f"import sys; sys.path.insert(0, '.')\nfor name in {names}: __import__(name)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_modules_are_written_before_what_needs_them(tmp_path, monkeypatch):
    """Comments, decorators and constants lost, or a constant used above its definition."""
    monkeypatch.setattr("tasks.serving.bundle.assembly._ROOT", tmp_path)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "low.py").write_text(
        '"""Low."""\n\nfrom functools import cache\n\n# why\nLIMIT = 3\n\n\n@cache\ndef low():\n'
        "    return LIMIT\n"
    )
    (tmp_path / "tasks" / "high.py").write_text(
        '"""High."""\n\nfrom __future__ import annotations\n\nimport re\n\n'
        "from tasks.low import low\n\nPATTERN = re.compile(str(low()))  # three\n"
    )
    text = assembled(tmp_path / "tasks" / "high.py")
    assert text == (
        '"""High."""\n\nfrom __future__ import annotations\n\nimport re\n'
        "from functools import cache\n\n# why\nLIMIT = 3\n\n\n@cache\ndef low():\n"
        "    return LIMIT\n\n\nPATTERN = re.compile(str(low()))  # three\n"
    )
    assert len(script_digest(tmp_path / "tasks" / "high.py")) == 64


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import tasks.low", "from module import name"),
        ("from tasks.low import low as deep", "without another name"),
        ("from tasks.low import low\nLIMIT = 4", "both define LIMIT"),
    ],
)
def test_what_cannot_be_one_file_is_told(tmp_path, monkeypatch, line, said):
    """Two constants of one name: the second silently replaces the first's meaning."""
    monkeypatch.setattr("tasks.serving.bundle.assembly._ROOT", tmp_path)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "low.py").write_text('"""Low."""\nLIMIT, low = 3, 4\n')
    (tmp_path / "tasks" / "high.py").write_text(f'"""High."""\n{line}\n')
    with pytest.raises(ValueError, match=said):
        assembled(tmp_path / "tasks" / "high.py")
