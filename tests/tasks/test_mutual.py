"""Networks that teach one another: they meet in example ids, and the first is what is kept."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel

from data_contracts.errors import Preempted
from tasks import distillation, mutual
from tasks.corpus.tables import read_table, write_table
from tasks.modeling.config import StudentArchitecture
from tasks.modeling.heads.classifier import EncoderClassifier, save_classifier
from tasks.mutual import Config, PeerConfig
from tasks.problems import load_model
from tasks.runtime.progress import SilentProgress
from tasks.runtime.stages import run_stage
from tasks.training.auxiliary.adversary_config import AdversaryConfig
from tasks.training.auxiliary.ema_config import EMAConfig
from tasks.training.auxiliary.matching_config import LayerTerm
from tasks.training.mutual.config import MutualTerm
from tasks.training.objectives.config import ObjectiveConfig
from tasks.training.optimization.config import TrainingConfig

SHAPE = StudentArchitecture(num_layers=1, hidden_size=16, num_heads=2, intermediate_size=16)
OTHER = StudentArchitecture(num_layers=2, hidden_size=24, num_heads=2, intermediate_size=16)
ROWS = 40


def write_tokens(output, *, shift, order, width):
    """Texts of a class word and filler; another tokenizer shifts the ids and reorders the rows."""
    for role, count in (("transfer", ROWS), ("validation", 16)):
        rng = np.random.default_rng(count)
        labels = rng.integers(0, 2, count)
        texts = [[2, shift + label, *(shift + rng.integers(3, 9, 3)), 3] for label in labels]
        rows = order(count)
        table = pa.table(
            {
                "example_id": [f"{role}{row}".encode().hex().zfill(32)[:32] for row in rows],
                "input_ids": pa.array([texts[row] for row in rows], pa.list_(pa.int32())),
                "label": pa.array([int(labels[row]) for row in rows], pa.int32()),
                "language": ["zh"] * len(rows),
            }
        )
        write_table(table, output / role / "part-00000.parquet")
    (output / "tokenizer").mkdir()
    words = {f"w{number}": number for number in range(width)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w1"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(output / "tokenizer" / "tokenizer.json"))
    facts = {"vocab_size": width, "pad_token_id": 0, "max_length_tokens": 16}
    (output / "tokens.json").write_text(json.dumps(facts))
    (output / "labels.json").write_text('{"labels": ["off", "on"]}')


@pytest.fixture
def inputs(publish, store):
    """Tokens of two peers: the second has other ids, rows in reverse, and one row less."""
    own = publish(
        store, "tokens",
        lambda output: write_tokens(output, shift=4, order=lambda n: list(range(n)), width=20),
        config={"peer": 0},
    )  # fmt: skip
    other = publish(
        store, "tokens",
        lambda output: write_tokens(
            output, shift=12, order=lambda n: list(range(n))[:0:-1], width=30
        ),
        config={"peer": 1},
    )  # fmt: skip
    return {"tokens_0": own, "tokens_1": other}


def config(*architectures, weight=1.0, **training):
    settings = {
        "num_epochs": 3, "batch_size": 8, "learning_rate": 5e-3, "precision": "fp32",
        "max_grad_norm": 1e6,
    }  # fmt: skip
    return Config(
        peers=tuple(PeerConfig(architecture=one) for one in architectures),
        mutual=MutualTerm(weight=weight),
        objective=ObjectiveConfig(alpha=0.0, temperature=1.0, hard_labels="gold"),
        training=TrainingConfig.model_validate({**settings, **training}),
    )


def weights(artifact):
    return load_model(artifact.path / "model").state_dict()


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


def teacher_writer(*, hidden_size, num_layers):
    """Writes a small teacher, the same every time."""

    def write(output):
        torch.manual_seed(0)
        shape = BertConfig(
            vocab_size=30, hidden_size=hidden_size, num_hidden_layers=num_layers,
            num_attention_heads=2, intermediate_size=16, max_position_embeddings=16,
            type_vocab_size=1,
        )  # fmt: skip
        backbone = BertModel(shape, add_pooling_layer=False)
        model = EncoderClassifier(backbone, num_labels=2, pooling="mean", dropout=0.0)
        save_classifier(model, output / "model", problem="text_classification")

    return write


def test_peers_that_ignore_one_another_learn_as_if_alone(inputs, store):
    """A peer whose loss leaks into the student's, or whose rows are not the student's rows."""
    wanted = config(SHAPE, OTHER, weight=0.0)
    # Both read the same rows in the same order, or no comparison is possible.
    together = {**inputs, "tokens_1": inputs["tokens_0"]}
    student = run_stage(mutual.STAGE, wanted, together, store=store).artifact
    alone = distillation.Config(
        architecture=SHAPE, objective=wanted.objective, training=wanted.training
    )
    lonely = run_stage(
        distillation.STAGE, alone, {"tokens": inputs["tokens_0"]}, store=store
    ).artifact
    for name, tensor in weights(student).items():
        torch.testing.assert_close(tensor, weights(lonely)[name], rtol=0, atol=1e-5)


def test_peers_of_other_tokenizers_learn_from_the_same_rows(inputs, store):
    """Rows joined by position: each peer is trained the other's answer to another text."""
    wanted = config(SHAPE, OTHER, num_epochs=16, patience=16)
    student = run_stage(mutual.STAGE, wanted, inputs, store=store).artifact
    history = json.loads((student.path / "history.json").read_text())
    first, last = history["steps"][0], history["steps"][-1]
    for name in ("loss_hard", "peer_1_loss_hard"):
        assert last[name] < first[name]
    # Answers of two that both know the class agree; of rows mixed up they cannot.
    assert last["loss_mutual"] < 0.2
    best = next(v for v in history["validations"] if v["step"] == history["best_step"])
    assert best["accuracy"] >= 0.9
    for prefix in ("", "peer_1_"):
        assert best[f"{prefix}share_hard"] + best[f"{prefix}share_mutual"] == pytest.approx(1)
    assert history["validations"][-1]["peer_1_accuracy"] >= 0.9
    training = json.loads((student.path / "training.json").read_text())
    assert training["num_examples"] == ROWS - 1
    assert training["peers"]["peer_1_accuracy"] == pytest.approx(best["peer_1_accuracy"], abs=1e-4)
    assert not any("share" in name for name in training["peers"])
    assert student.manifest.facts["peers"] == 2
    model = load_model(student.path / "model")
    assert model.backbone.config.hidden_size == 16, "the first peer is delivered"


class StopAt(SilentProgress):
    """Interrupts the training at its n-th validation."""

    def __init__(self, number):
        self.number = number

    def validated(self, number, figures):
        if number == self.number:
            raise Preempted("stopped", remedy="run again")


def test_interrupted_peers_end_with_the_same_bytes(inputs, store, tmp_path):
    """The second peer, or its optimizer's state, left out of the checkpoint."""
    wanted = config(SHAPE, OTHER)
    calm = run_stage(mutual.STAGE, wanted, inputs, store=store).artifact
    with pytest.raises(Preempted):
        run_stage(mutual.STAGE, wanted, inputs, store=store, progress=StopAt(2), force=True)
    rough = run_stage(mutual.STAGE, wanted, inputs, store=store, force=True).artifact
    assert same(weights(calm), weights(rough))


def test_a_peer_with_companions_leaves_them_behind_and_resumes_with_the_same_bytes(
    inputs, store, publish
):
    """Companions that are read from the recipe and passed over, or not checkpointed with peers."""

    def in_two_languages(output):
        write_tokens(output, shift=4, order=lambda n: list(range(n)), width=20)
        for path in output.glob("*/*.parquet"):
            table = read_table(path)
            names = ["zh" if row % 3 else "en" for row in range(len(table))]
            place = table.column_names.index("language")
            write_table(table.set_column(place, "language", pa.array(names)), path)

    own = publish(store, "tokens", in_two_languages, config={"peer": "two"})
    given = {**inputs, "tokens_0": own, "teacher_tokens": own}
    given["teacher"] = publish(store, "teacher", teacher_writer(hidden_size=24, num_layers=2))
    plain = config(SHAPE, OTHER)
    wanted = plain.model_copy(
        update={
            "matching": (LayerTerm(kind="hidden_mse", layers="last"),),
            "adversary": AdversaryConfig(groups="language"),
            "ema": EMAConfig(decay=0.9, weight=0.5),
        }
    )
    calm = run_stage(mutual.STAGE, wanted, given, store=store).artifact
    with pytest.raises(Preempted):
        run_stage(mutual.STAGE, wanted, given, store=store, progress=StopAt(2), force=True)
    rough = run_stage(mutual.STAGE, wanted, given, store=store, force=True).artifact
    assert same(weights(calm), weights(rough))
    bare = run_stage(mutual.STAGE, plain, {**inputs, "tokens_0": own}, store=store).artifact
    assert weights(calm).keys() == weights(bare).keys()
    assert not same(weights(calm), weights(bare))
    for fact in ("parameters", "trained_parameters"):
        assert calm.manifest.facts[fact] == bare.manifest.facts[fact]
    history = json.loads((calm.path / "history.json").read_text())
    last, validated = history["steps"][-1], history["validations"][-1]
    titles = {"hard", "mutual", "hidden_mse", "adversary", "ema"}
    assert {name[5:] for name in last if name.startswith("loss_")} == titles
    assert {name[12:] for name in last if name.startswith("peer_1_loss_")} == {"hard", "mutual"}
    assert {name[6:] for name in validated if name.startswith("share_")} == titles
    assert last["weight_ema"] == 0.5
    assert last["adversary_lambda"] > 0.9


def test_a_teacher_among_the_peers_drifts_and_the_drift_is_told(inputs, store, publish):
    """A teacher that unlearns what it trained, and nobody sees it."""

    teacher = publish(store, "teacher", teacher_writer(hidden_size=16, num_layers=1))
    with_teacher = {**inputs, "teacher": teacher}
    student = run_stage(mutual.STAGE, config(SHAPE, None), with_teacher, store=store).artifact
    history = json.loads((student.path / "history.json").read_text())
    told = json.loads((student.path / "training.json").read_text())["peers"]
    assert told["peer_1_drift_kl"] > 0
    best = next(v for v in history["validations"] if v["step"] == history["best_step"])
    # The same student at a rate at which nothing moves: the teacher is what it was.
    still = run_stage(
        mutual.STAGE, config(SHAPE, None, learning_rate=1e-12), with_teacher, store=store
    ).artifact
    calm = json.loads((still.path / "training.json").read_text())["peers"]
    assert calm["peer_1_drift_kl"] == pytest.approx(0, abs=1e-6)
    assert calm["peer_1_drift_accuracy"] == 0
    gain = best["peer_1_accuracy"] - calm["peer_1_accuracy"]
    assert told["peer_1_drift_accuracy"] == pytest.approx(gain, abs=1e-3)
    assert "peer_1_drift_kl" in student.manifest.facts


def test_what_cannot_learn_together_is_refused():
    """Windows of two tokenizers, compared unit by unit."""
    given = config(SHAPE, OTHER).model_dump()
    with pytest.raises(ValueError, match="readers of questions"):
        Config.model_validate({**given, "problem": "question_answering"})
    with pytest.raises(ValueError, match="the first peer is delivered"):
        Config.model_validate({**given, "peers": [{"architecture": None}] * 2})
