"""Words, and which of them each token belongs to."""

import tokenizers
from tokenizers import models, pre_tokenizers

from tasks.corpus.text.words import BEGINS, CONTINUES, word_starts, words


def cut(text, language):
    return [text[start:end] for start, end in words(text, language)]


def test_chinese_words_are_those_of_a_dictionary_and_others_stand_between_spaces():
    """Characters hidden one by one are guessed from the other half of their word."""
    assert cut("我们住的酒店很干净", "zh") == ["我们", "住", "的", "酒店", "很", "干净"]
    assert cut("我们 住", "zh-Hans") == ["我们", "住"]
    assert cut("Barack Obama, again!", "en") == ["Barack", "Obama", ",", "again", "!"]
    assert cut("東京へ行く", "ja") == list("東京へ行く"), "no dictionary: characters"


def test_tokens_begin_where_their_words_do():
    """Marks one token off hide the end of one word and the start of the next."""
    begins, continues = BEGINS, CONTINUES
    #          我们 住: ▁ alone, 我, 们住 (one token over two words: the word of its last character)
    assert word_starts([(0, 0), (0, 1), (1, 3)], [(0, 2), (2, 3)], 3) == [begins, continues, begins]
    #          " turn off" as byte-level tokenizers count it: the space belongs to the token
    assert word_starts([(0, 3), (3, 4), (4, 8)], [(0, 4), (5, 8)], 8) == [begins, continues, begins]
    assert word_starts([], [], 0) == []


def test_the_pieces_of_a_real_tokenizer_lie_in_their_words():
    """Offsets that count normalised characters would point beside the words of the text."""
    pieces = {"[UNK]": 0, "play": 1, "##ing": 2, "##ed": 3, ",": 4}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    text = "playing,  played"
    encoded = tokenizer.encode(text)
    assert encoded.tokens == ["play", "##ing", ",", "play", "##ed"]
    marks = word_starts(encoded.offsets, words(text, "en"), len(text))
    assert marks == [BEGINS, CONTINUES, BEGINS, BEGINS, CONTINUES]
