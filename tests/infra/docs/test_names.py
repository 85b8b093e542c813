"""Names and links on README and docs: each leads to something that exists."""

import importlib
import re
from pathlib import Path

import pytest

from infra.docs.reference_pages import api_pages, commands_page, contracts_page, recipe_page
from tests.infra.docs.documents import DOCS, PAGES, ROOT, blocks_of, name_of, prose_of

WRITTEN = {"recipe.md", "commands.md", "contracts.md"}  # at build time
PATH = re.compile(r"(?:flows|tasks|tests|infra|data_contracts)/[\w./*-]*\Z")
DOTTED = re.compile(r"(?:flows|tasks|data_contracts)(?:\.\w+)+\Z")
RECIPES = {path.stem for path in (ROOT / "flows" / "recipes").glob("*.yaml")}


def code_of(path):
    """Words in code font."""
    return re.findall(r"`([^`\n]+)`", prose_of(path))


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_link_leads_to_a_file(path):
    """A page that was moved, and a reader who is sent to where it was."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(path)):
        if not target.startswith("https://"):
            found = path.parent / target.partition("#")[0]
            assert found.exists() or found.name in WRITTEN, f"{target} is not there"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_name_in_code_font_exists(path):
    """A map of a house that was rebuilt."""
    drawn = [word for block in blocks_of(path, "text") for word in block.text.split()]
    for word in code_of(path) + [word for word in drawn if DOTTED.match(word)]:
        if PATH.match(word):
            name = word.rstrip("/")
            found = any(ROOT.glob(name)) if "*" in name else (ROOT / name).exists()
            assert found, f"{word} is not there"
        elif DOTTED.match(word):
            module, _, name = word.rpartition(".")
            try:
                importlib.import_module(word)
            except ModuleNotFoundError:
                assert hasattr(importlib.import_module(module), name), f"{word} is not there"


def test_every_recipe_is_on_the_page_of_problems():
    """A form of distillation that nobody finds, because no page names it."""
    assert set(code_of(DOCS / "reference" / "problems.md")) >= RECIPES


def test_the_written_reference_is_whole():
    """A field, a command or a table that the reference leaves out."""
    assert "| `source_language` | string | required |" in recipe_page()
    assert not re.search(r"^\| `\w+` \|.*\|\s*\|$", recipe_page(), re.M), "a field without a text"
    assert "## decant run\n" in commands_page()
    assert "| `--no-orchestrator` |" in commands_page()
    for path in (ROOT / "data_contracts").glob("*.odcs.yaml"):
        assert f"\n## {path.name.removesuffix('.odcs.yaml')} " in contracts_page()
    described = "\n".join(api_pages().values())
    assert "::: data_contracts.errors\n" in described
    assert set(api_pages()) >= {"reference/api/tasks.md", "reference/api/tasks.training.losses.md"}


def test_the_glossary_stays_short():
    """A vocabulary of our own that a newcomer has to learn first."""
    rows = re.findall(r"^\| (?!term|---)", (DOCS / "reference/glossary.md").read_text(), re.M)
    assert 0 < len(rows) <= 20


def test_every_page_is_in_the_navigation():
    """A page that is in the folder, and on the site for nobody."""
    listed = Path(ROOT / "infra" / "mkdocs.yml").read_text(encoding="utf-8")
    for path in DOCS.rglob("*.md"):
        if ".venv" not in path.parts and path.name != "README.zh.md":
            assert path.relative_to(DOCS).as_posix() in listed
