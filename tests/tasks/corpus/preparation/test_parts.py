"""Every row of the corpus has an id of its own."""

import hashlib
import json

from tests.tasks.small_corpus import ROLES, chinese_of, ingest, rows_of, source_of

COLUMNS = {"text": "zh", "parallel_text": "beside"}


def test_a_text_beside_another_language_is_another_row(sources, store, tmp_path):
    """Two rows of one id: what the teacher said of English was read for the German row."""
    for language in ("en", "de"):
        path = tmp_path / f"{language}.jsonl"
        rows = [{"zh": chinese_of(n), "beside": f"Radio {n} {n + 7}"} for n in range(300, 320)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        fields = {"parallel_language": language, "columns": COLUMNS}
        sources.append(source_of(f"zh-{language}", path, "transfer", "zh", **fields))
    artifact = ingest(sources, store)
    rows = [row for role in ROLES for row in rows_of(artifact, role)]
    assert sum(row["source"] in ("zh-en", "zh-de") for row in rows) == 40
    assert len({row["example_id"] for row in rows}) == len(rows)


def test_a_row_without_a_second_text_keeps_its_id(sources, store):
    """Scores of plain texts, kept by id, were of no row any more."""
    artifact = ingest(sources, store)
    for role in ("train", "test"):
        row = rows_of(artifact, role)[0]
        given = [role, row["language"], row["text"], None, row["label"]]
        digest = hashlib.sha256(json.dumps(given, ensure_ascii=False).encode()).hexdigest()
        assert row["example_id"] == digest[:32]
