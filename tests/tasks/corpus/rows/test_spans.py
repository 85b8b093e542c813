"""Words and tags, or texts and spans, become texts with spans that still mean the same."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from tokenizers import Tokenizer

from data_contracts.errors import SourceError
from tasks.corpus.changes import Changes
from tasks.corpus.filtering import FilterConfig
from tasks.corpus.readers.raw_rows import RawRow
from tasks.corpus.rows.kind import RowRules, UnfitError
from tasks.corpus.rows.spans import SpanRows
from tasks.corpus.text.normalization import NormalizationConfig
from tasks.corpus.text.units import segment

PROBLEM = "token_classification"
WORDS = {"words": "tokens", "tags": "ner_tags"}
CITIES = ("Berlin", "New York", "Paris", "Tel Aviv", "Rome", "San Jose")
CHINESE = ("北京", "上海", "纽约", "巴黎", "罗马", "柏林")
VERBS = ("rains", "snows", "shines", "burns")
CHINESE_VERBS = ("下雨", "下雪", "天晴", "起火")


def rules(language="en", **fields):
    given = {"unicode_form": fields.pop("unicode_form", "NFC")}
    return RowRules(
        problem="token_classification",
        source="made",
        language=language,
        parallel_language=None,
        needs_label=fields.pop("needs_label", True),
        normalization=NormalizationConfig.model_validate(given),
        filters=FilterConfig(check_language=False, **fields.pop("filters", {})),
        keep_quarantined_text=False,
        **fields,
    )


def prepared(others, language="en", text="", **fields):
    changes = Changes()
    row = SpanRows().prepare(RawRow(text, None, None, others), rules(language, **fields), changes)
    starts, ends, labels = row.extra
    found = (
        None
        if starts is None
        else [
            (row.text[start:end], label)
            for start, end, label in zip(starts, ends, labels, strict=True)
        ]
    )
    return row.text, found, changes


def words(text, tags):
    return {"words": text.split("|"), "tags": tags.split()}


@pytest.mark.parametrize(
    ("language", "others", "text", "spans"),
    [
        ("de", words("Die|Stadt|Köln", "O O B-LOC"), "Die Stadt Köln", [("Köln", "LOC")]),
        ("zh", words("他|在|北京|大学", "O O B-ORG I-ORG"), "他在北京大学", [("北京大学", "ORG")]),
        # Latin words inside Chinese keep their space, single letters do not
        (
            "zh-Hans",
            words("的|The|Bellagio|Group|；", "O B-ORG I-ORG I-ORG O"),
            "的The Bellagio Group；",
            [("The Bellagio Group", "ORG")],
        ),
        ("zh", words("饰|M|I|6", "O B-PER I-PER I-PER"), "饰MI6", [("MI6", "PER")]),
        ("ar", words("زار|القاهرة", "O B-LOC"), "زار القاهرة", [("القاهرة", "LOC")]),
        # a decomposed letter shortens the word in front of the span
        (
            "de",
            {"words": ["Mu\u0308nchen", "und", "Ko\u0308ln"], "tags": ["O", "O", "B-LOC"]},
            "München und Köln",
            [("Köln", "LOC")],
        ),
        # an invisible word goes, with its tag
        (
            "de",
            {"words": ["a", "\u200b", "Bonn"], "tags": ["O", "O", "B-LOC"]},
            "a Bonn",
            [("Bonn", "LOC")],
        ),
        ("en", {"words": "In Rome", "tags": "O B-LOC"}, "In Rome", [("Rome", "LOC")]),
        ("en", {"words": '["New York"]', "tags": '["B-LOC"]'}, "New York", [("New York", "LOC")]),
    ],
)
def test_words_are_joined_and_their_entities_found_again(language, others, text, spans):
    """Spans that point beside the word once a text was normalised."""
    assert prepared(others, language)[:2] == (text, spans)


@pytest.mark.parametrize(
    ("text", "spans", "clean", "found"),
    [
        ("  Tel  Aviv,\tIsrael", [(2, 11, "LOC"), (13, 19, "LOC")], "Tel Aviv, Israel",
         [("Tel Aviv", "LOC"), ("Israel", "LOC")]),
        # white space inside the bounds is not part of the entity
        ("in Rome now", [(2, 8, "LOC")], "in Rome now", [("Rome", "LOC")]),
        ("Ko\u0308ln, Mu\u0308nchen", [(7, 15, "LOC")], "Köln, München", [("München", "LOC")]),
        ("在\u200b北京", [(2, 4, "LOC")], "在北京", [("北京", "LOC")]),
        ("x² m", [(3, 4, "U")], "x2 m", [("m", "U")]),
    ],
)  # fmt: skip
def test_spans_are_moved_with_the_text(text, spans, clean, found):
    """Normalising shortened a text and all offsets behind it pointed one letter too far."""
    records = [dict(zip(("start", "end", "label"), span, strict=True)) for span in spans]
    form = "NFKC" if "²" in text else "NFC"
    assert prepared({"spans": records}, text=text, unicode_form=form)[:2] == (clean, found)
    columns = {name: [record[name] for record in records] for name in ("start", "end", "label")}
    assert prepared({"spans": columns}, text=text, unicode_form=form)[:2] == (clean, found)


def span(start, end, label="X"):
    return {"start": start, "end": end, "label": label}


@pytest.mark.parametrize(
    ("others", "text", "reason"),
    [
        (words("a|b", "O"), "", "tags_length_mismatch"),
        (words("a|b", "O LOC"), "", "unknown_tag"),
        ({"words": ["a"], "tags": [1]}, "", "unknown_tag"),
        ({"words": ["a", 1], "tags": ["O", "O"]}, "", "wrong_type"),
        ({"words": ["a"], "tags": None}, "", "missing_label"),
        ({"words": ["\u200b"], "tags": ["O"]}, "", "empty_text"),
        ({"words": ["e", "\u0301x"], "tags": ["O", "O"]}, "zh", "span_splits_character"),
        ({"spans": None}, "abc", "missing_label"),
        ({"spans": [span(0, 4)]}, "abc", "span_out_of_bounds"),
        ({"spans": [span(2, 2)]}, "abc", "span_out_of_bounds"),
        ({"spans": [span(-1, 2)]}, "abc", "span_out_of_bounds"),
        ({"spans": [span(0, 2), span(1, 3)]}, "abc", "spans_overlap"),
        ({"spans": [{"start": 0, "end": 1}]}, "abc", "malformed_spans"),
        ({"spans": [span(0.5, 1)]}, "abc", "malformed_spans"),
        ({"spans": "not json"}, "abc", "malformed_spans"),
        ({"spans": [span(1, 2)]}, "a b", "empty_span"),
        ({"spans": [span(0, 1)]}, "e\u0301", "span_splits_character"),
        ({"spans": [span(0, 1, "")]}, "abc", "unknown_tag"),
        ({"spans": [span(0, 1, "x" * 257)]}, "abc", "invalid_label"),
    ],
)
def test_a_row_that_cannot_be_right_says_why(others, text, reason):
    """A broken row was trained on, or stopped the run."""
    language = "zh" if text == "zh" else "en"
    with pytest.raises(UnfitError) as unfit:
        prepared(others, language, text=text)
    assert unfit.value.reason == reason


def test_types_outside_the_recipe_are_told():
    """A misspelt type became a class of its own."""
    with pytest.raises(UnfitError) as unfit:
        prepared(words("Rom", "B-LCO"), filters={"labels": ("LOC",)})
    assert unfit.value.reason == "unknown_tag"


def test_numbers_are_read_by_their_names():
    """Tag 3 of one file is tag 5 of another."""
    names = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    others = {"words": ["Anna", "in", "Tel", "Aviv"], "tags": [1, 0, 3, 4]}
    assert prepared(others, label_names=names)[1] == [("Anna", "PER"), ("Tel Aviv", "LOC")]
    floats = {**others, "tags": ["1.0", "0.0", "3.0", "4.0"]}
    assert prepared(floats, label_names=names)[1] == [("Anna", "PER"), ("Tel Aviv", "LOC")]


def test_types_of_tags_and_spans_are_mapped_and_prefixes_stay():
    """`B-Person` and `I-per` of one name fell apart, or `Person` beside PER became a type."""
    leads = {"Person": "PER", "per": "PER"}
    text = words("Anna|Maria|in|Rom", "B-Person I-per O B-LOC")
    assert prepared(text, label_map=leads)[1] == [("Anna Maria", "PER"), ("Rom", "LOC")]
    names = ("O", "B-per", "I-per")
    others = {"words": ["Anna", "Maria", "Eva"], "tags": [1, 2, "B-Person"]}
    found = prepared(others, label_names=names, label_map=leads)
    assert found[1] == [("Anna Maria", "PER"), ("Eva", "PER")]
    spans = {"spans": [{"start": 0, "end": 4, "label": "B-cell"}]}  # a name, and no tag
    found = prepared(spans, text="Anna", label_map={"B-cell": "CELL", "cell": "no"})
    assert found[1] == [("Anna", "CELL")]


@pytest.mark.parametrize("tag", [-1, -100, 5, "B-ORG"])
def test_a_tag_that_is_no_name_and_no_number_costs_its_row(tag):
    """-1 for a word that nobody looked at: it was outside of every span, or a type of its own."""
    names = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    with pytest.raises(UnfitError) as unfit:
        prepared({"words": ["Anna", "in"], "tags": [1, tag]}, label_names=names)
    assert unfit.value.reason == "unknown_tag"


def test_repairs_are_counted_and_unlabelled_rows_may_pass():
    """A source full of I- without B- looked like a clean one."""
    assert prepared(words("a|b|c", "I-X O I-Y"))[2].repaired == {"repaired_tags": 2}
    assert prepared({"words": ["a"], "tags": None}, needs_label=False)[:2] == ("a", None)
    assert prepared({}, text="a b", needs_label=False)[:2] == ("a b", None)
    assert prepared({"spans": []}, text="a b")[:2] == ("a b", [])


def test_labels_are_outside_first_and_begin_before_inside():
    """Label 1 was I-LOC for the teacher and B-LOC for the student."""
    assert SpanRows().class_labels(["LOC", "PER"]) == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


def english(number):
    """A sentence with a city and a person; every number has one of its own."""
    city, verb = CITIES[number % 6].split(), VERBS[number // 6 % 4]
    words = ["In", *city, "it", verb, f"says{number}", "Anna", "."]
    inside = ["I-LOC"] * (len(city) - 1)
    return {"tokens": words, "ner_tags": ["O", "B-LOC", *inside, "O", "O", "O", "B-PER", "O"]}


def chinese(number):
    city, verb = CHINESE[number % 6], CHINESE_VERBS[number // 6 % 4]
    return {"tokens": [*city, *verb, str(number)], "ner_tags": ["B-LOC", "I-LOC", "O", "O", "O"]}


@pytest.fixture
def sources(write_rows):
    broken = [
        {"tokens": ["Rome", "x"], "ner_tags": ["B-LOC"]},
        {"tokens": ["Rome", "burns", "again"], "ner_tags": ["I-LOC", "O", "O"]},
        {"tokens": ["Rome", "is", "odd"], "ner_tags": ["LOC", "O", "O"]},
    ]
    wrong = [
        {"tokens": list("谁在东京说话"), "ner_tags": ["O", "O", "B-GPE", "I-GPE", "O", "O"]},
    ]
    transfer = [{"tokens": row["tokens"], "ner_tags": None} for row in map(chinese, range(24))]
    return [
        write_rows("train", [*map(english, range(24)), *broken], "train", "en", WORDS),
        write_rows("pool", transfer, "transfer", "zh", {"words": "tokens"}),
        write_rows("en-dev", map(english, range(100, 106)), "validation", "en", WORDS),
        write_rows("en-test", map(english, range(200, 206)), "test", "en", WORDS),
        write_rows("zh-dev", map(chinese, range(300, 306)), "validation", "zh", WORDS),
        write_rows("zh-test", [*map(chinese, range(400, 406)), *wrong], "test", "zh", WORDS),
    ]


def test_entities_reach_the_corpus_and_the_rest_is_counted(sources, ingest):
    """Rows with broken tags disappeared, or a run stopped at the first."""
    corpus = ingest(PROBLEM, sources, deduplication={"leak_threshold": None})
    assert corpus.json("labels.json") == {"labels": ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]}
    first = corpus.rows("train")[1]
    assert first["text"] == "In New York it rains says1 Anna ."
    spans = zip(first["span_starts"], first["span_ends"], first["span_labels"], strict=True)
    assert [(first["text"][a:b], label) for a, b, label in spans] == [
        ("New York", "LOC"),
        ("Anna", "PER"),
    ]
    assert corpus.rows("transfer")[0]["text"] == "北京下雨0"
    assert corpus.rows("transfer")[0]["span_starts"] is None
    assert corpus.quarantined() == [
        ("train", 25, "tags_length_mismatch"),
        ("train", 27, "unknown_tag"),
        ("zh-test", 7, "unknown_tag"),  # no train row has GPE
    ]
    counts = corpus.json("counts.json")
    assert counts["sources"]["train"]["repaired_tags"] == 1
    assert counts["sources"]["pool"]["repaired_tags"] == 0
    assert counts["total"]["rows_in"] == 27 + 24 + 6 + 6 + 6 + 7
    assert counts["total"]["rows_out"] == counts["total"]["rows_in"] - 3


def test_tokens_carry_units_and_their_tags(sources, ingest, tokenize):
    """A tag beside the wrong word: the loss falls and the student learns noise."""
    corpus = ingest(PROBLEM, sources, deduplication={"leak_threshold": None})
    tokens = tokenize(PROBLEM, corpus, ["zh"], max_length_tokens=8)
    vocabulary = Tokenizer.from_file(str(tokens.path / "tokenizer" / "tokenizer.json"))
    labels = tokens.json("labels.json")["labels"]
    assert len(tokens.rows("test")) == 6
    for row, source in zip(tokens.rows("test"), corpus.rows("test")[6:], strict=True):
        assert row["example_id"] == source["example_id"]
        assert row["label"] == -1
        units = segment(source["text"])[: len(row["unit_positions"])]
        assert len(row["unit_labels"]) == len(units)
        for (start, _end), place in zip(units, row["unit_positions"], strict=True):
            assert source["text"][start] in vocabulary.id_to_token(row["input_ids"][place])
            assert 0 < place < len(row["input_ids"]) - 1
        assert [labels[number] for number in row["unit_labels"][:3]] == ["B-LOC", "I-LOC", "O"]
    assert all(set(row["unit_labels"]) == {-1} for row in tokens.rows("transfer"))
    assert all(len(row["input_ids"]) <= 8 for row in tokens.rows("transfer"))


def test_bytes_do_not_depend_on_the_number_of_workers(sources, ingest, tokenize):
    """Two machines, two artifacts of one name."""
    found = []
    for workers in (1, 2, 4):
        corpus = ingest(PROBLEM, sources, workers=workers, force=True)
        tokens = tokenize(PROBLEM, corpus, ["zh", "en"], workers=workers, force=True)
        names = {path.name for path in tokens.path.rglob("*")}
        assert "labels.json" in names
        found.append([made.bytes() for made in (corpus, tokens)])
    assert found[0] == found[1] == found[2]


def test_one_text_with_two_annotations_is_set_aside(sources, ingest, write_rows):
    """Two annotators, two truths: both rows trained the model."""
    other = english(0) | {"ner_tags": ["O", "B-PER", "O", "O", "O", "B-PER", "O"]}
    more = [*sources, write_rows("second", [other], "train", "en", WORDS)]
    corpus = ingest(PROBLEM, more, deduplication={"leak_threshold": None}, max_quarantine_rate=1.0)
    found = [row for row in corpus.quarantined() if row[2] == "contradiction"]
    assert found == [("train", 1, "contradiction"), ("second", 1, "contradiction")]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": "t", "label": "l"}, r"columns\.label, which token_classification does not have"),
        ({"words": "tokens"}, "names no label column"),
        ({"words": "w", "tags": "t", "spans": "s"}, "name spans, or words and tags"),
        ({"tags": "t"}, r"name columns\.words"),
    ],
)
def test_columns_that_do_not_fit_are_refused_with_the_recipe(ingest, write_rows, columns, message):
    """The mistake came to light after the teacher was fine-tuned."""
    with pytest.raises(ValidationError, match=message):
        ingest(PROBLEM, [write_rows("a", [english(1)], "train", "en", columns)])


def test_spans_are_read_from_parquet(ingest, tmp_path, sources):
    """Lists of records in Parquet were refused as no text."""
    rows = [
        {"text": f"Es schneit heute in Köln, Nummer {n}.",
         "entities": [{"start": 20, "end": 24, "label": "LOC"},
                      {"start": 8, "end": 10, "label": "X"}]}
        for n in range(3)
    ]  # fmt: skip
    path = tmp_path / "spans.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    spans = {"name": "spans", "format": "parquet", "uri": str(path), "role": "train",
             "language": "de", "columns": {"text": "text", "spans": "entities"}}  # fmt: skip
    with pytest.raises(SourceError, match="no column"):
        ingest(PROBLEM, [{**spans, "columns": {"text": "text", "spans": "ents"}}])
    corpus = ingest(PROBLEM, [*sources, spans], deduplication={"leak_threshold": None})
    (row, *_) = (row for row in corpus.rows("train") if row["language"] == "de")
    assert row["span_starts"] == [8, 20]
    assert row["span_labels"] == ["X", "LOC"]
