"""The list of traps that losses must not fall into names tests that are there."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent / "tasks"
ROWS = re.findall(
    r"^\| (\d+) \| (.+) \| (.+) \|$",
    (TESTS / "training" / "losses" / "TRAPS.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def defined_in(path):
    """Names of the test functions of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_trap_is_listed_once():
    """A trap that fell off the list, and a test of it that is deleted next."""
    assert [int(number) for number, _, _ in ROWS] == list(range(1, 45))


def test_every_test_of_the_list_is_there():
    """A test renamed: the list leads a newcomer nowhere, and nobody sees that the trap is open."""
    missing = []
    for number, _, tests in ROWS:
        named = re.findall(r"`([^`]+)`", tests)
        assert named, f"trap {number} names no test"
        assert ", ".join(f"`{one}`" for one in named) == tests
        for one in named:
            path, _, name = one.partition("::")
            if not (TESTS / path).is_file() or name not in defined_in(TESTS / path):
                missing.append(f"{number}: {one}")
    assert not missing, "; ".join(missing)
