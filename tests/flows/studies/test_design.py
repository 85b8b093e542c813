"""Designs: the figures printed before training are those of the networks that training builds."""

import json
import shutil

import pytest

from data_contracts.errors import SourceError
from flows.orchestration.partial import Preparations, step_of
from flows.orchestration.runner import SilentListener, call_directly
from flows.recipe.loading.files import check_recipe
from flows.runs.pointers import RunLog
from flows.studies.design import design
from tasks.corpus.tokenizers.config import TrimmedTokenizer
from tasks.distillation import untrained_student
from tasks.metrics.cost import count_flops
from tasks.modeling.heads.classifier import num_parameters

ARCHITECTURES = {
    "shape": {"num_layers": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 64},
    "narrow embeddings": {
        "num_layers": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 64,
        "embedding_size": 8,
    },
    "static": {"init": "static", "hidden_size": 24},
    "cut": {
        "init": "pretrained", "model": "TEACHER", "layers": [0], "hidden_size": 16,
        "intermediate_size": 40,
    },
    "products": {"init": "pretrained", "model": "TEACHER", "layers": [0], "low_rank": 0.4},
}  # fmt: skip


def recipe_of(tiny, architecture):
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    values["student"]["architecture"] = {
        name: str(tiny / "teacher") if value == "TEACHER" else value
        for name, value in architecture.items()
    }
    if architecture.get("init") == "pretrained":
        values["student"]["tokenizer"] = {"kind": "pretrained", "uri": str(tiny / "teacher")}
        values["student"]["max_unknown_rate"] = 1.0
    return check_recipe(values, name="tiny")


def prepared(recipe, store):
    """The tokens of student and teacher, built."""
    steps = Preparations(
        store, RunLog(store.root, "tiny"), SilentListener(), call_directly, run_id="r", workers=1
    )
    goal = step_of(recipe, "student-seed-0")
    needed = {node.name: node for node in goal.needs()}
    steps.artifact(needed["teacher-tokens"])
    return goal, steps.artifact(needed["student-tokens"])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_design_counts_the_network_that_training_builds(tiny, store, name):
    """A budget approved for another student than the one that is trained."""
    recipe = recipe_of(tiny, ARCHITECTURES[name])
    goal, tokens = prepared(recipe, store)
    model = untrained_student(goal.config, tokens.path, {}, num_labels=3)
    student, teacher = design(recipe, store)
    assert student.num_parameters == num_parameters(model)
    assert student.fp32_bytes == 4 * num_parameters(model)
    assert student.flops == count_flops(model.backbone, length=student.length) + 2 * (
        model.head.in_features * 3
    )
    assert student.latency_ms_p50 > 0
    assert 3 <= student.length < 24
    assert "cached student-tokens" in student.notes[0]
    assert teacher.num_parameters == 17_219  # as its own training counts it
    assert teacher.latency_ms_p50 > 0


def weights_of_heads(tiny, store, **data):
    """Weights of student and teacher beyond those of their encoders, and what is said of them."""
    values = recipe_of(tiny, ARCHITECTURES["shape"]).model_dump(mode="json", exclude_unset=True)
    values["data"] |= data
    student, teacher = design(check_recipe(values, name="tiny"), store)
    encoder = 2 * (4 * (32 * 32 + 32) + 2 * 32 * 64 + 64 + 32 + 4 * 32)  # two layers of the student
    tables = 120 * 32 + 24 * 32 + 32 + 2 * 32
    backbone_of_teacher = 17_219 - (3 * 32 + 3)
    found = (
        student.num_parameters - encoder - tables,
        teacher.num_parameters - backbone_of_teacher,
    )
    assert student.notes[-1] == teacher.notes[-1]
    return found, student.notes[-1]


def sources_of(tiny):
    return json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))["data"]["sources"]


def test_classes_are_counted_before_there_is_a_corpus(tiny, store):
    """A budget of two classes for a problem of a thousand, and no word that they were a guess."""
    three = 3 * 32 + 3
    said = "3 classes in the 60 train rows of the sources"
    assert weights_of_heads(tiny, store) == ((three, three), said)
    seven = 7 * 32 + 7
    allowed = {"labels": ["on", "off", "heat", "cool", "dim", "lock", "open"]}
    said = "7 classes of data.filters.labels"
    assert weights_of_heads(tiny, store, filters=allowed) == ((seven, seven), said)
    sources = sources_of(tiny)
    for one in sources:
        one["label_names"] = ["on", "off", "heat", "cool"]
    four = 4 * 32 + 4
    found = weights_of_heads(tiny, store, sources=sources)
    assert found == ((four, four), "4 classes of the sources' label_names")


def test_a_number_of_classes_that_is_a_guess_is_called_one(tiny, store):
    """A budget of two classes for a problem of a thousand, read as if somebody had counted."""
    sources = sources_of(tiny)
    sources[0]["uri"] += ".not-here"
    two = 2 * 32 + 2
    said = "classes unknown before ingestion: 2 assumed, each further one adds 33 weights"
    assert weights_of_heads(tiny, store, sources=sources) == ((two, two), said)


def test_classes_of_a_corpus_are_counted_before_it_is_tokenized(tiny, store):
    """Two classes assumed beside a corpus that lists three."""
    recipe = recipe_of(tiny, ARCHITECTURES["shape"])
    steps = Preparations(
        store, RunLog(store.root, "tiny"), SilentListener(), call_directly, run_id="r", workers=1
    )
    needed = {node.name: node for node in step_of(recipe, "student-seed-0").needs()}
    steps.artifact(needed["corpus"])
    three = 3 * 32 + 3
    assert weights_of_heads(tiny, store) == ((three, three), "3 classes of the cached corpus")


def test_without_tokens_the_recipe_s_limits_are_taken_and_said(tiny, store):
    """A figure of short texts, read as one of the longest."""
    student, teacher = design(recipe_of(tiny, ARCHITECTURES["shape"]), store)
    assert student.length == teacher.length == 24
    assert student.num_embeddings == 120 * 32 + 24 * 32 + 32
    assert "as large as the recipe allows" in student.notes[0]
    assert "length limit" in student.notes[1]
    matrices = 2 * (4 * 32 * 32 + 2 * 32 * 64)
    attention = 2 * (2 * 24 * 24 * 32)
    assert student.flops == 2 * (24 * matrices + attention) + 2 * 32 * 3
    assert student.int8_bytes < student.fp32_bytes / 3


def test_a_trimmed_vocabulary_counts_with_no_more_than_its_limit(tiny, store):
    """A student of 120,000 embeddings that is refused for 250,000."""
    recipe = recipe_of(tiny, ARCHITECTURES["cut"])
    uri = recipe.student.tokenizer.uri
    counted = []
    for fields in ({}, {"keep": "scripts", "vocab_size": 64}):
        cut = TrimmedTokenizer(kind="trimmed", uri=uri, **fields)
        student = recipe.student.model_copy(update={"tokenizer": cut})
        told, _ = design(recipe.model_copy(update={"student": student}), store)
        counted.append(told.num_embeddings)
    assert told.notes[0].startswith("64 tokens of")
    assert told.notes[0].endswith("only those of the texts and their scripts will stay")
    assert counted[0] - counted[1] == (124 - 64) * 16


def test_a_teacher_that_was_saved_in_half_precision_is_timed_as_it_is_trained(
    tiny, store, tmp_path
):
    """A traceback for every folder whose config.json says float16: Half and Float do not mix."""
    teacher = shutil.copytree(tiny / "teacher", tmp_path / "teacher")
    config = json.loads((teacher / "config.json").read_text(encoding="utf-8"))
    (teacher / "config.json").write_text(json.dumps({**config, "dtype": "float16"}))
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    values["teacher"]["model"] = str(teacher)
    _, found = design(check_recipe(values, name="tiny"), store)
    assert found.num_parameters == 17_219
    assert found.fp32_bytes == 4 * 17_219
    assert found.latency_ms_p50 > 0


@pytest.mark.parametrize("model_type", [None, "nonesuch"])
def test_a_teacher_of_no_known_family_is_told(tiny, store, tmp_path, model_type):
    """A traceback of transformers' for a folder that another library has written."""
    config = json.loads((tiny / "teacher" / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": model_type}
    if model_type is None:
        del config["model_type"]
    teacher = shutil.copytree(tiny / "teacher", tmp_path / "teacher")
    (teacher / "config.json").write_text(json.dumps(config), encoding="utf-8")
    values = json.loads((tiny / "recipe.yaml").read_text(encoding="utf-8"))
    values["teacher"]["model"] = str(teacher)
    with pytest.raises(SourceError, match=r"teacher/config\.json describes no model.*known here"):
        design(check_recipe(values, name="tiny"), store)
