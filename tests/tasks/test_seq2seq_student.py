"""Teacher, signals and student of texts: the three stages on a language of twelve words."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers

from data_contracts.artifacts import StageSummary
from data_contracts.errors import ContractViolation
from data_contracts.tables import arrow_schema, load_contract
from tasks import seq2seq_signals, seq2seq_student, seq2seq_teacher
from tasks.corpus.tables import read_table, write_table
from tasks.modeling.seq2seq import load_seq2seq, output_projection
from tasks.modeling.seq2seq_config import DecodingConfig, PretrainedSeq2Seq, Seq2SeqShape
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.stages import Stage, StageConfig, run_stage
from tasks.training.config import TrainingConfig
from tasks.training.losses.topk import topk_kl_loss
from tasks.training.seq2seq_mapping import open_seq2seq_examples
from tasks.training.token_signals import ask_teacher, from_topk
from tasks.training.topk_signals import TopKCodec
from tasks.training.writing import load_reader

SOURCE = [f"w{number}" for number in range(12)]
TARGET = [f"词{number}" for number in range(12)]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *SOURCE, *TARGET]
EOS = 3
SHAPE = Seq2SeqShape(
    encoder_layers=2, decoder_layers=2, hidden_size=32, num_heads=2, intermediate_size=64,
    dropout=0.0,
)  # fmt: skip
SMALL = Seq2SeqShape(
    encoder_layers=1, decoder_layers=1, hidden_size=16, num_heads=2, intermediate_size=32,
    dropout=0.0,
)  # fmt: skip
DECODING = DecodingConfig(num_beams=3, max_length_tokens=8)
ROWS = {"train": 256, "transfer": 40, "validation": 24, "test": 16}


class _Made(StageConfig):
    """Distinguishes the hand-made artifacts below."""

    words: tuple[str, ...] = tuple(WORDS)
    languages: tuple[str, ...] = ("en",)  # of training rows, one after another
    validated_in: str = "en"


def write_words(words, folder):
    folder.mkdir(parents=True)
    ids = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))


def write_tokens(config, inputs, workspace):
    """Each word of a source is one of the target: w5 is 词5. Transfer rows have no target."""
    output, words = workspace.output, list(config.words)
    rng = np.random.default_rng(0)
    for role, count in ROWS.items():
        texts = [rng.integers(0, 12, rng.integers(2, 5)).tolist() for _ in range(count)]
        sources = [[words.index(SOURCE[n]) for n in text] + [EOS] for text in texts]
        targets = [[words.index(TARGET[n]) for n in text] + [EOS] for text in texts]
        if role == "transfer":
            targets = [None] * count
        table = pa.table(
            {
                "example_id": [f"{role}{row}".encode().hex().zfill(32) for row in range(count)],
                "input_ids": pa.array(sources, pa.list_(pa.int32())),
                "target_ids": pa.array(targets, pa.list_(pa.int32())),
                "language": [
                    config.validated_in
                    if role == "validation"
                    else config.languages[row % len(config.languages)]
                    for row in range(count)
                ],
            }
        )
        write_table(table, output / role / "part-00000.parquet")
    write_words(words, output / "tokenizer")
    (output / "labels.json").write_text('{"labels": []}')
    facts = {"vocab_size": len(words), "pad_token_id": 0, "max_length_tokens": 8}
    (output / "tokens.json").write_text(json.dumps(facts))
    return StageSummary()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return ArtifactStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def tokens(store):
    return run_stage(Stage("tokens", 1, write_tokens), _Made(), {}, store=store).artifact


def training(epochs, **changes):
    return TrainingConfig(
        **{
            "num_epochs": epochs,
            "batch_size": 16,
            "learning_rate": 5e-3,
            "precision": "fp32",
            "patience": 100,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def teacher(store, tokens):
    config = seq2seq_teacher.Config(
        problem="translation",
        target_language="zh",
        architecture=SHAPE,
        decoding=DECODING,
        training=training(10, learning_rate=1e-2, validations_per_epoch=1),
    )
    return run_stage(seq2seq_teacher.STAGE, config, {"tokens": tokens}, store=store).artifact


def asked(store, teacher, tokens, **changes):
    config = seq2seq_signals.Config(
        **{"target_language": "zh", "decoding": DECODING, "k": 5, "batch_texts": 10, **changes}
    )
    inputs = {"teacher": teacher, "tokens": tokens}
    return run_stage(seq2seq_signals.STAGE, config, inputs, store=store).artifact


@pytest.fixture(scope="module")
def signals(store, teacher, tokens):
    return asked(store, teacher, tokens)


def student(store, tokens, objective, *, force=False, **changes):
    inputs = {"tokens": tokens}
    inputs.update({name: changes.pop(name) for name in ("signals", "teacher") if name in changes})
    config = seq2seq_student.Config(
        **{
            "problem": "translation",
            "target_language": "zh",
            "architecture": SMALL,
            "objective": objective,
            "decoding": DECODING,
            "training": training(1),
            **changes,
        }
    )
    outcome = run_stage(seq2seq_student.STAGE, config, inputs, store=store, force=force)
    return outcome.artifact


def history(artifact):
    return json.loads((artifact.path / "history.json").read_text("utf-8"))


def weights(artifact):
    return load_file(artifact.path / "model" / "model.safetensors")


def test_a_teacher_learns_to_translate_from_nothing(teacher):
    """A loop that trains another network than it saves, or shifts a target, learns nothing here."""
    validations = history(teacher)["validations"]
    assert validations[0]["loss"] > 2.0
    assert min(entry["loss"] for entry in validations) < 0.8
    assert max(entry["chrf"] for entry in validations) > 0.6
    facts = json.loads((teacher.path / "training.json").read_text("utf-8"))
    assert facts["num_examples"] == 256  # transfer rows have no target
    head = json.loads((teacher.path / "model" / "head.json").read_text("utf-8"))
    assert (head["problem"], head["target_language"]) == ("translation", "zh")
    assert load_seq2seq(teacher.path / "model").generation_config.num_beams == 3


def test_signals_hold_the_texts_and_opinions_of_the_teacher(signals, teacher, tokens):
    """Signals of a padded neighbour, or of dropout, teach something that no teacher said."""
    facts = json.loads((signals.path / "topk.json").read_text("utf-8"))
    codec = TopKCodec(facts["vocab_size"], facts["k"])
    assert (facts["k"], facts["token_bytes"]) == (5, codec.token_bytes)
    model, reader = load_seq2seq(teacher.path / "model"), load_reader(tokens.path / "tokenizer")
    for role, count in ROWS.items():
        table = read_table(signals.path / role / "part-00000.parquet")
        assert table.schema.equals(arrow_schema(load_contract("teacher_signals_seq2seq")))
        assert len(table) == count
        rows = read_table(tokens.path / role / "part-00000.parquet")
        assert table["example_id"].to_pylist() == rows["example_id"].to_pylist()
    for row in range(6):
        one = table.slice(row, 1).to_pylist()[0]
        assert len(one["hypotheses"]) == len(one["hypothesis_scores"]) == 3
        assert one["target_text"] == reader.decode(one["target_ids"])
        stored = codec.decode(np.frombuffer(one["topk"], np.uint8))
        source = torch.tensor([rows["input_ids"][row].as_py()])
        expected = ask_teacher(
            model, source, torch.ones_like(source), torch.tensor([one["target_ids"]]),
            k=5, vocab_size=len(WORDS),
        )  # fmt: skip
        np.testing.assert_array_equal(stored.ids_NK[:, 0], expected.ids_NK[:, 0])
        np.testing.assert_allclose(
            stored.log_probs_NK[:, 0], expected.log_probs_NK[:, 0], atol=1e-3
        )


@pytest.mark.parametrize("targets", ["gold", "sequence", "interpolation"])
def test_the_teacher_is_asked_about_the_text_that_was_chosen(
    targets, store, teacher, tokens, tmp_path
):
    """Signals of gold texts under the name of the teacher's would be joined to other tokens."""
    found = asked(store, teacher, tokens, targets=targets)
    gold = read_table(tokens.path / "train" / "part-00000.parquet")["target_ids"].to_pylist()
    table = read_table(found.path / "train" / "part-00000.parquet").to_pylist()
    if targets == "gold":
        assert [row["target_ids"] for row in table] == gold
        assert all(row["hypotheses"] == [] for row in table)  # none was needed
    else:
        assert all(row["target_text"] in row["hypotheses"] for row in table)
    if targets == "sequence":
        assert all(row["target_text"] == row["hypotheses"][0] for row in table)
    unlabelled = read_table(found.path / "transfer" / "part-00000.parquet").to_pylist()
    assert all(row["target_text"] == row["hypotheses"][0] for row in unlabelled)
    tested = read_table(found.path / "test" / "part-00000.parquet").to_pylist()
    assert all(len(row["hypotheses"]) == 3 for row in tested)  # evaluation reads them


def test_signals_are_the_same_bytes_every_time(store, teacher, tokens, signals):
    config = seq2seq_signals.Config(target_language="zh", decoding=DECODING, k=5, batch_texts=10)
    again = run_stage(
        seq2seq_signals.STAGE,
        config,
        {"teacher": teacher, "tokens": tokens},
        store=store,
        force=True,
    )
    assert again.artifact.content_digest == signals.content_digest


def test_mapped_signals_are_those_of_the_row_and_token(store, tokens, signals, tmp_path):
    """Signals off by a token, or of another row, teach noise with every loss falling nicely."""
    config = {"roles": ("train",), "targets": "teacher", "with_topk": True}
    from tasks.training.seq2seq_mapping import STAGE, Config

    inputs = {"tokens": tokens, "signals": signals}
    examples = open_seq2seq_examples(
        run_stage(STAGE, Config(**config), inputs, store=store).artifact.path
    )
    table = read_table(signals.path / "train" / "part-00000.parquet")
    rows = np.array([200, 3, 77])
    from tasks.training.layouts import padded_layout

    (batch,) = examples.batches(rows, padded_layout(), pad_token_id=0)
    wanted = [table["target_ids"][int(row)].as_py() for row in rows]
    assert [[i for i in label if i >= 0] for label in batch.labels_BL.tolist()] == wanted
    packed = b"".join(table["topk"][int(row)].as_py() for row in rows)
    expected = from_topk(examples.codec.decode(np.frombuffer(packed, np.uint8)))
    assert torch.equal(batch.taught.ids_NK, expected.ids_NK)
    assert torch.equal(batch.taught.log_probs_NK, expected.log_probs_NK)
    assert examples.normalizers(rows) == (sum(map(len, wanted)),) * 2


def test_a_student_that_is_its_teacher_has_nothing_to_learn(store, tokens, signals, teacher):
    """Student and teacher swapped, or signals of other texts, show as a divergence here."""
    model = load_seq2seq(teacher.path / "model")
    examples = open_seq2seq_examples(
        run_stage(
            *_mapping("teacher"), {"tokens": tokens, "signals": signals}, store=store
        ).artifact.path
    )
    from tasks.modeling.seq2seq import Seq2SeqNetwork
    from tasks.training.layouts import padded_layout

    (batch,) = examples.batches(np.arange(32), padded_layout(), pad_token_id=0)
    with torch.no_grad():
        states = Seq2SeqNetwork(model)(batch.source, batch.labels_BL)
        logits = states @ output_projection(model)[0].T
        loss = topk_kl_loss(
            logits, batch.taught, torch.ones(len(logits), dtype=torch.bool),
            temperature=1.0, normalizer=len(logits),
        )  # fmt: skip
    assert abs(loss.item()) < 1e-3


def _mapping(targets, with_topk=True, roles=("train",)):
    from tasks.training.seq2seq_mapping import STAGE, Config

    return STAGE, Config(roles=roles, targets=targets, with_topk=with_topk)


def test_a_student_needs_no_gold_text(store, tokens, signals):
    """Transfer rows have none: the teacher's texts are their targets."""
    made = student(
        store, tokens, {"alpha": 0.5, "targets": "teacher"}, signals=signals,
        train_on=("transfer",), training=training(3),
    )  # fmt: skip
    facts = json.loads((made.path / "training.json").read_text("utf-8"))
    assert facts["num_examples"] == 40
    losses = [entry["loss_kd"] for entry in history(made)["steps"]]
    assert all(np.isfinite(losses))


def test_the_twin_without_distillation_reads_no_signals(store, tokens):
    made = student(store, tokens, {"alpha": 0.0, "targets": "gold"})
    assert history(made)["steps"][-1]["loss_kd"] == 0.0
    assert set(made.manifest.upstream_keys) == {"tokens"}


def test_a_student_may_start_from_layers_of_its_teacher(store, tokens, teacher):
    start = PretrainedSeq2Seq(init="pretrained", decoder_layers=1)
    made = student(
        store, tokens, {"alpha": 0.0, "targets": "gold"}, architecture=start, teacher=teacher,
        training=training(1, learning_rate=1e-9),
    )  # fmt: skip
    mine, theirs = weights(made), weights(teacher)
    name = "self_attn.k_proj.weight"
    torch.testing.assert_close(
        mine[f"model.decoder.layers.0.{name}"], theirs[f"model.decoder.layers.1.{name}"]
    )
    assert "model.decoder.layers.1." + name not in mine


def test_the_same_recipe_gives_the_same_student(store, tokens, signals):
    objective = {"alpha": 0.7, "targets": "teacher", "temperature": 2.0}
    first = student(store, tokens, objective, signals=signals)
    again = student(store, tokens, objective, signals=signals, force=True)
    assert first.content_digest == again.content_digest


def test_steps_on_the_students_own_texts_ask_the_teacher(store, tokens, signals, teacher):
    """With lambda 1 no gold or stored text is read: only the divergence on own texts is left."""
    own = {"alpha": 0.5, "targets": "teacher", "on_policy": {"share": 1.0, "k": 8}}
    made = student(store, tokens, own, signals=signals, teacher=teacher)
    entry = history(made)["steps"][-1]
    assert entry["loss"] == pytest.approx(entry["loss_kd"], rel=1e-5)
    assert entry["loss_kd"] > 0
    again = student(store, tokens, own, signals=signals, teacher=teacher, force=True)
    assert made.content_digest == again.content_digest


def test_distributions_of_other_tokens_are_refused(store, tokens, signals, teacher):
    """Ids of another vocabulary are valid ids: nothing but a digest tells them apart."""
    words = (*WORDS[:4], *reversed(WORDS[4:]))
    other = run_stage(Stage("tokens", 1, write_tokens), _Made(words=words), {}, store=store)
    with pytest.raises(ContractViolation, match="another tokenizer"):
        student(store, other.artifact, {"alpha": 0.5, "targets": "teacher"}, signals=signals)
    with pytest.raises(ContractViolation, match="another tokenizer"):
        asked(store, teacher, other.artifact)
    # The teacher's texts can still be learnt, cut by the student's own tokenizer.
    inputs = {"tokens": other.artifact, "signals": signals}
    found = open_seq2seq_examples(
        run_stage(*_mapping("teacher", with_topk=False), inputs, store=store).artifact.path
    )
    first = read_table(signals.path / "train" / "part-00000.parquet")["target_text"][0].as_py()
    ids = found.target_ids.values[: found.target_ids.offsets[1]].tolist()
    assert [words[i] for i in ids] == [*first.split(), "[SEP]"]


def test_signals_of_other_texts_than_gold_are_refused(store, tokens, teacher):
    """Word-level signals belong to the tokens before them: gold words, the teacher's opinions of
    its own text."""
    signals = asked(store, teacher, tokens, targets="sequence")
    table = read_table(signals.path / "train" / "part-00000.parquet")["target_ids"].to_pylist()
    gold = read_table(tokens.path / "train" / "part-00000.parquet")["target_ids"].to_pylist()
    assert table != gold, "the teacher is perfect: the test shows nothing"
    with pytest.raises(ContractViolation, match="other texts than the gold ones"):
        student(store, tokens, {"alpha": 0.5, "targets": "gold"}, signals=signals)


def test_rows_without_any_target_are_refused(store, tokens):
    with pytest.raises(ContractViolation, match="none of 40 rows"):
        student(store, tokens, {"alpha": 0.0, "targets": "gold"}, train_on=("transfer",))


def test_objectives_that_cannot_learn_are_refused():
    with pytest.raises(ValueError, match="on_policy"):
        seq2seq_student.Config(
            problem="generation", target_language="en", architecture=SMALL,
            objective={"alpha": 0.0, "on_policy": {"share": 0.5}}, training=training(1),
        )  # fmt: skip
    with pytest.raises(ValueError, match="not a teacher"):
        seq2seq_teacher.Config(
            problem="generation", target_language="en", training=training(1),
            architecture=PretrainedSeq2Seq(init="pretrained"),
        )  # fmt: skip


def test_languages_are_noted_and_drawn(store):
    """740 Chinese rows among 26,000: a summarizer of three languages that never learns one."""
    made = _Made(languages=("en", "en", "en", "zh"), validated_in="zh")
    tokens = run_stage(Stage("tokens", 1, write_tokens), made, {}, store=store).artifact
    config = seq2seq_teacher.Config(
        problem="summarization", target_language="zh", architecture=SMALL, decoding=DECODING,
        training=training(1, language_temperature=100.0),
    )  # fmt: skip
    inputs = {"tokens": tokens}
    artifact = run_stage(seq2seq_teacher.STAGE, config, inputs, store=store).artifact
    facts = artifact.manifest.facts
    assert (facts["rows_en"], facts["rows_zh"]) == (192, 64)
    # Shares n^(1/100): 0.503 and 0.497 of 256.
    assert (facts["drawn_en"], facts["drawn_zh"]) == (129, 127)


def test_the_step_is_not_chosen_by_languages_that_are_not_learned(store, tokens):
    """A student of Chinese commands judged by its English replies: the best step is noise."""
    made = _Made(validated_in="zh")
    elsewhere = run_stage(Stage("tokens", 1, write_tokens), made, {}, store=store).artifact
    with pytest.raises(ContractViolation, match="no validation row in en has a target"):
        student(store, elsewhere, {"alpha": 0.0, "targets": "gold"})
