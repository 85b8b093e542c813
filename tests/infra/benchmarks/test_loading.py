"""Loading is measured on what training reads: mapped files with the teacher's logits."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from infra.benchmarks import loading, machine, report
from infra.benchmarks.epochs import epoch_batches
from infra.benchmarks.settings import Settings
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.stages import Stage, run_stage


def test_mapped_examples_carry_every_row_with_its_logits(tmp_path):
    """A rate of mapped files that hold neither all rows nor a single logit."""
    store = ArtifactStore(tmp_path / "store")
    stage = Stage("tokens", 1, loading.write_tokens)
    tokens = run_stage(stage, loading.Rows(num_rows=150), {}, store=store).artifact
    examples = loading.mapped_examples(tokens, store)
    (path,) = (tokens.path / "transfer").glob("*.parquet")
    ids = pq.read_table(path)["input_ids"].to_pylist()
    drawn = np.random.default_rng(0).normal(size=600).astype(np.float32).reshape(150, 4)
    expected = sorted(zip(ids, drawn.tolist(), strict=True))
    found = []
    for step in epoch_batches(examples, 32, pad_token_id=0):
        (batch,) = step.passes
        texts, mask = batch.texts.input_ids, batch.texts.attention_mask_BL
        read = [row[kept == 1].tolist() for row, kept in zip(texts, mask, strict=True)]
        found += zip(read, batch.teacher_logits_AC.tolist(), strict=True)
    assert sorted(found) == expected


@pytest.mark.slow
def test_mapped_files_have_rows_of_their_own_in_the_report(tmp_path):
    """What training reads, told as if it were what lies in memory."""
    settings = Settings(True, 1, tmp_path / "work", tmp_path / "results")
    found = loading.run(settings, "load")
    settings.results.mkdir()
    result = {"settings": settings.record(), "machine": machine.describe(), "seconds": 1.0}
    (settings.results / "load.json").write_text(json.dumps(result | found))
    text = report.write_report(settings.results, tmp_path).read_text(encoding="utf-8")
    for size in (32, 256):
        rate = found["rates"][f"decant_mapped_{size}"]["median"]
        times = rate / found["rates"][f"dataloader_{size}"]["median"]
        start = f"| mapped files with teacher logits (the DataLoader reads none) | {size} |"
        (line,) = (row for row in text.splitlines() if row.startswith(start))
        assert f"| {rate:,.0f} [" in line
        assert f"| {times:.2f} [" in line
