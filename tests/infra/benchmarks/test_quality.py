"""Tables of quality.md: differences over several languages are drawn by sentence."""

from types import SimpleNamespace

import numpy as np
import pytest

from infra.benchmarks.forms import Measured
from infra.benchmarks.quality import against_line, main, pooled_table
from tasks.metrics.measures import primary_measure
from tasks.metrics.statistics import values


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


def test_another_runs_student_is_compared_text_by_text():
    """A spread taken from the wrong student, or a gain with the sign of the other's."""
    measure = primary_measure("accuracy", target_language="zh")

    def measured(*rights):
        seeds = tuple(values(np.array(one)) for one in rights)
        return Measured(measure, tuple("abcd"), seeds, (), 1234567)

    student = measured([1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0])
    other = measured([1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0])
    cells = against_line("another", student, other).split(" | ")
    # By hand: 75 and 100 against 50 and 75; the spread of 50 and 75 is 25 / sqrt(2).
    assert cells[0] == "| another (1,234,567 parameters)"
    assert cells[1] == "62.5 ± 17.7"
    assert cells[2].startswith("+25.0 [")
    assert cells[2].endswith("(by seed +25.0, +25.0) |")


def test_a_corpus_without_its_keys_is_refused(monkeypatch, capsys):
    """An option that is taken and does nothing: a table without the lines that were asked for."""
    monkeypatch.setattr("sys.argv", ["quality", "here", "--corpus", "there"])
    with pytest.raises(SystemExit):
        main()
    assert "--corpus and --join go together" in capsys.readouterr().err
