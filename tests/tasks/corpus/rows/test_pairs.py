"""Pairs of texts from files to tokens."""

import pytest
from pydantic import ValidationError
from tokenizers import Tokenizer

PROBLEM = "matching"
COLUMNS = {"text": "s1", "text_b": "s2", "label": "same"}
VERBS = ("opens", "closes", "paints", "sells", "lifts", "cleans")
THINGS = ("door", "window", "gate", "lamp")


def english(number):
    thing = THINGS[number % 4]
    first = f"Anna {VERBS[number % 6]} the {thing} of house {number}"
    other = f"The {thing} of house {number} is what Anna {VERBS[(number + number % 2) % 6]}"
    return {"id": number, "s1": first, "s2": other, "same": number % 2}


def chinese(number):
    first = f"安娜打开了{number}号房子的门和窗"
    other = f"{number}号房子的{'门和窗' if number % 2 else '灯'}被安娜打开了"
    return {"id": number, "s1": first, "s2": other, "same": number % 2}


@pytest.fixture
def sources(write_rows, tmp_path):
    write_rows("en-pool", map(english, reversed(range(500, 523))), "transfer", "en", {})
    parallel = {"uri": str(tmp_path / "en-pool.jsonl"), "key": "id",
                "columns": {"text": "s1", "text_b": "s2"}}  # fmt: skip
    reused = {"id": 0, "s1": english(0)["s1"], "s2": english(3)["s2"], "same": 0}
    bad = [{"id": 0, "s1": "Anna runs", "s2": None, "same": 1}, {**english(2), "same": None}]
    texts = {"text": "s1", "text_b": "s2"}
    return [
        write_rows("train", [*map(english, range(24)), reused, *bad], "train", "en", COLUMNS),
        write_rows("pool", map(chinese, range(500, 524)), "transfer", "zh", texts,
                   parallel_language="en", parallel=parallel),
        write_rows("en-dev", map(english, range(100, 106)), "validation", "en", COLUMNS),
        write_rows("en-test", map(english, range(200, 206)), "test", "en", COLUMNS),
        write_rows("zh-dev", map(chinese, range(300, 306)), "validation", "zh", COLUMNS),
        write_rows("zh-test", map(chinese, range(400, 406)), "test", "zh", COLUMNS),
    ]  # fmt: skip


@pytest.fixture
def corpus(sources, ingest):
    return ingest(PROBLEM, sources, deduplication={"leak_threshold": None})


def test_pairs_are_kept_as_pairs(corpus):
    """A sentence in two pairs was a copy, or a contradiction, and half of the data went."""
    assert len(corpus.rows("train")) == 25
    assert corpus.json("labels.json") == {"labels": ["0", "1"]}
    row = corpus.rows("transfer")[2]
    assert (row["text"], row["text_b"]) == (chinese(502)["s1"], chinese(502)["s2"])
    assert (row["parallel_text"], row["parallel_text_b"]) == (
        english(502)["s1"],
        english(502)["s2"],
    )
    assert corpus.quarantined() == [
        ("train", 26, "empty_text"),
        ("train", 27, "missing_label"),
        ("pool", 24, "missing_parallel"),
    ]


def test_a_pair_leaks_only_as_a_pair(sources, ingest, write_rows):
    """Training on the test pair; or losing all pairs that share one sentence with it."""
    shared = {**english(200), "s2": "Something else is said of it"}
    more = [*sources, write_rows("more", [english(200), shared], "train", "en", COLUMNS)]
    corpus = ingest(PROBLEM, more, deduplication={"leak_threshold": None})
    assert [row for row in corpus.quarantined() if row[0] == "more"] == [("more", 1, "leak_exact")]


@pytest.mark.parametrize(("reader", "side"), [("zh", ""), ("en", "parallel_")])
def test_tokens_are_the_pair_in_the_readers_language(corpus, tokenize, reader, side):
    """The teacher read an English text beside a Chinese one."""
    tokens = tokenize(PROBLEM, corpus, [reader], max_length_tokens=64)
    tokenizer = Tokenizer.from_file(str(tokens.path / "tokenizer" / "tokenizer.json"))
    for row, source in zip(tokens.rows("transfer"), corpus.rows("transfer"), strict=True):
        pair = source[f"{side}text"], source[f"{side}text_b"]
        assert row["input_ids"] == tokenizer.encode(*pair).ids
        assert row["language"] == reader
    assert {row["label"] for row in tokens.rows("test")} == {0, 1}
    assert {row["label"] for row in tokens.rows("transfer")} == {-1}


def test_bytes_do_not_depend_on_the_number_of_workers(sources, ingest, tokenize):
    """Two machines, two artifacts of one name."""
    found = []
    for workers in (1, 4):
        corpus = ingest(PROBLEM, sources, workers=workers, force=True)
        tokens = tokenize(PROBLEM, corpus, ["zh"], workers=workers, force=True)
        found.append([made.bytes() for made in (corpus, tokens)])
    assert found[0] == found[1]


def test_a_pair_needs_its_second_text(ingest, write_rows):
    """Every pair was a text with nothing."""
    columns = {"text": "s1", "label": "same"}
    with pytest.raises(ValidationError, match=r"matching needs columns\.text_b"):
        ingest(PROBLEM, [write_rows("a", [english(1)], "train", "en", columns)])


def test_a_number_in_place_of_a_parallel_text_costs_its_row_only(sources, ingest, write_rows):
    """AttributeError: 'int' object has no attribute 'isascii', of one row of a million."""
    columns = {"text": "zh", "text_b": "zh_b", "parallel_text": "en", "parallel_text_b": "en_b"}
    rows = [
        {"zh": chinese(n)["s1"], "zh_b": chinese(n)["s2"], "en": english(n)["s1"], "en_b": en_b}
        for n, en_b in ((600, english(600)["s2"]), (601, 601))
    ]
    more = write_rows("more", rows, "transfer", "zh", columns, parallel_language="en")
    corpus = ingest(PROBLEM, [*sources, more], deduplication={"leak_threshold": None})
    found = [row for row in corpus.quarantined() if row[0] == "more"]
    assert found == [("more", 2, "wrong_type")]


def test_other_names_of_relations_are_mapped(sources, write_rows, ingest):
    """Pairs that say yes and no beside pairs that say 1 and 0."""
    rows = [{**chinese(n), "same": ("no", "yes")[n % 2]} for n in range(600, 606)]
    leads = {"no": "0", "yes": "1"}
    spelt = write_rows("spelt", rows, "test", "zh", COLUMNS, label_map=leads)
    corpus = ingest(PROBLEM, [*sources, spelt], deduplication={"leak_threshold": None})
    found = [row["label"] for row in corpus.rows("test") if row["source"] == "spelt"]
    assert sorted(found) == ["0"] * 3 + ["1"] * 3
