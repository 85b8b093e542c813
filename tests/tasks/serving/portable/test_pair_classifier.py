import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from tasks.serving.portable.pair_classifier import PairClassifier
from tests.tasks.peak_memory import peak_memory

PAIRS = [
    {"text": "打开客厅的灯", "text_b": "关闭客厅的灯"},
    {"text": "打开客厅的灯", "text_b": "客厅现在几度"},
]


@pytest.mark.parametrize("variant", ["safetensors", "onnx_int8"])
def test_pairs_are_read_as_in_training(matcher, variant):
    """Two texts joined by another template are another question."""
    found = matcher.ask(PAIRS, variant=variant)
    assert found["label"].tolist() == ["same", "other"]
    assert (found["score"] > 0.9).all()


def test_a_chinese_request_is_answered_over_http(matcher):
    """A model that loads here and answers 500 there."""
    status, body = matcher.ask_server(PAIRS, top_k=2)
    assert status == 200
    assert [row["labels"] for row in body["predictions"]] == [["same", "other"], ["other", "same"]]
    status, body = matcher.ask_server([{"text": "打开客厅的灯"}])
    assert status == 400
    assert "text_b" in body["message"]


def test_a_missing_half_is_named(matcher):
    """A pair scored with half of it missing."""
    rows = pd.DataFrame({"text": ["打开", "打开"], "text_b": ["关闭", None]})
    with pytest.raises(MlflowException, match=r"1 of 2 rows hold no text_b .*rows 1"):
        matcher.ask(rows)


def test_pairs_too_long_lose_the_end_of_the_longer_text(matcher):
    """The second text cut away whole by a long first one: every pair gets one answer."""
    long = "在车库播放音乐" * 20
    found = matcher.ask([{"text": long, "text_b": "关闭客厅的灯"}])
    cut = matcher.ask([{"text": long[:15], "text_b": "关闭客厅的灯"}])
    assert found["score"][0] == pytest.approx(cut["score"][0], abs=1e-5)


def test_pairs_are_cut_as_the_tokenizers_library_cuts_them(matcher):
    """Another token lost than in training, where two texts are equally long or room is odd."""
    script = PairClassifier()
    script.read(lambda name: matcher.export / "model" / name)
    sides = [["灯" * count for count in range(1, 30)] for _ in range(2)]
    pairs = [(first, second) for first in sides[0] for second in sides[1]]
    found = script.tokenize(*map(list, zip(*pairs, strict=True)))
    script.tokenizer.enable_truncation(24, strategy="longest_first")
    assert found == [one.ids for one in script.tokenizer.encode_batch(pairs)]


def test_two_long_texts_are_cut_before_they_are_combined(matcher):
    """One request with two texts of 40,000 characters took all of a server's memory: the tokenizer
    kept every combination of the pieces that it cut off."""
    long = "打开客厅的灯" * 1000
    with peak_memory() as peak:
        found = matcher.ask([{"text": long, "text_b": long}], variant="onnx_int8")
    assert found["label"].isin(["same", "other"]).all()
    assert peak.growth_bytes < 1e9  # 3 GB
