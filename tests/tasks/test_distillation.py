"""The student stage: what students start from is what the recipe says, and it is in the key."""

import json

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel

from data_contracts.artifacts import StageSummary
from data_contracts.errors import ContractViolation, SourceError
from tasks.corpus.tables import read_table, write_table
from tasks.distillation import STAGE, Config, ObjectiveConfig
from tasks.modeling.config import PretrainedArchitecture, StaticArchitecture, StudentArchitecture
from tasks.modeling.heads.classifier import EncoderClassifier, save_classifier
from tasks.problems import load_model
from tasks.runtime.stages import Stage, StageConfig, run_stage
from tasks.training.auxiliary.adversary_config import AdversaryConfig
from tasks.training.auxiliary.ema_config import EMAConfig
from tasks.training.auxiliary.matching_config import (
    AttentionTerm,
    LayerTerm,
    RelationTerm,
    TokenStateTerm,
)
from tasks.training.optimization.config import TrainingConfig

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(26))]
KEPT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "w20", "w5", "w9"]
LABELS = json.dumps({"labels": ["off", "on"]})


class _Made(StageConfig):
    """Distinguishes the hand-made artifacts below."""

    name: str


def save_words(words, folder):
    folder.mkdir(parents=True, exist_ok=True)
    ids = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture
def made(store):
    """A teacher of four layers and 30 words, and tokens of a student that reads seven of them."""

    def teacher(config, inputs, workspace):
        torch.manual_seed(0)
        shape = BertConfig(
            vocab_size=30, hidden_size=16, num_hidden_layers=4, num_attention_heads=2,
            intermediate_size=16, max_position_embeddings=16, type_vocab_size=1,
        )  # fmt: skip
        backbone = BertModel(shape, add_pooling_layer=False)
        model = EncoderClassifier(backbone, num_labels=2, pooling="mean", dropout=0.0)
        save_classifier(model, workspace.output / "model", problem="text_classification")
        save_words(WORDS, workspace.output / "model")
        return StageSummary()

    def tokens(config, inputs, workspace):
        for role in ("transfer", "validation"):
            table = pa.table(
                {
                    "example_id": [f"{role}{row}".encode().hex().zfill(32)[:32] for row in (0, 1)],
                    "input_ids": pa.array([[2, 4, 3], [2, 5, 6, 3]], pa.list_(pa.int32())),
                    "label": pa.array([0, 1], pa.int32()),
                    "language": ["zh", "en"],
                }
            )
            write_table(table, workspace.output / role / "part-00000.parquet")
        facts = {"vocab_size": len(KEPT), "pad_token_id": 0, "max_length_tokens": 16}
        (workspace.output / "tokens.json").write_text(json.dumps(facts))
        (workspace.output / "labels.json").write_text(LABELS)
        save_words(KEPT, workspace.output / "tokenizer")
        return StageSummary()

    return {
        name: run_stage(Stage(name, 1, function), _Made(name=name), {}, store=store).artifact
        for name, function in {"teacher": teacher, "tokens": tokens}.items()
    }


def config(architecture, **training):
    return Config(
        architecture=architecture,
        objective=ObjectiveConfig(alpha=0.0, temperature=1.0, hard_labels="gold"),
        # A rate at which nothing moves: what is saved is what the student started from.
        training=TrainingConfig(
            num_epochs=1, learning_rate=1e-12, weight_decay=0.0, precision="fp32", **training
        ),
    )


def weights(artifact):
    return load_file(artifact.path / "model" / "model.safetensors")


@pytest.mark.parametrize("updates", ["dense", "rows", "frozen"])
def test_a_student_starts_from_the_teacher_s_layers_and_words(made, store, updates):
    """A student `from the teacher` that is random after all, or has its words mixed up."""
    copied = PretrainedArchitecture(init="pretrained", layers=(0, 3))
    wanted = config(copied, embedding_updates=updates)
    student = run_stage(STAGE, wanted, made, store=store).artifact
    found, teacher = weights(student), weights(made["teacher"])
    rows = [WORDS.index(word) for word in KEPT]
    embeddings = "embeddings.word_embeddings.weight"
    torch.testing.assert_close(found[embeddings], teacher[embeddings][rows], rtol=0, atol=1e-9)
    for new, old in ((0, 0), (1, 3)):
        name = "encoder.layer.{}.output.dense.weight"
        torch.testing.assert_close(
            found[name.format(new)], teacher[name.format(old)], rtol=0, atol=1e-9
        )
    model = load_model(student.path / "model")
    assert model.backbone.config.num_hidden_layers == 2
    assert student.manifest.upstream_keys["teacher"] == made["teacher"].key


def test_a_student_of_low_rank_starts_close_to_its_teacher_with_its_head(made, store):
    """A drawn head on the teacher's states, which unlearns them until it has learned its own."""
    whole = PretrainedArchitecture(init="pretrained", num_layers=4)
    products = whole.model_copy(update={"low_rank": 0.9})
    student = run_stage(STAGE, config(products), made, store=store).artifact
    plain = run_stage(STAGE, config(whole), made, store=store).artifact
    heads = [load_file(one.path / "model" / "head.safetensors")["weight"]
             for one in (made["teacher"], student, plain)]  # fmt: skip
    torch.testing.assert_close(heads[1], heads[0], rtol=0, atol=1e-9)
    assert not torch.allclose(heads[2], heads[0])
    assert student.manifest.facts["parameters"] < plain.manifest.facts["parameters"]
    tokens = read_table(made["tokens"].path / "transfer" / "part-00000.parquet")["input_ids"]
    texts = [torch.tensor([ids]) for ids in tokens.to_pylist()]
    # Seven tokens span no more than the rank, 7: on these texts products are what they stand for.
    states = [
        torch.cat([
            load_model(one.path / "model").backbone(ids).last_hidden_state[0] for ids in texts
        ])
        for one in (student, plain)
    ]  # fmt: skip
    torch.testing.assert_close(*states, rtol=1e-3, atol=1e-3)


def test_a_student_from_a_folder_is_known_by_its_content(made, store, tmp_path):
    """Another model under the same path, and yesterday's student from the cache."""
    folder = str(made["teacher"].path / "model")
    wanted = config(
        PretrainedArchitecture(init="pretrained", model=folder, layers="last", num_layers=1)
    )
    assert wanted.locations() == (folder,)
    student = run_stage(STAGE, wanted, {"tokens": made["tokens"]}, store=store).artifact
    name = "encoder.layer.{}.attention.self.query.weight"
    torch.testing.assert_close(
        weights(student)[name.format(0)],
        weights(made["teacher"])[name.format(3)],
        rtol=0,
        atol=1e-9,
    )
    assert str(student.manifest.key_parts.config["architecture"]["model"]).startswith("content:")


def test_a_shape_is_drawn_at_random_by_its_seed(made, store):
    """Students of three seeds that are one student."""
    shape = StudentArchitecture(num_layers=1, hidden_size=16, num_heads=2, intermediate_size=16)
    first = config(shape)
    inputs = {"tokens": made["tokens"]}
    one, two = (
        run_stage(STAGE, first.model_copy(update={"seed": seed}), inputs, store=store).artifact
        for seed in (0, 1)
    )
    name = "embeddings.word_embeddings.weight"
    assert weights(one)[name].shape == (len(KEPT), 16)
    assert not torch.equal(weights(one)[name], weights(two)[name])


def test_bf16_on_a_cpu_records_what_it_is_worth(made, store):
    """A flag that promises what the machine does not keep, and nothing anywhere that tells."""
    shape = StudentArchitecture(num_layers=1, hidden_size=16, num_heads=2, intermediate_size=16)
    inputs = {"tokens": made["tokens"]}
    facts = {}
    for precision in ("fp32", "bf16"):
        wanted = config(shape)
        training = wanted.training.model_copy(update={"precision": precision})
        wanted = wanted.model_copy(update={"training": training})
        done = run_stage(STAGE, wanted, inputs, store=store).artifact
        facts[precision] = done.manifest.facts
    assert facts["bf16"].get("bf16_speedup", 1) > 0
    assert "bf16_speedup" not in facts["fp32"]


def test_a_list_of_terms_is_what_the_student_is_trained_on(made, store):
    """Terms of a recipe that are read, cached under a key of their own, and never evaluated."""
    shape = StudentArchitecture(num_layers=1, hidden_size=16, num_heads=2, intermediate_size=16)
    terms = [{"kind": "hard", "labels": "gold", "weight": 0.5, "name": "gold"}]
    wanted = config(shape).model_copy(
        update={"objective": ObjectiveConfig.model_validate({"terms": terms})}
    )
    student = run_stage(STAGE, wanted, {"tokens": made["tokens"]}, store=store).artifact
    (step,) = json.loads((student.path / "history.json").read_text())["steps"]
    assert step["loss"] == pytest.approx(0.5 * step["loss_gold"])
    assert step["weight_gold"] == 0.5
    assert "alpha" not in student.manifest.key_parts.config["objective"]


def test_a_student_of_several_languages_draws_them_by_their_temperature(made, store):
    """A field of the recipe that changes the key of a student, and nothing else of it."""
    shape = StudentArchitecture(num_layers=1, hidden_size=16, num_heads=2, intermediate_size=16)
    wanted = config(shape, language_temperature=3.0)
    student = run_stage(STAGE, wanted, {"tokens": made["tokens"]}, store=store).artifact
    found = {
        name: value
        for name, value in student.manifest.facts.items()
        if name.startswith(("rows_", "drawn_"))
    }
    assert found == {"rows_zh": 1, "rows_en": 1, "drawn_zh": 1, "drawn_en": 1}


def test_a_student_s_training_is_looked_into_and_what_was_seen_is_kept(made, store):
    """A collapsed student, and a log that says nothing but a low figure."""
    shape = StudentArchitecture(num_layers=1, hidden_size=16, num_heads=2, intermediate_size=16)
    student = run_stage(STAGE, config(shape), {"tokens": made["tokens"]}, store=store).artifact
    history = json.loads((student.path / "history.json").read_text())
    assert all(-1 <= entry["embedding_cosine"] <= 1 for entry in history["validations"])
    best = next(v for v in history["validations"] if v["step"] == history["best_step"])
    assert student.manifest.facts["embedding_cosine"] == round(best["embedding_cosine"], 4)


@pytest.mark.parametrize("model", [None, "teacher"])
def test_a_static_student_is_trained_with_its_fixed_parts_at_rest(made, store, model):
    """Positions that were zero until an optimiser found them."""
    shape = StaticArchitecture(init="static", hidden_size=8, model=model)
    if model:
        # The tests' tokenizer puts no marks around a text: said, not guessed.
        with pytest.raises(SourceError, match="0 special tokens"):
            run_stage(STAGE, config(shape), made, store=store)
        return
    wanted = config(shape)
    training = wanted.training.model_copy(update={"learning_rate": 0.1})
    wanted = wanted.model_copy(update={"training": training})
    student = run_stage(STAGE, wanted, {"tokens": made["tokens"]}, store=store).artifact
    found = weights(student)
    assert not found["embeddings.position_embeddings.weight"].any()
    assert (found["embeddings.LayerNorm.weight"] == 1000).all()
    assert found["embeddings.word_embeddings.weight"].abs().max() > 0.05
    assert load_model(student.path / "model").backbone.config.num_hidden_layers == 0


def test_a_student_trained_beside_its_teacher_is_saved_without_the_bridges(made, store):
    """Projections in the delivered student, or a student that never saw the teacher's layers."""
    shape = StudentArchitecture(num_layers=1, hidden_size=8, num_heads=2, intermediate_size=16)
    plain = config(shape)
    training = plain.training.model_copy(update={"learning_rate": 1e-2})
    plain = plain.model_copy(update={"training": training})
    matched = plain.model_copy(
        update={"matching": (LayerTerm(kind="hidden_mse", layers=((1, 4),)),)}
    )
    inputs = {**made, "teacher_tokens": made["tokens"]}
    alone = run_stage(STAGE, plain, {"tokens": made["tokens"]}, store=store).artifact
    beside = run_stage(STAGE, matched, inputs, store=store).artifact
    assert weights(alone).keys() == weights(beside).keys()
    name = "encoder.layer.0.output.dense.weight"
    assert not torch.equal(weights(alone)[name], weights(beside)[name])
    steps = json.loads((beside.path / "history.json").read_text())["steps"]
    assert steps[-1]["loss_hidden_mse"] > 0
    assert beside.manifest.upstream_keys["teacher"] == made["teacher"].key


def test_the_average_of_a_self_taught_student_is_left_behind(made, store):
    """A delivered folder with two networks in it, or the wrong one of them."""
    shape = StudentArchitecture(num_layers=1, hidden_size=16, num_heads=2, intermediate_size=16)
    inputs = {"tokens": made["tokens"]}
    plain = run_stage(STAGE, config(shape), inputs, store=store).artifact
    wanted = config(shape).model_copy(update={"ema": EMAConfig(decay=0.9, weight=1.0)})
    student = run_stage(STAGE, wanted, inputs, store=store).artifact
    assert weights(student).keys() == weights(plain).keys()
    assert student.manifest.facts["parameters"] == plain.manifest.facts["parameters"]
    history = json.loads((student.path / "history.json").read_text())
    (step,) = history["steps"]
    assert step["weight_ema"] == 1.0
    shares = {name: value for name, value in history["validations"][0].items() if "share_" in name}
    assert shares.keys() == {"share_hard", "share_ema"}
    assert sum(shares.values()) == pytest.approx(1)
    # Before the first step the average is the student; without dropout's noise they agree.
    assert 0 <= step["loss_ema"] < 0.05


def test_a_student_has_all_companions_at_once_and_leaves_them_behind(made, store):
    """Bridges, an adversary or an average in the delivered folder; or one of them passed over."""

    def in_two_languages(config, inputs, workspace):
        """The same tokens; the second text is said to be English."""
        whole = made["tokens"].path
        for path in sorted(whole.glob("*/*.parquet")):
            table = read_table(path)
            place = table.column_names.index("language")
            table = table.set_column(place, "language", pa.array(["zh", "en"]))
            write_table(table, workspace.output / path.relative_to(whole))
        for name in ("tokens.json", "labels.json"):
            (workspace.output / name).write_bytes((whole / name).read_bytes())
        save_words(KEPT, workspace.output / "tokenizer")
        return StageSummary()

    tokens = run_stage(
        Stage("two", 1, in_two_languages), _Made(name="two"), {}, store=store
    ).artifact
    shape = StudentArchitecture(num_layers=1, hidden_size=8, num_heads=2, intermediate_size=16)
    plain = config(shape)
    given = {
        "matching": (LayerTerm(kind="hidden_mse", layers=((1, 4),)),),
        "adversary": AdversaryConfig(groups="language"),
        "ema": EMAConfig(decay=0.9, weight=0.5),
    }
    wanted = Config.model_validate({**dict(plain), **given})
    inputs = {"teacher": made["teacher"], "tokens": tokens, "teacher_tokens": tokens}
    student = run_stage(STAGE, wanted, inputs, store=store).artifact
    alone = run_stage(STAGE, plain, {"tokens": tokens}, store=store).artifact
    assert weights(student).keys() == weights(alone).keys()
    assert student.manifest.facts["parameters"] == alone.manifest.facts["parameters"]
    files = [{path.name for path in (one.path / "model").iterdir()} for one in (student, alone)]
    assert files[0] == files[1]
    history = json.loads((student.path / "history.json").read_text())
    (step,) = history["steps"]
    titles = {"hard", "hidden_mse", "adversary", "ema"}
    assert {name[5:] for name in step if name.startswith("loss_")} == titles
    terms = {name: step[f"loss_{name}"] for name in titles}
    assert step["loss"] == pytest.approx(sum(terms.values()) - 0.5 * terms["ema"], rel=1e-5)
    assert min(terms.values()) >= 0
    shares = {name[6:]: v for name, v in history["validations"][0].items() if "share_" in name}
    assert shares.keys() == titles
    assert sum(shares.values()) == pytest.approx(1)


def test_a_student_compared_token_by_token_reads_its_teacher_s_tokens(made, store):
    """Ids of a trimmed vocabulary taken for the teacher's; bridges in the delivered student."""

    def beside(shift):
        def write(config, inputs, workspace):
            """The same words as the teacher numbers them; with `shift` one of them is another."""
            whole = made["tokens"].path
            for path in sorted(whole.glob("*/*.parquet")):
                table = read_table(path)
                ids = [
                    [WORDS.index(KEPT[number]) + (shift if number == 6 else 0) for number in text]
                    for text in table["input_ids"].to_pylist()
                ]
                place = table.column_names.index("input_ids")
                table = table.set_column(place, "input_ids", pa.array(ids, pa.list_(pa.int32())))
                write_table(table, workspace.output / path.relative_to(whole))
            facts = {"vocab_size": len(WORDS), "pad_token_id": 0, "max_length_tokens": 16}
            (workspace.output / "tokens.json").write_text(json.dumps(facts))
            (workspace.output / "labels.json").write_text(LABELS)
            save_words(WORDS, workspace.output / "tokenizer")
            return StageSummary()

        name = f"teacher_tokens_{shift}"
        return run_stage(Stage(name, 1, write), _Made(name=name), {}, store=store).artifact

    shape = StudentArchitecture(num_layers=1, hidden_size=8, num_heads=2, intermediate_size=16)
    plain = config(shape)
    terms = (
        TokenStateTerm(kind="token_mse", layers=((1, 4),)),
        RelationTerm(kind="relations", num_relation_heads=4),
        AttentionTerm(kind="attention"),
    )
    matched = plain.model_copy(update={"matching": terms})
    student = run_stage(STAGE, matched, {**made, "teacher_tokens": beside(0)}, store=store).artifact
    alone = run_stage(STAGE, plain, {"tokens": made["tokens"]}, store=store).artifact
    assert weights(student).keys() == weights(alone).keys()
    (step,) = json.loads((student.path / "history.json").read_text())["steps"]
    for term in terms:
        assert step[f"loss_{term.kind}"] > 0
        assert step[f"weight_{term.kind}"] == 1
    with pytest.raises(ContractViolation, match="1 of 2 rows are other tokens to the student"):
        run_stage(STAGE, matched, {**made, "teacher_tokens": beside(1)}, store=store)
