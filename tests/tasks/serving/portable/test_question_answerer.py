import json
import shutil

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModelContext

from tasks.modeling.heads.units import Units
from tasks.problems.question_answering import MAX_ANSWER_UNITS, Context, contexts
from tasks.problems.question_answering import best_span as decided_by_the_engine
from tasks.registration import STAGE, Config
from tasks.runtime.stages import run_stage
from tasks.serving.bundle.bundle import write_bundle
from tasks.serving.bundle.delivered import delivered_model
from tasks.serving.bundle.interfaces import INTERFACES
from tasks.serving.portable.question_answerer import (
    QuestionAnswerer,
    _merged,
    _without_marks,
    best_span,
)
from tasks.serving.portable.windows import UnitText, Window

QUESTION = "哪个房间"


def ask(answerer, *contexts, **params):
    rows = [{"question": QUESTION, "context": context} for context in contexts]
    return answerer.ask(rows, **params).to_dict("records")


@pytest.mark.parametrize("variant", ["safetensors", "onnx_int8"])
def test_answers_are_spans_of_the_context(answerer, variant):
    """An answer without its place cannot be checked in the document."""
    first, second = ask(answerer, "打开客厅的灯", "浴室现在几度", variant=variant)
    assert (first["answer"], first["start"], first["end"]) == ("客厅", 2, 4)
    assert (second["answer"], second["start"], second["end"]) == ("浴室", 0, 2)
    assert 0.5 < first["score"] <= 1


def test_no_answer_is_null(answerer):
    """An answer made up where the context holds none."""
    (found,) = ask(answerer, "打开的灯")
    assert (found["answer"], found["start"], found["end"]) == (None, None, None)
    assert 0.5 < found["score"] <= 1


def test_a_chinese_request_is_answered_over_http(answerer):
    """NaN for a missing answer is no JSON that a strict reader takes."""
    rows = [{"question": QUESTION, "context": text} for text in ("打开车库的灯", "打开的灯")]
    status, body = answerer.ask_server(rows, variant="onnx_int8", max_answer_length=2)
    assert status == 200
    first, second = body["predictions"]
    assert (first["answer"], first["start"], first["end"]) == ("车库", 2, 4)
    assert (second["answer"], second["start"], second["end"]) == (None, None, None)


def test_places_are_those_of_the_context_as_it_was_given(answerer):
    """Offsets of a normalised copy cut the wrong characters out of the document."""
    given = "\ufeff打开  客\u200b厅的灯"
    (found,) = ask(answerer, given)
    assert found["answer"] == given[found["start"] : found["end"]] == "客\u200b厅"


def test_windows_are_merged_as_the_engine_merges_them():
    """A token that joins characters ended an answer at another one in service than in training."""
    rng = np.random.default_rng(5)
    joins = 0
    for _ in range(50):
        places = np.cumsum(rng.random(12) < 0.6)  # tokens of the context
        cut = int(np.searchsorted(places, places[8]))  # the second window begins at a token
        again = int(np.searchsorted(places, places[5]))
        stretches = [(0, cut), (again, 12)]
        pieces, said = [], []
        for first, stop in stretches:
            states = rng.normal(size=(20, 2)).astype(np.float32) * 3
            read = places[first:stop] + 4
            pieces.append(Window(0, [], first, read.tolist(), []))
            said.append(states[[0, *read]])  # a token has one state
        ((units, none),) = _merged(pieces, said, [12])
        table = pa.table(
            {"example_id": ["a", "a"], "first_unit": [0, again], "num_units": [12] * 2}
        )
        counts = [1 + stop - first for first, stop in stretches]
        positions = np.concatenate([[0, *piece.positions] for piece in pieces]).astype(np.int32)
        read_out = Units(np.cumsum([0, *counts]), positions)
        (context,) = contexts(table, np.concatenate(said), read_out)
        assert np.array_equal(units, context.logits_U2)
        assert np.array_equal(none, context.null_2)
        span, _ = best_span(units, none, longest=30, null_threshold=0.0)
        assert span == decided_by_the_engine(context, max_units=30)
        if span:
            joins += len(set(places[span[0] : span[1] + 1])) <= span[1] - span[0]
            assert places[span[0]] not in places[: span[0]]
            assert places[span[1]] not in places[span[1] + 1 :]
    assert joins > 5


def test_a_mark_that_a_token_brings_along_is_no_part_of_an_answer():
    """A year came back with the comma after it, a number with the bracket before it."""
    text = "(5 in 2014, 海关。"
    units = [(0, 1), (1, 2), (3, 5), (6, 10), (10, 11), (12, 13), (13, 14), (14, 15)]
    read = UnitText(units, [], [0, 0, 1, 2, 2, 3, 3, 3], text)
    assert _without_marks(0, 1, read) == (1, 1)
    assert _without_marks(3, 4, read) == (3, 3)
    assert _without_marks(5, 7, read) == (5, 6)
    assert _without_marks(1, 3, read) == (1, 3)
    apart = UnitText(units, [], list(range(8)), text)
    assert _without_marks(0, 4, apart) == (0, 4), "marks of their own tokens were chosen"


@pytest.mark.parametrize("stride", [0, 1, 5, 17])
def test_long_contexts_are_read_to_their_end(answerer, stride):
    """An answer after the 24th token is never found."""
    text = "打开的灯" * 8 + "关闭阳台的灯"
    found, none = ask(answerer, text, "打开的灯" * 9, stride=stride, batch_size=3)
    assert (found["answer"], found["start"], found["end"]) == ("阳台", 34, 36)
    assert none["answer"] is None


def test_answers_are_no_longer_than_asked(answerer):
    """`max_answer_length` that is not asked of the network's answer."""
    (found,) = ask(answerer, "打开客厅的灯", max_answer_length=1)
    assert found["answer"] is None or len(found["answer"]) == 1


@pytest.mark.parametrize(
    ("row", "params", "said"),
    [
        ({"question": " ", "context": "打开"}, {}, "an empty question"),
        ({"question": QUESTION, "context": "\u200b"}, {}, "an empty context"),
        ({"question": QUESTION, "context": "打开"}, {"max_answer_length": 0}, "at least 1"),
        ({"question": QUESTION, "context": "打开" * 20}, {"stride": 99}, "stride is 99"),
    ],
)
def test_what_cannot_be_asked_is_named(answerer, row, params, said):
    """A traceback of numpy for an empty cell."""
    with pytest.raises(MlflowException, match=said):
        answerer.ask([row], **params)


def test_an_over_long_question_leaves_room_for_the_context(answerer):
    """A question of 500 tokens fills the window, and no context is read at all."""
    rows = [{"question": QUESTION * 50, "context": "打开客厅的灯"}]
    assert len(answerer.ask(rows)) == 1


def test_questions_and_contexts_are_cut_as_in_training(answerer):
    """Windows cut otherwise in service than those that the student was trained and scored on."""
    script = QuestionAnswerer()
    script.read(lambda name: answerer.export / "model" / name)
    _, pieces = script.pieces([QUESTION * 3], ["打开的灯" * 5], stride=None)
    # [CLS] 6 of 12 tokens [SEP] and [SEP] leave 15 of 24; the next window starts 5 later
    assert [len(piece.input_ids) for piece in pieces] == [24, 24]
    assert [piece.first_unit for piece in pieces] == [0, 5]


def test_no_rows_are_no_answers(answerer):
    """An empty batch of a nightly job is no error."""
    empty = pd.Series([], dtype=object)
    found = answerer.ask(pd.DataFrame({"question": empty, "context": empty}))
    assert list(found.columns) == ["answer", "score", "start", "end"]
    assert len(found) == 0


def test_spans_are_decided_as_the_engine_decides_them():
    """Answers decided otherwise in service than in evaluation: the reported F1 is another's."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        logits = rng.normal(size=(rng.integers(1, 50), 2)).astype(np.float32)
        none = rng.normal(loc=1.5, size=2).astype(np.float32)
        wanted = decided_by_the_engine(Context("", logits, none), max_units=MAX_ANSWER_UNITS)
        span, score = best_span(logits, none, longest=MAX_ANSWER_UNITS, null_threshold=0.0)
        assert span == wanted
        whole = np.concatenate([logits, none[None]]).astype(np.float64)
        probabilities = np.exp(whole) / np.exp(whole).sum(0)
        start, end = span if span else (-1, -1)
        assert score == pytest.approx(probabilities[start, 0] * probabilities[end, 1])


def test_the_longest_answer_is_that_of_the_evaluation(answerer, tmp_path):
    """Another limit in service than the one that the report was made with."""
    asked = pd.DataFrame([{"question": QUESTION, "context": "打开客厅的灯"}])
    parameters = {one.name: one.default for one in INTERFACES["question_answering"].parameters}
    serving = json.loads((answerer.export / "model" / "serving.json").read_text(encoding="utf-8"))
    found = {}
    for name, longest in {"usual": {}, "short": {"max_answer_units": 1}}.items():
        model = shutil.copytree(answerer.export / "model", tmp_path / name / "model")
        (model / "serving.json").write_text(json.dumps({**serving, **longest}), encoding="utf-8")
        write_bundle(
            tmp_path / name / "bundle",
            model=model,
            script=INTERFACES["question_answering"].script,
            pip_requirements=(),
            documents={},
        )
        script = QuestionAnswerer()
        files = {"bundle": str(tmp_path / name / "bundle")}
        script.load_context(PythonModelContext(artifacts=files, model_config=None))
        for params in ({}, parameters, {"max_answer_length": 2}):
            (answer,) = script.predict(None, asked, params)["answer"]
            found[name, len(params)] = answer
    assert found["usual", 0] == found["usual", len(parameters)] == "客厅"
    assert len(found["short", 0]) == len(found["short", len(parameters)]) == 1
    assert found["short", 1] == "客厅"
    script.settings = {}
    assert script.longest_answer() == MAX_ANSWER_UNITS


def test_it_is_registered_with_its_own_script_signature_and_card(
    answerer, registry_home, store, make_report, publish_evaluation, monkeypatch
):
    """A reader registered as a classifier: MLflow refuses every question that it is asked."""
    inputs = {
        "export": store.open(answerer.export),
        "evaluation": publish_evaluation(store, make_report()),
    }
    examples = ((QUESTION, "打开客厅的灯"),)
    config = Config(model_name="rooms", example_texts=examples)
    made = run_stage(STAGE, config, inputs, store=store).artifact
    record = json.loads((made.path / "record.json").read_text(encoding="utf-8"))
    assert record["aliases"] == {"challenger": 1, "champion": 1}
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    mlflow.set_tracking_uri(f"sqlite:///{registry_home / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model("models:/rooms@champion")
    columns = [one.name for one in model.metadata.signature.inputs]
    assert columns == ["question", "context"]
    found = model.predict(pd.DataFrame([examples[0]], columns=columns), params={"stride": 4})
    assert found["answer"].tolist() == ["客厅"]
    with delivered_model("models:/rooms@champion") as folder:
        assert (folder / "serving.json").is_file()
        card = (folder.parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    for words in ("reader that answers questions", "`context`", "`max_answer_length`", "windows"):
        assert words in card
