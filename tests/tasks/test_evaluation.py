"""The evaluation stage on tiny real models: every figure of the report recomputed from files."""

import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import f1_score

from data_contracts.errors import ContractViolation
from data_contracts.evaluation import EvaluationReport
from data_contracts.tables import check_table
from tasks import teacher_signals
from tasks.corpus.tables import read_table
from tasks.evaluation import STAGE, Config, SpeedConfig
from tasks.runtime.stages import run_stage
from tests.tasks.rooms import (
    LABELS,
    example_id,
    make_world,
    rows_of,
    write_corpus,
    write_model,
    write_tokens,
)

QUICK = SpeedConfig(num_threads=1, latency_texts=3, round_texts=4, max_rounds=3)


@pytest.fixture(scope="module")
def world(tmp_path_factory, publish):
    """(store, inputs) of `make_world`."""
    return make_world(tmp_path_factory.mktemp("world"), publish)


CONFIG = Config(
    recipe="rooms",
    source_language="en",
    target_language="zh",
    model_name="rooms-zh",
    num_resamples=200,
    speed=QUICK,
    notes=("The pairs are made from templates.",),
)


@pytest.fixture(scope="module")
def evaluated(world):
    """(artifact, report) of the full evaluation."""
    return evaluate(*world)


def evaluate(store, inputs, *, force=False):
    """(artifact, report) of the evaluation of `inputs`."""
    artifact = run_stage(STAGE, CONFIG, inputs, store=store, force=force).artifact
    written = (artifact.path / "report.json").read_bytes()
    return artifact, EvaluationReport.model_validate_json(written)


def tokens_of(world, publish, language, **options):
    """Tokens written anew, as `write_tokens` takes `options`."""
    return publish(
        world[0],
        "tokens",
        lambda out: write_tokens(out, language, **options),
        config={"language": language, **options},
    )


def predictions(artifact, name):
    return read_table(artifact.path / "predictions" / f"{name}.parquet").to_pydict()


def test_every_score_can_be_computed_again_from_the_predictions(evaluated):
    """A report whose figures nobody can recompute is a claim."""
    artifact, report = evaluated
    runs = {"student": 2, "pseudo_label": 2, "supervised": 2}
    assert list(report.systems) == [
        "teacher",
        "student",
        "pseudo_label",
        "supervised",
        "linear_pseudo_label",
        "linear_gold",
        "majority",
    ]
    written = {path.stem for path in (artifact.path / "predictions").iterdir()}
    expected = set()
    for name, system in report.systems.items():
        files = [f"{name}_{i}" for i in range(runs[name])] if name in runs else [name]
        expected.update(files)
        accuracies = []
        for file, scores in zip(files, system.seeds, strict=True):
            rows = predictions(artifact, file)
            check_table(
                read_table(artifact.path / "predictions" / f"{file}.parquet"), "predictions"
            )
            labels, decided = np.array(rows["label"]), np.array(rows["prediction"])
            assert scores["accuracy"] == pytest.approx(np.mean(labels == decided))
            present = np.unique(labels)
            macro = f1_score(labels, decided, labels=present, average="macro", zero_division=0)
            assert scores["macro_f1"] == pytest.approx(macro)
            assert system.num_examples == len(labels) == 16
            accuracies.append(np.mean(labels == decided))
        assert system.mean["accuracy"] == pytest.approx(np.mean(accuracies))
        if len(accuracies) > 1:
            assert system.sd["accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
        else:
            assert system.sd is None
    assert written == expected


def test_teacher_answers_come_from_its_signals_joined_by_id(world, evaluated):
    """Joining by position gives the teacher another example's logits and a score near chance."""
    _, inputs = world
    artifact, report = evaluated
    signals = read_table(inputs["teacher_signals"].path / "test" / "part-00000.parquet").to_pydict()
    chosen = {
        row: LABELS[int(np.argmax(logits))]
        for row, logits in zip(signals["example_id"], signals["logits"], strict=True)
    }
    rows = predictions(artifact, "teacher")
    gold = {
        example_id("test", "en", i): LABELS[label]
        for i, (*_, label) in enumerate(rows_of("test", "en"))
    }
    assert set(rows["example_id"]) == set(gold)
    for row, label, decided in zip(
        rows["example_id"], rows["label"], rows["prediction"], strict=True
    ):
        assert label == gold[row]
        assert decided == chosen[row]
    assert report.systems["teacher"].mean["accuracy"] > 0.5


def test_students_are_scored_on_the_target_language_and_paired(evaluated):
    """A student scored on the teacher's rows would be scored on a language it cannot read."""
    artifact, report = evaluated
    student, baseline = (
        predictions(artifact, name) for name in ("student_0", "linear_pseudo_label")
    )
    expected = [example_id("test", "zh", i) for i in range(16)]
    assert student["example_id"] == baseline["example_id"] == expected
    assert report.systems["student"].language == "zh"
    found = {(one.against, one.metric): one for one in report.comparisons}
    others = [name for name in report.systems if name != "student"]
    assert set(found) == {(name, metric) for name in others for metric in ("accuracy", "macro_f1")}
    for (against, metric), one in found.items():
        assert one.paired == (against != "teacher")
        difference = report.systems["student"].mean[metric] - report.systems[against].mean[metric]
        assert one.difference == pytest.approx(difference)
        assert one.low <= one.difference <= one.high
    [kept, _] = report.retention
    assert not kept.paired
    ratio = report.systems["student"].mean["accuracy"] / report.systems["teacher"].mean["accuracy"]
    assert kept.value == pytest.approx(ratio)


def test_what_ships_is_compared_with_the_teacher_by_itself(evaluated):
    """A gate asked of a mean over seeds, of which only one ships, lets a poor one through."""
    artifact, report = evaluated
    found = {(one.of, one.metric): one for one in report.delivered_comparisons}
    forms = ("safetensors", "onnx_int8")
    assert set(found) == {(form, metric) for form in forms for metric in ("accuracy", "macro_f1")}
    rows = {name: predictions(artifact, name) for name in ("student_0", "teacher")}
    own = {
        name: np.mean(np.array(answers["label"]) == np.array(answers["prediction"]))
        for name, answers in rows.items()
    }
    one = found["safetensors", "accuracy"]
    assert one.difference == pytest.approx(own["student_0"] - own["teacher"])
    assert one.low <= one.difference <= one.high
    int8 = found["onnx_int8", "accuracy"]
    assert int8.difference == pytest.approx(
        report.variants["onnx_int8"].scores["accuracy"] - own["teacher"]
    )
    assert one.against == int8.against == "teacher"
    seeds = [scores["accuracy"] for scores in report.systems["student"].seeds]
    assert seeds[0] != seeds[1], "the seeds answer alike: this test shows nothing"
    page = (artifact.path / "report.html").read_text(encoding="utf-8")
    assert "The delivered model (student, seed 0, safetensors)" in page


def test_floors_learn_what_the_student_had(world, evaluated):
    """A floor trained on test labels, or on the teacher's language, is no floor."""
    _, inputs = world
    artifact, report = evaluated
    signals = read_table(
        inputs["teacher_signals"].path / "transfer" / "part-00000.parquet"
    ).to_pydict()
    chosen = np.array(signals["logits"]).argmax(axis=1)
    shares = np.bincount(chosen, minlength=4) / len(chosen)
    rows = predictions(artifact, "majority")
    assert set(rows["prediction"]) == {LABELS[int(shares.argmax())]}
    assert rows["confidence"] == pytest.approx([shares.max()] * 16)
    # The templates are the same, only the rooms are new: characters must carry over.
    assert report.systems["linear_gold"].mean["accuracy"] >= 0.9
    assert report.diagnostics.pseudo_label_accuracy == pytest.approx(
        np.mean(chosen == np.tile(np.arange(4), 5))
    )


def test_sizes_parameters_and_times_are_those_of_the_delivered_files(world, evaluated):
    """Times of one model beside the size of another make a student that does not exist."""
    _, inputs = world
    _, report = evaluated
    model = inputs["export"].path / "model"
    weights = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    assert report.systems["student"].size_bytes == weights
    assert report.variants["safetensors"].size_bytes == weights
    assert report.variants["onnx_int8"].size_bytes == (model / "model.int8.onnx").stat().st_size
    training = json.loads((inputs["student_0"].path / "training.json").read_text())
    assert report.systems["student"].num_parameters == training["num_parameters"]
    assert report.systems["student"].latency_ms_p50 == report.variants["safetensors"].latency_ms_p50
    assert report.systems["pseudo_label"].latency_ms_p50 is None
    assert report.systems["majority"].size_bytes is None
    # From text through the tokenizer: the same answers as from the stored tokens.
    assert report.variants["safetensors"].scores == report.systems["student"].seeds[0]
    assert report.variants["safetensors"].agreement == 1.0
    assert (report.speed.rounds, report.speed.num_texts, report.speed.num_threads) == (3, 4, 1)


def test_no_text_of_the_data_reaches_the_report(evaluated):
    """A report is mailed around; the user's sentences are not ours to send."""
    artifact, _ = evaluated
    for name in ("report.json", "report.html"):
        content = (artifact.path / name).read_text(encoding="utf-8")
        for role in ("train", "transfer", "validation", "test"):
            for text, other, _ in rows_of(role, "zh"):
                assert text not in content
                assert other not in content
    page = (artifact.path / "report.html").read_text(encoding="utf-8")
    assert "models:/rooms-zh@champion" in page
    assert page.count("data:image/png;base64,") == 5
    assert {path.name for path in (artifact.path / "plots").iterdir()} == {
        "confusion_matrix.png",
        "learning_curves.png",
        "quality_and_size.png",
        "reliability.png",
        "surest_answers.png",
    }


def test_notes_tell_what_labels_were_used(evaluated):
    """`No target label` claimed by hand in a README does not follow the recipe; this does."""
    _, report = evaluated
    notes = " ".join(report.notes)
    assert report.notes[0] == "The pairs are made from templates."
    assert "No zh label enters the student's loss" in notes
    assert "different examples (16 in zh, 16 in en)" in notes


def test_all_but_the_times_repeats(world, evaluated):
    """An unseeded bootstrap passes a gate today and fails it tomorrow."""
    store, inputs = world
    artifact, report = evaluated
    before = {path.name: path.read_bytes() for path in (artifact.path / "predictions").iterdir()}
    again, repeated = evaluate(store, inputs, force=True)
    after = {path.name: path.read_bytes() for path in (again.path / "predictions").iterdir()}
    assert before == after
    names = ("comparisons", "retention", "classes", "calibration", "diagnostics", "data")
    for name in (*names, "agreement_by_language", "learning", "warnings"):
        assert getattr(report, name) == getattr(repeated, name)


def test_missing_baselines_and_labels_leave_their_lines_out(world, publish):
    """A recipe without baselines or gold labels is still evaluated, and says what is missing."""
    store, inputs = world
    fewer = {
        name: artifact
        for name, artifact in inputs.items()
        if not name.startswith(("pseudo", "supervised", "student_1"))
    }
    fewer["student_tokens"] = tokens_of(world, publish, "zh", gold=False)
    fewer["corpus"] = publish(
        store, "corpus", lambda out: write_corpus(out, gold=False), config={"gold": False}
    )
    artifact, report = evaluate(store, fewer)
    assert list(report.systems) == ["teacher", "student", "linear_pseudo_label", "majority"]
    assert report.systems["student"].sd is None
    assert report.diagnostics.pseudo_label_accuracy is None
    assert report.comparison("student_minus_pseudo_label") is None
    assert "was not measured" in (artifact.path / "report.html").read_text(encoding="utf-8")


def test_a_multilingual_teacher_is_scored_in_both_languages(world, publish):
    """Retention of a teacher's English score says nothing about what could be kept in Chinese."""
    store, inputs = world
    tokens = tokens_of(world, publish, "en", also_tested_in="zh", reader="en+zh")
    # Fitted on both: of a teacher that may score nothing there is no share to keep.
    teacher = publish(
        store, "teacher", lambda out: write_model(out, "en+zh", seed=1), config={"reads": "en+zh"}
    )
    signals = run_stage(
        teacher_signals.STAGE,
        teacher_signals.Config(precision="fp32"),
        {"teacher": teacher, "tokens": tokens},
        store=store,
    ).artifact
    fewer = {name: one for name, one in inputs.items() if not name.startswith(("pseudo", "superv"))}
    zero_shot = {"zero_shot_0": inputs["pseudo_label_0"], "zero_shot_1": inputs["pseudo_label_1"]}
    read = {"teacher": teacher, "teacher_tokens": tokens, "teacher_signals": signals}
    made = {**fewer, **zero_shot, **read}
    artifact, report = evaluate(store, made)
    names = ["teacher", "teacher_on_target", "student", "zero_shot"]
    assert list(report.systems)[:4] == names
    assert [report.systems[name].language for name in names] == ["en", "zh", "zh", "zh"]
    [chinese] = report.agreement_by_language
    said, heard = (predictions(artifact, name) for name in ("student_0", "teacher_on_target"))
    same = np.array(said["prediction"]) == np.array(heard["prediction"])
    assert (chinese.language, chinese.rows, chinese.num_rows) == ("zh", "test rows both read", 16)
    assert chinese.agreement == pytest.approx(same.mean())
    assert report.systems["zero_shot"].kind == "zero_shot"
    # The rows are stored in reverse: they must be told apart by id, and paired in one order.
    logits = read_table(signals.path / "test" / "part-1.parquet").to_pydict()
    chosen = dict(zip(logits["example_id"], np.argmax(logits["logits"], axis=1), strict=True))
    answered = predictions(artifact, "teacher_on_target")
    assert answered["example_id"] == predictions(artifact, "student_0")["example_id"]
    assert answered["prediction"] == [LABELS[chosen[row]] for row in answered["example_id"]]
    delivered = [one for one in report.delivered_comparisons if one.metric == "accuracy"]
    assert {one.against for one in delivered} == {"teacher_on_target"}
    assert all(one.paired for one in delivered)
    kept = {one.against: one for one in report.retention if one.metric == "accuracy"}
    assert set(kept) == {"teacher", "teacher_on_target"}
    assert (kept["teacher"].paired, kept["teacher_on_target"].paired) == (False, True)
    page = (artifact.path / "report.html").read_text(encoding="utf-8")
    assert "of the teacher&#39;s Chinese accuracy" in page
    assert "On Chinese test examples the teacher reaches" in page


def test_a_student_of_several_languages_is_scored_in_each(world, publish):
    """A good mean, or the one language that is looked at, hides a language that was lost."""
    store, inputs = world
    tokens = tokens_of(world, publish, "zh", also_tested_in="en")
    made = {**inputs, "student_tokens": tokens}
    artifact, report = evaluate(store, made)
    assert [(group.column, group.value) for group in report.groups] == [
        ("language", "zh"),
        ("language", "en"),
    ]
    chinese, english = report.groups
    assert chinese.scores["student"] == report.systems["student"].mean
    assert set(english.scores) == {"teacher", "student", "pseudo_label", "supervised"}
    assert english.scores.pop("teacher") == report.systems["teacher"].mean
    labels = {
        example_id("test", "en", i): LABELS[row[2]] for i, row in enumerate(rows_of("test", "en"))
    }
    for name, scores in english.scores.items():
        runs = [predictions(artifact, f"en/{name}_{seed}") for seed in (0, 1)]
        rights = [
            labels[row] == answer
            for run in runs
            for row, answer in zip(run["example_id"], run["prediction"], strict=True)
        ]
        assert len(rights) == 2 * english.num_examples == 2 * len(labels)
        assert scores["accuracy"] == pytest.approx(np.mean(rights))
    # This teacher reads English alone: of Chinese, the rows it was asked about in English.
    apart = {one.language: one for one in report.agreement_by_language}
    own = predictions(artifact, "teacher")
    heard = dict(zip(own["example_id"], own["prediction"], strict=True))
    said = predictions(artifact, "en/student_0")
    same = [
        heard[row] == answer
        for row, answer in zip(said["example_id"], said["prediction"], strict=True)
    ]
    assert apart["en"].num_rows == len(same) == 16
    assert apart["en"].agreement == pytest.approx(np.mean(same))
    assert 0 < apart["en"].agreement < 1, "nobody, or everybody, agrees: this test shows nothing"
    assert apart["zh"].rows == report.diagnostics.rows
    assert apart["zh"].agreement == report.diagnostics.agreement
    assert "By language" in (artifact.path / "report.html").read_text(encoding="utf-8")


def test_unlabelled_test_rows_are_a_users_mistake_with_a_remedy(world, publish):
    """An accuracy over rows without labels is 0 % and looks like a bad student."""
    store, inputs = world
    tokens = tokens_of(world, publish, "zh", test_labels=False)
    with pytest.raises(ContractViolation, match="none of the 16 test rows of the student"):
        run_stage(STAGE, CONFIG, {**inputs, "student_tokens": tokens}, store=store)


def test_a_language_without_test_rows_is_named(world):
    """A mistyped language tag must not end in an empty table deep inside numpy."""
    store, inputs = world
    wrong = CONFIG.model_copy(update={"target_language": "de"})
    with pytest.raises(ContractViolation, match="no test rows in 'de'"):
        run_stage(STAGE, wrong, inputs, store=store)


def test_planning_needs_no_heavy_import():
    """`decant plan` promises its answer in about a second."""
    heavy = "{'torch', 'transformers', 'matplotlib', 'sklearn', 'scipy', 'pandas', 'mlflow'}"
    code = f"import sys, tasks.evaluation; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
