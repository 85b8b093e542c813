"""Units depend on the text alone, spans become tags of units, tokens are found for them."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from tasks.corpus.text.units import align_spans, segment, unit_positions


def cut(text):
    return [text[start:end] for start, end in segment(text)]


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("李民基《Eternal Summer》", "李 民 基 《 Eternal Summer 》"),
        ("iPhone15发布了。", "iPhone15 发 布 了 。"),
        ("Müllers Café, 3,5 %", "Müllers Café , 3 , 5 %"),
        # e + combining accent is one word still; so is a word with its vowel signs (Hindi)
        ("Cafe\u0301 नमस्ते!", "Cafe\u0301 नमस्ते !"),
        ("في القاهرةِ، ٢٠٢٤", "في القاهرةِ ، ٢٠٢٤"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("コーヒーを飲む", "コ ー ヒ ー を 飲 む"),
        ("กิน", "ก ิ น"),
        ("서울에서 만나요", "서울에서 만나요"),
        ("a_b-c", "a _ b - c"),
        ("😀好", "😀 好"),
        ("", ""),
    ],
)
def test_a_text_is_cut_into_words_and_into_characters_where_no_spaces_are(text, units):
    """Teacher and student of other tokenizers speak of other units, and signals slip by one."""
    assert cut(text) == units.split()


def test_units_are_all_characters_but_white_space():
    """A character in no unit: an entity loses its last letter."""
    text = " 2024年, Zürich — العربية\u3000x\u0301 \U0001f3f3\ufe0f\u200d\U0001f308 "
    covered = [place for start, end in segment(text) for place in range(start, end)]
    assert covered == [place for place, letter in enumerate(text) if not letter.isspace()]


@pytest.mark.parametrize(
    ("text", "spans", "tags"),
    [
        ("他在北京大学", [(2, 6, "ORG")], "O O B-ORG I-ORG I-ORG I-ORG"),
        ("北京上海", [(0, 2, "LOC"), (2, 4, "LOC")], "B-LOC I-LOC B-LOC I-LOC"),
        # German: the compound is one unit, of which the span covers a part
        ("Die Berlinreise endet", [(4, 10, "LOC")], "O B-LOC O"),
        ("Köln-Deutz liegt", [(0, 10, "LOC")], "B-LOC I-LOC I-LOC O"),
        # Arabic: the article and the comma
        ("زار محمد علي القاهرة،", [(4, 12, "PER"), (13, 20, "LOC")], "O B-PER I-PER B-LOC O"),
        # two spans in one unit: the first has it, the second begins behind it
        ("AB C", [(0, 1, "X"), (1, 4, "Y")], "B-X B-Y"),
        ("nichts", [], "O"),
    ],
)
def test_spans_become_tags_of_units_by_hand(text, spans, tags):
    """A tag one unit too far: the student learns that the comma is a city."""
    assert align_spans(segment(text), spans) == tags.split()


def test_a_unit_that_overlaps_two_spans_belongs_to_the_first_alone():
    """A unit with two tags, or a second span that begins with I-."""
    units = segment("AB")
    assert align_spans(units, [(0, 1, "X"), (1, 2, "Y")]) == ["B-X"]


def test_tokens_of_units_by_hand():
    """The head reads the hidden state of the token beside the word."""
    # "ab cd" as ▁a b ▁ cd: the mark alone is passed over
    offsets = [(0, 1), (1, 2), (3, 4), (3, 5)]
    found = unit_positions([(0, 2), (3, 5)], offsets, [7, 8, 0, 9], word_marks={0}, max_tokens=9)
    assert found == [0, 3]
    # 北京 as one token, and 大 dropped by the normaliser
    found = unit_positions([(0, 1), (1, 2), (2, 3)], [(0, 2)], [5], max_tokens=9)
    assert found == [0, 0, 0]
    # bytes: three tokens of one character
    found = unit_positions([(0, 1), (1, 2)], [(0, 1)] * 3 + [(1, 2)] * 3, range(6), max_tokens=9)
    assert found == [0, 3]


def test_units_behind_the_cut_are_left_out():
    """Position 9 of a text that was cut at 8: an index out of range on the GPU."""
    units = [(0, 1), (1, 2), (2, 3)]
    offsets = [(0, 1), (1, 2), (2, 3)]
    assert unit_positions(units, offsets, [1, 2, 3], max_tokens=2) == [0, 1]
    assert unit_positions(units, [], [], max_tokens=2) == []


@pytest.fixture(scope="module")
def sentencepiece():
    """A Unigram tokenizer that marks words as XLM-R's does."""
    pieces = ["▁", "▁In", "▁Ber", "lin", "北京", "大", "学", "▁في", "ر", "ا", "ل", "ق", "ة", "ه"]
    model = models.Unigram([("<unk>", 0.0), *((piece, -1.0) for piece in pieces)], unk_id=0)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


@pytest.mark.parametrize(
    ("text", "firsts"),
    [
        ("In Berlin", ["▁In", "▁Ber"]),
        ("北京大学", ["北京", "北京", "大", "学"]),
        ("في القاهرة", ["▁في", "ا"]),
        ("In 北京", ["▁In", "北京", "北京"]),
        ("½ Berlin", ["1⁄2", "▁Ber"]),  # NFKC makes three characters of one
    ],
)
def test_real_offsets_lead_to_the_first_token_of_each_unit(sentencepiece, text, firsts):
    """Offsets of a library are not what its manual says: bare marks, widened characters."""
    encoding = sentencepiece.encode(text, add_special_tokens=False)
    marks = {sentencepiece.token_to_id("▁")}
    found = unit_positions(
        segment(text), encoding.offsets, encoding.ids, word_marks=marks, max_tokens=99
    )
    assert [encoding.tokens[place] for place in found] == firsts
