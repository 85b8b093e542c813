"""The figures that choose a step change only with the version that is in the keys of its models.

What `Problem.score` says of answers drawn once is kept in tests/golden/scores.json, beside
`Problem.score_version`. To record it anew, because a figure was to change (raise the problem's
score_version):  GOLDEN=write pytest tests/test_golden_scores.py
"""

import json
import os
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks.problems import PROBLEMS

GOLDEN = Path(__file__).parent / "golden" / "scores.json"
CLASSES = {
    "text_classification": ("off", "on", "dim"),
    "matching": ("0", "1"),
    "multilabel_classification": ("light", "music", "news"),
    "token_classification": ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"),
    "question_answering": ("start", "end"),
    "sentence_embedding": ("0", "1", "2", "3"),
}
NUM_ROWS = 24


def drawn(rng, *shape):
    """Of integers, and so alike on every machine."""
    size = int(np.prod(shape))
    return np.array([rng.randint(-400, 400) / 100 for _ in range(size)]).reshape(shape)


def questions(rng):
    """Contexts of nine units read in two windows; one in four holds no answer."""
    rows = []
    for number in range(NUM_ROWS):
        start = rng.randrange(9)
        end = min(8, start + rng.randrange(3))
        start, end = (-2, -2) if number % 4 == 0 else (start, end)
        for window, first_unit in enumerate((0, 3)):
            rows.append(
                {"example_id": f"{number:032x}", "window": window, "first_unit": first_unit,
                 "unit_positions": list(range(3, 9)), "start_unit": start, "end_unit": end,
                 "num_units": 9}
            )  # fmt: skip
    return rows


def rows_of(problem, rng):
    """The columns that hold what is right."""
    count = len(CLASSES[problem])
    if problem == "question_answering":
        return questions(rng)
    if problem == "token_classification":
        sizes = [1 + rng.randrange(8) for _ in range(NUM_ROWS)]
        return [
            {"unit_positions": list(range(1, 1 + size)),
             "unit_labels": [rng.randrange(count) for _ in range(size)]}
            for size in sizes
        ]  # fmt: skip
    if problem == "multilabel_classification":
        return [
            {"labels": [c for c in range(count) if rng.random() < 0.4]} for _ in range(NUM_ROWS)
        ]
    if problem == "sentence_embedding":
        vectors = drawn(rng, NUM_ROWS, count)
        vectors[5] = vectors[2]  # two translations of one sentence
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return [{"embedding": row} for row in vectors.astype(np.float32).tolist()]
    return [{"label": rng.randrange(count)} for _ in range(NUM_ROWS)]


def figures_of(problem):
    rng = random.Random(7)
    labels = CLASSES[problem]
    table = pa.Table.from_pylist(rows_of(problem, rng))
    if problem == "sentence_embedding":
        vectors = table["embedding"].cast(pa.list_(pa.float32(), len(labels)))
        table = pa.table({"embedding": vectors})
    one = PROBLEMS[problem]
    answers = one.answers(table, num_labels=len(labels))
    right = answers.labels
    logits = drawn(rng, len(right), len(labels)).astype(np.float32)
    if right.ndim == 2:
        logits += ((8 if problem == "sentence_embedding" else 2) * right).astype(np.float32)
    elif problem == "question_answering":
        # Labels are sums: 1 where an answer starts, 2 where one ends.
        logits += 3 * np.stack([right & 1, right >> 1], axis=1).clip(0).astype(np.float32)
    else:
        logits[np.arange(len(right)), right] += 2
    if problem == "sentence_embedding":
        logits /= np.linalg.norm(logits, axis=1, keepdims=True)
    return one.score(table, logits, answers, labels=labels)


def test_every_problem_that_chooses_a_step_is_here():
    """A new problem whose figures nobody holds."""
    assert set(CLASSES) == set(PROBLEMS)


@pytest.mark.parametrize("problem", CLASSES)
def test_validation_figures_change_only_with_their_version(problem):
    """Figures mended without a new version: students of one key, of whom some were kept at another
    step, and a cache that never makes them again."""
    found = figures_of(problem)
    version = PROBLEMS[problem].score_version
    assert set(PROBLEMS[problem].metrics) <= set(found)
    primary = PROBLEMS[problem].metrics[0]
    assert 0.3 < found[primary] < 0.99, "answers that are all right or all wrong tell nothing"
    kept = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("GOLDEN") == "write":
        before = kept.get(problem, {"score_version": version - 1, "figures": None})
        assert before["figures"] == found or before["score_version"] != version, "raise it first"
        kept[problem] = {"score_version": version, "figures": found}
        GOLDEN.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
        return
    assert version == kept[problem]["score_version"], "record the new version"
    assert found == pytest.approx(kept[problem]["figures"], rel=1e-6), (
        f"the figures of {problem} changed: raise its score_version from {version}, then record"
    )
