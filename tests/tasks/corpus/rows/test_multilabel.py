"""Texts with several classes from files to tokens."""

import pytest
from pydantic import ValidationError

PROBLEM = "multilabel_classification"
LISTS = {"text": "text", "labels": "topics", "domain": "paper"}
TOPICS = ("sport/football", "politics", "economy/banks/central", "travel")


def english(number):
    return {
        "text": f"Report {number} tells of item {number * 7 % 50} and of day {number}",
        "topics": [TOPICS[place] for place in range(4) if number >> place & 1],
        "paper": "Times" if number % 2 else None,
    }


def chinese(number):
    return {
        "text": f"第{number}号报道讲的是第{number * 7}件事",
        "topics": english(number)["topics"],
    }


def separated(row):
    return {"text": row["text"], "topics": "; ".join(row["topics"]) or None}


@pytest.fixture
def sources(write_rows):
    texts = {"text": "text"}
    names = {"text": "text", "label": "topics"}
    return [
        write_rows("train", map(english, range(24)), "train", "en", LISTS),
        write_rows("pool", map(chinese, range(20)), "transfer", "zh", texts),
        write_rows("en-dev", map(english, range(32, 40)), "validation", "en", LISTS),
        write_rows("en-test", map(english, range(48, 56)), "test", "en", LISTS),
        write_rows("zh-dev", [separated(chinese(n)) for n in range(33, 40)], "validation", "zh",
                   names, label_separator=";"),
        write_rows("zh-test", [*map(chinese, range(48, 56)), {"text": "其他报道", "topics": ["x"]}],
                   "test", "zh", {"text": "text", "labels": "topics"}),
    ]  # fmt: skip


@pytest.fixture
def corpus(sources, ingest):
    return ingest(PROBLEM, sources, deduplication={"leak_threshold": None})


def test_sets_of_names_are_kept_with_their_hierarchy_and_domain(corpus):
    """`sport/football` became `sport`, or two names one; no class became no label."""
    assert corpus.json("labels.json") == {"labels": sorted(TOPICS)}
    rows = corpus.rows("train")
    assert [row["labels"] for row in rows] == [sorted(english(n)["topics"]) for n in range(24)]
    assert [row["domain"] for row in rows[:2]] == [None, "Times"]
    assert {row["label"] for row in rows} == {None}
    assert [row["labels"] for row in corpus.rows("transfer")] == [None] * 20
    assert corpus.quarantined() == [("zh-test", 9, "unknown_label")]
    dev = [row for row in corpus.rows("validation") if row["language"] == "zh"]
    assert [row["labels"] for row in dev] == [sorted(chinese(n)["topics"]) for n in range(33, 40)]


def test_tokens_hold_the_numbers_of_the_classes(corpus, tokenize):
    """Class 1 of the corpus was class 2 of the loss."""
    tokens = tokenize(PROBLEM, corpus, ["en"])
    names = tokens.json("labels.json")["labels"]
    for number, row in enumerate(tokens.rows("train")):
        assert [names[place] for place in row["labels"]] == sorted(english(number)["topics"])
    pool = tokenize(PROBLEM, corpus, ["zh"]).rows("transfer")
    assert [row["labels"] for row in pool] == [None] * 20
    assert {row["label"] for row in pool} == {-1}


def test_the_same_text_with_other_classes_is_a_contradiction(sources, ingest, write_rows):
    """The order of names was a difference, or a real one none."""
    same = {**english(7), "topics": list(reversed(english(7)["topics"]))}
    other = {**english(5), "topics": ["travel"]}
    more = [*sources, write_rows("more", [same, other], "train", "en", LISTS)]
    corpus = ingest(PROBLEM, more, deduplication={"leak_threshold": None}, max_quarantine_rate=1.0)
    found = {row for row in corpus.quarantined() if row[2] == "contradiction"}
    assert found == {("train", 6, "contradiction"), ("more", 2, "contradiction")}
    assert corpus.json("counts.json")["sources"]["more"]["deduplicated"] == {"exact": 1}


def test_names_in_one_text_need_a_separator(ingest, write_rows):
    """`sport;travel` was a class of its own."""
    source = write_rows("a", [english(1)], "train", "en", {"text": "text", "label": "topics"})
    with pytest.raises(ValidationError, match="label_separator"):
        ingest(PROBLEM, [source])
    with pytest.raises(ValidationError, match="one label a text"):
        ingest("text_classification", [{**source, "label_separator": ";"}])


def test_an_empty_cell_says_that_no_class_holds_where_rows_are_labelled(sources, ingest, tmp_path):
    """Every row without a class was set aside: the model never saw that there may be none."""
    (tmp_path / "more.csv").write_text(
        "text,topics\nNothing of note happened,\nThe cup was won at last,sport/football\n"
    )
    (tmp_path / "pool.tsv").write_text(
        "text\ttopics\n无事发生的一天\t\n旅行的一天\ttravel; politics\n", encoding="utf-8"
    )
    given = {"columns": {"text": "text", "label": "topics"}, "label_separator": ";"}
    more = {"name": "more", "format": "csv", "role": "train", "language": "en", **given}
    pool = {"name": "marked", "format": "tsv", "role": "transfer", "language": "zh", **given}
    more["uri"], pool["uri"] = str(tmp_path / "more.csv"), str(tmp_path / "pool.tsv")
    corpus = ingest(PROBLEM, [*sources, more, pool], deduplication={"leak_threshold": None})
    found = {row["text"]: row["labels"] for role in ("train", "transfer") for row in
             corpus.rows(role) if row["source"] in ("more", "marked")}  # fmt: skip
    assert found == {
        "Nothing of note happened": [],
        "The cup was won at last": ["sport/football"],
        "无事发生的一天": None,
        "旅行的一天": ["politics", "travel"],
    }


def test_other_names_are_mapped_one_by_one(sources, write_rows, ingest):
    """`Sport; sport/football` of one text: two classes, or a row that is set aside."""
    rows = [{**chinese(n), "topics": "Sport; sport/football; travel"} for n in range(60, 66)]
    names = {"text": "text", "label": "topics"}
    leads = {"Sport": "sport/football"}
    spelt = write_rows("spelt", rows, "test", "zh", names, label_separator=";", label_map=leads)
    corpus = ingest(PROBLEM, [*sources, spelt], deduplication={"leak_threshold": None})
    found = [row["labels"] for row in corpus.rows("test") if row["source"] == "spelt"]
    assert found == [["sport/football", "travel"]] * 6
