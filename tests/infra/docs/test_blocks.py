"""Every block of README and docs: run, read by the program it is for, or marked as output."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from cyclopts import CycloptsError

from flows.__main__ import make_app
from tests.infra.docs.documents import DOCS, PAGES, ROOT, blocks_of, name_of

README = ROOT / "README.md"
TUTORIAL = DOCS / "tutorials" / "own-data.md"
ASK = DOCS / "how-to" / "ask-a-model.md"
KINDS = {"bash", "python", "yaml", "diff", "text"}  # text: output
# Whole files that run below, not line by line.
RUN = {"curl", "mlflow", "export"}
CHEAP = {"plan", "validate", "design"}
CUT_DOWN = [
    *(f"data.sources.{i}.rows_per_intent={n}" for i, n in {0: 8, 1: 2, 2: 4, 5: 2, 6: 4}.items()),
    "data.sources.3.max_rows_per_template=1", "data.sources.4.max_rows=200", "num_seeds=1",
    "teacher.training.num_epochs=1", "student.training.num_epochs=1",
    "baselines.supervised_epochs=1", "registration.gates.max_drop_vs_teacher=null",
    "registration.gates.min_gain_over_no_kd=null", "registration.gates.max_latency_ms_p50=null",
]  # fmt: skip


class Reader:
    """A shell of somebody who follows a page, in a folder of their own."""

    def __init__(self, folder):
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir()
        (programs / "decant").write_text(f'#!/bin/sh\nexec {sys.executable} -m flows "$@"\n')
        (programs / "decant").chmod(0o755)
        (folder / "infra").symlink_to(ROOT / "infra")
        self._environment = {
            **os.environ,
            "PATH": f"{programs}:{os.path.dirname(sys.executable)}:{os.environ['PATH']}",  # noqa: PTH120
            "PYTHONPATH": str(ROOT),
            "DECANT_HOME": str(folder / ".decant"),
        }

    def does(self, *command, text=None):
        """What a command prints; what it started in the background ends with it."""
        out, err = self.folder / "out", self.folder / "err"  # a server's would keep a pipe open
        with out.open("w") as printed, err.open("w") as told:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self._environment, text=True, start_new_session=True,
                stdin=subprocess.PIPE, stdout=printed, stderr=told,
            )  # fmt: skip
            try:
                process.communicate(text, timeout=280)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == 0, err.read_text(encoding="utf-8")
        return out.read_text(encoding="utf-8")

    def shell(self, text):
        return self.does("bash", "-e", text=text)

    def python(self, text):
        return self.does(sys.executable, "-W", "ignore", "-", text=text)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_block_says_what_it_is(path):
    """A command that no test runs, because nothing says that it is one."""
    text = path.read_text(encoding="utf-8")
    assert {block.kind for block in blocks_of(path)} <= KINDS
    assert len(re.findall(r"^\s*```", text, re.M)) == 2 * len(blocks_of(path))


def lines_of(path):
    """Commands of a page, word by word."""
    for block in blocks_of(path, "bash"):
        for line in block.text.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


LINES = [(path, words) for path in PAGES for words in lines_of(path)]


@pytest.mark.parametrize(
    ("path", "words"), LINES, ids=[f"{name_of(path)}: {' '.join(words)}" for path, words in LINES]
)
def test_a_command_is_one_that_its_program_takes(path, words, tmp_path, monkeypatch):
    """An option that was renamed, a script that was moved: the reader's first command fails."""
    program, *rest = words
    if program == "decant":
        monkeypatch.setenv("DECANT_HOME", str(tmp_path))
        app = make_app(*rest[:1])
        try:
            _, given, _ = app.parse_args(rest, exit_on_error=False, print_error=False)
        except CycloptsError as error:
            pytest.fail(str(error))
        recipe = given.arguments.get("recipe")
        assert recipe in {None, "my.yaml"} or (ROOT / "flows/recipes" / f"{recipe}.yaml").is_file()
        if recipe != "my.yaml" and rest[0] in CHEAP:
            app(rest, exit_on_error=False, print_error=False)
    elif program in {"bash", "python"}:
        assert (ROOT / rest[0]).is_file()
        assert program == "bash" or path == ASK  # run below
    else:
        assert program in RUN
        assert path == README  # run below


@pytest.mark.slow
def test_the_tutorial_leads_to_a_model_that_answers(tmp_path):
    """The first hour of a user with data of their own, spent on our mistake."""
    reader = Reader(tmp_path)
    said = []
    for block in blocks_of(TUTORIAL):
        if block.kind == "yaml":
            (tmp_path / "my.yaml").write_text(block.text, encoding="utf-8")
        elif block.kind == "text":
            pattern = r"\s+".join(re.escape(word).replace("…", ".*") for word in block.text.split())
            assert re.search(pattern, said[-1]), said[-1]
        else:
            said.append((reader.shell if block.kind == "bash" else reader.python)(block.text))
    (short,) = blocks_of(README, "yaml")  # over files of the same names
    (tmp_path / "my.yaml").write_text(short.text, encoding="utf-8")
    reader.shell("decant validate my.yaml")


@pytest.mark.parametrize(
    "text",
    [block.text for page in (DOCS / "how-to").glob("*.md") for block in blocks_of(page, "yaml")],
)
def test_a_recipe_of_a_how_to_is_valid(text, tmp_path):
    """A field that is gone, copied from the page by everyone who reads it."""
    (tmp_path / "shown.yaml").write_text(text, encoding="utf-8")
    Reader(tmp_path).shell("decant validate shown.yaml")


@pytest.mark.slow
def test_the_demos_model_is_asked_as_the_pages_say(tmp_path):
    """A model that runs here and that no consumer can ask."""
    reader = Reader(tmp_path)
    changes = " ".join(f"--set {shlex.quote(change)}" for change in CUT_DOWN)
    reader.shell(f"decant run out_of_domain --no-orchestrator {changes}")
    (shown,) = blocks_of(README, "python")
    reader.python(shown.text)
    asking = [block.text for block in blocks_of(ASK, "bash")]
    assert '"predictions": [{"label": ' in reader.shell("".join(asking))
    (served,) = (block.text for block in blocks_of(README, "bash") if "curl" in block.text)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    assert served.count("5001") == 2
    assert shutil.which("curl")
    assert '{"predictions": [{"label": ' in reader.shell(served.replace("5001", port))


def test_the_demo_and_the_tests_start_as_the_readme_says():
    """The two commands that everybody types first."""
    first = [words for path, words in LINES if path == README][:2]
    assert first == [["bash", "infra/demo"], ["bash", "infra/test"]]
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150
