"""A student's answers to many texts: `decant score` against what a user would run instead.

    decant_int8, decant_torch   file in, file out: reading, normalising and writing are counted
    pipeline, pipeline_32       transformers.pipeline on BertForSequenceClassification, equal shape
    onnx_fp32, onnx_int8        one session, batches of 32 in order, as optimum runs them
    sentence_transformers       encode: embeddings instead of answers

The students have random weights: speed does not depend on them.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    pipeline,
)

from infra.benchmarks import synthetic, tokenizing
from infra.benchmarks.rounds import Timed, measure, ratio
from infra.benchmarks.settings import Settings, say
from tasks.corpus.tokenizers.tokenizer import save_tokenizer
from tasks.modeling.backbones.encoder import build_student_backbone
from tasks.modeling.config import StudentArchitecture
from tasks.modeling.heads.classifier import EncoderClassifier, save_classifier
from tasks.runtime.machine.device import thread_count
from tasks.serving.export.onnx_export import export_onnx, write_onnx
from tasks.serving.export.quantization import quantize_int8
from tasks.serving.scoring.scoring import ScoringConfig, score

_NUM_LABELS = 40
_BATCH_SIZE = 32
_SHAPES = {
    "2 x 192": StudentArchitecture(
        num_layers=2, hidden_size=192, num_heads=4, intermediate_size=768
    ),
    "6 x 384": StudentArchitecture(
        num_layers=6, hidden_size=384, num_heads=12, intermediate_size=1536
    ),
}
# Texts a round by shape: a few seconds for the slowest system.
_TEXTS = {"2 x 192": 3000, "6 x 384": 300}
# Decant's runs hold a set-up (reading the model), so they get more texts than those in memory.
_MORE_TEXTS = 4


def run(settings: Settings, section: str) -> dict:
    """Measure scoring; JSON values by the student's shape."""
    torch.set_num_threads(thread_count())
    scratch = settings.work / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, shape in list(_SHAPES.items())[: settings.pick(2, 1)]:
        say(f"  student {name}")
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            found[name] = _measure(settings, shape, settings.pick(_TEXTS[name], 100), Path(folder))
    return {"students": found}


def _measure(settings: Settings, shape: StudentArchitecture, num_texts: int, folder: Path) -> dict:
    real = synthetic.real_texts()
    model = write_student(folder / "model", shape, real)
    # As ragged as real texts, and no two alike: equal ones cost less, not in every system.
    more = num_texts * _MORE_TEXTS
    distinct = pa.chunked_array(list(synthetic.blocks(more, real)))
    pq.write_table(pa.table({"text": distinct}), folder / "texts.parquet")
    texts = distinct.slice(0, num_texts).to_pylist()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(model / "tokenizer.json"), pad_token="[PAD]"
    )
    tokens = sum(map(len, tokenizer(texts)["input_ids"]))

    def ours(variant):
        def work() -> Timed:
            report = score(
                model,
                str(folder / "texts.parquet"),
                folder / "out.parquet",
                ScoringConfig(variant=variant),
            )
            return Timed(report.num_scored, report.seconds)

        return work

    systems = {"decant_int8": ours("onnx_int8"), "decant_torch": ours("safetensors")}
    classifier = sequence_classifier(model, tokenizer)
    systems["pipeline"] = lambda: _pipeline(classifier, texts[: max(20, num_texts // 10)], 1)
    systems[f"pipeline_{_BATCH_SIZE}"] = lambda: _pipeline(classifier, texts, _BATCH_SIZE)
    for name in ("fp32", "int8"):
        session = _session(folder / "model" / f"model.{name}.onnx")
        systems[f"onnx_{name}"] = lambda session=session: _onnx(session, tokenizer, texts)
    if find_spec("sentence_transformers"):
        embedder = _embedder(model, shape)
        systems["sentence_transformers"] = lambda: _encode(embedder, texts)
    rates = measure(systems, num_rounds=settings.num_rounds, say=lambda t: say(f"    {t}"))
    return {
        "texts": num_texts,
        "tokens_per_text": round(tokens / num_texts, 2),
        "rates": {name: rate.record() for name, rate in rates.items()},
        "ratios": {
            name: ratio(rates["decant_int8"], rate).record()
            for name, rate in rates.items()
            if name != "decant_int8"
        },
    }


def write_student(folder: Path, shape: StudentArchitecture, texts: list[str]) -> Path:
    """A delivered student with random weights: both forms, the fp32 graph too."""
    torch.manual_seed(0)
    tokenizer = tokenizing.small_tokenizer(texts)
    pad = tokenizer.token_to_id("[PAD]")
    backbone = build_student_backbone(
        shape,
        vocab_size=tokenizer.get_vocab_size(),
        pad_token_id=pad,
        max_length_tokens=tokenizing.MAX_LENGTH_TOKENS,
    )
    model = EncoderClassifier(backbone, num_labels=_NUM_LABELS, pooling="mean", dropout=0.1)
    model.eval()
    save_classifier(model, folder, problem="text_classification")
    save_tokenizer(tokenizer, folder, max_length_tokens=tokenizing.MAX_LENGTH_TOKENS)
    graph = export_onnx(model)
    write_onnx(graph, folder / "model.fp32.onnx")
    write_onnx(quantize_int8(graph, embeddings=True), folder / "model.int8.onnx")
    labels = {"labels": [f"label {number}" for number in range(_NUM_LABELS)]}
    (folder / "labels.json").write_text(json.dumps(labels))
    serving = {
        "problem": "text_classification",
        "max_length_tokens": tokenizing.MAX_LENGTH_TOKENS,
        "pad_token_id": pad,
        "normalization": {"unicode_form": "NFC", "repair_encoding": False},
    }
    (folder / "serving.json").write_text(json.dumps(serving))
    return folder


def sequence_classifier(model: Path, tokenizer: PreTrainedTokenizerFast):
    """A text-classification pipeline over a BERT of the same shape."""
    config = BertConfig.from_pretrained(model, num_labels=_NUM_LABELS)
    network = BertForSequenceClassification(config).eval()
    return pipeline("text-classification", model=network, tokenizer=tokenizer, device="cpu")


def _pipeline(classifier, texts: Sequence[str], batch_size: int) -> Timed:
    started = time.perf_counter()
    answers = classifier(list(texts), batch_size=batch_size)
    return Timed(len(answers), time.perf_counter() - started)


def _session(graph: Path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    return onnxruntime.InferenceSession(
        str(graph), sess_options=options, providers=["CPUExecutionProvider"]
    )


def _onnx(session, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Timed:
    started = time.perf_counter()
    for start in range(0, len(texts), _BATCH_SIZE):
        batch = tokenizer(
            list(texts[start : start + _BATCH_SIZE]),
            padding=True,
            truncation=True,
            max_length=tokenizing.MAX_LENGTH_TOKENS,
            return_tensors="np",
        )
        feed = {name: batch[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
        logits = session.run(["logits"], feed)[0]
        probabilities = np.exp(logits - logits.max(1, keepdims=True))
        probabilities /= probabilities.sum(1, keepdims=True)
        probabilities.argmax(1)
    return Timed(len(texts), time.perf_counter() - started)


def _embedder(model: Path, shape: StudentArchitecture):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    transformer = Transformer(str(model), max_seq_length=tokenizing.MAX_LENGTH_TOKENS)
    pooling = Pooling(shape.hidden_size, "mean")
    return SentenceTransformer(modules=[transformer, pooling], device="cpu")


def _encode(embedder, texts: Sequence[str]) -> Timed:
    started = time.perf_counter()
    embedder.encode(list(texts), batch_size=_BATCH_SIZE, show_progress_bar=False)
    return Timed(len(texts), time.perf_counter() - started)
