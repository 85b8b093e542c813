"""An evaluation of sentence vectors: found by their translations, likeness as people see it."""

import json

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import spearmanr
from tokenizers import Tokenizer

from tasks import export, teacher, teacher_signals
from tasks.comparison.material import Material
from tasks.comparison.problem import Settings
from tasks.comparison.problems.sentence_embedding import SentenceEmbedding
from tasks.corpus.tables import read_table, write_table
from tasks.modeling.backbones.encoder import build_student_backbone
from tasks.modeling.config import StudentArchitecture
from tasks.modeling.heads.classifier import initialise, save_classifier
from tasks.problems import PROBLEMS, load_model
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.stages import run_stage
from tasks.training.fitting.inference import predict_logits
from tests.tasks.small_problems import id_of, make_tokenizer

WIDTH = 8
EN = ("the cat sleeps", "the dog barks", "a red house", "the dog barks", "rain in may", "two men")
ZH = ("猫在睡觉", "狗在叫", "一座红房子", "那只狗叫了", "五月的雨", "两个人")
SCORED = {
    "en": (("the cat", "a cat", 5.0), ("the cat", "red rain", 0.5), ("two men", "men", 4.0),
           ("a dog", "may", 1.0)),
    "zh": (("猫", "一只猫", 5.0), ("猫", "红色的雨", 0.5), ("两个人", "人们", 4.0),
           ("狗", "五月", 1.0), ("房子", "红房子", 3.0)),
}  # fmt: skip
CONFIG = {
    "objective": {"terms": [{"kind": "embedding_mse"}]},
    "validation_language": "zh",
    "training": {"selection": "auto"},
}


def corpus_rows():
    """Role -> rows of the corpus; test rows hold pairs, then scored ones of both languages."""
    nothing = {"label": None, "parallel_text": None, "text_b": None, "score": None}
    pairs = {
        role: [
            {**nothing, "example_id": id_of(role, "zh", i), "language": "zh", "text": zh,
             "parallel_text": en, "parallel_language": "en", "domain": ("city", "farm")[i % 2]}
            for i, (en, zh) in enumerate(zip(EN, ZH, strict=True))
        ]
        for role in ("transfer", "validation", "test")
    }  # fmt: skip
    scored = [
        {**nothing, "example_id": id_of("scored", language, i), "language": language, "text": a,
         "text_b": b, "score": score, "parallel_language": None, "domain": "likeness"}
        for language, rows in SCORED.items()
        for i, (a, b, score) in enumerate(rows)
    ]  # fmt: skip
    pairs["test"] += scored
    return pairs


@pytest.fixture(scope="module", params=[True, False], ids=["scored", "pairs alone"])
def evaluated(request, tmp_path_factory, publish, evaluate):
    """(inputs, artifact, report) of two students with random weights."""
    store = ArtifactStore(tmp_path_factory.mktemp("vectors"))
    roles = corpus_rows()
    if not request.param:
        roles["test"] = roles["test"][: len(EN)]
    spoken = [row[key] for rows in roles.values() for row in rows for key in ("text", "text_b")]
    tokenizer = make_tokenizer([*EN, *(text for text in spoken if text)])
    shape = StudentArchitecture(num_layers=1, hidden_size=8, num_heads=2, intermediate_size=16)

    def backbone(seed):
        initialise(seed)
        return build_student_backbone(
            shape, vocab_size=tokenizer.get_vocab_size(), pad_token_id=0, max_length_tokens=32
        )

    def write_corpus(out):
        for role, rows in roles.items():
            write_table(pa.Table.from_pylist(rows), out / "rows" / role / "part-00000.parquet")
        counts = {"role": "test", "language": "zh", "rows_in": 9, "rows_out": 9, "quarantined": {},
                  "deduplicated": {}, "rows_out_by_role": {"test": 9}}  # fmt: skip
        (out / "counts.json").write_text(json.dumps({"sources": {"made": counts}}))

    def write_tokens(out, language):
        num_rows, num_tokens = {}, {}
        for role, rows in roles.items():
            found = []
            for row in rows:
                is_read = language in (row["language"], row["parallel_language"])
                text = row["text"] if row["language"] == language else row["parallel_text"]
                if is_read:
                    ids = tokenizer.encode(text).ids
                    found.append({"example_id": row["example_id"], "input_ids": ids, "label": -1,
                                  "language": language})  # fmt: skip
            types = {"example_id": pa.string(), "input_ids": pa.list_(pa.int32()),
                     "label": pa.int32(), "language": pa.string()}  # fmt: skip
            table = pa.Table.from_pylist(found, schema=pa.schema(types))
            write_table(table, out / role / "part-00000.parquet")
            num_rows[role] = len(found)
            num_tokens[role] = sum(len(row["input_ids"]) for row in found)
        (out / "tokenizer").mkdir()
        tokenizer.save(str(out / "tokenizer" / "tokenizer.json"))
        facts = {"vocab_size": tokenizer.get_vocab_size(), "pad_token_id": 0,
                 "num_rows": num_rows, "num_tokens": num_tokens}  # fmt: skip
        (out / "tokens.json").write_text(json.dumps({**facts, "max_length_tokens": 32}))
        (out / "labels.json").write_text(json.dumps({"labels": []}))

    def write_student(out, seed):
        model = PROBLEMS["sentence_embedding"].build_model(
            backbone(seed), num_labels=WIDTH, pooling="mean", dropout=0.1
        )
        save_classifier(model.eval(), out / "model", problem="sentence_embedding")
        tokenizer.save(str(out / "model" / "tokenizer.json"))
        (out / "model" / "labels.json").write_text(json.dumps({"labels": []}))
        history = {"steps": [{"step": 1, "loss": 1.0}], "validations": [{"step": 1, "loss": 1.0}]}
        (out / "history.json").write_text(json.dumps({**history, "best_step": 1}))
        training = {"steps_done": 1, "steps_planned": 1, "stopped_early": False, "seed": seed}
        (out / "training.json").write_text(json.dumps({**training, "num_parameters": 1234}))

    pretrained = tmp_path_factory.mktemp("pretrained")
    backbone(5).save_pretrained(pretrained)
    inputs = {
        "corpus": publish(store, "corpus", write_corpus),
        "teacher_tokens": publish(store, "tokens", lambda out: write_tokens(out, "en"),
                                  config={"reader": "t"}),
        "student_tokens": publish(store, "tokens", lambda out: write_tokens(out, "zh"),
                                  config={"reader": "s"}),
    }  # fmt: skip
    inputs["teacher"] = run_stage(
        teacher.STAGE,
        teacher.Config(problem="sentence_embedding", model=str(pretrained)),
        {"tokens": inputs["teacher_tokens"]},
        store=store,
    ).artifact
    inputs["teacher_signals"] = run_stage(
        teacher_signals.STAGE,
        teacher_signals.Config(precision="fp32"),
        {"teacher": inputs["teacher"], "tokens": inputs["teacher_tokens"]},
        store=store,
    ).artifact
    for seed in range(2):
        inputs[f"student_{seed}"] = publish(
            store,
            "student",
            lambda out, seed=seed: write_student(out, seed),
            config={**CONFIG, "seed": seed},
        )
    inputs["export"] = run_stage(
        export.STAGE,
        export.Config(min_int8_agreement=0.0),
        {"student": inputs["student_0"], "tokens": inputs["student_tokens"]},
        store=store,
    ).artifact
    return inputs, *evaluate(store, inputs, "sentence_embedding")


def vectors(folder, texts):
    """Unit vectors in float64, each text read alone."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = [np.array(tokenizer.encode(text).ids, np.int32) for text in texts]
    model = load_model(folder)
    return np.concatenate([predict_logits(model, [one], pad_token_id=0) for one in ids]).astype(
        np.float64
    )


def test_a_student_is_searched_with_the_teachers_vectors(evaluated):
    """A student compared with itself finds everything, and no English text is ever found."""
    inputs, artifact, report = evaluated
    english = vectors(inputs["teacher"].path / "model", EN)
    chinese = vectors(inputs["student_0"].path / "model", ZH)
    similar = chinese @ english.T
    hits = []
    for i, sentence in enumerate(EN):
        others = [j for j, other in enumerate(EN) if other != sentence]
        hits.append(all(similar[i, i] > similar[i, j] for j in others))
        hits.append(all(similar[i, i] > similar[j, i] for j in others))
    assert report.systems["student"].seeds[0]["accuracy_at_1"] == pytest.approx(np.mean(hits))
    rows = read_table(artifact.path / "predictions" / "student_0.parquet").to_pydict()
    for i in range(len(EN)):
        found = json.loads(rows["prediction"][i])
        nearest = EN[int(similar[i].argmax())]
        assert json.loads(rows["label"][i]) == rows["example_id"][i] == id_of("test", "zh", i)
        assert EN[[id_of("test", "zh", j) for j in range(len(EN))].index(found)] == nearest


def test_asked_in_text_a_model_finds_what_its_stored_weights_find(evaluated):
    """The delivered form is asked for the English sentences: it finds each by itself."""
    inputs, _, _ = evaluated
    compared = SentenceEmbedding(Material(inputs, "en", "zh"), Settings())
    forms = compared.answerers(num_threads=1)
    asked = compared.answer_int8(forms["safetensors"], batch_size=2, num_threads=1)
    stored = compared.answer_models([inputs["export"].path / "model"])
    assert asked.predictions == stored.predictions
    for name, texts in (("teacher", EN), ("safetensors", ZH)):
        folder = inputs["teacher" if name == "teacher" else "export"].path / "model"
        reader = "teacher" if name == "teacher" else "student"
        found = forms[name](compared.timed_texts(reader))
        np.testing.assert_allclose(found, vectors(folder, texts), atol=1e-5)


def test_the_curve_says_how_far_down_the_list_a_translation_is(evaluated):
    """A search page shows ten finds; accuracy@1 alone says nothing of the other nine."""
    inputs, artifact, report = evaluated
    english = vectors(inputs["teacher"].path / "model", EN)
    by_seed = []
    for seed in range(2):
        similar = vectors(inputs[f"student_{seed}"].path / "model", ZH) @ english.T
        ahead = []
        for i, sentence in enumerate(EN):
            others = [j for j, other in enumerate(EN) if other != sentence]
            # A sentence with two translations is one find, whichever of its rows it is.
            sentences = [EN.index(other) for other in {*EN} - {sentence}]
            ahead.append(sum(similar[i, j] >= similar[i, i] - 1e-6 for j in sentences))
            ahead.append(sum(similar[j, i] >= similar[i, i] - 1e-6 for j in others))
        by_seed.append([np.mean([found < k for found in ahead]) for k in (1, 3, 5, 10)])
    [curve] = report.curves
    assert [*curve.points] == ["student", "character_ngrams"]
    assert [k for k, _ in curve.points["student"]] == [1, 3, 5, 10]
    shares = [share for _, share in curve.points["student"]]
    assert shares == pytest.approx(np.mean(by_seed, axis=0).tolist())
    assert (artifact.path / "plots" / "found_within.png").is_file()


def test_the_teacher_finds_each_sentence_by_itself(evaluated):
    """A teacher of one language has no other figure, and a student none to be compared with."""
    _, artifact, report = evaluated
    assert report.systems["teacher"].mean["accuracy_at_1"] == 1.0
    # Of two translations of one sentence each is found, whichever comes first.
    rows = read_table(artifact.path / "predictions" / "teacher.parquet").to_pydict()
    found = [json.loads(one) for one in rows["prediction"][: len(EN)]]
    assert found == rows["example_id"][: len(EN)]
    assert "teacher_on_target" not in report.systems
    assert report.systems["character_ngrams"].kind == "floor"
    assert any("by itself" in note for note in report.notes)
    assert report.variants["onnx_int8"].agreement > 0.5


def test_likeness_is_correlated_with_the_scores_of_people(evaluated):
    """Pairs of one language ranked by vectors of their first texts alone."""
    inputs, artifact, report = evaluated
    num_scored = report.systems["student"].num_examples - len(EN)
    assert report.comparison("student_minus_teacher").paired
    assert report.comparison("student_minus_teacher").num_examples == len(EN)
    if not num_scored:  # then both answered the same rows
        assert "spearman" not in report.systems["student"].mean
        return
    assert not report.comparison("student_minus_teacher", "spearman").paired
    for system, name, language in (("student", "student_0", "zh"), ("teacher", "teacher", "en")):
        folder = inputs[name].path / "model"
        first, second = (vectors(folder, [row[i] for row in SCORED[language]]) for i in (0, 1))
        gold = [row[2] for row in SCORED[language]]
        expected = spearmanr((first * second).sum(1), gold).statistic
        assert report.systems[system].seeds[0]["spearman"] == pytest.approx(expected, abs=1e-6)
        assert report.systems[system].num_examples == len(EN) + len(SCORED[language])
    rows = read_table(artifact.path / "predictions" / "student_0.parquet").to_pydict()
    assert [json.loads(one) for one in rows["prediction"][len(EN) :]] == [None] * num_scored


def test_a_domain_that_nobody_searched_has_no_share_of_what_was_found(evaluated):
    """0.0 % for every system in the domain of scored pairs, as if all had failed there."""
    _, _, report = evaluated
    found = [(one.value, one.num_examples) for one in report.groups]
    assert found == [("city", (len(EN) + 1) // 2), ("farm", len(EN) // 2)]
