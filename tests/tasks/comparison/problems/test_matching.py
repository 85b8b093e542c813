"""An evaluation of pairs: both texts are read, by every system."""

import json

import numpy as np
import pytest
import torch

from tasks.comparison.material import Material
from tasks.comparison.problem import Settings
from tasks.comparison.problems.matching import Matching
from tasks.corpus.tables import read_table
from tasks.problems import load_model
from tasks.runtime.artifacts import ArtifactStore
from tests.tasks.small_problems import id_of, make_inputs

LABELS = ["different", "same"]
PLACES = {"客厅": "parlour", "卧室": "bedroom", "厨房": "kitchen", "书房": "study"}


def rows_of(role, language):
    """打开客厅的灯 / 把客厅的灯打开: the same if the room is."""
    which = 0 if language == "zh" else 1
    names = [place[which] for place in PLACES.items()]
    forms = (("打开{}的灯", "把{}的灯打开"), ("turn on the {} lamp", "the {} lamp on, please"))
    for i, name in enumerate(names):
        for other, label in ((name, "same"), (names[i - 1], "different")):
            yield {
                "text": forms[which][0].format(name),
                "text_b": forms[which][1].format(other),
                "parallel_text": None,
                "parallel_text_b": None,
                "label": label,
                "domain": ("day", "night")[i % 2],
            }


@pytest.fixture(scope="module", params=["together", "apart"])
def evaluated(request, tmp_path_factory, publish, evaluate):
    """(inputs, artifact, report) of a student that reads pairs together, or apart."""
    store = ArtifactStore(tmp_path_factory.mktemp("pairs"))
    inputs = make_inputs(
        store, publish, "matching", rows_of, LABELS, num_seeds=1, pairs=request.param
    )
    return inputs, *evaluate(store, inputs, "matching")


def test_answers_are_the_networks_about_both_texts(evaluated):
    """A pair timed or scored by its first text alone is another problem."""
    inputs, artifact, report = evaluated
    model = load_model(inputs["student_0"].path / "model")
    rows = read_table(artifact.path / "predictions" / "student_0.parquet").to_pydict()
    tokens = inputs["student_tokens"].path / "test" / "part-1.parquet"
    for i, (row, gold) in enumerate(
        zip(read_table(tokens).to_pylist(), rows_of("test", "zh"), strict=True)
    ):
        ids = torch.tensor([row["input_ids"]])
        with torch.no_grad():
            decided = LABELS[int(model(ids, torch.ones_like(ids))[0].argmax())]
        assert rows["example_id"][i] == id_of("test", "zh", i)
        assert (rows["label"][i], rows["prediction"][i]) == (gold["label"], decided)
    # From both texts through the tokenizer: the same answers as from the stored tokens.
    assert report.variants["onnx_int8"].agreement > 0.5
    assert report.systems["teacher_on_target"].num_examples == 8


def test_each_domain_is_scored_by_itself(evaluated):
    """Reviews of hotels fail, and the mean over all that is reviewed says nothing of it: pairs and
    texts of one class each have this report, that of the recipe `sentiment`."""
    _, artifact, report = evaluated
    rows = read_table(artifact.path / "predictions" / "student_0.parquet").to_pydict()
    right = np.array(rows["label"]) == np.array(rows["prediction"])
    of_domain = np.array([row["domain"] for row in rows_of("test", "zh")])
    assert [(one.column, one.value, one.num_examples) for one in report.groups] == [
        ("domain", "day", 4), ("domain", "night", 4),
        ("domain (en)", "day", 4), ("domain (en)", "night", 4),
    ]  # fmt: skip
    for one in report.groups[:2]:
        expected = right[of_domain == one.value].mean()
        assert one.scores["student"]["accuracy"] == pytest.approx(expected)
        assert {"teacher_on_target", "majority"} <= set(one.scores)
    assert "By domain" in (artifact.path / "report.html").read_text(encoding="utf-8")


def test_asked_in_text_a_model_answers_as_about_the_stored_tokens(evaluated):
    """The delivered form is asked about the second text first, or in the other language: what is
    lost there is told as what 8 bits lost."""
    inputs, _, _ = evaluated
    compared = Matching(Material(inputs, "en", "zh"), Settings())
    forms = compared.answerers(num_threads=1)
    asked = compared.answer_int8(forms["safetensors"], batch_size=3, num_threads=1)
    stored = compared.answer_models([inputs["export"].path / "model"])
    assert asked.example_ids == stored.example_ids
    np.testing.assert_allclose(asked.confidences, stored.confidences, atol=1e-6)
    np.testing.assert_array_equal(asked.predictions, stored.predictions)
    said = forms["teacher"](compared.timed_texts("teacher"))
    signals = read_table(inputs["teacher_signals"].path / "test" / "part-0.parquet").to_pydict()
    assert signals["example_id"] == [id_of("test", "en", i) for i in range(8)]
    np.testing.assert_allclose(said, signals["logits"], atol=1e-2)


def test_a_floor_knows_how_alike_two_texts_look(evaluated):
    """Where likeness decides, a student must not be praised for finding it."""
    inputs, artifact, report = evaluated
    compared = Matching(Material(inputs, "en", "zh"), Settings())
    ids = compared.material.test_rows("student")["example_id"]
    both = [f"{row['text']}\n{row['text_b']}" for row in rows_of("test", "zh")]
    assert compared.floor_texts(["test"], ids) == both
    floors = [name for name, one in report.systems.items() if one.kind == "floor"]
    assert "cosine_gold" in floors
    assert floors[-1] == "majority"
    assert report.systems["cosine_gold"].mean["accuracy"] == 1.0
    rows = read_table(artifact.path / "predictions" / "cosine_gold.parquet").to_pydict()
    assert rows["prediction"] == rows["label"]
    assert json.loads((artifact.path / "report.json").read_text())["problem"] == "matching"
    assert np.isfinite(report.speed.student_over_teacher)


def test_no_floor_learns_from_more_pairs_than_it_may(evaluated):
    """N-grams of millions of pairs, counted by the one floor that `linear_max_texts` did not
    hold back: hours and gigabytes."""
    inputs, _, _ = evaluated
    material = Material(inputs, "en", "zh")
    asked = []

    class Counting(Matching):
        def pairs(self, reader, roles, ids):
            asked.append((*roles, len(ids)))
            return super().pairs(reader, roles, ids)

    found = dict(Counting(material, Settings(linear_max_texts=6)).answer_floors())
    assert {"cosine_gold", "linear_gold"} <= set(found)
    assert {most for role, most in asked if role == "transfer"} == {6}
