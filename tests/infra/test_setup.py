"""`infra/setup` in a folder of its own, with an empty lock and a package that needs no index."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BACKEND = """
import zipfile

def get_requires_for_build_editable(config_settings=None):
    return []

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        info = "tiny-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: x\\n"
                       "Root-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "tiny"
version = "1.0"
"""


@pytest.fixture
def setup(tmp_path):
    """Runs the script; gives what it said."""
    (tmp_path / "infra").mkdir()
    shutil.copy(ROOT / "infra" / "setup", tmp_path / "infra" / "setup")
    (tmp_path / "infra" / "requirements.lock").write_text("# nothing\n")
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "backend.py").write_text(BACKEND)

    def run():
        done = subprocess.run(
            ["bash", "infra/setup"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        python = tmp_path / ".venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=True)
        subprocess.run([python, "-m", "pip", "show", "tiny"], capture_output=True, check=True)
        return done.stderr

    return run


@pytest.mark.slow
def test_a_half_made_environment_is_made_again_and_a_whole_one_left_alone(setup, tmp_path):
    """Ctrl-C during the first install, and every later command fails until somebody knows why."""
    assert "installing" in setup()
    assert setup() == ""
    venv = tmp_path / ".venv"
    (site,) = (venv / "lib").glob("python*/site-packages")
    shutil.rmtree(site / "pip")  # killed while the environment was made
    assert "making it again" in setup()
    (venv / "installing").touch()  # killed while packages were copied
    (site / "stray.py").write_text("")
    assert "making it again" in setup()
    assert not (site / "stray.py").exists()
