"""The recipe out_of_domain: its shipped sentences, and the recipe on cut-down data."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from flows.recipe.loading.inheritance import SHIPPED
from tests.flows.conftest import CommandLine

DATA = Path(SHIPPED) / "data"
CUT_DOWN = [
    *(f"data.sources.{i}.rows_per_intent={n}" for i, n in {0: 8, 1: 2, 2: 4, 5: 2, 6: 4}.items()),
    "data.sources.3.max_rows_per_template=1",
    "data.sources.4.max_rows=200",
    "num_seeds=1",
    "teacher.training.num_epochs=1",
    "student.training.num_epochs=1",
    "baselines.supervised_epochs=1",
    "registration.gates.max_drop_vs_teacher=null",
    "registration.gates.min_gain_over_no_kd=null",
    "registration.gates.max_latency_ms_p50=null",
]


def test_every_shipped_sentence_names_its_author():
    """CC BY asks for it: the file could not be passed on."""
    table = pq.read_table(DATA / "tatoeba.en-zh.parquet")
    assert table.num_rows == 12_000
    for side in ("english", "chinese"):
        assert pc.min(pc.utf8_length(table[side])).as_py() > 0
        assert pc.min(table[f"{side}_id"]).as_py() > 0
        assert pc.min(pc.utf8_length(table[f"{side}_author"])).as_py() > 0
        assert table[f"{side}_author"].null_count == 0
    told = (DATA / "README.md").read_text(encoding="utf-8")
    assert "tatoeba.en-zh.parquet" in told
    assert "https://creativecommons.org/licenses/by/2.0/fr/" in told


def test_shipped_data_stay_small():
    """A clone that takes minutes, for a demo."""
    sizes = {path.name: path.stat().st_size for path in DATA.iterdir()}
    assert all(size < 500_000 for size in sizes.values()), sizes


@pytest.mark.slow
def test_a_cut_down_run_compares_the_student_with_every_rival(tmp_path):
    """The recipe is refused at a step that nobody ran, or a row of its table is missing."""
    decant = CommandLine(tmp_path)
    changes = [word for one in CUT_DOWN for word in ("--set", one)]
    decant("run", "out_of_domain", "--no-orchestrator", *changes, check=0)
    (report,) = decant.home.glob("artifacts/evaluation/*/report.json")
    systems = json.loads(report.read_text(encoding="utf-8"))["systems"]
    rivals = {"pseudo_label", "supervised", "zero_shot", "linear_pseudo_label", "linear_gold"}
    assert {"teacher", "student", *rivals} <= set(systems)
    read = Counter(
        json.loads(path.read_text(encoding="utf-8"))["num_examples"]
        for path in decant.home.glob("artifacts/student/*/training.json")
    )
    both = max(read, key=lambda rows: read[rows])  # the student and the pseudo-labels
    assert read[both] == 2
    assert read[both - 200] == 1, "gold labels are those of the commands alone"
