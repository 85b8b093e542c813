"""Texts and what is to be written for them, from files to tokens."""

import pytest
from tokenizers import Tokenizer

from data_contracts.errors import RecipeError

CITIES = ("Paris", "Rome", "Cairo", "Lima", "Oslo", "Delhi")
CHINESE = ("巴黎", "罗马", "开罗", "利马", "奥斯陆", "德里")
PAIRS = {"text": "en", "target_text": "zh"}


def pair(number):
    city = number % 6
    return {
        "en": f"The {number} trains to {CITIES[city]} leave at {number % 24} o'clock (daily).",
        "zh": f"{number}趟开往{CHINESE[city]}的列车，{number % 24}点发车！",
    }


def summary(number, reply="Thank you very much"):
    return {"text": pair(number)["en"], "short": reply if number % 2 else f"Trains {number}"}


@pytest.fixture
def sources(write_rows):
    bad = [{**pair(1), "zh": None}, {**pair(2), "zh": "This is no Chinese sentence"}]
    pool = [{"en": pair(n)["en"]} for n in range(60, 80)]
    return [
        write_rows("train", [*map(pair, range(40)), *bad], "train", "en", PAIRS),
        write_rows("pool", pool, "transfer", "en", {"text": "en"}),
        write_rows("dev", map(pair, range(100, 110)), "validation", "en", PAIRS),
        write_rows("test", map(pair, range(200, 210)), "test", "en", PAIRS),
    ]


@pytest.fixture
def corpus(sources, ingest):
    return ingest("translation", sources, deduplication={"leak_threshold": None})


def test_translations_are_kept_with_their_language(corpus):
    """The source's language was written beside the target."""
    row = corpus.rows("train")[3]
    assert (row["text"], row["language"]) == (pair(3)["en"], "en")
    assert (row["target_text"], row["target_language"]) == (pair(3)["zh"], "zh")
    assert {row["target_text"] for row in corpus.rows("transfer")} == {None}
    assert corpus.json("labels.json") == {"labels": []}
    assert corpus.quarantined() == [
        ("train", 41, "missing_target"),
        ("train", 42, "language_mismatch"),
    ]


def test_a_translation_leaks_on_either_side(sources, ingest, write_rows):
    """The test's Chinese sentence was a target in training, from another English one."""
    other = {"en": "Something else altogether", "zh": pair(203)["zh"]}
    second = {"en": pair(5)["en"], "zh": "这是同一句话的另一个译文"}
    more = [*sources, write_rows("more", [other, second, pair(4)], "train", "en", PAIRS)]
    corpus = ingest("translation", more, deduplication={"leak_threshold": None})
    assert [row for row in corpus.quarantined() if row[0] == "more"] == [("more", 1, "leak_exact")]
    # a second translation is another row, the same pair a copy
    assert corpus.json("counts.json")["sources"]["more"]["deduplicated"] == {"exact": 1}
    near = ingest("translation", more, max_quarantine_rate=1.0)
    assert ("more", 1, "leak_exact") in near.quarantined()


@pytest.mark.parametrize("problem", ["summarization", "generation"])
def test_a_common_summary_or_reply_is_no_leak(ingest, write_rows, problem):
    """Every row that ends in `Thank you` was set aside because a test row does too."""
    columns = {"text": "text", "target_text": "short"}
    chinese = {"text": "zh", "target_text": "short"}
    zh = [{"zh": pair(n)["zh"], "short": "谢谢"} for n in range(300, 330)]
    corpus = ingest(
        problem,
        [
            write_rows("train", map(summary, range(20)), "train", "en", columns),
            write_rows("pool", zh[:10], "transfer", "zh", chinese),
            write_rows("zh-dev", zh[10:20], "validation", "zh", chinese),
            write_rows("zh-test", zh[20:], "test", "zh", chinese),
            write_rows("en-dev", map(summary, range(100, 110)), "validation", "en", columns),
            write_rows("en-test", map(summary, range(200, 210)), "test", "en", columns),
        ],
        deduplication={"leak_threshold": None},
    )
    assert corpus.quarantined() == []
    assert len(corpus.rows("train")) == 20
    assert {row["target_language"] for row in corpus.rows("test")} == {"en", "zh"}


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_targets_end_and_lead_back_to_their_text(corpus, tokenize, kind):
    """A model that has learned every token writes `turnonthe` , in lower case, and never ends."""
    tokens = tokenize("translation", corpus, ["en"], kind=kind, max_target_tokens=32)
    tokenizer = Tokenizer.from_file(str(tokens.path / "tokenizer" / "tokenizer.json"))
    facts = tokens.json("tokens.json")
    assert facts["eos_token_id"] == tokenizer.token_to_id("[SEP]")
    for role in ("train", "test"):
        for row, source in zip(tokens.rows(role), corpus.rows(role), strict=True):
            assert row["target_ids"][-1] == facts["eos_token_id"]
            assert tokenizer.decode(row["target_ids"]) == source["target_text"]
            assert tokenizer.decode(row["input_ids"]) == source["text"]
            assert len(row["target_ids"]) <= 32
    assert {row["target_ids"] for row in tokens.rows("transfer")} == {None}


def test_targets_are_cut_with_their_end(corpus, tokenize):
    """Cut targets without an end: the model learned to go on for ever."""
    tokens = tokenize("translation", corpus, ["en"], max_target_tokens=4)
    end = tokens.json("tokens.json")["eos_token_id"]
    whole = tokenize("translation", corpus, ["en"], max_target_tokens=64)
    for row, uncut in zip(tokens.rows("train"), whole.rows("train"), strict=True):
        assert row["target_ids"] == [*uncut["target_ids"][:3], end]
    assert tokens.json("tokens.json")["num_truncated"] == 60


def test_bytes_do_not_depend_on_the_number_of_workers(sources, ingest, tokenize):
    """Two machines, two artifacts of one name."""
    found = []
    for workers in (1, 4):
        corpus = ingest("translation", sources, workers=workers, force=True)
        tokens = tokenize("translation", corpus, ["en"], workers=workers, force=True)
        found.append([made.bytes() for made in (corpus, tokens)])
    assert found[0] == found[1]


def test_a_cut_target_is_told_by_its_own_field(corpus, tokenize):
    """Raise max_length_tokens, said the message, of targets that max_target_tokens cuts."""
    with pytest.raises(RecipeError) as error:
        tokenize("translation", corpus, ["en"], max_target_tokens=4, max_truncated_rate=0.2)
    assert "60 of 80 texts or their targets" in error.value.fact
    assert "max_length_tokens = 64 or max_target_tokens = 4" in error.value.fact
    assert error.value.remedy.startswith("raise max_length_tokens or max_target_tokens,")


def test_unknown_tokens_are_a_share_of_all_that_is_read_and_written(ingest, tokenize, write_rows):
    """Short texts with long targets: 1 unknown token in 46 was told as 1 in 4, and refused."""
    words = [" ".join(["the cat sleeps", *["on the mat"] * 6, word]) for word in CITIES]
    columns = {"text": "text", "target_text": "long"}
    said = [{"text": f"Tell me {n}", "long": f"{words[n % 6]} {n}"} for n in range(40)]
    odd = [{**row, "long": f"{row['long']} ☃☃"} for row in said[:10]]
    corpus = ingest(
        "generation",
        [
            write_rows("train", said[:20], "train", "en", columns),
            write_rows("dev", said[20:30], "validation", "en", columns),
            write_rows("test", odd, "test", "en", columns),
        ],
        target="en",
        deduplication={"leak_threshold": None},
    )
    free = tokenize("generation", corpus, ["en"])
    ids = Tokenizer.from_file(str(free.path / "tokenizer" / "tokenizer.json"))
    unknown, read, written = ids.token_to_id("[UNK]"), 0, 0
    found = 0
    for role in ("train", "validation", "test"):
        for row in free.rows(role):
            read, written = read + len(row["input_ids"]), written + len(row["target_ids"])
            found += (row["input_ids"] + row["target_ids"]).count(unknown)
    assert 0 < found / (read + written) < found / read
    between = found / (read + written) * 1.01
    assert tokenize("generation", corpus, ["en"], max_unknown_rate=between)
    with pytest.raises(RecipeError, match=f"{found} of {read + written:,} tokens are unknown"):
        tokenize("generation", corpus, ["en"], max_unknown_rate=found / (read + written) * 0.99)
