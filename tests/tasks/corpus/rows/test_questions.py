"""Questions, contexts and answers from files to windows."""

import random

import pytest
from pydantic import ValidationError

from tasks.corpus.changes import Changes
from tasks.corpus.filtering import FilterConfig
from tasks.corpus.readers.raw_rows import RawRow
from tasks.corpus.rows import ROW_KINDS
from tasks.corpus.rows.kind import RowRules
from tasks.corpus.text.normalization import NormalizationConfig

PROBLEM = "question_answering"
COLUMNS = {"text": "context", "question": "question", "answers": "answers"}
CITIES = ("Paris", "Rome", "Cairo", "Lima", "Oslo", "Delhi")


def english(number, question=0):
    city = CITIES[number % 6]
    context = f"Report {number}:  the fair of {city} opens in May, number {number * 17}."
    asked = ("Where is the fair?", f"When does fair {number} open?")[question]
    answer = (city, "May")[question]
    answers = {"text": [answer], "answer_start": [context.index(answer)]}
    return {"context": context, "question": asked, "answers": answers}


def chinese(number):
    city = ("巴黎", "罗马", "开罗", "利马", "奥斯陆", "德里")[number % 6]
    context = f"第{number}号报道：{city}的展览会在五月开幕，编号{number * 17}。"
    return {"context": context, "question": "展览会在哪里？",
            "answers": [{"text": city, "answer_start": context.index(city)}]}  # fmt: skip


@pytest.fixture
def sources(write_rows):
    first = english(40)
    broken = [
        # mended: the offset is wrong, the answer stands there once
        {
            **first,
            "question": "City?",
            "answers": {"text": ["Oslo", "Oslo"], "answer_start": [0, 99]},
        },
        # `e` is everywhere: another answer stays
        {**first, "question": "Month?", "answers": {"text": ["e", "May"], "answer_start": [0, -1]}},
        {**first, "question": "E?", "answers": {"text": ["e"], "answer_start": [0]}},
        {**first, "question": "None?", "answers": {"text": [], "answer_start": []}},
        {**first, "question": " ", "answers": {"text": [], "answer_start": []}},
        {**first, "question": "Odd?", "answers": [{"text": "May"}]},
        {**first, "question": "Null?", "answers": None},
        {**first, "question": "Empty?", "answers": {"text": [""], "answer_start": [0]}},
    ]
    both = [english(n, question) for n in range(24) for question in (0, 1)]
    pool = [{**chinese(n), "answers": None} for n in range(20)]
    return [
        write_rows("train", [*both, *broken], "train", "en", COLUMNS),
        write_rows("pool", pool, "transfer", "zh", {"text": "context", "question": "question"}),
        write_rows("en-dev", map(english, range(100, 106)), "validation", "en", COLUMNS),
        write_rows("en-test", map(english, range(200, 206)), "test", "en", COLUMNS),
        write_rows("zh-dev", map(chinese, range(300, 306)), "validation", "zh", COLUMNS),
        write_rows("zh-test", map(chinese, range(400, 406)), "test", "zh", COLUMNS),
    ]


@pytest.fixture
def corpus(sources, ingest):
    return ingest(PROBLEM, sources, deduplication={"leak_threshold": None})


def test_answers_stand_where_they_are_said_to(corpus):
    """A tenth of the answers pointed beside the word, and the student learned to miss."""
    rows = [row for role in ("train", "validation", "test") for row in corpus.rows(role)]
    assert len(rows) == 48 + 4 + 24 - 1
    for row in rows:
        for start, text in zip(row["answer_starts"], row["answer_texts"], strict=True):
            assert row["text"][start : start + len(text)] == text
    assert corpus.rows("train")[0]["answer_texts"] == ["Paris"]
    assert "  " not in corpus.rows("train")[0]["text"]
    mended = [(row["question"], row["answer_texts"]) for row in corpus.rows("train")[48:]]
    assert mended == [("City?", ["Oslo"]), ("Month?", ["May"]), ("None?", [])]
    assert {row["answer_starts"] for row in corpus.rows("transfer")} == {None}
    assert corpus.json("labels.json") == {"labels": ["start", "end"]}


def test_what_is_mended_and_set_aside_is_counted(corpus):
    """An answer that is not there was searched for until something was found."""
    counts = corpus.json("counts.json")["sources"]["train"]
    assert (counts["repaired_answers"], counts["dropped_answers"]) == (3, 1)
    assert corpus.quarantined() == [
        ("train", 51, "answer_not_found"),
        ("train", 53, "missing_question"),
        ("train", 54, "malformed_answers"),
        ("train", 55, "missing_label"),
        ("train", 56, "empty_span"),
    ]


def test_a_paragraph_is_in_one_role(sources, ingest, write_rows):
    """Another question about a test paragraph was trained on; or two questions were one copy."""
    asked = [{**english(200), "question": "Which number?",
              "answers": {"text": ["200"], "answer_start": [7]}}]  # fmt: skip
    more = [*sources, write_rows("more", asked, "train", "en", COLUMNS)]
    corpus = ingest(PROBLEM, more, deduplication={"leak_threshold": None})
    assert [row for row in corpus.quarantined() if row[0] == "more"] == [("more", 1, "leak_exact")]
    assert corpus.json("counts.json")["total"]["deduplicated"] == {}


def test_windows_have_the_answers_units(corpus, tokenize):
    """The student's windows cut the answer in two, the teacher's did not, and neither said so."""
    tokens = tokenize(PROBLEM, corpus, ["zh"], max_length_tokens=16, window_stride_tokens=5)
    rows = tokens.rows("test")
    assert len(rows) > 6
    assert tokens.json("tokens.json")["num_windows"]["test"] == len(rows)
    assert tokens.json("tokens.json")["max_question_tokens"] == 8
    assert "max_answer_units" not in tokens.json("tokens.json")
    longer = tokenize(PROBLEM, corpus, ["zh"], max_length_tokens=16, max_answer_units=60)
    assert longer.json("tokens.json")["max_answer_units"] == 60
    texts = {row["example_id"]: row for row in corpus.rows("test")}
    for row in rows:
        source = texts[row["example_id"]]
        answer = source["answer_texts"][0]
        start = source["answer_starts"][0]
        # 第 406 号 报 道 ： are six units: digits are one
        before = 6 if source["text"][1:4].isdigit() else None
        assert row["start_unit"] == before
        assert row["end_unit"] == before + len(answer) - 1
        assert start == 8


def test_bytes_do_not_depend_on_the_number_of_workers(sources, ingest, tokenize):
    """Two machines, two artifacts of one name."""
    found = []
    for workers in (1, 4):
        corpus = ingest(PROBLEM, sources, workers=workers, force=True)
        tokens = tokenize(PROBLEM, corpus, ["zh"], workers=workers, force=True)
        found.append([made.bytes() for made in (corpus, tokens)])
    assert found[0] == found[1]


def test_a_question_is_needed(ingest, write_rows):
    """Contexts were read without a question."""
    columns = {"text": "context", "answers": "answers"}
    with pytest.raises(ValidationError, match=r"needs columns\.question"):
        ingest(PROBLEM, [write_rows("a", [english(1)], "train", "en", columns)])


def test_questions_of_a_paragraph_have_one_text():
    """A ZWNJ beside an answer was lost: test paragraphs came back in training, spelt otherwise."""
    paragraph = "کتاب\u200cها در خانه\u200cی ایران\u200cخودرو است"
    rules = RowRules(
        problem=PROBLEM, source="made", language="fa", parallel_language=None, needs_label=True,
        normalization=NormalizationConfig(), filters=FilterConfig(), keep_quarantined_text=False,
    )  # fmt: skip
    found = []
    for answer in ("کتاب", "ها", "ایران", "خودرو", "است"):
        answers = [{"text": answer, "answer_start": paragraph.index(answer)}]
        row = RawRow(paragraph, None, None, {"question": "کجا؟", "answers": answers})
        found.append(ROW_KINDS[PROBLEM].prepare(row, rules, Changes()))
        assert found[-1].extra[2] == [answer]
    assert {row.text for row in found} == {paragraph}
    assert len({row.text_hash for row in found}) == 1


def test_questions_of_a_paragraph_are_no_near_copies(sources, ingest, write_rows):
    """Of five questions of each paragraph one was kept, for a paragraph is longer than they are."""
    rng = random.Random(5)
    trained, validated = (
        " ".join("".join(rng.choices("abcdefghijklmnoprstuvw", k=6)) + "." for _ in range(150))
        for _ in range(2)
    )
    asked = ("What moved?", "Where was it first?", "When did Oslo have it?", "Who came, and why?",
             "How often was it in Lima?", "Who came and why?")  # fmt: skip

    def rows(name, role, context, questions):
        given = [{"context": context, "question": one, "answers": []} for one in questions]
        return write_rows(name, given, role, "en", COLUMNS)

    more = [
        rows("fair", "train", trained, asked),
        rows("fair-dev", "validation", validated, asked[:2]),
        rows("again", "train", validated.replace(".", ","), ["Which city?"]),
    ]
    rules = {"near_duplicate_threshold": 0.9}
    # Words of random letters, so that no n-gram comes twice, are in no language.
    filters = {"check_language": False}
    corpus = ingest(PROBLEM, [*sources, *more], deduplication=rules, filters=filters)
    kept = [row["question"] for row in corpus.rows("train") if row["source"] == "fair"]
    assert kept == list(asked[:5])
    # Whatever is asked of it, a paragraph that is validated on leaks.
    assert [row for row in corpus.quarantined() if row[0] == "again"] == [("again", 1, "leak_near")]


def test_contexts_that_nobody_answered_are_cut_to_what_is_asked(sources, ingest, write_rows):
    """Whole paragraphs were judged: too long, each another text, and cut after all."""
    other = "无关的内容还有很多很多很多。" * 40
    asked = "展览会在哪里？"
    pool = [chinese(n)["context"] for n in (50, 51, 52)]
    rows = [
        {"context": f"{other} {pool[0]}{other}", "question": asked},
        {"context": f"{pool[1]}\n{other}", "question": asked},
        {"context": f"{other}{pool[0]}", "question": asked},  # as the first, once it is cut
        {"context": f"{other}{chinese(300)['context']}", "question": asked},  # of the validation
        {"context": pool[2], "question": asked},
        {"context": f"{'没完没了' * 40}展览会在哪里。{other}", "question": asked},
    ]
    columns = {"text": "context", "question": "question"}
    far = write_rows("far", rows, "transfer", "zh", columns, focus_characters=30)
    filters = {"max_length_characters": 120}
    rules = {"deduplication": {"leak_threshold": None}, "max_quarantine_rate": 1.0}
    corpus = ingest(PROBLEM, [*sources, far], filters=filters, **rules)
    kept = [row for row in corpus.rows("transfer") if row["source"] == "far"]
    assert [row["text"] for row in kept] == pool
    assert [row["question"] for row in kept] == [asked] * 3
    counts = corpus.json("counts.json")["sources"]["far"]
    assert counts["deduplicated"] == {"exact": 1}
    aside = [row for row in corpus.quarantined() if row[0] == "far"]
    assert aside == [("far", 4, "leak_exact"), ("far", 6, "too_long")]
    whole = {name: value for name, value in far.items() if name != "focus_characters"}
    corpus = ingest(PROBLEM, [*sources, whole], filters=filters, **rules)
    assert [row["text"] for row in corpus.rows("transfer") if row["source"] == "far"] == pool[2:]
