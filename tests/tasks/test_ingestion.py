"""The corpus stage, end to end on small real files."""

import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from data_contracts.artifacts import RowCounts
from data_contracts.errors import SourceError
from tests.tasks.small_corpus import (
    ROLES,
    THINGS,
    VERBS,
    chinese_of,
    config_of,
    counts_of,
    ingest,
    quarantine_of,
    rows_of,
    source_of,
    text_of,
    write_csv,
    write_pairs,
)


def test_every_row_is_in_its_role_and_the_counts_reconcile(sources, store):
    """Rows were lost between reading and writing, and no number said so."""
    artifact = ingest(sources, store)
    roles = {role: rows_of(artifact, role) for role in ROLES}
    counts = counts_of(artifact)
    assert counts["total"]["rows_in"] == 400 + 200 + 60 + 60
    assert counts["roles"] == {role: len(rows) for role, rows in roles.items()}
    assert counts["total"]["rows_out"] == sum(map(len, roles.values())) == 720
    for entry in [counts["total"], *counts["sources"].values()]:
        RowCounts(**{key: entry[key] for key in RowCounts.model_fields})  # the equation holds
    assert artifact.manifest.row_counts is not None
    assert artifact.manifest.row_counts.model_dump() == counts["total"]
    assert json.loads((artifact.path / "labels.json").read_text())["labels"] == sorted(VERBS)
    pair = roles["transfer"][0]
    assert (pair["text"], pair["parallel_text"]) == (chinese_of(0), text_of(10_000))
    assert (pair["language"], pair["parallel_language"]) == ("zh", "en")
    assert (pair["source"], pair["line"], pair["label"]) == ("pairs", 1, None)
    ids = [row["example_id"] for rows in roles.values() for row in rows]
    assert len(set(ids)) == len(ids)


def test_missing_evaluation_rows_are_cut_from_labelled_ones(sources, store):
    """English had no test rows, so the teacher was reported at 0 %."""
    artifact = ingest(sources, store)
    cut = counts_of(artifact)["cut_from_labelled_rows"]
    assert cut == {"validation": ["en"], "test": ["en"]}
    languages = {role: Counter(r["language"] for r in rows_of(artifact, role)) for role in ROLES}
    assert languages["validation"]["zh"] == languages["test"]["zh"] == 60
    assert 20 <= languages["test"]["en"] <= 65  # 400 rows, share 0.1: 40, within 4 deviations
    trained = {row["text"] for row in rows_of(artifact, "train")}
    assert not trained & {row["text"] for row in rows_of(artifact, "test")}


def test_nothing_to_evaluate_on_says_what_to_add(sources, store, tmp_path):
    """A student that nobody could test was registered."""
    with pytest.raises(SourceError) as error:
        ingest(sources[:2], store)
    assert "'zh'" in error.value.fact
    assert "no labelled rows" in error.value.fact
    assert "language: zh" in error.value.remedy
    # Labels on the pairs are enough to cut from.
    path = write_pairs(tmp_path / "labelled.jsonl", range(300), label=True)
    columns = {"text": "zh", "parallel_text": "en", "label": "intent"}
    labelled = source_of("p", path, "transfer", "zh", parallel_language="en", columns=columns)
    artifact = ingest([sources[0], labelled], store)
    assert {row["language"] for row in rows_of(artifact, "test")} == {"en", "zh"}


def test_copies_are_dropped_and_counted_near_copies_on_request(sources, store, tmp_path):
    """A text repeated a thousand times weighed a thousand times."""
    # Rows that stay in training: a near copy of a row that is cut for the test would be a leak.
    first, second = (row for row in rows_of(ingest(sources, store), "train")[:2])
    rows = [(text_of(n), VERBS[n % 8]) for n in range(400)]
    rows += [(first["text"], first["label"])] * 2 + [(second["text"] + "!", second["label"])]
    write_csv(tmp_path / "train.csv", rows)
    entry = counts_of(ingest(sources, store))["sources"]["train"]
    assert entry["deduplicated"] == {"exact": 2}
    config = {"near_duplicate_threshold": 0.95}
    entry = counts_of(ingest(sources, store, deduplication=config))["sources"]["train"]
    assert entry["deduplicated"] == {"exact": 2, "near": 1}


@pytest.mark.parametrize("side", ["text", "parallel_text"])
def test_a_test_text_leaks_whatever_its_region(sources, store, tmp_path, side):
    """Rows of the zh test were in a file of zh-CN, as they are or with other commas, and learnt."""
    tested = [f"{chinese_of(n)}，{chinese_of(n + 900)}" for n in range(3000, 3040)]
    path = write_csv(tmp_path / "test.csv", [(text, "open") for text in tested])
    seen = [text if n % 2 else text.replace("，", "；") for n, text in enumerate(tested)]
    rows = [{"zh": text, "en": text_of(20_000 + n)} for n, text in enumerate(seen)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "regional.jsonl").write_text(lines, encoding="utf-8")
    own, second = ("zh", "en") if side == "text" else ("en", "zh")
    tags = {"zh": "zh-CN", "en": "en-GB"}
    regional = source_of("regional", tmp_path / "regional.jsonl", "transfer", tags[own],
                         parallel_language=tags[second],
                         columns={"text": own, "parallel_text": second})  # fmt: skip
    test = source_of("zh-test", path, "test", "zh")
    artifact = ingest([*sources[:3], test, regional], store, max_quarantine_rate=1)
    assert Counter(row["reason"] for row in quarantine_of(artifact)) == {
        "leak_exact": 20, "leak_near": 20,
    }  # fmt: skip
    assert {row["source"] for row in rows_of(artifact, "transfer")} == {"pairs"}


def test_of_two_regions_copies_stay_and_contradictions_go(sources, store, tmp_path):
    """A text trained two classes, in en and en-GB; readers of en-GB whose rows stay in en alone."""
    first, second, third = rows_of(ingest(sources, store), "train")[:3]
    other = next(verb for verb in VERBS if verb != third["label"])
    rows = [(first["text"], first["label"]), (second["text"] + "!", second["label"]),
            (third["text"], other)]  # fmt: skip
    british = source_of("british", write_csv(tmp_path / "gb.csv", rows), "train", "en-GB")
    near = {"near_duplicate_threshold": 0.95}
    artifact = ingest([*sources, british], store, deduplication=near, max_quarantine_rate=1)
    found = [row["text"] for row in rows_of(artifact, "train") if row["source"] == "british"]
    assert found == [text for text, _ in rows[:2]]
    aside = [(row["source"], row["reason"]) for row in quarantine_of(artifact)]
    assert sorted(aside) == [("british", "contradiction"), ("train", "contradiction")]


def test_classes_are_joined_by_name_whatever_their_numbers(sources, store, tmp_path):
    """0 is negative in one file and positive in the next: a good student looked worse than none."""
    named = [(text_of(n), ("negative", "neutral", "positive")[n % 3]) for n in range(90)]
    numbered = [(chinese_of(n), n % 3) for n in range(60)]  # 0: positive, 1: neutral, 2: negative
    sources = [source_of("en", write_csv(tmp_path / "en.csv", named), "train", "en"), sources[1]]
    for role, start in (("validation", 0), ("test", 30)):
        path = write_csv(tmp_path / f"{role}.csv", numbered[start : start + 30])
        order = ["positive", "neutral", "negative"]
        sources.append(source_of(f"zh-{role}", path, role, "zh", label_names=order))
    artifact = ingest(sources, store)
    labels = json.loads((artifact.path / "labels.json").read_text())["labels"]
    assert labels == ["negative", "neutral", "positive"]
    expected = {text: ("positive", "neutral", "negative")[number] for text, number in numbered}
    tests = [row for row in rows_of(artifact, "test") if row["language"] == "zh"]
    found = {row["text"]: row["label"] for row in tests}
    assert found == {text: expected[text] for text, _ in numbered[30:]}


@pytest.mark.slow
def test_the_same_bytes_from_any_number_of_workers_and_again(sources, store, tmp_path):
    """A rerun with more workers gave another digest: everything downstream was computed again."""
    # More batches than are prepared before the other processes start.
    rows = [(text_of(n), VERBS[n % 8]) for n in range(30_000)] + [("打开厨房的灯打开打开", "open")]
    write_csv(tmp_path / "train.csv", rows)
    # Without the search for near copies: random texts have none, and it takes most of the time.
    fields = {"deduplication": {"leak_threshold": None}}
    digests = {
        workers: ingest(sources, store, workers=workers, force=True, **fields).content_digest
        for workers in (1, 2, 4)
    }
    assert len(set(digests.values())) == 1
    assert ingest(sources, store, workers=1, force=True, **fields).content_digest == digests[1]


def test_a_new_file_leaves_the_parts_of_the_others_alone(sources, store, tmp_path):
    """One more day of data rewrote every part, and the teacher read all of them again."""
    days = tmp_path / "days"
    days.mkdir()
    for day in (1, 2):
        rows = [(text_of(n), VERBS[n % 8]) for n in range(100 * day, 100 * day + 80)]
        write_csv(days / f"day-{day}.csv", rows)
    entries = [source_of("days", days, "train", "en", format="csv"), *sources[1:]]
    before = {file.sha256 for file in ingest(entries, store).manifest.files if "rows" in file.path}
    write_csv(days / "day-3.csv", [(text_of(n), VERBS[n % 8]) for n in range(300, 380)])
    artifact = ingest(entries, store)
    after = {file.sha256 for file in artifact.manifest.files if "rows" in file.path}
    assert before < after
    sources_of_rows = {row["source"] for row in rows_of(artifact, "train")}
    assert sources_of_rows == {"days/day-1.csv", "days/day-2.csv", "days/day-3.csv"}
    assert list(counts_of(artifact)["sources"]) == ["days", "pairs", "zh-validation", "zh-test"]


def test_moving_the_files_changes_nothing(sources, store, tmp_path):
    """The same data in another folder was another corpus."""
    first = ingest(sources, store)
    moved = tmp_path / "elsewhere.csv"
    (tmp_path / "train.csv").rename(moved)
    sources[0]["uri"] = str(moved)
    assert ingest(sources, store).key == first.key


def test_two_sources_of_one_name_are_refused(sources):
    """The counts of two sources were added up under one name."""
    with pytest.raises(ValidationError, match="used twice"):
        config_of([sources[0], sources[0]])


def test_an_empty_source_is_told(sources, store, tmp_path):
    """A header without rows trained a teacher on nothing."""
    (tmp_path / "train.csv").write_text("text,label\n")
    with pytest.raises(SourceError, match="has no rows"):
        ingest(sources, store)


def test_parquet_sources_work_too(sources, store, tmp_path):
    """Parquet rows were numbered from 0 and their integer labels refused."""
    table = pa.table(
        {"text": [text_of(n) for n in range(400)], "label": [n % 4 for n in range(400)]}
    )
    pq.write_table(table, tmp_path / "train.parquet")
    for role in ("validation", "test"):
        start = {"validation": 1000, "test": 2000}[role]
        rows = [(chinese_of(n), n % 4) for n in range(start, start + 60)]
        write_csv(tmp_path / f"{role}.csv", rows)
    artifact = ingest(
        [source_of("p", tmp_path / "train.parquet", "train", "en"), *sources[1:]], store
    )
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
    artifact = ingest(entries, store)
    rows = {role: rows_of(artifact, role) for role in ROLES}
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


def test_a_source_of_another_language_stops_the_run_before_its_rows(sources, store, tmp_path):
    """An English file declared as German became a corpus of which every row stayed."""
    texts = [f"please turn on the {thing} in the {room}" for thing in THINGS for room in VERBS]
    path = write_csv(tmp_path / "german.csv", [(text, VERBS[0]) for text in texts])
    german = source_of("german", path, "train", "de")
    with pytest.raises(SourceError, match=r"columns\.text is declared as de"):
        ingest([*sources, german], store)
    assert ingest([*sources, german], store, filters={"check_language": False})


def test_a_source_of_which_all_is_set_aside_is_the_cause_that_is_told(sources, store):
    """Names that no row has in data.filters.labels: "add a source with the role validation", and no
    word of the 400 rows that had been set aside."""
    with pytest.raises(SourceError, match="all 400 rows of source 'train' were set aside") as told:
        ingest(sources, store, filters={"labels": ["good", "bad"]})
    assert "unknown_label 400 (" in told.value.fact
    path = told.value.remedy.removeprefix("look at ").partition(",")[0]
    rows = pq.read_table(path).to_pylist()
    assert len([row for row in rows if row["source"] == "train"]) == 400
    with pytest.raises(SourceError, match="there are no validation rows in 'zh'"):
        ingest(sources[:2], store)
