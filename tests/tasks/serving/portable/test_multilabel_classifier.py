import pytest

TEXTS = ["打开客厅的灯", "打开卧室的灯", "客厅现在几度", "卧室现在几度"]
WANTED = [{"lamp", "living"}, {"lamp"}, {"living"}, set()]


@pytest.mark.parametrize("variant", ["safetensors", "onnx_int8"])
def test_labels_over_their_thresholds_are_given(labeller, variant):
    """One label too many for each text: the third is likely, at 0.88, but asked to reach 0.9."""
    found = labeller.ask([{"text": text} for text in TEXTS], variant=variant)
    assert [set(labels) for labels in found["labels"]] == WANTED
    for labels, scores in zip(found["labels"], found["scores"], strict=True):
        assert len(labels) == len(scores)
        assert sorted(scores, reverse=True) == scores


def test_a_chinese_request_is_answered_over_http(labeller):
    """A text without any label answered by an error instead of an empty list."""
    status, body = labeller.ask_server([{"text": text} for text in TEXTS])
    assert status == 200
    assert [set(row["labels"]) for row in body["predictions"]] == WANTED


def test_every_probability_can_be_asked_for(labeller):
    """Whoever wants another threshold has to train the model again."""
    found = labeller.ask([{"text": TEXTS[3]}], all_scores=True).iloc[0]
    assert found["all_labels"] == ["lamp", "living", "unsure"]
    assert found["all_scores"][2] == pytest.approx(0.88, abs=0.03)
    assert found["labels"] == []


def test_a_parameter_that_is_null_is_as_if_it_were_absent(labeller):
    """Clients send null for what nobody set, and were answered with a traceback of int()."""
    rows = [{"text": "打开客厅的灯"}]
    asked = {"batch_size": None, "variant": None, "all_scores": None}
    assert labeller.ask_server(rows, **asked) == labeller.ask_server(rows)
