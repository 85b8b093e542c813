"""Tables of quality.md: differences over several languages are drawn by sentence."""

from types import SimpleNamespace

import numpy as np
import pytest

from infra.benchmarks.quality import main, pooled_table


def test_the_answers_to_one_sentence_are_drawn_together():
    """Two languages that are right and wrong together count as twice the sentences: narrow."""
    right = np.array([1.0, 0.0] * 50)
    other = np.array([0.0, 0.0] * 50)
    report = SimpleNamespace(systems={})

    def interval(languages):
        rights = {"student": dict.fromkeys(languages, right), "x": dict.fromkeys(languages, other)}
        line = next(row for row in pooled_table(report, rights) if row.startswith("| x"))
        cell = line.split(" | ")[2]
        assert line.split(" | ")[1] == "0.0"
        assert cell.startswith("+50.0 [+")
        low, high = cell.partition("[")[2].rstrip("]").split(", ")
        return float(low), float(high)

    one, two = interval(["zh"]), interval(["zh", "de"])
    assert two == one
    # 50 of 100: a binomial's two standard errors, by its formula
    assert one == pytest.approx((50 - 196 * 0.05, 50 + 196 * 0.05), abs=1.5)


def test_a_run_to_compare_with_and_nowhere_to_show_it_is_refused(monkeypatch, capsys):
    """An option that is taken and does nothing: a table without the line that was asked for."""
    monkeypatch.setattr("sys.argv", ["quality", "here", "--against", "there"])
    with pytest.raises(SystemExit):
        main()
    assert "--against needs --corpus and --join" in capsys.readouterr().err
