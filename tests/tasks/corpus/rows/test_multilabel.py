"""Texts with several classes from files to tokens."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from tasks.corpus.changes import Changes
from tasks.corpus.filtering import FilterConfig
from tasks.corpus.readers.raw_rows import RawRow
from tasks.corpus.rows.kind import RowRules, UnfitError
from tasks.corpus.rows.multilabel import MultilabelRows
from tasks.corpus.rows.spans import SpanRows
from tasks.corpus.text.normalization import NormalizationConfig

PROBLEM = "multilabel_classification"
LISTS = {"text": "text", "labels": "topics", "domain": "paper"}
TAGS = {"words": "tokens", "tags": "ner_tags"}
TAG_NAMES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
LEADS = {"PER": "person", "LOC": "place"}
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


def tagged(kind, others, *, language="en", text="", needs_label=True, **fields):
    """What becomes of one row: its text and what `kind` adds, or why it is set aside."""
    rules = RowRules(
        problem="token_classification" if isinstance(kind, SpanRows) else PROBLEM,
        source="made",
        language=language,
        parallel_language=None,
        needs_label=needs_label,
        normalization=NormalizationConfig(),
        filters=FilterConfig(check_language=False, labels=fields.pop("labels", None)),
        keep_quarantined_text=False,
        **fields,
    )
    try:
        row = kind.prepare(RawRow(text, None, None, others), rules, Changes())
    except UnfitError as error:
        return error.reason, error.detail
    return row.text, row.extra[-1]


@pytest.mark.parametrize(
    ("language", "words", "tags", "text", "labels"),
    [
        ("en", "Ada|Lovelace|met|Bob", "B-PER I-PER O B-PER", "Ada Lovelace met Bob", ["PER"]),
        ("en", "Bob|saw|Rome", "B-PER O B-LOC", "Bob saw Rome", ["LOC", "PER"]),
        ("en", "it|rains", "O O", "it rains", []),  # looked at, and no class holds
        ("en", "in|Rome|again", "O I-LOC E-LOC", "in Rome again", ["LOC"]),
        ("zh", "他|在|The|Bellagio|，|北京", "O O B-ORG I-ORG O S-LOC",
         "他在The Bellagio，北京", ["LOC", "ORG"]),
        ("de", "Ko\u0308ln|\u200b|brennt", "B-LOC B-PER O", "Köln brennt", ["LOC"]),
    ],
)  # fmt: skip
def test_the_classes_of_a_text_are_the_types_that_its_tags_name(
    language, words, tags, text, labels
):
    """B-PER and I-PER of one name were two classes, or a text that `ner` reads otherwise."""
    others = {"words": words.split("|"), "tags": tags.split()}
    assert tagged(MultilabelRows(), others, language=language) == (text, labels)
    spans = tagged(SpanRows(), others, language=language)
    assert spans[0] == text
    assert sorted(set(spans[1])) == labels


def test_numbers_of_tags_are_named_and_their_types_mapped():
    """A class `3`, or `PER` beside `person`."""
    given = {"label_names": TAG_NAMES, "label_map": LEADS}
    others = {"words": ["Ada", "in", "Rome"], "tags": [1, 0, 3]}
    assert tagged(MultilabelRows(), others, **given) == ("Ada in Rome", ["person", "place"])
    beside = {"tags": ["2.0", "0.0", "I-LOC"]}  # of a text, which may have more words
    found = tagged(MultilabelRows(), beside, text="Ada  is in Rome, they say", **given)
    assert found == ("Ada is in Rome, they say", ["person", "place"])


@pytest.mark.parametrize(
    "others",
    [
        {"words": ["Ada", "in"], "tags": ["B-PER"]},
        {"words": ["Ada", "in"], "tags": ["PER", "O"]},
        {"words": ["Ada", "in"], "tags": ["X-PER", "O"]},
        {"words": ["Ada", "in"], "tags": [1, 5]},
        {"words": ["Ada", "in"], "tags": [1, -1]},
        {"words": ["Ada", "in"], "tags": [1, None]},
        {"words": ["Ada", "in"], "tags": 1},
        {"words": ["Ada", 1], "tags": [1, 0]},
        {"words": 1, "tags": [1]},
    ],
)
def test_broken_tags_cost_their_row_for_the_reason_that_entities_give(others):
    """Half of a row's tags were its classes, or one file had two verdicts."""
    reason, detail = tagged(MultilabelRows(), others, label_names=TAG_NAMES)
    assert (reason, detail) == tagged(SpanRows(), others, label_names=TAG_NAMES)
    assert reason in ("tags_length_mismatch", "unknown_tag", "wrong_type")


def test_nobody_has_looked_where_a_row_has_no_tags():
    """A transfer row without tags trained that no class holds of it."""
    kind, others = MultilabelRows(), {"words": ["Ada"], "tags": None}
    assert tagged(kind, others)[0] == "missing_label"
    assert tagged(kind, others, needs_label=False) == ("Ada", None)
    assert tagged(kind, {"words": ["Ada"]}, needs_label=False) == ("Ada", None)
    allowed = {"words": ["Ada"], "tags": ["B-PER"]}
    assert tagged(kind, allowed, labels=("LOC",))[0] == "unknown_label"


NAMES = ("Ada", "Bob", "Carl", "Dora")


def tokens_en(number):
    """Words and numbers of tags: a person in every second row, a place in every third."""
    words = [f"Report{number}", "tells", "of", "the", "day", "and", "of"]
    tags = [0] * len(words)
    if number % 2:
        words, tags = [*words, NAMES[number % 4], f"Smith{number}"], [*tags, 1, 2]
    if number % 3 == 0:
        words, tags = [*words, "in", "Rome"], [*tags, 0, 3]
    return {"tokens": words, "ner_tags": tags}


def tokens_zh(number):
    words = [*f"第{number}号报道", *(["北", "京"] if number % 2 else ["下", "雨"])]
    tags = ["O"] * (len(words) - 2) + (["B-LOC", "I-LOC"] if number % 2 else ["O", "O"])
    return {"tokens": words, "ner_tags": tags}


@pytest.fixture
def of_tags(tmp_path, write_rows):
    """Sources of tags in every shape: numbers in Parquet, a CoNLL file, a text beside tags."""

    def parquet(name, rows, role):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
        return {"name": name, "format": "parquet", "uri": str(tmp_path / f"{name}.parquet"),
                "role": role, "language": "en", "columns": TAGS,
                "label_names": list(TAG_NAMES), "label_map": LEADS}  # fmt: skip

    conll = tmp_path / "zh-dev.conll"
    sentences = [zip(*tokens_zh(n).values(), strict=True) for n in range(100, 106)]
    lines = ("".join(f"{word} {tag}\n" for word, tag in one) for one in sentences)
    conll.write_text("\n".join(lines), encoding="utf-8")
    broken = [{"tokens": ["Rome", "x"], "ner_tags": [3]}, {"tokens": ["Rome"], "ner_tags": [9]}]
    pool = [{"tokens": tokens_zh(n)["tokens"]} for n in range(20)]
    texts = [{"text": "".join(row["tokens"]), "ner_tags": row["ner_tags"]}
             for row in map(tokens_zh, range(200, 206))]  # fmt: skip
    of_text, leads = {"text": "text", "tags": "ner_tags"}, {"label_map": {"LOC": "place"}}
    return [
        parquet("train", [*map(tokens_en, range(24)), *broken], "train"),
        write_rows("pool", pool, "transfer", "zh", {"words": "tokens"}),
        parquet("en-dev", [*map(tokens_en, range(30, 36))], "validation"),
        parquet("en-test", [*map(tokens_en, range(40, 46))], "test"),
        {"name": "zh-dev", "format": "conll", "uri": str(conll), "role": "validation",
         "language": "zh", "columns": {"words": "1", "tags": "last"}, **leads},
        write_rows("zh-test", texts, "test", "zh", of_text, **leads),
    ]  # fmt: skip


def test_tags_of_words_become_classes_of_texts_from_files_to_tokens(of_tags, ingest, tokenize):
    """A table of word tags had to be made a table of classes by hand before the first run."""
    corpus = ingest(PROBLEM, of_tags, deduplication={"leak_threshold": None})
    assert corpus.json("labels.json") == {"labels": ["person", "place"]}
    wanted = [["person"] * (n % 2) + ["place"] * (n % 3 == 0) for n in range(24)]
    rows = corpus.rows("train")
    assert [row["labels"] for row in rows] == wanted
    assert rows[3]["text"] == "Report3 tells of the day and of Dora Smith3 in Rome"
    assert corpus.quarantined() == [
        ("train", 24 + 1, "tags_length_mismatch"),
        ("train", 24 + 2, "unknown_tag"),
    ]
    for role, first in (("validation", 100), ("test", 200)):
        found = [(row["text"], row["labels"]) for row in corpus.rows(role)
                 if row["language"] == "zh"]  # fmt: skip
        assert found == [
            (f"第{n}号报道" + ("北京" if n % 2 else "下雨"), ["place"] * (n % 2))
            for n in range(first, first + 6)
        ]
    tokens = tokenize(PROBLEM, corpus, ["zh", "en"])
    assert [row["labels"] for row in tokens.rows("transfer")] == [None] * 20
    numbers = {"person": 0, "place": 1}
    assert [row["labels"] for row in tokens.rows("train")] == [
        [numbers[name] for name in names] for names in wanted
    ]


@pytest.mark.parametrize(
    ("columns", "fields", "message"),
    [
        ({**TAGS, "labels": "topics"}, {}, r"columns\.labels and columns\.tags: .* take one"),
        ({"text": "t", "tags": "t", "label": "l"}, {}, r"columns\.label and columns\.tags"),
        ({**TAGS, "label": "l"}, {"label_separator": ";"}, r"columns\.label and columns\.tags"),
        (TAGS, {"label_separator": ";"}, r"label_separator and columns\.tags: .* take it out"),
        ({"words": "w"}, {}, "names no label column"),
        ({"words": "1", "labels": "2"}, {"format": "conll"},
         r"columns\.labels, but a CoNLL file has words and tags alone"),
        ({"words": "1", "label": "2"}, {"format": "conll", "label_separator": ";"},
         r"columns\.label, but a CoNLL file has words and tags alone"),
        ({"words": "1", "parallel_text": "2"},
         {"format": "conll", "role": "transfer", "parallel_language": "de"},
         r"columns\.parallel_text, but a CoNLL file"),
        ({"words": "1"},
         {"format": "conll", "role": "transfer", "parallel_language": "de",
          "parallel": {"uri": "x", "key": "1"}}, "parallel, but a CoNLL file"),
    ],
)  # fmt: skip
def test_classes_are_said_once_and_where_a_file_has_them(
    ingest, write_rows, columns, fields, message
):
    """Names of classes that were passed over beside tags, or looked for in vain."""
    source = {**write_rows("a", [english(1)], "train", "en", columns), **fields}
    with pytest.raises(ValidationError, match=message):
        ingest(PROBLEM, [source])
