"""A language of twelve words: its translator, the signals of that, and students of both."""

import json
from functools import cached_property

import numpy as np
import pyarrow as pa
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers

from data_contracts.artifacts import StageSummary
from tasks import seq2seq_signals, seq2seq_student, seq2seq_teacher
from tasks.corpus.tables import write_table
from tasks.modeling.encoder_decoder.config import DecodingConfig, Seq2SeqShape
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.stages import Stage, StageConfig, run_stage
from tasks.training.optimization.config import TrainingConfig
from tasks.training.sequences import mapping as seq2seq_mapping

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


class TextWorld:
    """Tokens, teacher and signals in a store of their own, each made when it is first asked for."""

    def __init__(self, folder):
        self.store = ArtifactStore(folder)

    @cached_property
    def tokens(self):
        return self.tokens_of()

    @cached_property
    def teacher(self):
        config = seq2seq_teacher.Config(
            problem="translation",
            target_language="zh",
            architecture=SHAPE,
            decoding=DECODING,
            training=training(10, learning_rate=1e-2, validations_per_epoch=1),
        )
        return self._made(seq2seq_teacher, config, {"tokens": self.tokens})

    @cached_property
    def signals(self):
        return self.asked()

    def tokens_of(self, **changes):
        """Rows of other words or languages."""
        stage = Stage("tokens", 1, write_tokens)
        return run_stage(stage, _Made(**changes), {}, store=self.store).artifact

    def asked(self, *, tokens=None, force=False, **changes):
        """Signals of the teacher for the rows of `tokens`."""
        asked = {"target_language": "zh", "decoding": DECODING, "k": 5, "batch_texts": 10}
        config = seq2seq_signals.Config(**{**asked, "precision": "fp32", **changes})
        inputs = {"teacher": self.teacher, "tokens": tokens or self.tokens}
        return self._made(seq2seq_signals, config, inputs, force=force)

    def mapped(self, *, tokens=None, with_topk=True):
        """Training examples: the teacher's texts, and its predictions of their tokens."""
        config = seq2seq_mapping.Config(roles=("train",), targets="teacher", with_topk=with_topk)
        inputs = {"tokens": tokens or self.tokens, "signals": self.signals}
        return seq2seq_mapping.open_seq2seq_examples(
            self._made(seq2seq_mapping, config, inputs).path
        )

    def student(self, objective, *, tokens=None, force=False, **changes):
        """A student of `objective`; it gets `signals` and `teacher` only where they are given."""
        inputs = {"tokens": tokens or self.tokens}
        inputs |= {name: changes.pop(name) for name in ("signals", "teacher") if name in changes}
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
        return self._made(seq2seq_student, config, inputs, force=force)

    def _made(self, stage, config, inputs, *, force=False):
        return run_stage(stage.STAGE, config, inputs, store=self.store, force=force).artifact


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


def history(artifact):
    return json.loads((artifact.path / "history.json").read_text("utf-8"))


def weights(artifact):
    return load_file(artifact.path / "model" / "model.safetensors")


class _Made(StageConfig):
    """Distinguishes the hand-made artifacts below."""

    words: tuple[str, ...] = tuple(WORDS)
    languages: tuple[str, ...] = ("en",)  # of training rows, one after another
    validated_in: str = "en"
    spoken: int = 1  # how often a target says each word
    max_target_tokens: int = 8


def write_tokens(config, inputs, workspace):
    """Each word of a source is one of the target: w5 is 词5. Transfer rows have no target."""
    output, words = workspace.output, list(config.words)
    rng = np.random.default_rng(0)
    for role, count in ROWS.items():
        texts = [rng.integers(0, 12, rng.integers(2, 5)).tolist() for _ in range(count)]
        sources = [[words.index(SOURCE[n]) for n in text] + [EOS] for text in texts]
        said = [[n for n in text for _ in range(config.spoken)] for text in texts]
        targets = [[words.index(TARGET[n]) for n in text] + [EOS] for text in said]
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
    facts["max_target_tokens"] = config.max_target_tokens
    (output / "tokens.json").write_text(json.dumps(facts))
    return StageSummary()


def write_words(words, folder):
    folder.mkdir(parents=True)
    ids = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
