"""The `decant` command as a process: exit codes, errors without tracebacks, what asking costs."""

import errno
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

import flows.__main__
from flows.__main__ import COMMANDS
from flows.recipe.loading.inheritance import shipped_recipes
from tests.flows.conftest import CommandLine


@pytest.fixture
def decant(tmp_path):
    """In an interpreter of its own: what it imports, and how it ends, is this file's matter."""
    return CommandLine(tmp_path)


def test_help_lists_commands_and_exit_codes(decant):
    """A script could not tell a user's mistake from an outage worth another try."""
    done = decant("--help", check=0)
    for command in ("run", "plan", "validate", "status", "lineage", "promote", "rollback", "gc"):
        assert f" {command} " in done.stdout
    for code in ("  0  ", "  2  ", "  4  ", " 75  ", "130  ", "143  "):
        assert code in done.stdout


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("gc", "without --delete, only list them"),
        ("score", "OUTPUT is a folder of Parquet files"),
        ("tune", "A study that was killed goes on where it was"),
        ("validate", "each language must have rows to evaluate on"),
    ],
)
def test_a_command_s_own_help_tells_what_it_does_and_leaves_alone(decant, command, said):
    """The line of a list, where somebody asked whether `gc` is safe to call."""
    told = " ".join(decant(command, "--help", check=0).stdout.split())
    assert said in told
    assert "Exit codes" not in told
    # In the list it has one line, as the others.
    assert said not in " ".join(decant("--help", check=0).stdout.split())


def options_of(told):
    """The lines of a help page, one an option, without their frame."""
    lines = (line.strip("│ ") for line in told.splitlines() if line.startswith("│"))
    return [line.removeprefix("*").strip() for line in lines]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_does_and_what_holds_without_it(decant, monkeypatch, command):
    """`--rows-per-shard INT`, and the code to be read for what it does if it is left out."""
    monkeypatch.setenv("COLUMNS", "1000")
    told = decant(command, "--help", check=0).stdout
    options = options_of(told)
    assert bool(options) is (command not in ("status", "recipes", "schema"))  # they take none
    for option in options:
        name, _, meaning = option.partition("  ")
        assert len(meaning.strip().partition("[default")[0]) > 15, name
        assert "default: ()" not in option
        assert "[required]" in option or "default:" in option.lower(), name


def test_help_names_every_shipped_recipe(decant):
    """A newcomer who must search an installed package for what comes with it."""
    told = " ".join(decant("--help", check=0).stdout.split())
    assert ", ".join(shipped_recipes()) in told


@pytest.mark.parametrize(
    "arguments",
    [
        ("validate", "no-such-recipe"),
        ("validate", "quickstart", "--set", "student.training.lerning_rate=1"),
        ("validate", "quickstart", "--set", "teacher.model=pkg://no_such_package/model"),
        ("validate", "quickstart", "--set", "baselines.pseudo_labels=false"),
        ("validate", "quickstart", "--sett", "a=b"),
        ("no-such-command",),
        ("run", "quickstart", "--no-orchestrator", "--from", "no-such-step"),
        ("run", "quickstart", "--no-orchestrator", "--set", "baselines.pseudo_labels=false"),
        ("report", "never-run"),
        ("score", "no-such-folder", "texts.jsonl", "answers.parquet"),
        ("serve", "quickstart", "--cron", "0 3 * *"),
        ("serve", "quickstart", "--name", "a/b"),
        ("serve", "quickstart", "--port", "70000"),
        ("ui", "--mlflow-port", "0"),
        ("run", "quickstart", "--workers", "0"),
        ("run", "quickstart", "--no-orchestrator", "--processes", "-1"),
        ("gc", "--days", "-1"),
        ("score", "models:/m/1", "texts.jsonl", "answers.parquet", "--max-unscored-rate", "3"),
    ],
)
def test_a_users_mistake_is_three_lines_and_exit_code_2(decant, arguments):
    """A person would read sixty lines of our own code to find their own typo."""
    done = decant(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error:  ")
    assert "remedy: " in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("arguments", "fact", "remedy"),
    [
        (("validate", "quickstart", "seed=3"), "not understood: seed=3",
         "did you mean --set seed=3?"),
        (("gc", "--delete", "yes"), "not understood: yes", "see decant gc --help"),
        (("promote",), "requires an argument", "see decant promote --help"),
        (("gc", "--days", "-1"), "Must be >= 0", "see decant gc --help"),
        (("rum",), "did you mean", "see decant --help"),
    ],
)  # fmt: skip
def test_arguments_that_mean_nothing_are_told_with_what_would(decant, arguments, fact, remedy):
    """`Unused Tokens: ['seed=3'].` to somebody who forgot `--set`."""
    told = decant(*arguments, check=2).stderr.splitlines()
    assert fact.lower() in told[0].lower()
    assert told[-1] == f"remedy: {remedy}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_mistake_that_is_met_within_prefect_is_three_lines_too(decant, tiny):
    """A hundred lines of Prefect's own code above the three that help, by default."""
    column = "data.sources.0.columns={text: text, label: topik}"
    done = decant("run", tiny / "recipe.yaml", "--set", column)
    assert done.returncode == 2, done.stderr
    assert "error:  source 'en-train': en-train.csv has no column 'topik'" in done.stderr
    assert "rule:   its columns are: text, label" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "ERROR" not in done.stderr + done.stdout


def test_a_registry_that_is_away_is_told_soon(decant, monkeypatch):
    """Four minutes before a person hears that nothing listens at the address they mistyped."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # "discard": nobody's server
    started = time.monotonic()
    done = decant("lineage", "m")
    assert done.returncode == 75, done.stderr
    assert "the registry at http://127.0.0.1:9 cannot be reached" in done.stderr
    assert time.monotonic() - started < 90


@pytest.mark.parametrize("command", ["plan", "run"])
def test_what_is_missing_is_told_at_once_and_before_anything_starts(decant, tiny, command):
    """A server's start for a misspelt path, the corpus made for a teacher that is not there."""
    done = decant(
        command, tiny / "recipe.yaml",
        "--set", "data.sources.0.uri=nowhere/a.csv",
        "--set", "teacher.model=nowhere/teacher",
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    for path in ("nowhere/a.csv", "nowhere/teacher"):
        assert done.stderr.count(f"'{path}'") == 1
    assert "first lines" not in done.stderr
    assert not decant.home.exists()


def test_a_shipped_recipe_without_its_data_says_where_they_are_from(decant):
    """A newcomer's second command: nine paths that nobody told them of, and `check the path`."""
    done = decant("run", "package_synopses")
    assert done.returncode == 2, done.stderr
    assert "9 files missing in 'data/debian_summ', 'train.en.parquet' the first" in done.stderr
    named = done.stderr.partition("the first lines of ")[2].partition(" say how")[0]
    assert "deb.debian.org" in Path(named).read_text(encoding="utf-8").partition("\nname:")[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "--no-orchestrator"),
        ("serve",),
        ("tune", "quickstart", "--no-orchestrator"),
    ],
)
def test_a_home_that_cannot_be_made_is_named(decant, tiny, arguments):
    """A traceback of three levels for a folder that belongs to somebody else."""
    decant.home = Path("/proc/nobody/home")
    recipe = () if "quickstart" in arguments else (tiny / "recipe.yaml",)
    done = decant(*arguments, *recipe)
    assert done.returncode == 2, done.stderr
    assert "cannot be made" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("lineage", "m"), ("run", "--no-orchestrator"), ("score", "models:/m/1", "{}", "out.parquet")],
)
def test_a_home_that_is_a_file_is_named(decant, tiny, arguments):
    """DECANT_HOME=recipe.yaml, a slip of completion, and thirty lines of pathlib."""
    decant.home = tiny / "en-test.csv"
    before = decant.home.read_bytes()
    done = decant(*(part.format(decant.home) for part in arguments))
    assert done.returncode == 2, done.stderr
    assert f"{decant.home}" in done.stderr.splitlines()[0]
    assert "remedy: set DECANT_HOME" in done.stderr
    assert "Traceback" not in done.stderr
    assert decant.home.read_bytes() == before


@pytest.fixture
def told_of(monkeypatch, capsys):
    """(exit code, what is told) of a command that raises an error; tests run as root, who may
    write anywhere."""

    def tell(error):
        def command(*_, **__):
            raise error

        monkeypatch.setattr(flows.__main__, "make_app", lambda *_: command)
        with pytest.raises(SystemExit) as ended:
            flows.__main__.main(["run"])
        return ended.value.code, capsys.readouterr().err

    return tell


def sqlite_in_one_page():
    """What SQLite says when its file cannot grow."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA max_page_count = 1")
        with pytest.raises(sqlite3.OperationalError) as raised:
            connection.execute("CREATE TABLE trials (number)")
    return raised.value


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/home/me/.decant/runs/x.json"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        sqlite_in_one_page(),
    ],
)
def test_a_full_disk_is_told_as_one_wherever_it_is_met(told_of, error):
    """Sixty lines of our own code for what `df` would have said, and exit code 1: a defect."""
    code, told = told_of(error)
    assert code == 6
    assert told.startswith(f"error:  no room left on a disk: {error}\n")
    assert "remedy: free space (decant gc" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_home_that_may_not_be_written_to_is_named(told_of, tmp_path, monkeypatch, number):
    """A traceback for a home that was made by root, in a container."""
    monkeypatch.setenv("DECANT_HOME", str(tmp_path))
    path = str(tmp_path / "artifacts" / "corpus")
    code, told = told_of(OSError(number, os.strerror(number), path))
    assert code == 2
    assert told.startswith(f"error:  {path} cannot be made or written: ")
    assert "remedy: set DECANT_HOME" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("number", "place"), [(errno.EACCES, "elsewhere"), (errno.ENOENT, "home/artifacts/corpus")]
)
def test_other_errors_of_the_system_are_ours_and_told_whole(
    told_of, tmp_path, monkeypatch, number, place
):
    """A defect told as the user's mistake: they change DECANT_HOME, and it fails again."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("DECANT_HOME", str(tmp_path / "home"))
    code, told = told_of(OSError(number, os.strerror(number), str(tmp_path / place)))
    assert code == 1
    assert told.startswith("Traceback")


def test_a_study_that_cannot_be_run_starts_no_server(decant, tiny):
    """Ten seconds of a server's start before a person hears that a section is missing."""
    done = decant("tune", tiny / "recipe.yaml")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error:  recipe tiny has no section tuning\nrule:   ")
    assert "remedy: add one" in done.stderr
    assert "Prefect" not in done.stderr + done.stdout
    assert not (decant.home / "prefect").exists()


@pytest.mark.parametrize(
    ("option", "given", "meant"),
    [("--from", "evalation", "evaluation"), ("--force", "student-seed-1", "student-seed-0")],
)
def test_a_step_that_does_not_exist_starts_no_server(decant, tiny, option, given, meant):
    """Ten seconds of a server's start before a person hears of their own typo."""
    done = decant("run", tiny / "recipe.yaml", option, given)
    assert done.returncode == 2, done.stderr
    fact, rule, remedy = done.stderr.splitlines()
    assert fact == f"error:  recipe tiny: no step is called '{given}'"
    steps = rule.removeprefix("rule:   its steps are: ").split(", ")
    assert (steps[0], steps[-1], len(steps)) == ("corpus", "registration", 12)
    assert remedy == f"remedy: did you mean {meant}?"
    assert not decant.home.exists()


def test_errors_show_no_secrets(decant):
    """A log of a failed run would publish the key of the data bucket."""
    uri = "teacher.model=https://me:canary-4711@host/model"
    done = decant("validate", "quickstart", "--set", uri)
    assert done.returncode == 2
    assert "canary-4711" not in done.stderr + done.stdout


def test_validate_and_status_of_a_fresh_home(decant):
    """The first two commands that a newcomer tries."""
    assert "is valid: 18 steps" in decant("validate", check=0).stdout
    assert "nothing was ever run" in decant("status", check=0).stdout
    assert not (decant.home / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("from flows.__main__ import make_app; make_app().help_print([])", "pydantic torch"),
        ("import flows.commands.plan, flows.commands.validate", "torch transformers pandas"),
        ("import flows.commands.run", "torch transformers pandas sklearn matplotlib"),
        ("import flows.commands.score", "torch transformers pandas onnxruntime"),
    ],
)
def test_heavy_libraries_are_not_imported_before_they_are_needed(statement, forbidden):
    """`--help` would take ten seconds, and a fully cached run half a minute."""
    code = f"{statement}\nimport sys\nprint('\\nLOADED', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert loaded.isdisjoint({*forbidden.split(), "prefect", "mlflow"})
