"""The corpus stage, end to end on small real files."""

import json
import random
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from data_contracts.artifacts import RowCounts
from data_contracts.errors import ContractViolation, SourceError
from data_contracts.tables import check_table
from tasks.corpus.tables import read_table
from tasks.ingestion import STAGE, Config
from tasks.runtime.stages import run_stage

ROLES = ("train", "transfer", "validation", "test")
VERBS = ["turn on", "switch off", "open", "close", "dim", "start", "stop", "lock"]
THINGS = ["lamp", "door", "radio", "window", "heater", "fan", "kettle", "camera", "gate", "oven"]


def _text(number):
    """A sentence of its own for every number, far from all others."""
    rng = random.Random(number)
    extra = " ".join("".join(rng.choices("bcdfghklmnprstvw", k=6)) for _ in range(3))
    return f"{VERBS[number % 8]} the {THINGS[number % 10]} {extra}"


def _chinese(number):
    rng = random.Random(number)
    return "打开" + "".join(chr(rng.randrange(0x4E00, 0x9000)) for _ in range(8))


def _csv(path, rows):
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


def _pairs(path, numbers, *, label=False):
    with path.open("w", encoding="utf-8") as stream:
        for number in numbers:
            row = {"zh": _chinese(number), "en": _text(10_000 + number)}
            if label:
                row["intent"] = VERBS[number % 8]
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path


def _file(name, path, role, language, **fields):
    return {
        "name": name,
        "format": path.suffix[1:] if path.suffix else "csv",
        "uri": str(path),
        "role": role,
        "language": language,
        "columns": {"text": "text", "label": "label"},
        **fields,
    }


@pytest.fixture
def sources(tmp_path):
    """A whole small corpus: English train only, Chinese pairs, Chinese validation and test."""
    train = _csv(tmp_path / "train.csv", [(_text(n), VERBS[n % 8]) for n in range(400)])
    pairs = _pairs(tmp_path / "pairs.jsonl", range(200))
    entries = [
        _file("train", train, "train", "en"),
        _file(
            "pairs",
            pairs,
            "transfer",
            "zh",
            parallel_language="en",
            columns={"text": "zh", "parallel_text": "en"},
        ),
    ]
    for role, start in (("validation", 1000), ("test", 2000)):
        rows = [(_chinese(n), VERBS[n % 8]) for n in range(start, start + 60)]
        path = _csv(tmp_path / f"{role}.csv", rows)
        entries.append(_file(f"zh-{role}", path, role, "zh"))
    return entries


def _config(sources, **fields):
    return Config.model_validate(
        {"source_language": "en", "target_language": "zh", "sources": sources, **fields}
    )


def _run(sources, store, *, workers=1, force=False, **fields):
    return run_stage(
        STAGE, _config(sources, **fields), {}, store=store, workers=workers, force=force
    ).artifact


def _rows(artifact, role):
    parts = sorted((artifact.path / "rows" / role).glob("part-*.parquet"))
    for part in parts:
        check_table(read_table(part), "corpus")
    return [row for part in parts for row in read_table(part).to_pylist()]


def _quarantine(artifact):
    table = read_table(artifact.path / "quarantine" / "part-00000.parquet")
    check_table(table, "quarantine")
    return table.to_pylist()


def _counts(artifact):
    return json.loads((artifact.path / "counts.json").read_text())


def test_every_row_is_in_its_role_and_the_counts_reconcile(sources, store):
    """Rows were lost between reading and writing, and no number said so."""
    artifact = _run(sources, store)
    roles = {role: _rows(artifact, role) for role in ROLES}
    counts = _counts(artifact)
    assert counts["total"]["rows_in"] == 400 + 200 + 60 + 60
    assert counts["roles"] == {role: len(rows) for role, rows in roles.items()}
    assert counts["total"]["rows_out"] == sum(map(len, roles.values())) == 720
    for entry in [counts["total"], *counts["sources"].values()]:
        RowCounts(**{key: entry[key] for key in RowCounts.model_fields})  # the equation holds
    assert artifact.manifest.row_counts is not None
    assert artifact.manifest.row_counts.model_dump() == counts["total"]
    assert json.loads((artifact.path / "labels.json").read_text())["labels"] == sorted(VERBS)
    pair = roles["transfer"][0]
    assert (pair["text"], pair["parallel_text"]) == (_chinese(0), _text(10_000))
    assert (pair["language"], pair["parallel_language"]) == ("zh", "en")
    assert (pair["source"], pair["line"], pair["label"]) == ("pairs", 1, None)
    ids = [row["example_id"] for rows in roles.values() for row in rows]
    assert len(set(ids)) == len(ids)


def test_missing_evaluation_rows_are_cut_from_labelled_ones(sources, store):
    """English had no test rows, so the teacher was reported at 0 %."""
    artifact = _run(sources, store)
    cut = _counts(artifact)["cut_from_labelled_rows"]
    assert cut == {"validation": ["en"], "test": ["en"]}
    languages = {role: Counter(r["language"] for r in _rows(artifact, role)) for role in ROLES}
    assert languages["validation"]["zh"] == languages["test"]["zh"] == 60
    assert 20 <= languages["test"]["en"] <= 65  # 400 rows, share 0.1: 40, within 4 deviations
    trained = {row["text"] for row in _rows(artifact, "train")}
    assert not trained & {row["text"] for row in _rows(artifact, "test")}


def test_nothing_to_evaluate_on_says_what_to_add(sources, store, tmp_path):
    """A student that nobody could test was registered."""
    with pytest.raises(SourceError) as error:
        _run(sources[:2], store)
    assert "'zh'" in error.value.fact
    assert "no labelled rows" in error.value.fact
    assert "language: zh" in error.value.remedy
    # Labels on the pairs are enough to cut from.
    path = _pairs(tmp_path / "labelled.jsonl", range(300), label=True)
    columns = {"text": "zh", "parallel_text": "en", "label": "intent"}
    labelled = _file("p", path, "transfer", "zh", parallel_language="en", columns=columns)
    artifact = _run([sources[0], labelled], store)
    assert {row["language"] for row in _rows(artifact, "test")} == {"en", "zh"}


def test_a_file_with_one_percent_broken_rows_succeeds(sources, store, tmp_path):
    """One bad row in a hundred stopped the nightly run, or went by unseen."""
    good = [f"{_text(n)},{VERBS[n % 8]}".encode() for n in range(5000, 6980)]
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
        _chinese(1000).encode() + b",open": "language_mismatch",
    }
    lines, expected = list(good), {}
    for number, (line, reason) in enumerate(broken.items()):
        position = 100 + 50 * number
        lines.insert(position, line)
        expected[position + 2] = reason  # the header is line 1
    path = tmp_path / "mine.csv"
    path.write_bytes(b"\xef\xbb\xbftext,label\r\n" + b"\r\n".join(lines) + b"\r\n")
    artifact = _run([_file("mine", path, "train", "en"), *sources[1:]], store)
    quarantine = [row for row in _quarantine(artifact) if row["source"] == "mine"]
    assert {row["line"]: row["reason"] for row in quarantine} == expected
    assert all(row["text"] is None for row in quarantine)
    assert all(row["rule_version"] >= 1 for row in quarantine)
    entry = _counts(artifact)["sources"]["mine"]
    assert entry["rows_in"] == len(lines) == 1994
    assert entry["quarantined"] == dict(sorted(Counter(expected.values()).items()))
    assert entry["rows_out"] == len(good)
    kept = _run(
        [_file("mine", path, "train", "en"), *sources[1:]], store, keep_quarantined_text=True
    )
    texts = {row["line"]: row["text"] for row in _quarantine(kept)}
    assert texts[102] == "no label at all"
    assert texts[252] == "caf\\xe9 is not utf-8,open"


def test_too_many_bad_rows_stop_the_run_and_the_table_stays(sources, store, tmp_path):
    """A changed export lost every label; the model was trained on the 3 % that remained."""
    rows = [(_text(n), VERBS[n % 8] if n % 10 else "") for n in range(400)]
    _csv(tmp_path / "train.csv", rows)
    with pytest.raises(ContractViolation) as error:
        _run(sources, store)
    assert "40 of 400 rows of source 'train' (10.0%)" in error.value.fact
    assert "missing_label 40" in error.value.fact
    assert "5.0%" in error.value.rule
    (table,) = store.root.glob("work/**/quarantine.parquet")
    assert str(table) in error.value.remedy
    assert read_table(table).num_rows == 40
    artifact = _run(sources, store, max_quarantine_rate=0.1)
    assert _counts(artifact)["total"]["quarantined"] == {"missing_label": 40}
    with pytest.raises(ContractViolation):
        _run(sources, store, max_quarantine_rate=0.0)


def test_no_evaluation_text_is_trained_on(sources, store, tmp_path):
    """The test set was in the training data, in another case and with a full stop."""
    near = _text(3) + " now please at once"
    test = [(_text(1), "open"), (_text(2).upper() + "!", "open"), (near, "open")]
    test += [(_text(n), "open") for n in range(7000, 7040)]
    path = _csv(tmp_path / "en-test.csv", test)
    train = [(_text(n), "open" if n in (1, 2, 3) else VERBS[n % 8]) for n in range(400)]
    _csv(tmp_path / "train.csv", [*train, (near + "s", "open")])
    with (tmp_path / "pairs.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"zh": _chinese(500), "en": _text(7001)}) + "\n")
        stream.write(json.dumps({"zh": _chinese(2003), "en": _text(9001)}) + "\n")
    artifact = _run([*sources, _file("en-test", path, "test", "en")], store)
    found = {(r["source"], r["line"]): r["reason"] for r in _quarantine(artifact)}
    assert found == {
        ("train", 3): "leak_exact",  # _text(1)
        ("train", 4): "leak_near",  # _text(2) in another case
        ("train", 402): "leak_near",  # one letter more; _text(3) itself is far enough
        ("pairs", 201): "leak_exact",  # the teacher's side
        ("pairs", 202): "leak_exact",  # the student's side
    }
    assert len([r for r in _rows(artifact, "test") if r["source"] == "en-test"]) == 43


def test_copies_are_dropped_and_counted_near_copies_on_request(sources, store, tmp_path):
    """A text repeated a thousand times weighed a thousand times."""
    # Rows that stay in training: a near copy of a row that is cut for the test would be a leak.
    first, second = (row for row in _rows(_run(sources, store), "train")[:2])
    rows = [(_text(n), VERBS[n % 8]) for n in range(400)]
    rows += [(first["text"], first["label"])] * 2 + [(second["text"] + "!", second["label"])]
    _csv(tmp_path / "train.csv", rows)
    entry = _counts(_run(sources, store))["sources"]["train"]
    assert entry["deduplicated"] == {"exact": 2}
    config = {"near_duplicate_threshold": 0.95}
    entry = _counts(_run(sources, store, deduplication=config))["sources"]["train"]
    assert entry["deduplicated"] == {"exact": 2, "near": 1}


def test_pairs_that_translate_the_training_data_survive_the_cut(sources, store, tmp_path):
    """Who had translated the training texts could not run: every fifth pair met our own cut."""
    with (tmp_path / "pairs.jsonl").open("w", encoding="utf-8") as stream:
        for number in range(400):
            stream.write(json.dumps({"zh": _chinese(number), "en": _text(number)}) + "\n")
    artifact = _run(sources, store)
    entry = _counts(artifact)["sources"]["pairs"]
    assert set(entry["quarantined"]) == {"leak_exact"}
    assert 40 <= entry["quarantined"]["leak_exact"] <= 120  # a fifth of 400: 80, 4 deviations
    evaluated = {row["text"] for role in ("validation", "test") for row in _rows(artifact, role)}
    assert not evaluated & {row["parallel_text"] for row in _rows(artifact, "transfer")}


def test_labels_outside_the_set_are_set_aside(sources, store, tmp_path):
    """A class that only the test set had could not be right, and pulled the score down."""
    rows = [(_chinese(n), VERBS[n % 8]) for n in range(2000, 2060)] + [(_chinese(2900), "dance")]
    _csv(tmp_path / "test.csv", rows)
    artifact = _run(sources, store)
    (row,) = _quarantine(artifact)
    assert (row["source"], row["line"], row["reason"]) == ("zh-test", 62, "unknown_label")
    assert "'dance'" in row["detail"]
    allowed = {"labels": VERBS[:-1]}
    artifact = _run(sources, store, filters=allowed, max_quarantine_rate=0.2)
    assert {row["reason"] for row in _quarantine(artifact)} == {"unknown_label"}
    assert json.loads((artifact.path / "labels.json").read_text())["labels"] == sorted(VERBS[:-1])


def test_classes_are_joined_by_name_whatever_their_numbers(sources, store, tmp_path):
    """0 is negative in one file and positive in the next: a good student looked worse than none."""
    named = [(_text(n), ("negative", "neutral", "positive")[n % 3]) for n in range(90)]
    numbered = [(_chinese(n), n % 3) for n in range(60)]  # 0: positive, 1: neutral, 2: negative
    sources = [_file("en", _csv(tmp_path / "en.csv", named), "train", "en"), sources[1]]
    for role, start in (("validation", 0), ("test", 30)):
        path = _csv(tmp_path / f"{role}.csv", numbered[start : start + 30])
        order = ["positive", "neutral", "negative"]
        sources.append(_file(f"zh-{role}", path, role, "zh", label_names=order))
    artifact = _run(sources, store)
    labels = json.loads((artifact.path / "labels.json").read_text())["labels"]
    assert labels == ["negative", "neutral", "positive"]
    expected = {text: ("positive", "neutral", "negative")[number] for text, number in numbered}
    tests = [row for row in _rows(artifact, "test") if row["language"] == "zh"]
    found = {row["text"]: row["label"] for row in tests}
    assert found == {text: expected[text] for text, _ in numbered[30:]}


@pytest.mark.slow
def test_the_same_bytes_from_any_number_of_workers_and_again(sources, store, tmp_path):
    """A rerun with more workers gave another digest: everything downstream was computed again."""
    # More batches than are prepared before the other processes start.
    rows = [(_text(n), VERBS[n % 8]) for n in range(30_000)] + [("打开厨房的灯打开打开", "open")]
    _csv(tmp_path / "train.csv", rows)
    # Without the search for near copies: random texts have none, and it takes most of the time.
    fields = {"deduplication": {"leak_threshold": None}}
    digests = {
        workers: _run(sources, store, workers=workers, force=True, **fields).content_digest
        for workers in (1, 2, 4)
    }
    assert len(set(digests.values())) == 1
    assert _run(sources, store, workers=1, force=True, **fields).content_digest == digests[1]


def test_a_new_file_leaves_the_parts_of_the_others_alone(sources, store, tmp_path):
    """One more day of data rewrote every part, and the teacher read all of them again."""
    days = tmp_path / "days"
    days.mkdir()
    for day in (1, 2):
        rows = [(_text(n), VERBS[n % 8]) for n in range(100 * day, 100 * day + 80)]
        _csv(days / f"day-{day}.csv", rows)
    entries = [_file("days", days, "train", "en", format="csv"), *sources[1:]]
    before = {file.sha256 for file in _run(entries, store).manifest.files if "rows" in file.path}
    _csv(days / "day-3.csv", [(_text(n), VERBS[n % 8]) for n in range(300, 380)])
    artifact = _run(entries, store)
    after = {file.sha256 for file in artifact.manifest.files if "rows" in file.path}
    assert before < after
    sources_of_rows = {row["source"] for row in _rows(artifact, "train")}
    assert sources_of_rows == {"days/day-1.csv", "days/day-2.csv", "days/day-3.csv"}
    assert list(_counts(artifact)["sources"]) == ["days", "pairs", "zh-validation", "zh-test"]


def test_moving_the_files_changes_nothing(sources, store, tmp_path):
    """The same data in another folder was another corpus."""
    first = _run(sources, store)
    moved = tmp_path / "elsewhere.csv"
    (tmp_path / "train.csv").rename(moved)
    sources[0]["uri"] = str(moved)
    assert _run(sources, store).key == first.key


def test_two_sources_of_one_name_are_refused(sources):
    """The counts of two sources were added up under one name."""
    with pytest.raises(ValidationError, match="used twice"):
        _config([sources[0], sources[0]])


def test_an_empty_source_is_told(sources, store, tmp_path):
    """A header without rows trained a teacher on nothing."""
    (tmp_path / "train.csv").write_text("text,label\n")
    with pytest.raises(SourceError, match="has no rows"):
        _run(sources, store)


def test_parquet_sources_work_too(sources, store, tmp_path):
    """Parquet rows were numbered from 0 and their integer labels refused."""
    table = pa.table({"text": [_text(n) for n in range(400)], "label": [n % 4 for n in range(400)]})
    pq.write_table(table, tmp_path / "train.parquet")
    for role in ("validation", "test"):
        start = {"validation": 1000, "test": 2000}[role]
        rows = [(_chinese(n), n % 4) for n in range(start, start + 60)]
        _csv(tmp_path / f"{role}.csv", rows)
    artifact = _run([_file("p", tmp_path / "train.parquet", "train", "en"), *sources[1:]], store)
    assert json.loads((artifact.path / "labels.json").read_text())["labels"] == list("0123")


def test_the_quickstarts_corpus_is_what_its_report_says(store):
    """The demonstration had 40 test rows, or a class without training data."""
    common = {"format": "home_assistant_intents"}
    entries = []
    for language, other in (("en", "zh"), ("zh", "en")):
        for role, rows in (("train", 80), ("validation", 12), ("test", 24)):
            entry = {"name": f"{language}-{role}", "role": role, "language": language}
            entry |= {"shared_with": [other], "rows_per_intent": rows, **common}
            if (language, role) == ("zh", "train"):
                entry = {"name": "pairs", "role": "transfer", "language": "zh", **common}
                entry |= {"parallel_language": "en", "rows_per_intent": 200}
                entry |= {"max_rows_per_template": 40}
            entries.append(entry)
    artifact = _run(entries, store)
    rows = {role: _rows(artifact, role) for role in ROLES}
    sizes = Counter((role, row["language"]) for role in ROLES for row in rows[role])
    assert 2000 <= sizes["train", "en"] <= 3000
    assert 4000 <= sizes["transfer", "zh"] <= 8000
    for language in ("en", "zh"):
        assert sizes["validation", language] >= 300
        assert sizes["test", language] >= 600
    labels = set(json.loads((artifact.path / "labels.json").read_text())["labels"])
    assert 35 <= len(labels) <= 42
    assert {row["label"] for row in rows["transfer"]} == labels
    assert all(row["parallel_text"] for row in rows["transfer"])
    tested = {row["text"] for row in rows["test"]}
    for role in ("train", "transfer", "validation"):
        assert not tested & {row["text"] for row in rows[role]}
        assert not tested & {row["parallel_text"] for row in rows[role]}
