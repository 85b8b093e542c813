"""Reports as the console shows them."""

import json

import pytest

from data_contracts.errors import SourceError
from flows.results import read_report


def test_a_report_of_an_older_form_is_refused_with_a_remedy(tmp_path):
    """A traceback of forty missing fields tells nobody to run the recipe again."""
    old = {"format_version": 1, "recipe": "quickstart", "systems": {}}
    (tmp_path / "report.json").write_text(json.dumps(old))
    with pytest.raises(SourceError, match=r"format 1\).*reads \(format 2\)") as refused:
        read_report(tmp_path)
    assert "run the recipe again" in refused.value.remedy
