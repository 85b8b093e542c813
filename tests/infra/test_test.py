"""`infra/test` in a folder of its own, with a Python that only writes down what it is asked."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def asked(tmp_path):
    """What Python is asked by `infra/test` with some arguments, call by call; the exit code."""
    (tmp_path / "infra").mkdir()
    shutil.copy(ROOT / "infra" / "test", tmp_path / "infra" / "test")
    (tmp_path / "infra" / "setup").write_text("exit 0\n")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$*"\ncase "$*" in *"$FAILS"*) exit 3;; esac\n')
    python.chmod(0o755)

    def run(*arguments, fails="nothing"):
        done = subprocess.run(
            ["bash", "infra/test", *arguments],
            cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "FAILS": fails},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout.splitlines(), done.returncode

    return run


def test_all_tests_run_without_the_extra(asked):
    """An install of Ray at every run of the tests, or a word that is taken for a file."""
    (pytest_call,), code = asked("-m", "not slow")
    assert pytest_call == "-m pytest -n 2 --dist loadfile --no-loadscope-reorder -m not slow"
    assert code == 0


def test_tests_on_ray_are_found_and_the_locked_versions_stay(asked):
    """The extra moves a locked package, and all later runs test another environment."""
    (install, pytest_call), _ = asked("--ray", "-x")
    assert "pip install" in install
    assert "-c infra/requirements.lock" in install
    assert install.endswith("-e .[ray]")
    head, *files = pytest_call.split(" tests/")
    assert head == "-m pytest -n 2 --dist loadfile --no-loadscope-reorder -x"
    needing = {
        path.relative_to(ROOT / "tests").as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if "prefect_ray" in path.read_text(encoding="utf-8") and path != Path(__file__)
    }
    assert needing
    assert needing <= set(files)
    assert all((ROOT / "tests" / file).is_file() for file in files)


def test_an_install_that_fails_ends_the_run(asked):
    """Tests of Ray that are all skipped, and green."""
    calls, code = asked("--ray", fails="pip install")
    assert len(calls) == 1
    assert code == 3
