"""What distillation adds to a small translator, and how fast it writes: English to Chinese.

    short pairs of Tatoeba ─► one vocabulary ─► teacher (from scratch) ─► its texts and predictions
                                                     students of each seed: gold texts alone (no
                                                     distillation), the teacher's texts, and those
                                                     with the teacher's prediction of each token, by
                                                     KL and by the terms of translation_losses

Everything goes through the stages' own functions and a store: a killed run goes on, a second one
only times and scores. `python -m infra.benchmarks.translation DATA STORE` with DATA the folder of
`train|dev|test.en-zh.parquet` (columns source, target; see flows/recipes/translation.yaml); about
five minutes of one core for the teacher and one and a half for each student. Fewer seeds, epochs
and rounds (`--seeds 1 --epochs 2 --rounds 1`) show that all of it runs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from transformers import PreTrainedModel

from data_contracts.artifacts import Artifact, StageSummary
from flows.recipe.loading.files import read_recipe
from infra.benchmarks.rounds import Rate, measure, ratio
from tasks import seq2seq_signals, seq2seq_student, seq2seq_teacher
from tasks.corpus.tables import read_table, write_table
from tasks.corpus.tokens.facts import read_token_facts
from tasks.metrics.scores.translation import TranslationScorer
from tasks.modeling.encoder_decoder.config import DecodingConfig, Seq2SeqShape
from tasks.modeling.encoder_decoder.decoding import Hypothesis
from tasks.modeling.encoder_decoder.network import load_seq2seq
from tasks.problems.seq2seq import corpus_scores
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.progress import SilentProgress
from tasks.runtime.stages import Stage, StageConfig, Workspace, run_stage
from tasks.training.batching.ragged import RaggedIds
from tasks.training.optimization.config import TrainingConfig
from tasks.training.sequences.generation import load_reader, to_texts, write

MAX_LENGTH_TOKENS = 32
DECODING = DecodingConfig(num_beams=4, max_length_tokens=20)
TEACHER = Seq2SeqShape(
    encoder_layers=2, decoder_layers=2, hidden_size=128, num_heads=4, intermediate_size=512
)
STUDENT = Seq2SeqShape(
    encoder_layers=1, decoder_layers=1, hidden_size=64, num_heads=2, intermediate_size=256
)
# Its terms are compared with alpha and temperature.
_LOSSES = read_recipe("translation_losses").distillation.terms
OBJECTIVES: dict[str, dict[str, Any]] = {
    "no distillation (gold texts)": {"alpha": 0.0, "targets": "gold"},
    "the teacher's texts": {"alpha": 0.0, "targets": "teacher"},
    "the teacher's texts and predictions": {"alpha": 0.5, "targets": "teacher"},
    "the same by JSD, then reverse KL": {"terms": _LOSSES, "targets": "teacher"},
}
COMPARED = (
    ("the teacher's texts", "no distillation (gold texts)"),
    ("the teacher's texts and predictions", "no distillation (gold texts)"),
    ("the teacher's texts and predictions", "the teacher's texts"),
    ("the same by JSD, then reverse KL", "the teacher's texts and predictions"),
)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class TokensConfig(StageConfig):
    """Which pairs are kept, and their vocabulary."""

    vocab_size: int = 3000
    max_source_chars: int = 32
    max_target_chars: int = 11


def _training(learning_rate: float, num_epochs: int) -> TrainingConfig:
    return TrainingConfig(
        num_epochs=num_epochs,
        batch_size=64,
        learning_rate=learning_rate,
        warmup_share=0.1,
        label_smoothing=0.1,
        adam_beta2=0.98,
        schedule="cosine",
        weight_decay=0.01,
        precision="fp32",
        patience=100,
    )


def _tokens_of(data: Path):
    """The function that reads the pairs in `data`; where they lie defines nothing."""

    def make(
        config: TokensConfig, inputs: Mapping[str, Artifact], workspace: Workspace
    ) -> StageSummary:
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

        frames = {}
        for role, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
            pairs = pd.read_parquet(data / f"{name}.en-zh.parquet")
            short = pairs.source.str.len() <= config.max_source_chars
            pairs = pairs[short & (pairs.target.str.len() <= config.max_target_chars)]
            frames[role] = pairs if role == "train" else pairs.drop_duplicates("source")
        tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Metaspace("▁", "always"),
                pre_tokenizers.Punctuation("isolated"),
                pre_tokenizers.Digits(True),
            ]
        )
        tokenizer.decoder = decoders.Metaspace("▁", "always")
        trainer = trainers.BpeTrainer(
            vocab_size=config.vocab_size,
            min_frequency=2,
            max_token_length=10,
            special_tokens=SPECIAL,
            show_progress=False,
        )
        train = frames["train"]
        tokenizer.train_from_iterator(sorted({*train.source, *train.target}), trainer)
        output = workspace.output
        (output / "tokenizer").mkdir()
        (output / "tokenizer" / "tokenizer.json").write_text(tokenizer.to_str())
        (output / "tokenizer" / "tokenizer_config.json").write_text("{}")
        (output / "labels.json").write_text('{"labels": []}')
        end = tokenizer.token_to_id("[SEP]")
        for role, pairs in frames.items():
            keys = [
                hashlib.sha256(f"{role}{row}{source}{target}".encode()).hexdigest()[:32]
                for row, (source, target) in enumerate(zip(pairs.source, pairs.target, strict=True))
            ]
            columns: dict[str, Any] = {"example_id": keys, "language": ["en"] * len(keys)}
            for name, texts in (("input_ids", pairs.source), ("target_ids", pairs.target)):
                cut = [one.ids[: MAX_LENGTH_TOKENS - 1] for one in tokenizer.encode_batch([*texts])]
                columns[name] = pa.array([[*ids, end] for ids in cut], pa.list_(pa.int32()))
            write_table(pa.table(columns), output / role / "part-00000.parquet")
        facts = {
            "vocab_size": tokenizer.get_vocab_size(),
            "pad_token_id": 0,
            "eos_token_id": end,
            "max_length_tokens": MAX_LENGTH_TOKENS,
            "max_target_tokens": MAX_LENGTH_TOKENS,
        }
        (output / "tokens.json").write_text(json.dumps(facts))
        return StageSummary(facts={"vocab": tokenizer.get_vocab_size()})

    return make


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line (or `arguments`); one thread, so that speeds are those of one core."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    compare(
        asked.data,
        asked.store,
        num_seeds=asked.seeds,
        num_epochs=asked.epochs,
        num_rounds=asked.rounds,
    )


def compare(data: Path, root: Path, *, num_seeds: int, num_epochs: int, num_rounds: int) -> None:
    """Train what is not there yet, then score and time everything; prints a Markdown table.

    Args:
        num_rounds: in which the systems write in turns; speeds are medians, ratios are of a round.
    """
    store = ArtifactStore(root)

    def made(stage: Stage, config: StageConfig, **inputs: Artifact) -> Artifact:
        return run_stage(stage, config, inputs, store=store, progress=SilentProgress()).artifact

    tokens = made(Stage("tokens", 3, _tokens_of(data)), TokensConfig())
    teacher = made(
        seq2seq_teacher.STAGE,
        seq2seq_teacher.Config(
            problem="translation",
            target_language="zh",
            architecture=TEACHER,
            decoding=DECODING,
            validation_texts=200,
            training=_training(2e-3, num_epochs),
        ),
        tokens=tokens,
    )
    signals = made(
        seq2seq_signals.STAGE,
        seq2seq_signals.Config(
            target_language="zh",
            targets="sequence",
            decoding=DECODING,
            roles=("train", "validation", "test"),
        ),
        teacher=teacher,
        tokens=tokens,
    )
    models: dict[str, list[Path]] = {"teacher": [teacher.path / "model"]}
    for name, objective in OBJECTIVES.items():
        config = seq2seq_student.ObjectiveConfig.model_validate(objective)
        guided = {"signals": signals} if config.needs_signals else {}
        for seed in range(num_seeds):
            student = made(
                seq2seq_student.STAGE,
                seq2seq_student.Config(
                    problem="translation",
                    target_language="zh",
                    architecture=STUDENT,
                    objective=config,
                    decoding=DECODING,
                    validation_texts=200,
                    training=_training(3e-3, num_epochs),
                    seed=seed,
                ),
                tokens=tokens,
                **guided,
            )
            models.setdefault(name, []).append(student.path / "model")
    _report(models, tokens.path, num_rounds=num_rounds)


def _report(models: Mapping[str, list[Path]], tokens: Path, *, num_rounds: int) -> None:
    rows = read_table(tokens / "test" / "part-00000.parquet")
    reader = load_reader(tokens / "tokenizer")
    references = reader.decode_batch(rows["target_ids"].to_pylist())
    sources = RaggedIds.from_arrow(rows["input_ids"])
    facts = read_token_facts(tokens)
    scorer = TranslationScorer("zh")

    def written(model: PreTrainedModel, num_beams: int) -> Sequence[Sequence[Hypothesis]]:
        return write(
            model,
            sources,
            DECODING.model_copy(update={"num_beams": num_beams}),
            pad_token_id=facts["pad_token_id"],
            vocab_size=facts["vocab_size"],
        )

    rates = _rates(models, written, num_rounds, len(references))
    base = rates["teacher", 4]
    print(f"{len(references)} test sentences; {scorer.measures[0].metric.signature}")
    print("| | beams | BLEU | chrF++ | sentences/s | times |\n|---|---|---|---|---|---|")
    copied = scorer.statistics(reader.decode_batch(rows["input_ids"].to_pylist()), references)
    floor = corpus_scores(scorer.measures, copied)
    print(f"| the source, copied | | {100 * floor['bleu']:.1f} | {100 * floor['chrf']:.1f} | | |")
    sums: dict[tuple[str, int], list[np.ndarray]] = {}  # of each seed
    for (name, num_beams), rate in rates.items():
        scores: list[dict[str, float]] = []
        for folder in models[name]:
            found = written(load_seq2seq(folder), num_beams)
            texts = to_texts(reader, [hypotheses[0] for hypotheses in found])
            statistics = scorer.statistics(texts, references)
            scores.append(corpus_scores(scorer.measures, statistics))
            sums.setdefault((name, num_beams), []).append(statistics["bleu"].toarray())
        shown = []
        for metric in ("bleu", "chrf"):
            values = 100 * np.array([score[metric] for score in scores])
            spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
            shown.append(f"{values.mean():.1f}{spread}")
        times = ratio(rate, base)
        shown += [f"{rate.median:,.0f}"]
        shown += [f"{times.median:.1f} [{times.lower_quartile:.1f}, {times.upper_quartile:.1f}]"]
        print(f"| {name} | {num_beams} | {' | '.join(shown)} |", flush=True)
    for ours, theirs in COMPARED:
        for num_beams in (4, 1):
            found = _difference(scorer, sums[ours, num_beams], sums[theirs, num_beams])
            print(f"{ours} minus {theirs}, {num_beams} beams, BLEU: {found}")


def _rates(
    models: Mapping[str, list[Path]],
    written: Callable[[PreTrainedModel, int], Any],
    num_rounds: int,
    num_sentences: int,
) -> dict[tuple[str, int], Rate]:
    """Sentences a second of the process's own time, by system and beams.

    Each system's first seed writes: the others have its shape.
    """
    systems = {}
    for name, folders in models.items():
        model = load_seq2seq(folders[0])
        for num_beams in (4, 1):

            def work(model: PreTrainedModel = model, num_beams: int = num_beams) -> int:
                written(model, num_beams)
                return num_sentences

            systems[name, num_beams] = work
    return measure(systems, num_rounds=num_rounds, say=lambda _: None, clock=time.process_time)


def _difference(
    scorer: TranslationScorer, ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]
) -> str:
    """Mean difference in BLEU over seeds, each of them, and a 95 % interval.

    The interval is of a paired bootstrap over test sentences, all seeds' texts of one together.
    """
    rng, bleu = np.random.default_rng(0), scorer.measures[0].score
    pairs = list(zip(ours, theirs, strict=True))

    def mean(rows: slice | np.ndarray) -> float:
        return 100 * float(np.mean([bleu(a[rows].sum(0)) - bleu(b[rows].sum(0)) for a, b in pairs]))

    found = [mean(rng.integers(0, len(ours[0]), len(ours[0]))) for _ in range(2000)]
    low, high = np.percentile(found, [2.5, 97.5])
    each = ", ".join(f"{100 * float(bleu(a.sum(0)) - bleu(b.sum(0))):+.1f}" for a, b in pairs)
    return f"{mean(slice(None)):+.1f} [{low:+.1f}, {high:+.1f}], by seed {each}"


if __name__ == "__main__":
    main()
