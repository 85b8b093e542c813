"""README and pages as their readers take them: blocks of code, links, names in code font."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "infra" / "docs"
PAGES = sorted(
    path for path in [ROOT / "README.md", *DOCS.rglob("*.md")] if ".venv" not in path.parts
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: what it is, and its text."""

    kind: str
    text: str


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def blocks_of(path, *kinds):
    """Blocks of a page in their order; of some kinds alone, if any are named."""
    found = [Block(*match) for match in _FENCE.findall(path.read_text(encoding="utf-8"))]
    return [block for block in found if not kinds or block.kind in kinds]


def prose_of(path):
    """A page without its blocks."""
    return _FENCE.sub("", path.read_text(encoding="utf-8"))
