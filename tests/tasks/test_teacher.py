"""Fine-tuning a small pretrained encoder, and the folder that it leaves."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import BertConfig, BertModel

from data_contracts.errors import ContractViolation, RecipeError
from tasks.corpus.tables import read_table, write_table
from tasks.problems import load_model
from tasks.runtime.stages import run_stage
from tasks.teacher import STAGE, Config
from tasks.training.auxiliary.adversary_config import AdversaryConfig
from tasks.training.fitting.inference import predict_logits

LABELS = ["off", "on"]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A folder with an encoder of random weights."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("pretrained")
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def write_rows(path, rows, *, labelled=True, languages=("en",)):
    rng = np.random.default_rng(len(str(path)))
    labels = [i % 2 for i in range(rows)]
    texts = [[2, 10 + label, *rng.integers(20, 40, 3).tolist(), 3] for label in labels]
    table = pa.table(
        {
            "example_id": [f"{rows:04x}{i:028x}" for i in range(rows)],
            "input_ids": pa.array(texts, pa.list_(pa.int32())),
            "label": pa.array(labels if labelled else [-1] * rows, pa.int32()),
            "language": [languages[i % len(languages)] for i in range(rows)],
        }
    )
    write_table(table, path)


@pytest.fixture
def tokens(publish, store, small_tokenizer):
    """Makes a tokens artifact whose label is the second token."""

    def make(*, labelled=True, transfer=None, languages=("en",)):
        def write(output):
            if transfer is not None:
                write_rows(output / "transfer" / "part-00000.parquet", 24, labelled=transfer)
            write_rows(output / "train" / "part-00000.parquet", 48, languages=languages)
            write_rows(output / "validation" / "part-00000.parquet", 16, labelled=labelled)
            (output / "tokenizer").mkdir()
            small_tokenizer.save(str(output / "tokenizer" / "tokenizer.json"))
            facts = {"vocab_size": 40, "pad_token_id": 0, "max_length_tokens": 16}
            (output / "tokens.json").write_text(json.dumps(facts))
            (output / "labels.json").write_text(json.dumps({"labels": LABELS}))

        settings = {"labelled": labelled, "transfer": transfer, "languages": languages}
        return publish(store, "tokens", write, config=settings)

    return make


def config_of(pretrained, **training):
    settings = {"num_epochs": 6, "batch_size": 8, "learning_rate": 0.01, "precision": "fp32"}
    return Config(model=str(pretrained), training={**settings, **training})


def test_the_teacher_that_is_left_is_the_one_that_was_validated(store, tokens, pretrained):
    """The weights of the last step under the score of the best one."""
    outcome = run_stage(STAGE, config_of(pretrained), {"tokens": tokens()}, store=store)
    folder = outcome.artifact.path
    history = json.loads((folder / "history.json").read_text())
    training = json.loads((folder / "training.json").read_text())
    best = next(v for v in history["validations"] if v["step"] == training["best_step"])
    table = read_table(tokens().path / "validation" / "part-00000.parquet")
    logits = predict_logits(
        load_model(folder / "model"), table["input_ids"], pad_token_id=0, precision="fp32"
    )
    accuracy = np.mean(logits.argmax(axis=1) == table["label"].to_numpy())
    assert best["accuracy"] == pytest.approx(accuracy)
    assert accuracy >= 0.75, "the label is a token of the text: it can be learnt"
    assert training["steps_done"] <= training["steps_planned"] == 36
    assert json.loads((folder / "model" / "labels.json").read_text())["labels"] == LABELS
    assert (folder / "model" / "tokenizer.json").is_file()


def test_the_same_recipe_gives_the_same_bytes(store, tokens, pretrained):
    """Two runs of one recipe that disagree: no figure can be checked."""
    inputs, config = {"tokens": tokens()}, config_of(pretrained, num_epochs=1)
    first = run_stage(STAGE, config, inputs, store=store).artifact.content_digest
    again = run_stage(STAGE, config, inputs, store=store, force=True).artifact.content_digest
    assert first == again
    other = run_stage(
        STAGE, config.model_copy(update={"seed": 1}), inputs, store=store
    ).artifact.content_digest
    assert other != first


def test_frozen_embeddings_are_those_of_the_pretrained_encoder(store, tokens, pretrained):
    """Frozen by name and trained all the same."""
    config = config_of(pretrained, num_epochs=1, embedding_updates="frozen")
    artifact = run_stage(STAGE, config, {"tokens": tokens()}, store=store).artifact
    backbone = load_model(artifact.path / "model").backbone
    before = BertModel.from_pretrained(pretrained, add_pooling_layer=False)
    assert torch.equal(backbone.get_input_embeddings().weight, before.get_input_embeddings().weight)
    layers = (model.encoder.layer[0].output.dense.weight for model in (backbone, before))
    assert not torch.equal(*layers)


MATRICES = ("query.weight", "key.weight", "value.weight", "dense.weight")


@pytest.mark.parametrize(
    ("settings", "may_change"),
    [
        ({"trainable": "lora", "lora": {"rank": 2}}, MATRICES),
        ({"trainable": "lora", "embedding_updates": "rows"}, (*MATRICES, "word_embeddings.weight")),
        ({"trainable": "bias"}, ("bias",)),
        ({"trainable": "head"}, ()),
    ],
)
def test_frozen_weights_come_out_as_they_went_in(store, tokens, pretrained, settings, may_change):
    """Weights that were promised to stay, moved by decay or by the merging of updates."""
    config = config_of(pretrained, num_epochs=2, **settings)
    artifact = run_stage(STAGE, config, {"tokens": tokens()}, store=store).artifact
    folder = artifact.path / "model"
    before = BertModel.from_pretrained(pretrained, add_pooling_layer=False).state_dict()
    after = load_model(folder).backbone.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {name for name in before if name.endswith(may_change) and may_change}
    assert not any("adapter" in path.name for path in folder.iterdir())
    facts = artifact.manifest.facts
    assert facts["trained_parameters"] < facts["parameters"]


def test_updates_of_low_rank_learn_what_all_weights_learn(store, tokens, pretrained):
    """Updates outside the graph, or not among the optimizer's weights, are never trained."""
    config = config_of(pretrained, num_epochs=8, trainable="lora", lora={"rank": 4})
    artifact = run_stage(STAGE, config, {"tokens": tokens()}, store=store).artifact
    assert artifact.manifest.facts["validation_accuracy"] >= 0.75


def test_an_adversary_reads_transfer_rows_and_never_their_labels(store, tokens, pretrained):
    """Labels of the target domain that teach the teacher of "unlabelled adaptation"."""
    config = config_of(pretrained, num_epochs=2).model_copy(
        update={"adversary": AdversaryConfig(groups="role")}
    )
    from_teacher = {
        labelled: run_stage(
            STAGE, config, {"tokens": tokens(transfer=labelled)}, store=store
        ).artifact
        for labelled in (True, False)
    }
    first, second = (load_model(one.path / "model").state_dict() for one in from_teacher.values())
    assert all(torch.equal(first[name], second[name]) for name in first)
    plain = run_stage(
        STAGE, config_of(pretrained, num_epochs=2), {"tokens": tokens(transfer=True)}, store=store
    ).artifact
    third = load_model(plain.path / "model").state_dict()
    assert third.keys() == first.keys(), "the adversary stays behind"
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_several_source_languages_are_drawn_by_their_temperature(store, tokens, pretrained):
    """A German quarter of the rows that a temperature was to make more of, read as a quarter."""
    inputs = {"tokens": tokens(languages=("en", "en", "de", "en"))}
    drawn, plain = (
        run_stage(STAGE, config_of(pretrained, num_epochs=1, **settings), inputs, store=store)
        for settings in ({"language_temperature": 2.0}, {})
    )
    facts = drawn.artifact.manifest.facts
    assert (facts["rows_en"], facts["rows_de"]) == (36, 12)
    # Shares of 6 and 3.46, the square roots, of 48 rows: 30.4 and 17.6.
    assert (facts["drawn_en"], facts["drawn_de"]) == (30, 18)
    assert not [name for name in plain.artifact.manifest.facts if name.startswith("drawn_")]
    one, other = (load_model(made.artifact.path / "model") for made in (drawn, plain))
    assert not torch.equal(one.head.weight, other.head.weight)


def test_validation_rows_without_labels_are_a_mistake_with_a_remedy(store, tokens, pretrained):
    """The best of no scores is the first step, and looks like a choice."""
    with pytest.raises(ContractViolation, match="16 of 16 answers to the valid"):
        run_stage(STAGE, config_of(pretrained), {"tokens": tokens(labelled=False)}, store=store)


def test_texts_longer_than_the_encoder_reads_are_refused_before_training(store, tokens, tmp_path):
    """A model that was fetched for the run: an index out of range, somewhere in the first epoch."""
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=15,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "short")
    with pytest.raises(RecipeError, match=r"up to 16 tokens, the bert model reads 15") as told:
        run_stage(STAGE, config_of(tmp_path / "short"), {"tokens": tokens()}, store=store)
    assert "teacher.max_length_tokens to 15" in str(told.value)
