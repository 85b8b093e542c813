"""sentence-transformers: the cross-lingual recipe of its docs, `MSELoss` on teacher embeddings.

Another objective (embeddings, not answers), so only its rate is comparable, not its score. The
teacher's embeddings are in the data set beforehand, as its multilingual example keeps them.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.losses import MSELoss
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer
from transformers import PrinterCallback

from infra.benchmarks.material import Material
from infra.benchmarks.rounds import Timed
from tasks.runtime.machine.device import thread_count


def embedder(material: Material, *, teacher_width: int | None = None) -> SentenceTransformer:
    """A student of the same shape; projected to the teacher's width if one is given."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backbone = material.plain_student().backbone
        backbone.save_pretrained(folder)
        for file in (material.student_tokens / "tokenizer").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        transformer = Transformer(
            str(folder), max_seq_length=material.student_facts["max_length_tokens"]
        )
    width = backbone.config.hidden_size
    modules = [transformer, Pooling(width, "mean")]
    if teacher_width is not None:
        modules.append(Dense(width, teacher_width, activation_function=torch.nn.Identity()))
    return SentenceTransformer(modules=modules, device="cpu")


def training_round(material: Material, texts: list[str], teacher_width: int) -> Timed:
    """One epoch over the texts with MSELoss."""
    torch.set_num_threads(thread_count())
    model = embedder(material, teacher_width=teacher_width)
    targets = np.random.default_rng(0).normal(size=(len(texts), teacher_width))
    data = Dataset.from_dict({"sentence": texts, "label": targets.astype(np.float32).tolist()})
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=material.config.training.batch_size,
            learning_rate=material.config.training.learning_rate,
            use_cpu=True,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
        )
        trainer = SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=data, loss=MSELoss(model)
        )
        trainer.remove_callback(PrinterCallback)
        started = time.perf_counter()
        trainer.train()
        return Timed(len(texts), time.perf_counter() - started)
