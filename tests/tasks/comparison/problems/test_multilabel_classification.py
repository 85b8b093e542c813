"""An evaluation of label sets, decided at each model's own thresholds."""

import json
import shutil

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from tasks.comparison.material import Material
from tasks.comparison.problem import Settings
from tasks.comparison.problems.multilabel_classification import MultilabelClassification
from tasks.corpus.tables import read_table
from tasks.metrics.baselines.classes import linear_probabilities_by_class
from tasks.problems import load_model
from tasks.runtime.artifacts import ArtifactStore
from tests.tasks.small_problems import id_of, make_inputs, predictions

LABELS = ["light", "music", "heating"]
WORDS = {"light": ("灯", "lamp"), "music": ("音乐", "music"), "heating": ("暖气", "heating")}


def rows_of(role, language):
    """打开灯音乐: every set of things, also none."""
    which = 0 if language == "zh" else 1
    for number in range(8):
        chosen = [name for i, name in enumerate(LABELS) if number >> i & 1]
        words = [WORDS[name][which] for name in chosen]
        yield {
            "text": ("打开" if which == 0 else "turn on ")
            + ("" if which == 0 else " ").join(words),
            "parallel_text": None,
            "labels": chosen,
            "domain": "flat" if number < 4 else "house",
        }


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, publish, evaluate):
    """(inputs, artifact, report)."""
    store = ArtifactStore(tmp_path_factory.mktemp("sets"))
    inputs = make_inputs(store, publish, "multilabel_classification", rows_of, LABELS, num_seeds=1)
    return inputs, *evaluate(store, inputs, "multilabel_classification")


def logits_of(inputs, role="test"):
    model = load_model(inputs["student_0"].path / "model")
    path = inputs["student_tokens"].path / role / "part-1.parquet"
    with torch.no_grad():
        return np.stack(
            [
                model(ids := torch.tensor([row["input_ids"]]), torch.ones_like(ids))[0].numpy()
                for row in read_table(path).to_pylist()
            ]
        )


def test_sets_and_scores_are_those_of_the_network(evaluated):
    """A softmax over classes would always choose one, and never two."""
    inputs, artifact, report = evaluated
    found = predictions(artifact, "student_0")
    logits = logits_of(inputs)
    gold = np.array([[name in row["labels"] for name in LABELS] for row in rows_of("test", "zh")])
    for i, row in enumerate(rows_of("test", "zh")):
        label, answered = found[id_of("test", "zh", i)]
        assert label == row["labels"]
        assert answered == [
            name for name, logit in zip(LABELS, logits[i], strict=True) if logit > 0
        ]
    scores = report.systems["student"].mean
    options = {"zero_division": 0}
    for average in ("micro", "macro"):
        expected = f1_score(gold, logits > 0, average=average, **options)
        assert scores[f"{average}_f1"] == pytest.approx(expected)
    assert scores["subset_accuracy"] == pytest.approx((gold == (logits > 0)).all(axis=1).mean())
    assert report.classes.accuracy == pytest.approx(scores["subset_accuracy"])
    floors = [name for name, one in report.systems.items() if one.kind == "floor"]
    assert floors == ["linear_pseudo_label", "linear_gold", "majority"]
    assert report.systems["linear_gold"].mean["micro_f1"] == 1.0


def test_each_domain_is_scored_by_itself(evaluated):
    """Sets that are right in flats alone, behind one figure for flats and houses."""
    inputs, _, report = evaluated
    gold = np.array([[name in row["labels"] for name in LABELS] for row in rows_of("test", "zh")])
    exact = (gold == (logits_of(inputs) > 0)).all(axis=1)
    groups = [one for one in report.groups if one.column == "domain"]
    assert [(one.value, one.num_examples) for one in groups] == [("flat", 4), ("house", 4)]
    for one, expected in zip(groups, (exact[:4].mean(), exact[4:].mean()), strict=True):
        assert one.scores["student"]["subset_accuracy"] == pytest.approx(expected)


def test_thresholds_travel_with_the_model(evaluated, tmp_path):
    """Scored at other thresholds than it ships with, a model is another model."""
    inputs, _, _ = evaluated
    probabilities = 1 / (1 + np.exp(-logits_of(inputs).astype(np.float64)))
    thresholds = np.median(probabilities, axis=0)
    model = tmp_path / "model"
    shutil.copytree(inputs["student_0"].path / "model", model)
    (model / "thresholds.json").write_text(json.dumps({"thresholds": thresholds.tolist()}))
    problem = MultilabelClassification(Material(inputs, "en", "zh"), Settings())
    [answered] = problem.answer_models([model]).predictions
    expected = [tuple(np.flatnonzero(row >= thresholds).tolist()) for row in probabilities]
    assert answered == expected


def test_asked_in_text_a_model_answers_as_about_the_stored_tokens(evaluated, publish, tmp_path):
    """The delivered form is scored at 0.5, or on other texts: what is lost there is told as what
    8 bits lost."""
    inputs, _, _ = evaluated
    probabilities = 1 / (1 + np.exp(-logits_of(inputs).astype(np.float64)))
    thresholds = np.quantile(probabilities, 0.4, axis=0)

    def tuned(output):
        shutil.copytree(inputs["export"].path, output, dirs_exist_ok=True)
        found = {"thresholds": thresholds.tolist()}
        (output / "model" / "thresholds.json").write_text(json.dumps(found))

    shipped = {**inputs, "export": publish(ArtifactStore(tmp_path), "export", tuned)}
    compared = MultilabelClassification(Material(shipped, "en", "zh"), Settings())
    answer = compared.answerers(num_threads=1)["safetensors"]
    asked = compared.answer_int8(answer, batch_size=3, num_threads=1)
    expected = [tuple(np.flatnonzero(row >= thresholds - 1e-6).tolist()) for row in probabilities]
    assert asked.predictions == [expected]
    assert len({*expected}) > 1, "one answer to all: this test shows little"


def test_several_teachers_are_scored_at_thresholds_of_their_mean(evaluated, publish, tmp_path):
    """The first teacher's thresholds, applied to probabilities that are not its own."""
    inputs, _, _ = evaluated
    material = Material(inputs, "en", "zh")
    tests = MultilabelClassification(material, Settings()).tests("teacher")
    logits = material.teacher_logits(tests["example_id"])
    thresholds = np.quantile(1 / (1 + np.exp(-logits.astype(np.float64))), 0.3, axis=0)
    in_order = np.empty(len(LABELS))
    in_order[material.class_order] = thresholds

    def combined(output):
        shutil.copytree(inputs["teacher_signals"].path, output, dirs_exist_ok=True)
        (output / "thresholds.json").write_text(json.dumps({"thresholds": in_order.tolist()}))

    store = ArtifactStore(tmp_path)
    several = {**inputs, "teacher_signals": publish(store, "teacher_signals", combined)}
    problem = MultilabelClassification(Material(several, "en", "zh"), Settings())
    [answered] = problem.answer_teacher().predictions
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert answered == [tuple(np.flatnonzero(row >= thresholds).tolist()) for row in probabilities]
    [alone] = MultilabelClassification(material, Settings()).answer_teacher().predictions
    assert answered != alone


def test_floors_learn_what_the_teacher_decided(evaluated, publish, tmp_path):
    """A floor that was shown the right answers is above every student; one that says the rarest
    set is below them all."""
    inputs, _, _ = evaluated
    path = inputs["teacher_signals"].path / "transfer" / "part-1.parquet"
    logits = np.array(read_table(path)["logits"].to_pylist(), np.float64)
    thresholds = np.quantile(1 / (1 + np.exp(-logits)), 0.3, axis=0)
    from_teacher = 1 / (1 + np.exp(-logits)) >= thresholds
    sets, counts = np.unique(from_teacher, axis=0, return_counts=True)
    assert counts.min() < counts.max(), "no set is rarer: this test shows little"

    def tuned(output):
        shutil.copytree(inputs["teacher_signals"].path, output, dirs_exist_ok=True)
        (output / "thresholds.json").write_text(json.dumps({"thresholds": thresholds.tolist()}))

    signals = publish(ArtifactStore(tmp_path), "teacher_signals", tuned)
    material = Material({**inputs, "teacher_signals": signals}, "en", "zh")
    floors = dict(MultilabelClassification(material, Settings()).answer_floors())
    texts = [row["text"] for row in rows_of("transfer", "zh")]  # those of the test rows, too
    learned = linear_probabilities_by_class(texts, from_teacher.astype(int), texts) >= 0.5
    [answered] = floors["linear_pseudo_label"].predictions
    assert answered == [tuple(np.flatnonzero(row).tolist()) for row in learned]
    [always] = floors["majority"].predictions
    assert len({*always}) == 1
    assert always[0] in [tuple(np.flatnonzero(one)) for one in sets[counts == counts.max()]]


def test_agreement_is_that_of_whole_sets_on_rows_not_trained_on(evaluated):
    """Of rare classes a student that never says yes would agree with nearly everything."""
    inputs, artifact, report = evaluated
    signals = {
        role: read_table(inputs["teacher_signals"].path / role / "part-1.parquet").to_pydict()
        for role in ("validation", "transfer")
    }
    from_teacher = {role: np.array(one["logits"]) > 0 for role, one in signals.items()}
    ids = [id_of("validation", "zh", i) for i in range(8)]
    assert signals["validation"]["example_id"] == ids
    said = logits_of(inputs, "validation") > 0
    found = report.diagnostics
    assert (found.num_rows, found.decided) == (8, "set of classes")
    assert found.agreement == (from_teacher["validation"] == said).all(axis=1).mean()
    for which, name in enumerate(LABELS):
        chosen = from_teacher["validation"][:, which]
        if chosen.any():
            assert found.agreement_by_class[name] == said[chosen, which].mean()
        else:
            assert name not in found.agreement_by_class
    gold = np.array(
        [[name in row["labels"] for name in LABELS] for row in rows_of("transfer", "zh")]
    )
    assert found.pseudo_label_accuracy == (from_teacher["transfer"] == gold).all(axis=1).mean()
    page = (artifact.path / "report.html").read_text(encoding="utf-8")
    assert "student and teacher choose the same set of classes in" in page
