"""Rows that are set aside: each with its line and reason, counted, and too many stop the run."""

import json
from collections import Counter

import pytest

from data_contracts.errors import ContractViolation
from tasks.corpus.tables import read_table
from tests.tasks.small_corpus import (
    VERBS,
    chinese_of,
    counts_of,
    ingest,
    quarantine_of,
    rows_of,
    source_of,
    text_of,
    write_csv,
)


def test_a_file_with_one_percent_broken_rows_succeeds(sources, store, tmp_path):
    """One bad row in a hundred stopped the nightly run, or went by unseen."""
    good = [f"{text_of(n)},{VERBS[n % 8]}".encode() for n in range(5000, 6980)]
    broken = {
        b"no label at all,": "missing_label",
        b"only one cell": "wrong_column_count",
        b"one,two,three": "wrong_column_count",
        b"caf\xe9 is not utf-8,open": "invalid_utf8",
        b'"a quote that never ends,open': "broken_quotes",
        b"a\x00b,open": "nul_character",
        b"": "blank_line",
        b"\xe2\x80\x8b,open": "empty_text",
        "打开厨房的灯打开厨房的灯,open".encode(): "language_mismatch",
        b"x" * 5000 + b",open": "too_long",
        b"a label nobody sees,op\xe2\x80\x8ben": "invalid_label",
        b"said twice with another label,open": "contradiction",
        b"said twice with another label,close": "contradiction",
        chinese_of(1000).encode() + b",open": "language_mismatch",
    }
    lines, expected = list(good), {}
    for number, (line, reason) in enumerate(broken.items()):
        position = 100 + 50 * number
        lines.insert(position, line)
        expected[position + 2] = reason  # the header is line 1
    path = tmp_path / "mine.csv"
    path.write_bytes(b"\xef\xbb\xbftext,label\r\n" + b"\r\n".join(lines) + b"\r\n")
    artifact = ingest([source_of("mine", path, "train", "en"), *sources[1:]], store)
    quarantine = [row for row in quarantine_of(artifact) if row["source"] == "mine"]
    assert {row["line"]: row["reason"] for row in quarantine} == expected
    assert all(row["text"] is None for row in quarantine)
    assert all(row["rule_version"] >= 1 for row in quarantine)
    entry = counts_of(artifact)["sources"]["mine"]
    assert entry["rows_in"] == len(lines) == 1994
    assert entry["quarantined"] == dict(sorted(Counter(expected.values()).items()))
    assert entry["rows_out"] == len(good)
    kept = ingest(
        [source_of("mine", path, "train", "en"), *sources[1:]], store, keep_quarantined_text=True
    )
    texts = {row["line"]: row["text"] for row in quarantine_of(kept)}
    assert texts[102] == "no label at all"
    assert texts[252] == "caf\\xe9 is not utf-8,open"


def test_too_many_bad_rows_stop_the_run_and_the_table_stays(sources, store, tmp_path):
    """A changed export lost every label; the model was trained on the 3 % that remained."""
    rows = [(text_of(n), VERBS[n % 8] if n % 10 else "") for n in range(400)]
    write_csv(tmp_path / "train.csv", rows)
    with pytest.raises(ContractViolation) as error:
        ingest(sources, store)
    assert "40 of 400 rows of source 'train' (10.0%)" in error.value.fact
    assert "missing_label 40" in error.value.fact
    assert "5.0%" in error.value.rule
    (table,) = store.root.glob("work/**/quarantine.parquet")
    assert str(table) in error.value.remedy
    assert read_table(table).num_rows == 40
    artifact = ingest(sources, store, max_quarantine_rate=0.1)
    assert counts_of(artifact)["total"]["quarantined"] == {"missing_label": 40}
    with pytest.raises(ContractViolation):
        ingest(sources, store, max_quarantine_rate=0.0)


def test_no_evaluation_text_is_trained_on(sources, store, tmp_path):
    """The test set was in the training data, in another case and with a full stop."""
    near = text_of(3) + " now please at once"
    test = [(text_of(1), "open"), (text_of(2).upper() + "!", "open"), (near, "open")]
    test += [(text_of(n), "open") for n in range(7000, 7040)]
    path = write_csv(tmp_path / "en-test.csv", test)
    train = [(text_of(n), "open" if n in (1, 2, 3) else VERBS[n % 8]) for n in range(400)]
    write_csv(tmp_path / "train.csv", [*train, (near + "s", "open")])
    with (tmp_path / "pairs.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"zh": chinese_of(500), "en": text_of(7001)}) + "\n")
        stream.write(json.dumps({"zh": chinese_of(2003), "en": text_of(9001)}) + "\n")
    artifact = ingest([*sources, source_of("en-test", path, "test", "en")], store)
    found = {(r["source"], r["line"]): r["reason"] for r in quarantine_of(artifact)}
    assert found == {
        ("train", 3): "leak_exact",  # text_of(1)
        ("train", 4): "leak_near",  # text_of(2) in another case
        ("train", 402): "leak_near",  # one letter more; text_of(3) itself is far enough
        ("pairs", 201): "leak_exact",  # the teacher's side
        ("pairs", 202): "leak_exact",  # the student's side
    }
    assert len([r for r in rows_of(artifact, "test") if r["source"] == "en-test"]) == 43


def test_pairs_that_translate_the_training_data_survive_the_cut(sources, store, tmp_path):
    """Who had translated the training texts could not run: every fifth pair met our own cut."""
    with (tmp_path / "pairs.jsonl").open("w", encoding="utf-8") as stream:
        for number in range(400):
            stream.write(json.dumps({"zh": chinese_of(number), "en": text_of(number)}) + "\n")
    artifact = ingest(sources, store)
    entry = counts_of(artifact)["sources"]["pairs"]
    assert set(entry["quarantined"]) == {"leak_exact"}
    assert 40 <= entry["quarantined"]["leak_exact"] <= 120  # a fifth of 400: 80, 4 deviations
    evaluated = {row["text"] for role in ("validation", "test") for row in rows_of(artifact, role)}
    assert not evaluated & {row["parallel_text"] for row in rows_of(artifact, "transfer")}


def test_labels_outside_the_set_are_set_aside(sources, store, tmp_path):
    """A class that only the test set had could not be right, and pulled the score down."""
    rows = [(chinese_of(n), VERBS[n % 8]) for n in range(2000, 2060)] + [
        (chinese_of(2900), "dance")
    ]
    write_csv(tmp_path / "test.csv", rows)
    artifact = ingest(sources, store)
    (row,) = quarantine_of(artifact)
    assert (row["source"], row["line"], row["reason"]) == ("zh-test", 62, "unknown_label")
    assert "'dance'" in row["detail"]
    allowed = {"labels": VERBS[:-1]}
    artifact = ingest(sources, store, filters=allowed, max_quarantine_rate=0.2)
    assert {row["reason"] for row in quarantine_of(artifact)} == {"unknown_label"}
    assert json.loads((artifact.path / "labels.json").read_text())["labels"] == sorted(VERBS[:-1])


def test_labels_that_no_train_row_has_are_refused_with_those_that_are_known(sources, store):
    """`unknown_label 59`, and no word that the train rows have two labels, not eight."""
    with pytest.raises(ContractViolation) as told:
        ingest(sources, store, filters={"labels": VERBS[:2]}, max_quarantine_rate=0.1)
    assert told.value.fact.endswith(
        f"Known, by train rows or data.filters.labels: {', '.join(sorted(VERBS[:2]))}"
    )
    assert "unknown_label" in told.value.fact
