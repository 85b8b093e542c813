"""The tables of the benchmark pages, written from results: `infra/benchmarks/run report`.

    results/<page>/<name>.json   what was measured: date, commit, machine, versions, command, tables
    <page>.md                    `<!-- table NAME -->` … `<!-- end -->`: the rendering of NAME.json

Cells are kept as text, digits as they were measured and rounded: rendering changes none. What a
benchmark has just measured it keeps with `keep`; what stands between two markers is overwritten.
speed.md has a report of its own (`report.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGES = ("ablations", "quality", "quickstart")
_BLOCK = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_ABOUT = ("date", "commit", "machine", "versions", "command", "remark")


@dataclass(frozen=True)
class Table:
    """Rows of text under named columns; the first column names what a row is about."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def lines(self) -> Iterator[str]:
        """Markdown. Raises: ValueError if a row has more or fewer cells than there are columns."""
        if self.caption:
            yield self.caption
            yield ""
        yield _line(self.columns)
        yield "|---" * len(self.columns) + "|"
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{len(row)} cells in {row}, columns are {self.columns}")
            yield _line(row)


def _line(cells: Sequence[str]) -> str:
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def keep(path: Path, about: Mapping[str, str], tables: Iterable[Table]) -> None:
    """Write the result file `path`, a row a line.

    Args:
        about: `date`, `commit`, `machine`, `versions`, `command`, and a `remark` if one is needed.
    """
    fields = [f' "{name}": {_json(about[name])}' for name in _ABOUT if name in about]
    written = []
    for table in tables:
        caption = f'   "caption": {_json(table.caption)},\n' if table.caption else ""
        rows = ",\n".join(f"    {_json(row)}" for row in table.rows)
        columns = f'   "columns": {_json(table.columns)},\n'
        written.append(f'  {{\n{caption}{columns}   "rows": [\n{rows}\n   ]\n  }}')
    fields.append(' "tables": [\n' + ",\n".join(written) + "\n ]")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(fields) + "\n}\n", encoding="utf-8")


def _json(value: str | Sequence[str]) -> str:
    return json.dumps(value, ensure_ascii=False)


def render(result: Mapping) -> Iterator[str]:
    """The tables of a result file, and when, where and by what they were measured."""
    for table in result["tables"]:
        yield from Table(table["columns"], table["rows"], table.get("caption", "")).lines()
        yield ""
    when = ", commit ".join(result[field] for field in ("date", "commit") if field in result)
    facts = "; ".join([when, *(result[field] for field in ("machine", "versions"))])
    command = f". `{result['command']}`" if "command" in result else ""
    remark = f". {result['remark']}" if "remark" in result else ""
    yield f"<sub>{facts}{command}{remark}</sub>"


def rendered(page: str, results: Path = RESULTS) -> str:
    """The page's text with all its tables as the files in `results` have them."""

    def block(found: re.Match[str]) -> str:
        path = results / page / f"{found[2]}.json"
        lines = render(json.loads(path.read_text(encoding="utf-8")))
        return found[1] + "\n".join(lines) + "\n" + found[3]

    return _BLOCK.sub(block, (HERE / f"{page}.md").read_text(encoding="utf-8"))


def write_pages() -> None:
    """Write all tables into their pages."""
    for page in PAGES:
        (HERE / f"{page}.md").write_text(rendered(page), encoding="utf-8")
