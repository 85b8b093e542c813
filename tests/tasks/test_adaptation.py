"""The adaptation stage: an encoder that has read on, in the folder from which others start."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from data_contracts.errors import ContractViolation, SourceError
from tasks import adaptation, distillation, teacher
from tasks.adaptation import STAGE, Config
from tasks.corpus.tables import write_table
from tasks.modeling.backbones.encoder import load_backbone
from tasks.modeling.backbones.low_rank import LowRankLinear
from tasks.modeling.heads.masked_language_model import MaskedLanguageModel
from tasks.problems import load_model
from tasks.runtime.progress import SilentProgress
from tasks.runtime.stages import run_stage
from tasks.training.adaptation import mapped_texts
from tasks.training.adaptation.masked_language import MaskedLanguageObjective, score
from tasks.training.engine.loop import train
from tasks.training.optimization.config import TrainingConfig

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAIRS = [("red", "apple"), ("green", "leaf"), ("blue", "sky"), ("dark", "night")]
WORDS = [*SPECIAL, *(word for pair in PAIRS for word in pair)]
TRAINING = {"num_epochs": 12, "batch_size": 16, "learning_rate": 0.01, "precision": "fp32"}
SHAPE = {"num_layers": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 32}


def sentences(rows, seed):
    """Six times a colour or its thing: a hidden word is one of the two that the others are."""
    rng = np.random.default_rng(seed)
    return [
        " ".join(PAIRS[pair][which] for which in rng.integers(0, 2, 6))
        for pair in rng.integers(0, 4, rows)
    ]


def save_tokenizer(folder, words=WORDS):
    folder.mkdir(parents=True, exist_ok=True)
    ids = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture
def inputs(publish, store):
    """A corpus with text of the role adapt, and tokens of a reader of it."""

    def corpus(output):
        for role, rows in (("adapt", 200), ("transfer", 20)):
            texts = sentences(rows, len(role))
            nothing = pa.nulls(rows, pa.string())
            table = pa.table(
                {
                    "text": texts, "language": ["en"] * rows,
                    "parallel_text": nothing, "parallel_language": nothing,
                }
            )  # fmt: skip
            write_table(table, output / "rows" / role / "part-00000.parquet")

    def tokens(output):
        save_tokenizer(output / "tokenizer")
        ids = {name: SPECIAL.index(f"[{name[:-6].upper()}]") for name in
               ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")}  # fmt: skip
        facts = {"vocab_size": len(WORDS), "pad_token_id": 0, "max_length_tokens": 8}
        (output / "tokens.json").write_text(json.dumps({**facts, "special_token_ids": ids}))
        (output / "labels.json").write_text(json.dumps({"labels": ["off", "on"]}))
        for role in ("train", "transfer", "validation"):
            table = pa.table(
                {
                    "example_id": [f"{role}{row}".encode().hex().zfill(32)[:32] for row in (0, 1)],
                    "input_ids": pa.array([[2, 5, 3], [2, 7, 3]], pa.list_(pa.int32())),
                    "label": pa.array([0, 1], pa.int32()),
                    "language": ["en", "en"],
                }
            )
            write_table(table, output / role / "part-00000.parquet")

    return {"corpus": publish(store, "corpus", corpus), "tokens": publish(store, "tokens", tokens)}


@pytest.fixture
def pretrained(tmp_path):
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16, type_vocab_size=1,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "encoder")
    save_tokenizer(tmp_path / "encoder")
    return tmp_path / "encoder"


def config_of(model=None, *, languages=("en",), **training):
    start = {"model": str(model)} if model else {"architecture": SHAPE}
    return Config(languages=languages, mask_share=0.17, training={**TRAINING, **training}, **start)


def test_hidden_words_are_told_from_their_context(store, inputs, pretrained):
    """A gradient that never reaches the encoder leaves it guessing the commonest word: 1 in 8."""
    artifact = run_stage(STAGE, config_of(pretrained), inputs, store=store).artifact
    facts = artifact.manifest.facts
    assert facts["perplexity"] < 3 < 7 < facts["perplexity_before"]
    assert facts["candidates"] == 8
    assert {path.name for path in (artifact.path / "model").iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json",
    }  # fmt: skip
    before, after = load_backbone(pretrained), load_backbone(artifact.path / "model")
    assert before.state_dict().keys() == after.state_dict().keys()
    assert not torch.equal(before.encoder.layer[0].output.dense.weight,
                           after.encoder.layer[0].output.dense.weight)  # fmt: skip


def test_the_same_recipe_gives_the_same_bytes(store, inputs):
    """Masks drawn from a clock or a process's random state: no run can be repeated."""
    config = config_of(num_epochs=1)
    first, again = (
        run_stage(STAGE, config, inputs, store=store, force=force).artifact.content_digest
        for force in (False, True)
    )
    assert first == again
    other = config.model_copy(update={"seed": 1})
    assert run_stage(STAGE, other, inputs, store=store).artifact.content_digest != first


@pytest.mark.parametrize(
    ("architecture", "read"),
    [
        ({"init": "static", "model": "hf://org/name@1"}, ("hf://org/name@1",)),
        ({"init": "static", "model": "teacher"}, ()),
        ({"init": "static"}, ()),
        ({"init": "pretrained", "model": "hf://org/name@1", "layers": [0]}, ("hf://org/name@1",)),
        ({"init": "pretrained", "model": "teacher", "layers": [0]}, ()),
        (SHAPE, ()),
    ],
)
def test_the_bytes_that_an_encoder_starts_from_are_in_the_key(architecture, read):
    """Another model under the same path, and an encoder that was adapted from the one before it."""
    config = Config(architecture=architecture, languages=("en",), training=TRAINING)
    assert config.locations() == read


class CrashError(Exception):
    pass


def test_a_crash_and_resume_ends_with_the_same_bits(store, inputs, tmp_path):
    """Masks counted from the resumed step on are those of other words."""
    texts = mapped_texts.Config(
        roles=("adapt",), languages=("en",), max_length_tokens=8, held_out_share=0.1
    )
    outcome = run_stage(mapped_texts.STAGE, texts, inputs, store=store)
    learned, held_out = mapped_texts.open_texts(
        outcome.artifact.path, mask_token_id=4, mask_share=0.3, seed=0
    )

    def run(work, crash_at=None):
        torch.manual_seed(0)
        shape = BertConfig(
            vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=32, max_position_embeddings=16, type_vocab_size=1,
        )  # fmt: skip
        candidates = torch.from_numpy(learned.masking.candidates.astype(np.int64))
        model = MaskedLanguageModel(BertModel(shape, add_pooling_layer=False), candidates)
        left = [crash_at]

        def validate(candidate):
            if left[0] is not None:
                left[0] -= 1
                if not left[0]:
                    raise CrashError
            return score(candidate, held_out, pad_token_id=0, precision="fp32")

        config = TrainingConfig(**{**TRAINING, "num_epochs": 3, "selection": "loss"})
        train(
            model, learned, MaskedLanguageObjective(), config, pad_token_id=0, validate=validate,
            seed=1, work=work, progress=SilentProgress(),
        )  # fmt: skip
        return model.state_dict()

    calm = run(tmp_path / "calm")
    with pytest.raises(CrashError):
        run(tmp_path / "rough", crash_at=2)
    rough = run(tmp_path / "rough")
    assert all(torch.equal(calm[name], rough[name]) for name in calm)


def test_updates_of_low_rank_and_of_rows_leave_a_plain_folder(store, inputs, pretrained):
    """An adapted encoder with adapter files, which nobody downstream would load."""
    lora = {"trainable": "lora", "lora": {"rank": 2}, "embedding_updates": "rows"}
    artifact = run_stage(STAGE, config_of(pretrained, **lora), inputs, store=store).artifact
    assert artifact.manifest.facts["perplexity"] < 5
    names = {path.name for path in (artifact.path / "model").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json"}


def test_a_student_of_products_reads_on_and_is_found_again(store, inputs, pretrained):
    """Products saved as the plain network that its configuration describes: weights at random."""
    products = {"init": "pretrained", "model": str(pretrained), "num_layers": 1, "low_rank": 0.9}
    config = Config(architecture=products, languages=("en",), mask_share=0.17, training=TRAINING)
    artifact = run_stage(STAGE, config, inputs, store=store).artifact
    facts = artifact.manifest.facts
    assert facts["perplexity"] < 0.7 * facts["perplexity_before"]
    backbone = load_backbone(artifact.path / "model")
    assert isinstance(backbone.encoder.layer[0].output.dense, LowRankLinear)
    assert not (artifact.path / "model" / "model.safetensors").exists()


def test_a_teacher_and_a_student_start_from_what_has_read_on(store, inputs, pretrained):
    """An adapted encoder that is made, paid for and not used."""
    head_only = {"num_epochs": 1, "learning_rate": 0.01, "trainable": "head", "precision": "fp32"}
    adapted = run_stage(STAGE, config_of(pretrained, num_epochs=1), inputs, store=store).artifact
    given = {"tokens": inputs["tokens"], "adapted": adapted}
    from_teacher = run_stage(
        teacher.STAGE, teacher.Config(model=str(pretrained), training=head_only), given, store=store
    ).artifact
    read_on = load_backbone(adapted.path / "model").state_dict()
    found = load_model(from_teacher.path / "model").backbone.state_dict()
    assert all(torch.equal(found[name], read_on[name]) for name in read_on)

    shape = run_stage(STAGE, config_of(num_epochs=1), inputs, store=store).artifact
    student = run_stage(
        distillation.STAGE,
        distillation.Config.model_validate(
            {
                "architecture": SHAPE,
                "objective": {"alpha": 0.0, "hard_labels": "gold"},
                "training": head_only,
            }
        ),
        {"tokens": inputs["tokens"], "adapted": shape},
        store=store,
    ).artifact
    read_on = load_backbone(shape.path / "model").state_dict()
    found = load_model(student.path / "model").backbone.state_dict()
    assert all(torch.equal(found[name], read_on[name]) for name in read_on)


def test_what_cannot_be_read_is_a_mistake_with_a_remedy(store, inputs, publish, pretrained):
    """Nothing read, and an encoder passed on as if it had."""
    with pytest.raises(ContractViolation, match="0 rows of text of the role adapt or transfer in"):
        run_stage(STAGE, config_of(pretrained, languages=("de",)), inputs, store=store)

    def tokens(output):
        save_tokenizer(output / "tokenizer")
        facts = {"vocab_size": 9, "pad_token_id": 0, "max_length_tokens": 8}
        (output / "tokens.json").write_text(
            json.dumps({**facts, "special_token_ids": {"pad_token": 0}})
        )

    maskless = {**inputs, "tokens": publish(store, "tokens", tokens, config={"masks": False})}
    with pytest.raises(SourceError, match="no mask token"):
        run_stage(STAGE, config_of(pretrained), maskless, store=store)
    with pytest.raises(ValueError, match="one encoder is adapted"):
        adaptation.Config(languages=("en",), training=TRAINING)
    for ignored in ({"label_smoothing": 0.1}, {"language_temperature": 3.0}):
        training = {**TRAINING, **ignored}
        with pytest.raises(ValueError, match="leave both out"):
            adaptation.Config(model=str(pretrained), languages=("en",), training=training)


def test_the_last_step_is_kept_where_it_is_asked_for(store, inputs, pretrained):
    """`selection: last` taken for the loss: the encoder of an early step, and nobody told."""
    worse = []
    for rate, epochs in ((0.05, 12), (0.1, 16), (0.3, 8)):  # too high: losses go up and down
        config = config_of(
            pretrained, selection="last", learning_rate=rate, weight_decay=0.0, num_epochs=epochs
        )
        artifact = run_stage(STAGE, config, inputs, store=store).artifact
        history = json.loads((artifact.path / "history.json").read_text())
        *_, last = history["validations"]
        assert history["best_step"] == last["step"]
        worse.append(last["loss"] > min(one["loss"] for one in history["validations"]))
    assert any(worse)  # which of them depends on the rounding of the processor


def test_a_figure_that_reading_on_does_not_measure_is_refused(pretrained):
    """A KeyError after the first epoch of an hour."""
    with pytest.raises(ValueError, match="selection is accuracy: nothing but the loss"):
        config_of(pretrained, selection="accuracy")
