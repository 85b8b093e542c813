"""`infra/demo` in a folder of its own, with programs that only say that they were called."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAYS = '#!/bin/sh\necho "decant $*"\nexit $CODE\n'
TOLD = '#!/bin/sh\nread told && echo "told: $*"\nexit 0\n'


@pytest.fixture
def demo(tmp_path):
    """What the demo prints with some arguments, where the run ends with a code; its own code."""
    (tmp_path / "infra").mkdir()
    shutil.copy(ROOT / "infra" / "demo", tmp_path / "infra" / "demo")
    (tmp_path / "infra" / "setup").write_text("exit 0\n")
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, text in {"decant": SAYS, "python": TOLD}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    def run(*arguments, code=0):
        done = subprocess.run(
            ["bash", "infra/demo", *arguments],
            cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "CODE": str(code)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout.splitlines(), done.returncode

    return run


def test_the_model_is_asked_once_the_run_has_ended(demo):
    """Answers of the model before this one, or arguments that the run never sees."""
    lines, code = demo("--set", "num_seeds=1")
    assert code == 0
    assert lines[0] == "decant run out_of_domain --set num_seeds=1"
    assert lines[-1].startswith("told: -W ignore infra/ask.py --when-told")


def test_a_run_that_fails_is_the_demos_failure(demo):
    """A demo that is green though its gates refused the model."""
    lines, code = demo(code=4)
    assert code == 4
    assert lines == ["decant run out_of_domain"]
