import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow.exceptions import MlflowException

from tasks.problems import PROBLEMS
from tasks.problems.token_classification import entities as decoded_by_the_engine
from tasks.serving.portable.token_classifier import spans

LABELS = ["O", "B-DEVICE", "I-DEVICE", "B-ROOM", "I-ROOM"]


def places(entities):
    return [(one["start"], one["end"], one["text"], one["label"]) for one in entities]


@pytest.mark.parametrize("variant", ["safetensors", "onnx_int8"])
def test_entities_are_found_with_their_places(tagger, variant):
    """A name without its place cannot be marked, linked or masked in the text."""
    found = tagger.ask([{"text": "打开客厅的灯"}, {"text": "浴室现在几度"}], variant=variant)
    assert places(found["entities"][0]) == [(2, 4, "客厅", "ROOM"), (5, 6, "灯", "DEVICE")]
    assert places(found["entities"][1]) == [(0, 2, "浴室", "ROOM")]
    assert all(0.9 < one["score"] <= 1 for row in found["entities"] for one in row)


def test_a_chinese_request_is_answered_over_http(tagger):
    """Lists of records that MLflow cannot write as JSON: the model loads and never answers."""
    status, body = tagger.ask_server([{"text": "打开客厅的灯"}], variant="onnx_int8")
    assert status == 200
    (answer,) = body["predictions"]
    assert places(answer["entities"]) == [(2, 4, "客厅", "ROOM"), (5, 6, "灯", "DEVICE")]
    status, body = tagger.ask_server([{"text": "\u200b"}])
    assert status == 400
    assert "an empty text" in body["message"]


def test_places_are_those_of_the_text_as_it_was_given(tagger):
    """Offsets of a normalised copy mark the wrong characters in the consumer's document."""
    given = "  打开 \u200b 客\u200b厅\u3000的 e\u0301 灯"
    (row,) = tagger.ask([{"text": given}])["entities"]
    assert {("ROOM", "客\u200b厅"), ("DEVICE", "灯")} <= {
        (one["label"], one["text"]) for one in row
    }
    for one in row:
        assert given[one["start"] : one["end"]] == one["text"]


@pytest.mark.parametrize("stride", [0, 1, 7, 22])
def test_long_texts_are_read_to_their_end(tagger, stride):
    """Names after the 24th token are lost, and nobody is told."""
    text = "打开客厅的灯浴室现在几度" * 9
    (row,) = tagger.ask([{"text": text}], stride=stride, batch_size=2)["entities"]
    once = [(2, 4, "客厅", "ROOM"), (5, 6, "灯", "DEVICE"), (6, 8, "浴室", "ROOM")]
    assert places(row) == [
        (start + 12 * turn, end + 12 * turn, name, label)
        for turn in range(9)
        for start, end, name, label in once
    ]


def test_a_stride_beyond_the_window_is_refused(tagger):
    """Tokens between two windows are read by none, and their names are lost."""
    with pytest.raises(MlflowException, match="stride is 23: a window holds 22 tokens"):
        tagger.ask([{"text": "打开客厅的灯" * 9}], stride=23)


def test_order_and_index_survive(tagger):
    """Answers in the order of the batches mark the names of one text in another."""
    texts = ["打开客厅的灯" * 5, "浴室现在几度", "打开车库的灯"]
    table = pd.DataFrame({"text": texts}, index=["a", "b", "c"])
    found = tagger.ask(table, batch_size=1)
    assert found.index.tolist() == ["a", "b", "c"]
    assert places(found["entities"]["b"]) == [(0, 2, "浴室", "ROOM")]
    assert (
        tagger.ask(pd.DataFrame({"text": pd.Series([], dtype=object)}))["entities"].tolist() == []
    )


def test_tags_are_read_as_the_engine_scores_them():
    """Spans read otherwise in service than in evaluation: the reported F1 is another model's."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        probabilities = rng.dirichlet(np.ones(5), rng.integers(1, 12))
        tags = probabilities.argmax(1)
        wanted = decoded_by_the_engine(tags, np.array([0, len(tags)]), LABELS)
        found = spans(probabilities, LABELS, np.zeros(len(tags), dtype=bool))
        assert {(first, last + 1, label) for first, last, label, _ in found} == wanted
        assert [one[0] for one in found] == sorted(one[0] for one in found)


def test_the_score_is_the_mean_of_the_tags():
    """A score of another meaning than the card says."""
    probabilities = np.array([[0.1, 0.0, 0.0, 0.9, 0.0], [0.2, 0.0, 0.1, 0.0, 0.7]])
    apart = np.zeros(2, dtype=bool)
    assert spans(probabilities, LABELS, apart) == [(0, 1, "ROOM", pytest.approx(0.8))]


def test_a_word_that_is_one_token_is_served_as_one_entity():
    """北京 came back as 北 and 京: evaluation and service would differ, too."""
    tags = np.eye(5)[[1, 1, 3, 3, 0, 2]]  # 北京 | 爱 丽 | 是 | 名
    joined = np.array([False, True, False, False, False, False])
    found = [one[:3] for one in spans(tags, LABELS, joined)]
    assert found == [(0, 1, "DEVICE"), (2, 2, "ROOM"), (3, 3, "ROOM"), (5, 5, "DEVICE")]
    places = np.array([1, 1, 2, 3, 4, 5])
    table = pa.table(
        {"example_id": ["a" * 32], "unit_positions": [places], "unit_labels": [[0] * 6]}
    )
    problem = PROBLEMS["token_classification"]
    answers = problem.answers(table, num_labels=5)
    signals = problem.signal_table(table, tags.astype(np.float32), answers)
    kept = np.array(signals["logits"].to_pylist()[0]).reshape(6, 5).argmax(1)
    wanted = decoded_by_the_engine(kept, np.array([0, 6]), LABELS)
    assert {(first, last + 1, label) for first, last, label in found} == wanted
