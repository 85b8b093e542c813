"""An evaluation of answers in contexts, every answer worked out again from the networks."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch

from tasks.comparison.material import Material
from tasks.comparison.problem import Settings
from tasks.comparison.problems.question_answering import QuestionAnswering, Rule, shortest_answer
from tasks.comparison.sections import lengths
from tasks.corpus.tables import read_table
from tasks.corpus.text.units import segment
from tasks.metrics.scores.answer_texts import answer_f1, exact_match
from tasks.problems import load_model
from tasks.runtime.artifacts import ArtifactStore
from tests.tasks.small_problems import WINDOW, id_of, make_inputs, predictions

PLACES = {"客厅": "parlour", "卧室": "bedroom", "厨房": "kitchen", "书房": "study"}
FLOORS = {"一楼": "ground floor", "二楼": "first floor"}


def rows_of(role, language):
    """客厅在一楼。卧室在二楼。 客厅在哪里？ and of every third a room that is not mentioned."""
    which = 0 if language == "zh" else 1
    names = [place[which] for place in PLACES.items()]
    levels = [floor[which] for floor in FLOORS.items()]
    sentence = ("{p}在{f}。", "The {p} is on the {f}. ")[which]
    for i, (first, second, absent) in enumerate(zip(names, names[1:], names[2:], strict=False)):
        text = "".join(
            sentence.format(p=name, f=level)
            for name, level in zip((first, second), levels, strict=True)
        ).strip()
        for asked, level in ((first, levels[0]), (absent, None)):
            question = ("{p}在哪里？", "Where is the {p}?")[which].format(p=asked)
            yield {
                "text": text,
                "parallel_text": None,
                "question": question,
                "domain": ("first", "second")[i],
                "answer_starts": [text.index(level)] if level else [],
                "answer_texts": [level] if level else [],
            }
        if role == "train" and i == 0:
            return


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, publish, evaluate):
    """(inputs, artifact, report)."""
    store = ArtifactStore(tmp_path_factory.mktemp("answers"))
    inputs = make_inputs(
        store, publish, "question_answering", rows_of, ["start", "end"], num_seeds=1
    )
    return inputs, *evaluate(store, inputs, "question_answering")


def answers_of(inputs, name, language, role="test"):
    """Example id -> (margin of no answer, [start, end]): all windows, all spans, one by one."""
    reader = "teacher" if name == "teacher" else "student"
    model = load_model(inputs[name].path / "model")
    path = inputs[f"{reader}_tokens"].path / role / f"part-{int(language == 'zh')}.parquet"
    merged = {}
    for row in read_table(path).to_pylist():
        ids = torch.tensor([row["input_ids"]])
        with torch.no_grad():
            logits = model(ids, torch.ones_like(ids))[0].double().numpy()
        units, none = merged.setdefault(row["example_id"], ({}, [np.inf, np.inf]))
        for which in (0, 1):
            none[which] = min(none[which], logits[0, which])
        assert len(row["unit_positions"]) <= WINDOW
        for number, place in enumerate(row["unit_positions"], start=row["first_unit"]):
            before = units.get(number, np.full(2, -np.inf))
            units[number] = np.maximum(before, logits[place])
    found = {}
    for i, row in enumerate(rows_of(role, language)):
        example_id = id_of(role, language, i)
        units, none = merged[example_id]
        places = segment(row["text"])
        assert sorted(units) == list(range(len(places)))
        spans = {(a, b): units[a][0] + units[b][1] for a in units for b in units if a <= b < a + 30}
        first, last = max(spans, key=spans.get)
        margin = sum(none) - spans[first, last]
        found[example_id] = (margin, [places[first][0], places[last][1]])
    return found


@pytest.mark.parametrize(
    ("file", "network", "language"),
    [("student_0", "student_0", "zh"), ("teacher", "teacher", "en"),
     ("teacher_on_target", "teacher", "zh")],
)  # fmt: skip
def test_answers_are_those_of_all_windows_together(evaluated, file, network, language):
    """The best answer of the first window alone misses everything in a long context's end."""
    inputs, artifact, _ = evaluated
    found = predictions(artifact, file)
    expected = answers_of(inputs, network, language)
    assert set(found) == set(expected)
    for i, row in enumerate(rows_of("test", language)):
        example_id = id_of("test", language, i)
        gold, answered = found[example_id]
        assert [row["text"][start:end] for start, end in gold] == row["answer_texts"]
        margin, place = expected[example_id]
        assert answered == (None if margin > 0 else place)


def test_scores_are_means_over_questions(evaluated):
    """F1 over windows would count a question as often as its context is long."""
    _, artifact, report = evaluated
    found = predictions(artifact, "student_0")
    f1, exact = [], []
    for i, row in enumerate(rows_of("test", "zh")):
        place = found[id_of("test", "zh", i)][1]
        answer = row["text"][place[0] : place[1]] if place else ""
        f1.append(answer_f1(answer, row["answer_texts"], "zh"))
        exact.append(exact_match(answer, row["answer_texts"], "zh"))
    scores = report.systems["student"].mean
    assert report.systems["student"].num_examples == len(f1) == 4
    assert scores["answer_f1"] == pytest.approx(np.mean(f1))
    assert scores["exact_match"] == pytest.approx(np.mean(exact))
    groups = {one.value: one for one in report.groups if one.column == "answer"}
    assert {value: one.num_examples for value, one in groups.items()} == {
        "in the context": 2,
        "none": 2,
    }
    of_none = np.mean([f1[1], f1[3]])
    assert groups["none"].scores["student"]["answer_f1"] == pytest.approx(of_none)
    domains = {one.value: one for one in report.groups if one.column == "domain"}
    assert {value: one.num_examples for value, one in domains.items()} == {"first": 2, "second": 2}
    of_second = domains["second"].scores["student"]["answer_f1"]
    assert of_second == pytest.approx(np.mean(f1[2:]))
    assert report.primary.name == "answer_f1"
    assert report.classes is None
    assert not (artifact.path / "plots" / "confusion_matrix.png").exists()


def test_long_answers_are_scored_apart(evaluated, monkeypatch):
    """Names and numbers are found, whole clauses are not: one F1 says neither."""
    inputs, _, _ = evaluated
    monkeypatch.setattr(lengths, "_MIN_EXAMPLES", 1)
    compared = QuestionAnswering(Material(inputs, "en", "zh"), Settings())
    answers = {"student": compared.answer_models([inputs["student_0"].path / "model"])}
    # "一楼", and no answer to every second question
    assert compared._lengths(answers["student"]) == [2, 0, 2, 0]
    monkeypatch.setattr(QuestionAnswering, "_lengths", lambda *_: [2, 0, 5, 0])
    found = [one for one in compared.sections(answers).groups if "length" in one.column]
    assert [(one.value, one.num_examples) for one in found] == [("2", 1), ("5", 1)]
    statistics = answers["student"].statistics[0]["answer_f1"].toarray()
    for one, row in zip(found, (0, 2), strict=True):
        assert one.scores["student"]["answer_f1"] == pytest.approx(statistics[row, 0])


def test_answers_too_long_to_be_given_are_told(evaluated, monkeypatch):
    """A score that no system can pass, read as what distillation lost."""
    inputs, _, report = evaluated
    assert shortest_answer("他在2008年8月去了Berlin。", [(2, 9), (11, 17)]) == 1
    assert shortest_answer("他在2008年8月去了Berlin。", [(2, 9)]) == 4
    assert shortest_answer("没有", []) == 0
    assert not any("no right answer" in note for note in report.notes)
    module = sys.modules[QuestionAnswering.__module__]
    monkeypatch.setattr(module, "read_rule", lambda folder: Rule(0.0, max_answer_units=1))
    compared = QuestionAnswering(Material(inputs, "en", "zh"), Settings())
    answers = {"student": compared.answer_models([inputs["student_0"].path / "model"])}
    # of four questions two are answered in their context
    (note,) = compared.sections(answers).notes
    assert note.startswith("2 of 4 test questions have no right answer of at most 1 words")


def test_agreement_is_that_of_answers_to_validation_questions_both_read(evaluated, publish):
    """Student and teacher compared on translations, where no place means the same."""
    inputs, artifact, report = evaluated
    from_teacher, said = (
        answers_of(inputs, name, "zh", "validation") for name in ("teacher", "student_0")
    )
    threshold = float(np.median([margin for margin, _ in from_teacher.values()]))

    def tuned(output):
        shutil.copytree(inputs["teacher_signals"].path, output, dirs_exist_ok=True)
        (output / "thresholds.json").write_text(json.dumps({"null_threshold": threshold}))

    store = ArtifactStore(inputs["teacher"].path.parents[2])
    signals = publish(store, "teacher_signals", tuned, config={"tuned": True})
    refusing = {**inputs, "teacher_signals": signals}
    again = QuestionAnswering(Material(refusing, "en", "zh"), Settings())._diagnose()
    gold = {id_of("transfer", "zh", i): row for i, row in enumerate(rows_of("transfer", "zh"))}
    for found, limit in ((report.diagnostics, 0.0), (again, threshold)):
        chosen = {
            row: None if margin > limit else place for row, (margin, place) in from_teacher.items()
        }
        answers = {row: None if margin > 0 else place for row, (margin, place) in said.items()}
        assert found.num_rows == len(chosen) == len(answers) == 4
        same = {row: chosen[row] == answers[row] for row in chosen}
        assert found.agreement == np.mean([*same.values()])
        parts = {
            "in the context": [same[row] for row in chosen if chosen[row] is not None],
            "none": [same[row] for row in chosen if chosen[row] is None],
        }
        assert found.agreement_by_class == {
            name: np.mean(part) for name, part in parts.items() if part
        }
        right = []
        for row, (margin, place) in answers_of(inputs, "teacher", "zh", "transfer").items():
            answer = "" if margin > limit else gold[row]["text"][place[0] : place[1]]
            right.append(exact_match(answer, gold[row]["answer_texts"], "zh"))
        assert found.pseudo_label_accuracy == np.mean(right)
    assert len(again.agreement_by_class) == 2, "never refused: this test shows little"
    page = (artifact.path / "report.html").read_text(encoding="utf-8")
    assert "student and teacher choose the same answer in" in page


def test_the_teachers_entropy_is_that_of_start_and_end_with_no_answer_among_them(evaluated):
    """Entropy over the units alone calls a teacher sure that would rather not answer."""
    inputs, _, report = evaluated
    rows = read_table(inputs["teacher_signals"].path / "validation" / "part-1.parquet").to_pylist()
    nats = []
    for row in rows:
        for units, null in (("start_logits", "null_start"), ("end_logits", "null_end")):
            logits = torch.tensor([*row[units], row[null]], dtype=torch.float64)
            nats.append(float(torch.distributions.Categorical(logits=logits).entropy()))
    assert report.diagnostics.teacher_entropy_nats == pytest.approx(np.mean(nats))


def test_no_text_of_the_data_reaches_report_or_predictions(evaluated):
    """Answers are places: a table of answers is mailed around as easily as a report."""
    _, artifact, _ = evaluated
    for path in artifact.path.rglob("*"):
        if path.suffix in (".json", ".html"):
            assert "客厅" not in path.read_text(encoding="utf-8")
    for path in (artifact.path / "predictions").iterdir():
        rows = read_table(path).to_pydict()
        assert not any("楼" in text for text in (*rows["prediction"], *rows["label"]))


def test_floors_need_no_reading(evaluated):
    """A student below the first sentence has learnt nothing about answers."""
    _, artifact, report = evaluated
    floors = [name for name, one in report.systems.items() if one.kind == "floor"]
    assert floors == ["similar_sentence", "first_sentence", "random_span"]
    for i, row in enumerate(rows_of("test", "zh")):
        start, end = predictions(artifact, "first_sentence")[id_of("test", "zh", i)][1]
        assert row["text"][start:end] == row["text"].split("。")[0] + "。"
    # The room asked for, where it is mentioned, is in the sentence that answers.
    start, end = predictions(artifact, "similar_sentence")[id_of("test", "zh", 0)][1]
    assert next(iter(rows_of("test", "zh")))["text"][start:end] == "客厅在一楼。"


def test_what_decides_travels_with_the_model(evaluated, publish, tmp_path):
    """Scored at another threshold or length than it ships with, a model is another model."""
    inputs, _, _ = evaluated
    margins = [margin for margin, _ in answers_of(inputs, "student_0", "zh").values()]
    threshold = float(np.median(margins))
    model = tmp_path / "model"
    shutil.copytree(inputs["student_0"].path / "model", model)
    (model / "thresholds.json").write_text(json.dumps({"null_threshold": threshold}))
    problem = QuestionAnswering(Material(inputs, "en", "zh"), Settings())
    [answered] = problem.answer_models([model]).predictions
    assert [place is None for place in answered] == [margin > threshold for margin in margins]
    assert sum(place is None for place in answered) == 2
    rule = {"null_threshold": 1e9, "max_answer_units": 1}
    (model / "thresholds.json").write_text(json.dumps(rule))
    [answered] = problem.answer_models([model]).predictions
    assert [end - start for start, end in answered] == [1] * 4

    def tuned(output):
        shutil.copytree(inputs["export"].path, output, dirs_exist_ok=True)
        (output / "model" / "thresholds.json").write_text(json.dumps(rule))

    export = publish(ArtifactStore(tmp_path / "store"), "export", tuned)
    shipped = QuestionAnswering(Material({**inputs, "export": export}, "en", "zh"), Settings())
    [answered] = shipped.answer_int8(None, batch_size=3, num_threads=1).predictions
    assert [end - start for start, end in answered] == [1] * 4


def test_a_model_is_as_sure_as_it_is_of_what_it_decided(evaluated, tmp_path):
    """Calibration of answers by how sure the model was of what it did not say."""
    inputs, _, _ = evaluated
    model = tmp_path / "model"
    shutil.copytree(inputs["student_0"].path / "model", model)
    problem = QuestionAnswering(Material(inputs, "en", "zh"), Settings())
    sure = []
    for threshold in (-1e9, 1e9):  # never an answer, always one
        (model / "thresholds.json").write_text(json.dumps({"null_threshold": threshold}))
        sure.append(np.log(problem.answer_models([model]).confidences[0]))
    margins = [margin for margin, _ in answers_of(inputs, "student_0", "zh").values()]
    np.testing.assert_allclose(sure[0] - sure[1], margins, atol=1e-4)
