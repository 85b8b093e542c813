"""Windows over long contexts: nothing between them, units and answers where they were."""

import pyarrow as pa
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from data_contracts.errors import SourceError
from data_contracts.tables import arrow_schema, check_table, load_contract
from tasks.corpus.rows.kind import Reading
from tasks.corpus.text.units import segment
from tasks.corpus.tokens.window_encoding import encode_windows


@pytest.fixture(scope="module")
def tokenizer():
    """Words and Chinese characters, each one token; pairs as in XLM-R."""
    words = [
        "<s>",
        "</s>",
        "[UNK]",
        "[PAD]",
        *"0123456789",
        *"北京是中国的首都谁",
        *"abcdefghij",
        "?",
    ]
    made = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 1)],
    )
    return made


def encoded(tokenizer, rows, **fields):
    given = {"max_length_tokens": 12, "max_question_tokens": None, "window_stride_tokens": None}
    reading = Reading(
        tokenizer, ("zh", "en"), ("start", "end"), max_target_tokens=9, workers=1,
        **{**given, **fields},
    )  # fmt: skip
    corpus = pa.Table.from_pylist(
        [
            {
                "example_id": f"{number:032x}",
                "source": "made",
                "line": number + 1,
                "language": "zh",
                **row,
            }
            for number, row in enumerate(rows)
        ],
        schema=arrow_schema(load_contract("corpus_question_answering")),
    )
    found = encode_windows(corpus, reading)
    table = pa.table(found.columns, schema=arrow_schema(load_contract("tokens_question_answering")))
    check_table(table, "tokens_question_answering")
    return table.to_pylist(), found


CHINESE = {"text": "北京是中国的首都", "question": "谁?", "answer_starts": [3, 0],
           "answer_texts": ["中国", "北京"]}  # fmt: skip


def test_windows_by_hand(tokenizer):
    """The answer's unit was counted from the window's beginning, in the whole context."""
    # length 12: 4 special tokens, 2 of the question, 6 of the context; half of that is the stride
    rows, found = encoded(tokenizer, [CHINESE])
    assert found.lengths.tolist() == [4 + 2 + 8]  # as one window would hold it
    assert [tokenizer.decode(row["input_ids"], skip_special_tokens=False) for row in rows] == [
        "<s> 谁 ? </s> </s> 北 京 是 中 国 的 </s>",
        "<s> 谁 ? </s> </s> 中 国 的 首 都 </s>",
    ]
    assert [row["window"] for row in rows] == [0, 1]
    assert [row["first_unit"] for row in rows] == [0, 3]
    assert [row["unit_positions"] for row in rows] == [[5, 6, 7, 8, 9, 10], [5, 6, 7, 8, 9]]
    assert {(row["start_unit"], row["end_unit"], row["num_units"]) for row in rows} == {(3, 4, 8)}
    assert {row["example_id"] for row in rows} == {"0" * 32}


@pytest.mark.parametrize(
    ("text", "answer", "first", "last", "read"),
    [
        # part of a compound: the whole word is its unit, and no more
        ("Die Berlinreise war schön.", "Berlin", 1, 1, "Berlinreise"),
        # an umlaut of two code points does not end the word
        ("In Ko\u0308ln regnet es", "Ko\u0308ln", 1, 1, "Ko\u0308ln"),
        ("Er kam aus Köln-Deutz.", "Köln-Deutz", 3, 5, "Köln-Deutz"),
        # article and conjunction are written together with the Arabic word
        ("وصل إلى القاهرة اليوم", "قاهرة", 2, 2, "القاهرة"),
        ("زار باريس وبرلين", "برلين", 2, 2, "وبرلين"),
        # vowel signs belong to the letter before them
        ("كَتَبَ محمد الرسالة", "محمد", 1, 1, "محمد"),
        ("كَتَبَ محمد الرسالة", "كَتَبَ", 0, 0, "كَتَبَ"),
        # a character a unit, beside words with spaces
        ("他在2008年去了Berlin。", "2008年", 2, 3, "2008年"),
        ("北京是中国的首都", "国的首", 4, 6, "国的首"),
    ],
)
def test_the_units_of_an_answer_by_hand(tokenizer, text, answer, first, last, read):
    """A start in the word before, or an end in the middle of a letter: every label is wrong by
    one, in languages nobody here reads."""
    row = {"text": text, "question": "谁?", "answer_starts": [text.index(answer)],
           "answer_texts": [answer]}  # fmt: skip
    (found,), _ = encoded(tokenizer, [row], max_length_tokens=64)
    assert (found["start_unit"], found["end_unit"]) == (first, last)
    units = segment(text)
    assert text[units[first][0] : units[last][1]] == read


def test_every_token_of_a_context_is_in_a_window(tokenizer):
    """A gap between two windows: the answer was in none."""
    text = " ".join("abcdefghij" * 5)
    for stride in (None, 1, 3, 6):
        row = {"text": text, "question": "a b?", "answer_starts": None, "answer_texts": None}
        rows, _ = encoded(tokenizer, [row], window_stride_tokens=stride, max_length_tokens=13)
        covered = set()
        for found in rows:
            units = range(found["first_unit"], found["first_unit"] + len(found["unit_positions"]))
            covered.update(units)
            # each unit's place holds its own letter
            for unit, place in zip(units, found["unit_positions"], strict=True):
                start, end = segment(text)[unit]
                assert tokenizer.id_to_token(found["input_ids"][place]) == text[start:end]
            assert len(found["input_ids"]) <= 13
            assert found["start_unit"] == found["end_unit"] == -1
        assert covered == set(range(50))


def test_no_answer_and_long_questions(tokenizer):
    """No answer was a span from unit -2; a long question left no room and stopped the run."""
    none = {**CHINESE, "answer_starts": [], "answer_texts": []}
    long = {**CHINESE, "question": " ".join("abcdefghij")}
    rows, found = encoded(tokenizer, [none, long])
    assert (rows[0]["start_unit"], rows[0]["end_unit"]) == (-2, -2)
    second = [row for row in rows if row["example_id"].endswith("1")]
    assert all(
        row["input_ids"][1:7] == [tokenizer.token_to_id(c) for c in "abcdef"] for row in second
    )
    assert found.num_truncated == 1
    assert found.num_windows == len(rows)
    with pytest.raises(SourceError, match="takes all of max_length_tokens"):
        encoded(tokenizer, [long], max_question_tokens=9)


def test_beside_a_long_question_windows_touch(tokenizer):
    """One question of thirty words among a hundred thousand stopped the step, at a stride that fits
    all others; the registered model answers it."""
    long = {**CHINESE, "question": " ".join("abcdef")}
    short = {**CHINESE, "question": "?"}
    # length 12: 4 special tokens; beside 6 of the question 2 are left, beside 1 there are 7
    rows, _ = encoded(tokenizer, [long, short], window_stride_tokens=5)
    assert [tokenizer.decode(row["input_ids"], skip_special_tokens=False) for row in rows] == [
        "<s> a b c d e f </s> </s> 北 京 </s>",
        "<s> a b c d e f </s> </s> 是 中 </s>",
        "<s> a b c d e f </s> </s> 国 的 </s>",
        "<s> a b c d e f </s> </s> 首 都 </s>",
        "<s> ? </s> </s> 北 京 是 中 国 的 首 </s>",
        "<s> ? </s> </s> 的 首 都 </s>",
    ]
    assert [row["first_unit"] for row in rows] == [0, 2, 4, 6, 0, 5]


def test_a_stride_that_no_window_holds_is_refused(tokenizer):
    """Set to the tokens of a whole window, it would be silently another one for every question."""
    encoded(tokenizer, [CHINESE], window_stride_tokens=8)
    with pytest.raises(SourceError, match="is 9, a window holds 8 tokens of question and context"):
        encoded(tokenizer, [CHINESE], window_stride_tokens=9)
