"""The `decant` command: its list of commands, its exit codes, and how errors are told.

Each command lies in a module of its own that is imported only when the command is called, so
`decant --help` costs a quarter of a second instead of the ten that prefect, mlflow and torch take.
"""

import errno
import sys
import traceback
from pathlib import Path

from cyclopts import App, CycloptsError
from cyclopts.exceptions import UnusedCliTokensError

from data_contracts import errors
from data_contracts.errors import DecantError
from tasks.runtime.files.disk_errors import failing, no_room, says_failing, says_no_room
from tasks.runtime.redaction import redact

INTERRUPTED = 130

COMMANDS = {
    "run": "Run a recipe: every step that is not cached, then print the result table.",
    "design": "Say what the student of a recipe will cost, before it is trained.",
    "tune": "Search the student's settings: run the trials of the recipe's section tuning.",
    "plan": "Say which steps a run would find cached, which it would run, and why.",
    "validate": "Check a recipe and its sources without running anything.",
    "recipes": "List the recipes that come with Decant, with a line each.",
    "schema": "Print the JSON schema of a recipe file, for editors.",
    "status": "Show the steps of the last run and the aliases of the registered models.",
    "lineage": "Show what a registered model was made from, down to the sources.",
    "report": "Say where the report of a recipe's last run is, or print its table.",
    "score": "Answer files of texts with a registered or exported student, in shards if asked.",
    "promote": "Make a registered version the champion.",
    "rollback": "Make the previous champion the champion again.",
    "gc": "Remove leftovers and artifacts that nothing uses any more.",
    "ui": "Serve Prefect's and MLflow's pages on this machine until Ctrl-C.",
    "serve": "Offer a recipe as a Prefect deployment, with a schedule, until Ctrl-C.",
}


def _exit_codes() -> str:
    """The exit codes in words, from the exception tree itself."""
    lines = ["  0  done", "  1  a defect of ours, with its traceback"]
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    for kind in sorted(kinds, key=lambda kind: getattr(kind, "exit_code", 0)):
        if DecantError in kind.__bases__:
            summary = (kind.__doc__ or "").split(".")[0].split(":")[0]
            lines.append(f"{kind.exit_code:>3}  {summary[0].lower()}{summary[1:]}")
    lines.insert(-1, f"{INTERRUPTED}  interrupted by Ctrl-C; the same command resumes")
    return "\n".join(lines)


def _shipped() -> list[str]:
    """Names of the recipes that come with Decant, without the modules that read them."""
    return sorted(path.stem for path in (Path(__file__).parent / "recipes").glob("*.yaml"))


def make_app(called: str = "") -> App:
    """The command-line application, with every command still unimported.

    Args:
        called: the command whose own help may be asked for: it is told in full, from its docstring,
            for which its module is imported then. Of the others there is a line.
    """
    app = App(
        name="decant",
        help=(
            "Distill what a large teacher knows in one language into a small student in another."
            "\n\nRECIPE is the name of a shipped recipe or the path of a YAML file. "
            "Everything is kept under $DECANT_HOME, by default .decant in the working directory."
            f"\n\nShipped recipes, told of in their first lines: {', '.join(_shipped())}"
        ),
        help_epilogue=f"Exit codes:\n{_exit_codes()}",
        help_format="plaintext",
        version_flags=["--version"],
        result_action="return_value",
    )
    for position, (name, summary) in enumerate(COMMANDS.items()):
        app.command(
            f"flows.commands.{name}:{name}",
            name=name,
            help=None if name == called else summary,
            sort_key=position,
            help_format="markdown",  # lines of a docstring are filled anew
            help_epilogue="",
        )
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code.

    Args:
        arguments: without the program's name; by default those of the process.
    """
    sys.exit(_run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: list[str]) -> int:
    app = make_app(*arguments[:1])
    try:
        result = app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _tell(*_of_command_line(error, arguments))
        return errors.UserError.exit_code
    except DecantError as error:
        _tell(error.fact, error.rule, error.remedy)
        return error.exit_code
    except KeyboardInterrupt:
        _tell("interrupted", "", "the same command goes on where this one stopped")
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except Exception as error:
        if says_no_room(error):
            told = no_room(
                f"no room left on a disk: {str(error).partition(chr(10))[0]}",
                rule="what is written needs room beside what is there",
                goes_on="the same command goes on where this one stopped",
            )
            _tell(told.fact, told.rule, told.remedy)
            return told.exit_code
        if isinstance(error, OSError) and _is_about_home(error):
            _tell(
                f"{error.filename} cannot be made or written: {error.strerror}",
                "artifacts, runs and models are kept below DECANT_HOME",
                "set DECANT_HOME to a folder that this user may write to",
            )
            return errors.UserError.exit_code
        if says_failing(error):
            told = failing(
                f"a disk fails: {str(error).partition(chr(10))[0]}",
                goes_on="the same command goes on where this one stopped",
            )
            _tell(told.fact, told.rule, told.remedy)
            return told.exit_code
        print(redact(traceback.format_exc()), file=sys.stderr)
        return 1
    return result if isinstance(result, int) else 0


def _of_command_line(error: CycloptsError, arguments: list[str]) -> tuple[str, str, str]:
    """Fact, rule and remedy of arguments that cannot be understood."""
    command = next((name for name in arguments[:1] if name in COMMANDS), "")
    remedy = f"see {' '.join(filter(None, ('decant', command, '--help')))}"
    if not isinstance(error, UnusedCliTokensError):
        return str(error), "", remedy
    unused = error.unused_tokens or []
    changes = [token for token in unused if "=" in token and not token.startswith("-")]
    if command and changes and _takes_changes(command):
        remedy = f"did you mean {' '.join(f'--set {token}' for token in changes)}?"
    return f"not understood: {' '.join(unused)}", "", remedy


def _takes_changes(command: str) -> bool:
    """Whether a command has the option --set."""
    options = make_app()[command].assemble_argument_collection()
    return any("--set" in option.names for option in options)


def _is_about_home(error: OSError) -> bool:
    """Whether it is that our own folder, or one above it, cannot be made; or not be written to."""
    from tasks.runtime.files.locations import home

    if not isinstance(error.filename, str):
        return False
    may_not = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    if home().exists() and not home().is_dir():  # mkdir says of a file that it exists
        is_no_folder = error.errno in (errno.EEXIST, errno.ENOTDIR)
        return is_no_folder and Path(error.filename).is_relative_to(home())
    if home().exists():
        return may_not and Path(error.filename).is_relative_to(home())
    is_not = error.errno in (errno.ENOENT, errno.ENOTDIR)
    return (may_not or is_not) and home().is_relative_to(error.filename)


def _tell(fact: str, rule: str, remedy: str) -> None:
    parts = ((fact, "error"), (rule, "rule"), (remedy, "remedy"))
    for text, name in parts:
        if text:
            print(f"{name + ':':<8}{redact(text)}", file=sys.stderr)


if __name__ == "__main__":
    main()
