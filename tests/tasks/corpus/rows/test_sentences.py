"""Sentences, their translations and their likeness, from files to tokens."""

import pytest
from pydantic import ValidationError

PROBLEM = "sentence_embedding"
PAIR = {"text": "zh", "parallel_text": "en"}
ROOMS = ("kitchen", "garden", "cellar", "attic", "hall", "office")


def pair(number):
    return {"en": f"The {ROOMS[number % 6]} number {number} is open", "zh": f"第{number}号房间开着"}


@pytest.fixture
def sources(write_rows):
    scored = [
        {"a": "他在跑步", "b": "他跑着", "s": 4.5},
        {"a": "他在跑步", "b": "她在睡觉", "s": "0.5"},
        {"a": "他在看书", "b": "她在睡觉", "s": None},
        {"a": "他在写字", "b": "她在睡觉", "s": "very"},
    ]
    return [
        write_rows("pairs", map(pair, range(24)), "transfer", "zh", PAIR, parallel_language="en"),
        write_rows("dev", map(pair, range(100, 106)), "validation", "zh", PAIR,
                   parallel_language="en"),
        write_rows("test", map(pair, range(200, 206)), "test", "zh", PAIR, parallel_language="en"),
        write_rows("sts", scored, "test", "zh", {"text": "a", "text_b": "b", "score": "s"}),
    ]  # fmt: skip


def test_pairs_and_scored_rows_keep_what_they_are_for(sources, ingest):
    """A score read as a label, or an evaluation pair without its other half."""
    corpus = ingest(PROBLEM, sources, deduplication={"leak_threshold": None})
    assert corpus.json("labels.json") == {"labels": []}
    assert len(corpus.rows("transfer")) == 24
    row = corpus.rows("validation")[1]
    assert (row["text"], row["parallel_text"]) == (pair(101)["zh"], pair(101)["en"])
    assert row["label"] is row["text_b"] is row["score"] is None
    scored = [row for row in corpus.rows("test") if row["score"] is not None]
    assert [(row["text"], row["text_b"], row["score"]) for row in scored] == [
        ("他在跑步", "他跑着", 4.5),
        ("他在跑步", "她在睡觉", 0.5),
    ]
    assert corpus.quarantined() == [("sts", 3, "missing_label"), ("sts", 4, "wrong_type")]


def test_each_reader_gets_its_side_of_a_pair(sources, ingest, tokenize):
    """The teacher's vector of a Chinese sentence it cannot read."""
    corpus = ingest(PROBLEM, sources, deduplication={"leak_threshold": None})
    student = tokenize(PROBLEM, corpus, ["zh"])
    teacher = tokenize(PROBLEM, corpus, ["en"])
    assert {row["language"] for row in student.rows("test")} == {"zh"}
    assert {row["language"] for row in teacher.rows("test")} == {"en"}
    ids = [row["example_id"] for row in teacher.rows("transfer")]
    assert ids == [row["example_id"] for row in student.rows("transfer")]
    assert (len(student.rows("test")), len(teacher.rows("test"))) == (8, 6)


def test_evaluation_pairs_are_cut_where_there_are_none(sources, ingest):
    """Pairs of unlabelled text were called unfit to be evaluated on."""
    corpus = ingest(
        PROBLEM,
        sources[:1],
        deduplication={"leak_threshold": None},
        splitting={"validation_share": 0.3, "test_share": 0.3},
    )
    roles = {role: corpus.rows(role) for role in ("transfer", "validation", "test")}
    assert all(roles.values())
    assert sum(map(len, roles.values())) == 24


def test_a_sentence_of_the_test_is_not_learned_on_either_side(sources, ingest, write_rows):
    """The test's translation among the training pairs: a search that was learned by heart."""
    leaks = [{"en": pair(200)["en"], "zh": "又一个译文"}, {"en": "One more", "zh": pair(201)["zh"]}]
    more = write_rows("more", leaks, "transfer", "zh", PAIR, parallel_language="en")
    corpus = ingest(
        PROBLEM,
        [*sources[:3], more],
        deduplication={"leak_threshold": None},
        max_quarantine_rate=1.0,
    )
    assert corpus.quarantined() == [("more", 1, "leak_exact"), ("more", 2, "leak_exact")]


@pytest.mark.parametrize(
    ("role", "columns", "parallel", "said"),
    [
        ("test", {"text": "zh"}, None, "names no label column"),
        ("test", {"text": "a", "text_b": "b"}, None, "names no label column"),
        ("transfer", {"text": "a", "text_b": "b", "score": "s"}, None, "are of test rows"),
        ("test", {"text": "a", "score": "s"}, None, "both together"),
        ("validation", {"text": "zh", "label": "x"}, None, "neither parallel text nor a score"),
    ],
)
def test_rows_that_could_not_be_used_are_refused_early(
    ingest, write_rows, role, columns, parallel, said
):
    """An hour later: no such rows."""
    source = write_rows("made", [{}], role, "zh", columns)
    with pytest.raises(ValidationError, match=said):
        ingest(PROBLEM, [source])


def test_parallel_text_of_other_problems_is_for_transfer(ingest, write_rows):
    """A labelled row is read in one language by whoever answers it."""
    source = write_rows("made", [{}], "test", "zh", {**PAIR, "label": "x"}, parallel_language="en")
    with pytest.raises(ValidationError, match="only transfer rows are read in two languages"):
        ingest("text_classification", [source])


SCORED = {"text": "a", "text_b": "b", "score": "s"}
LEFT = "两个人正在公园里面慢慢地散步"
RIGHT = "一位厨师在饭店厨房里切洋葱和土豆"


def test_scored_pairs_are_compared_by_both_sentences(ingest, write_rows):
    """Of a sentence scored against five others one pair was left; second sentences were learned."""
    pairs = [
        {"a": LEFT, "b": RIGHT, "s": 0.5},
        {"a": LEFT, "b": "湖面上有三只白色的小船正在比赛", "s": 1},
        {"a": LEFT + "呢", "b": RIGHT, "s": 0.6},
    ]
    learned = [
        {"zh": RIGHT + "呢", "en": "One more kitchen"},
        {"zh": "窗外的雪下了一整夜还没有停", "en": "Snow all night"},
    ]
    corpus = ingest(
        PROBLEM,
        [
            write_rows("pairs", [*map(pair, range(24)), *learned], "transfer", "zh", PAIR,
                       parallel_language="en"),
            write_rows("dev", [pair(100)], "validation", "zh", PAIR, parallel_language="en"),
            write_rows("test", [pair(200)], "test", "zh", PAIR, parallel_language="en"),
            write_rows("sts", pairs, "test", "zh", SCORED),
        ],
        deduplication={"near_duplicate_threshold": 0.8},
        max_quarantine_rate=1.0,
    )  # fmt: skip
    kept = [row["text_b"] for row in corpus.rows("test") if row["score"] is not None]
    assert kept == [pairs[0]["b"], pairs[1]["b"]]
    assert corpus.json("counts.json")["sources"]["sts"]["deduplicated"] == {"near": 1}
    assert ("pairs", 25, "leak_near") in corpus.quarantined()
    assert ("pairs", 26, "leak_near") not in corpus.quarantined()


def test_a_score_without_end_costs_its_row_only(sources, ingest, write_rows):
    """OverflowError of one row, an hour after the start."""
    endless = write_rows("sts", [{"a": LEFT, "b": RIGHT, "s": 10**400}], "test", "zh", SCORED)
    corpus = ingest(
        PROBLEM,
        [*sources[:3], endless],
        deduplication={"leak_threshold": None},
        max_quarantine_rate=1.0,
    )
    assert corpus.quarantined() == [("sts", 1, "wrong_type")]
