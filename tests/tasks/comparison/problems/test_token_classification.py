"""An evaluation of named entities, every answer worked out again from the networks."""

import shutil
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch
from seqeval.metrics import f1_score

from tasks.comparison.material import Material
from tasks.comparison.problem import Settings
from tasks.comparison.problems.token_classification import TokenClassification
from tasks.comparison.timing import formats as forms
from tasks.corpus.tables import read_table, write_table
from tasks.corpus.text.units import align_spans, segment
from tasks.problems import load_model
from tasks.runtime.artifacts import ArtifactStore
from tests.tasks.small_problems import id_of, make_inputs, predictions

LABELS = ["O", "B-DEV", "I-DEV", "B-LOC", "I-LOC"]
PLACES = {
    "客厅": "parlour",
    "卧室": "bedroom",
    "厨房": "kitchen",
    "书房": "study",
    "车库": "garage",
}
DEVICES = {"灯": "lamp", "电视": "television"}


def rows_of(role, language):
    """打开客厅的电视 / turn on the television in the parlour, with both spans."""
    places = list(PLACES.items())[:3] if role in ("train", "transfer") else list(PLACES.items())
    for place in places:
        for device in DEVICES.items():
            which = 0 if language == "zh" else 1
            form = ("打开{p}的{d}", "turn on the {d} in the {p}")[which]
            text = form.format(p=place[which], d=device[which])
            spans = sorted(
                (text.index(name), text.index(name) + len(name), label)
                for name, label in ((place[which], "LOC"), (device[which], "DEV"))
            )
            yield {
                "text": text,
                "parallel_text": None,
                "domain": device[1],
                "span_starts": [start for start, _, _ in spans],
                "span_ends": [end for _, end, _ in spans],
                "span_labels": [label for *_, label in spans],
            }


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, publish, evaluate):
    """(inputs, artifact, report)."""
    store = ArtifactStore(tmp_path_factory.mktemp("spans"))
    inputs = make_inputs(store, publish, "token_classification", rows_of, LABELS)
    return inputs, *evaluate(store, inputs, "token_classification")


def tags_of(inputs, name, language):
    """Tags of the network `name` for each test text, read at each unit's first token."""
    reader = "teacher" if name == "teacher" else "student"
    model = load_model(inputs[name].path / "model")
    path = inputs[f"{reader}_tokens"].path / "test" / f"part-{int(language == 'zh')}.parquet"
    for row in read_table(path).to_pylist():
        ids = torch.tensor([row["input_ids"]])
        with torch.no_grad():
            logits = model(ids, torch.ones_like(ids))[0]
        yield [LABELS[int(logits[place].argmax())] for place in row["unit_positions"]]


def spans_of(tags, units):
    """A plain loop over tags: a new span at B-, or where the type changes."""
    found, kind = [], ""
    for tag, (start, end) in zip(tags, units, strict=True):
        label = tag[2:]
        if label and (tag[0] == "B" or label != kind):
            found.append([start, end, label])
        elif label:
            found[-1][1] = end
        kind = label
    return found


@pytest.mark.parametrize(
    ("file", "network", "language"),
    [
        ("student_0", "student_0", "zh"),
        ("student_1", "student_1", "zh"),
        ("zero_shot_0", "zero_shot_0", "zh"),
        ("teacher", "teacher", "en"),
        ("teacher_on_target", "teacher", "zh"),
    ],
)
def test_spans_are_those_of_the_networks_tags(evaluated, file, network, language):
    """Units off by one, or another text's tags, give spans that look like a weak model's."""
    inputs, artifact, _ = evaluated
    found = predictions(artifact, file)
    rows = list(rows_of("test", language))
    tags = list(tags_of(inputs, network, language))
    assert len(found) == len(rows) == 10
    for i, (row, one) in enumerate(zip(rows, tags, strict=True)):
        gold, answered = found[id_of("test", language, i)]
        columns = (row["span_starts"], row["span_ends"], row["span_labels"])
        assert gold == [list(span) for span in zip(*columns, strict=True)]
        assert answered == spans_of(one, segment(row["text"]))


def test_scores_are_seqevals(evaluated):
    """The report's F1 is the one that papers report."""
    inputs, _, report = evaluated
    gold = []
    for row in rows_of("test", "zh"):
        spans = zip(row["span_starts"], row["span_ends"], row["span_labels"], strict=True)
        gold.append(align_spans(segment(row["text"]), list(spans)))
    assert [metric.name for metric in report.metrics][:2] == ["entity_f1", "macro_f1"]
    for seed, scores in enumerate(report.systems["student"].seeds):
        tags = list(tags_of(inputs, f"student_{seed}", "zh"))
        assert scores["entity_f1"] == pytest.approx(f1_score(gold, tags))
        assert scores["macro_f1"] == pytest.approx(f1_score(gold, tags, average="macro"))
    assert report.classes.unit == "entity type"
    assert [row.label for row in report.classes.rows] == ["DEV", "LOC"]
    assert [row.support for row in report.classes.rows] == [10, 10]


def test_floors_know_only_the_names_they_were_shown(evaluated):
    """A list of names with test names in it is no floor; nor is the rarest tag."""
    inputs, artifact, report = evaluated
    assert [name for name, one in report.systems.items() if one.kind == "floor"][-2:] == [
        "gazetteer_gold",
        "majority",
    ]
    found = predictions(artifact, "gazetteer_gold")
    for i, row in enumerate(rows_of("test", "zh")):
        gold, answered = found[id_of("test", "zh", i)]
        seen = [span for span in gold if row["text"][span[0] : span[1]] not in ("书房", "车库")]
        assert answered == seen
    # What the teacher took for names, and the tag that it gave most often.
    path = inputs["teacher_signals"].path / "transfer" / "part-1.parquet"
    logits = [np.reshape(one, (-1, len(LABELS))) for one in read_table(path)["logits"].to_pylist()]
    tags = [[LABELS[k] for k in one.argmax(axis=1)] for one in logits]
    named = {
        row["text"][start:end]
        for row, one in zip(rows_of("transfer", "zh"), tags, strict=True)
        for start, end, _ in spans_of(one, segment(row["text"]))
    }
    counts = Counter(tag for one in tags for tag in one)
    often = [tag for tag, count in counts.items() if count == max(counts.values())]
    assert named
    assert len(often) < len(counts)
    pseudo, majority = (
        predictions(artifact, name) for name in ("gazetteer_pseudo_label", "majority")
    )
    for i, row in enumerate(rows_of("test", "zh")):
        example_id, units = id_of("test", "zh", i), segment(row["text"])
        assert {row["text"][start:end] for start, end, _ in pseudo[example_id][1]} <= named
        assert majority[example_id][1] in [spans_of([tag] * len(units), units) for tag in often]
    assert any(answered for _, answered in pseudo.values())


def test_what_ships_is_compared_with_the_teacher_on_the_same_texts(evaluated):
    """A student judged by another language's entities is judged by the translation."""
    _, artifact, report = evaluated
    assert {one.against for one in report.delivered_comparisons} == {"teacher_on_target"}
    assert all(one.paired for one in report.delivered_comparisons)
    assert set(report.variants) == {"safetensors", "onnx_int8"}
    assert report.variants["safetensors"].agreement == 1.0
    assert report.variants["onnx_int8"].agreement > 0.3
    assert report.diagnostics.num_rows == sum(
        len(segment(row["text"])) for row in rows_of("validation", "zh")
    )
    assert [(one.column, one.value) for one in report.groups] == [
        ("domain", "lamp"), ("domain", "television"),
        ("domain (en)", "lamp"), ("domain (en)", "television"),
    ]  # fmt: skip
    page = (artifact.path / "report.html").read_text(encoding="utf-8")
    assert "Per entity type" in page
    plots = {path.stem for path in (artifact.path / "plots").iterdir()}
    assert plots >= {"classes", "parts", "quality_and_size"}
    assert "By domain" in page
    assert "were read as its beginning" in page
    statistics = read_table(artifact.path / "statistics" / "student_0.parquet").to_pydict()
    hits, decided, gold = np.sum(statistics["statistics"], axis=0)
    f1 = report.systems["student"].seeds[0]["entity_f1"]
    assert 2 * hits / (decided + gold) == pytest.approx(f1)


def test_padded_rows_of_the_int8_form_are_read_at_their_own_units(evaluated, monkeypatch):
    """Logits of a neighbour's units, or of padding: told as what 8 bits lost. The weights in 32
    bits stand in for them here, so that nothing else may differ."""
    inputs, _, _ = evaluated
    folder = inputs["export"].path / "model"
    model = load_model(folder)

    def network(file, *, num_threads):
        assert file == folder / "model.int8.onnx"
        tensors = torch.from_numpy
        return lambda ids, mask: model(tensors(ids), tensors(mask)).detach().numpy()

    monkeypatch.setattr(forms, "onnx_network", network)
    problem = TokenClassification(Material(inputs, "en", "zh"), Settings())
    tests = problem.tests("student")
    asked = problem.said_by_int8(tests, batch_size=3, num_threads=1)
    stored = problem.said_by(folder, tests)
    assert asked["num_units"] == stored["num_units"]
    for mine, own in zip(asked["logits"].to_pylist(), stored["logits"].to_pylist(), strict=True):
        np.testing.assert_allclose(mine, own, atol=1e-5)
    answers = problem.answer_int8(None, batch_size=3, num_threads=1)
    assert answers.predictions == problem.answer_models([folder]).predictions


def test_what_the_student_was_taught_is_judged_on_the_rows_it_learned_from(evaluated):
    """A figure of validation rows, told as that of texts which carry no label at all."""
    inputs, _, report = evaluated
    path = inputs["teacher_signals"].path / "transfer" / "part-1.parquet"
    signals = {row["example_id"]: row for row in read_table(path).to_pylist()}
    right = []
    for i, row in enumerate(rows_of("transfer", "zh")):
        spans = zip(row["span_starts"], row["span_ends"], row["span_labels"], strict=True)
        gold = align_spans(segment(row["text"]), list(spans))
        logits = np.array(signals[id_of("transfer", "zh", i)]["logits"]).reshape(len(gold), -1)
        right += [LABELS[k] == tag for k, tag in zip(logits.argmax(1), gold, strict=True)]
    assert report.diagnostics.pseudo_label_accuracy == np.mean(right)
    assert "validation" in report.diagnostics.rows


def test_what_was_mended_in_the_data_is_told(evaluated):
    """A report that fails, or stays silent, because tags of its sources had to be repaired."""
    _, artifact, report = evaluated
    assert [one.repairs for one in report.data] == [{"repaired_tags": 3}]
    assert "repaired_tags 3" in (artifact.path / "report.html").read_text(encoding="utf-8")


def test_entities_that_no_system_can_give_are_told(evaluated, publish, tmp_path):
    """A score that nobody can pass, read as what distillation lost."""
    inputs, _, report = evaluated
    assert not any("entities of the test texts" in note for note in report.notes)

    def corpus(output):
        """Behind what the student has read: half a word in one text, a place in another."""
        shutil.copytree(inputs["corpus"].path, output, dirs_exist_ok=True)
        path = output / "rows" / "test" / "part-1.parquet"
        table = read_table(path)
        rows = table.to_pylist()
        for row, more, length in ((rows[0], "café", 2), (rows[1], "车库", 2)):
            start = len(row["text"])
            row["text"] += more
            row["span_starts"].append(start)
            row["span_ends"].append(start + length)
            row["span_labels"].append("LOC")
        path.unlink()
        write_table(pa.Table.from_pylist(rows, schema=table.schema), path)

    longer = publish(ArtifactStore(tmp_path), "corpus", corpus)
    problem = TokenClassification(Material({**inputs, "corpus": longer}, "en", "zh"), Settings())
    answers = {"student": problem.answer_models([inputs["student_0"].path / "model"])}
    _, within, unread = problem.sections(answers).notes
    assert within.startswith("1 of 22 entities of the test texts begin or end within a word")
    assert unread.startswith("1 of 22 entities of the test texts lie where the student's text was")
