"""What each system answers on its test set, and the same as Parquet.

The teacher's answers are its signals, read once: it is never run again here. Floors learn from the
same rows as the student. C is the number of classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_contracts.tables import check_table
from tasks.comparison.material import TRAINED_SYSTEMS, Material
from tasks.corpus.tables import write_table
from tasks.metrics.calibration import top_probabilities
from tasks.metrics.floors import linear_probabilities, majority_class
from tasks.metrics.systems import Answers
from tasks.problems import load_model
from tasks.runtime.device import has_cuda
from tasks.runtime.progress import Progress
from tasks.runtime.seeding import generator
from tasks.training.inference import predict_logits
from tasks.training.loop import place


def teacher_answers(material: Material) -> Answers:
    """The teacher on the source-language test rows."""
    tests = material.test_rows("teacher")
    return _answers(tests, [top_probabilities(material.teacher_logits(tests["example_id"]))])


def trained_answers(material: Material, progress: Progress) -> Iterator[tuple[str, Answers]]:
    """Student, pseudo-label student and supervised bound on the target-language test rows."""
    tests = material.test_rows("student")
    for system in TRAINED_SYSTEMS:
        if artifacts := material.seeds(system):
            progress.say(f"evaluation: {system}, {len(artifacts)} seeds, {len(tests)} test texts")
            models = (artifact.path / "model" for artifact in artifacts)
            logits = (student_logits(material, model, tests["input_ids"]) for model in models)
            yield system, _answers(tests, [top_probabilities(found) for found in logits])


def floor_answers(
    material: Material, *, train_on: Sequence[str], linear: bool, max_texts: int, seed: int
) -> Iterator[tuple[str, Answers]]:
    """The floors on the target-language test rows.

    Args:
        train_on: roles of the rows they learn from: the student's own.
        linear: whether to train the linear ones.
        max_texts: the linear ones learn from a random draw of this many rows at most.
        seed: of that draw.

    Yields:
        `linear_pseudo_label`, `linear_gold` (where rows carry labels of two classes), `majority`.
    """
    tests = material.test_rows("student")
    rows = material.rows("student", train_on)
    pseudo_labels = material.teacher_logits(rows["example_id"]).argmax(axis=1)
    num_classes = len(material.label_names)
    if linear:
        drawn = np.arange(len(rows))
        if len(rows) > max_texts:
            rng = generator(seed, "linear floor")
            drawn = np.sort(rng.choice(len(rows), max_texts, replace=False))
        ids = rows["example_id"].take(pa.array(drawn))
        texts = np.array(material.texts("student", train_on, ids), dtype=object)
        test_texts = material.texts("student", ["test"], tests["example_id"])
        gold = rows["label"].to_numpy()
        for name, labels in (("linear_pseudo_label", pseudo_labels), ("linear_gold", gold)):
            known = labels[drawn] >= 0
            if np.unique(labels[drawn][known]).size >= 2:
                probabilities, _ = linear_probabilities(
                    texts[known].tolist(), labels[drawn][known], test_texts, num_classes=num_classes
                )
                decided = probabilities.argmax(axis=1)
                yield name, _answers(tests, [(decided, probabilities.max(axis=1))])
    # Its honest probability is how often that class occurs in what the student learned from.
    chosen = majority_class(pseudo_labels)
    share = float((pseudo_labels == chosen).mean())
    yield "majority", _answers(tests, [(np.full(len(tests), chosen), np.full(len(tests), share))])


def student_logits(material: Material, model: Path, input_ids: pa.ChunkedArray) -> np.ndarray:
    """Logits (rows, C) of the student saved in the folder `model`, fp32."""
    facts = material.token_facts("student")
    network = load_model(model)
    if has_cuda():  # on a CPU, `place` would set the number of threads that timing relies on
        network = network.to(place())
    return predict_logits(network, input_ids, pad_token_id=facts["pad_token_id"])


def write_predictions(
    answers: Mapping[str, Answers], label_names: Sequence[str], folder: Path
) -> None:
    """Write `<system>.parquet` for single runs, `<system>_<seed index>.parquet` for several seeds.

    Columns: example_id, label, prediction (names), confidence; see predictions.odcs.yaml.

    Raises: ContractViolation if a table breaks it.
    """
    names = np.array(label_names, dtype=object)
    for system, found in answers.items():
        several = system in TRAINED_SYSTEMS
        for i, (decided, sure) in enumerate(zip(found.predictions, found.confidences, strict=True)):
            table = pa.table(
                {
                    "example_id": pa.array(found.example_ids, pa.string()),
                    "label": pa.array(names[found.labels], pa.string()),
                    "prediction": pa.array(names[decided], pa.string()),
                    # Rounding may lift a sum of probabilities above one by an ulp.
                    "confidence": pa.array(np.minimum(sure, 1.0), pa.float32()),
                }
            )
            check_table(table, "predictions")
            write_table(
                table, folder / (f"{system}_{i}.parquet" if several else f"{system}.parquet")
            )


def _answers(tests: pa.Table, runs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Answers:
    return Answers(
        example_ids=tuple(tests["example_id"].to_pylist()),
        labels=tests["label"].to_numpy().astype(np.int64),
        predictions=np.stack([decided for decided, _ in runs]),
        confidences=np.stack([sure for _, sure in runs]),
    )
