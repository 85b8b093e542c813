"""Pages of figures: every table on them is what the result files hold."""

import json
import re

import pytest

from infra.benchmarks import tables
from infra.benchmarks.tables import PAGES, RESULTS, Table, keep, render, rendered


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_its_results_hold(page):
    """A figure mended by hand on the page, which the next rendering takes back."""
    text = (tables.HERE / f"{page}.md").read_text(encoding="utf-8")
    assert rendered(page) == text, "infra/benchmarks/run report writes the tables"


@pytest.mark.parametrize("page", PAGES)
def test_every_table_of_a_page_has_a_result_and_every_result_a_page(page):
    """A table that nobody can trace, or a negative result that no reader ever sees."""
    text = (tables.HERE / f"{page}.md").read_text(encoding="utf-8")
    shown = re.findall(r"<!-- table ([\w-]+) -->", text)
    assert sorted(shown) == sorted(path.stem for path in (RESULTS / page).glob("*.json"))
    outside = re.sub(r"<!-- table .*?<!-- end -->", "", text, flags=re.DOTALL)
    assert not [line for line in outside.splitlines() if line.startswith("|")]


def test_digits_are_those_that_were_kept(tmp_path):
    """85.0 that becomes 85, or a row whose figures moved one column to the left."""
    about = {"date": "2026-12-02", "commit": "abc", "machine": "two cores", "versions": "torch 1"}
    table = Table(["system", "accuracy", "difference"], [["student", "85.0", ""]], "**Chinese**")
    path = tmp_path / "page" / "table.json"
    keep(path, {**about, "command": "decant run x"}, [table])
    assert list(render(json.loads(path.read_text(encoding="utf-8")))) == [
        "**Chinese**",
        "",
        "| system | accuracy | difference |",
        "|---|---|---|",
        "| student | 85.0 | |",
        "",
        "<sub>2026-12-02, commit abc; two cores; torch 1. `decant run x`</sub>",
    ]
    with pytest.raises(ValueError, match="2 cells"):
        list(Table(["system", "accuracy", "difference"], [["student", "85.0"]]).lines())
