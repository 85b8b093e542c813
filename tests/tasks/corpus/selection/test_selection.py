"""Judging all rows from files of hashes: as a plain list of rows would be judged, in two bytes."""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from tasks.corpus.selection.deduplication import DeduplicationConfig
from tasks.corpus.selection.ledger import OUTCOMES, ROLES, Census, Ledger
from tasks.corpus.selection.selection import Piece, select
from tasks.corpus.selection.splitting import SplittingConfig

TRAIN, TRANSFER, VALID, EVAL, ADAPT = ROLES


def spread(numbers):
    """Small numbers as hashes: all bits used, so that they fall into different files."""
    values = np.asarray(numbers, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return values ^ (values >> np.uint64(29))


def random_rows(count, seed, *, pairs):
    """(role, text, second text or 0, label or None), few texts, so that rules meet each other."""
    rng = np.random.default_rng(seed)
    rows = []
    for role, number in zip(ROLES, (count, count, count // 4, count // 4, count // 2), strict=True):
        for text in rng.integers(1, 3 * count, number).tolist():
            parallel = int(rng.integers(10 * count, 13 * count)) if role == TRANSFER else 0
            if role == TRANSFER and rng.random() < 0.1:
                parallel = int(rng.integers(1, 3 * count))  # the teacher's side may leak as well
            if pairs:  # one of two partners, or some row's text
                partner = 10 * count + 2 * text + int(rng.integers(0, 2))
                parallel = partner if rng.random() < 0.9 else int(rng.integers(1, 3 * count))
            label = (
                None if role in (TRANSFER, ADAPT) else f"label{(text + (rng.random() < 0.1)) % 5}"
            )
            if role in (VALID, EVAL) and rng.random() < 0.1:
                label = "of no train row"
            rows.append((role, text, parallel, label))
    return rows


def names_by_text(rows):
    labels = defaultdict(set)
    for _, text, _, label in rows:
        if label is not None:
            labels[text].add(label)
    return labels


def naive(rows, *, pairs, fixed_labels):
    """Outcome of each row by loops over a list."""
    outcome = [""] * len(rows)
    labels = names_by_text(rows)
    for number, (_, text, _, label) in enumerate(rows):
        if label is not None and len(labels[text]) > 1 and not pairs:
            outcome[number] = "contradiction"
    seen = set()
    for number, (role, text, parallel, _) in enumerate(rows):
        key = (role, text, parallel if pairs or role == TRANSFER else 0)
        if outcome[number] == "":
            if key in seen:
                outcome[number] = "copy_exact"
            seen.add(key)
    learned = (TRAIN, TRANSFER, ADAPT)
    for yields, guards in ((VALID, EVAL), *((r, EVAL) for r in learned),
                           *((r, VALID) for r in learned)):  # fmt: skip
        kept = [row for row, found in zip(rows, outcome, strict=True) if found == ""]
        guarded = {side for role, *sides, _ in kept if role == guards for side in sides} - {0}
        for number, (role, text, parallel, _) in enumerate(rows):
            if outcome[number] == "" and role == yields and guarded & {text, parallel}:
                outcome[number] = "leak_exact"
    kept = [row for row, found in zip(rows, outcome, strict=True) if found == ""]
    known = {label for role, _, _, label in kept if role == TRAIN}
    for number, (_, _, _, label) in enumerate(rows):
        if outcome[number] == "" and label not in {None, *known} and not fixed_labels:
            outcome[number] = "unknown_label"
    return outcome


def ledger_of(rows, folder, piece=50):
    ledger = Ledger(folder)
    start = 0
    while start < len(rows):
        some = [row for row in rows[start : start + piece] if row[0] == rows[start][0]]
        role = some[0][0]
        ledger.add(
            role=role,
            language="en" if role == TRAIN else "zh",
            parallel_language="en" if role == TRANSFER else None,
            labels=[row[3] for row in some],
            text_hashes=spread([row[1] for row in some]),
            parallel_hashes=spread([row[2] for row in some]),
        )
        start += len(some)
    ledger.finish()
    return ledger


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("fixed_labels", [False, True], ids=["labels of train", "fixed labels"])
@pytest.mark.parametrize("pairs", [False, True], ids=["texts", "pairs"])
def test_rows_are_judged_as_loops_over_a_list_would(tmp_path, seed, fixed_labels, pairs):
    """A rule that saw only the rows of its own file: copies and leaks passed between files."""
    rows = random_rows(300, seed, pairs=pairs)
    ledger = ledger_of(rows, tmp_path)
    verdicts = select(
        ledger,
        required_languages=["zh"],
        deduplication=DeduplicationConfig(leak_threshold=None),
        splitting=SplittingConfig(),
        fixed_labels=fixed_labels,
        pairs_count=pairs,
        read_texts=lambda: iter(()),
    )
    expected = naive(rows, pairs=pairs, fixed_labels=fixed_labels)
    assert [OUTCOMES[code] for code in verdicts.outcome.tolist()] == expected
    assert {"", "copy_exact", "leak_exact"} <= set(expected)
    assert ("contradiction" in expected) is not pairs
    assert ("unknown_label" in expected) is not fixed_labels
    details = verdicts.details()
    names, told = names_by_text(rows), details.between(0, len(rows))
    for number, found in enumerate(expected):
        if found == "contradiction":
            both = ", ".join(sorted(names[rows[number][1]]))
            assert told[number] == f"labels of this text: {both}"
    quarantined = {n for n, found in enumerate(expected) if found and not found.startswith("copy")}
    assert set(details.between(0, len(rows))) == quarantined
    assert set(details.between(100, 200)) == {n for n in quarantined if 100 <= n < 200}
    kept = [row for row, found in zip(rows, expected, strict=True) if found == ""]
    census = Census.of(ledger, verdicts)
    assert census.train_labels == {label for role, _, _, label in kept if role == TRAIN}
    for role in ROLES:
        in_role = [row for row in kept if row[0] == role]
        assert census.count(ledger.language_code("zh"), role) == (
            0 if role == TRAIN else len(in_role)
        )
    english = [row for row in kept if row[0] in (TRAIN, TRANSFER)]
    assert sum(census.count(ledger.language_code("en"), role) for role in ROLES) == len(english)


PASS = """
import sys
from pathlib import Path
import numpy as np
from tasks.corpus.selection.deduplication import DeduplicationConfig
from tasks.corpus.selection.ledger import Census, Ledger
from tasks.corpus.selection.selection import select
from tasks.corpus.selection.splitting import SplittingConfig
rng, ledger, rows = np.random.default_rng(0), Ledger(Path(sys.argv[2])), int(sys.argv[1])
for role in ("validation", "test"):
    ledger.add(role=role, language="zh", parallel_language=None, labels=["a"] * 1000,
               text_hashes=rng.integers(0, 2**64, 1000, np.uint64),
               parallel_hashes=np.zeros(1000, np.uint64))
for start in range(0, rows, 8192):
    count = min(8192, rows - start)
    ledger.add(role="transfer", language="zh", parallel_language="en", labels=[None] * count,
               text_hashes=rng.integers(0, 2**64, count, np.uint64),
               parallel_hashes=rng.integers(0, 2**64, count, np.uint64))
ledger.finish()
verdicts = select(ledger, required_languages=["zh"], splitting=SplittingConfig(),
                  deduplication=DeduplicationConfig(leak_threshold=None), fixed_labels=True,
                  pairs_count=False, read_texts=lambda: iter(()))
Census.of(ledger, verdicts)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) * 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_hardly_grows_with_rows(tmp_path):
    """Forty bytes a row held for hash tables: 100 million rows, and the run is killed."""
    root, peaks = Path(__file__).parents[4], {}
    for rows in (200_000, 1_000_000):
        command = [sys.executable, "-c", PASS, str(rows), str(tmp_path / str(rows))]
        found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr
        peaks[rows] = int(found.stdout)
    # 2 mapped bytes a row, and a file of a 256th of the rows (28 bytes each, a few copies).
    assert (peaks[1_000_000] - peaks[200_000]) / 800_000 < 6, peaks


def test_a_validation_row_that_yields_to_the_test_guards_nothing(tmp_path):
    """Training rows went for being like a row that was itself set aside."""
    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
    # 3-grams of 20 letters, shifted by 4: 14 of 22 are shared (0.64), by 8: 10 of 26 (0.38).
    texts = [
        (TRAIN, alphabet[8:28]),
        (TRAIN, "ABCD" + alphabet[::-1][:16]),
        (VALID, alphabet[4:24]),
        (VALID, alphabet[::-1][:20]),
        (EVAL, alphabet[:20]),
    ]
    rows = [(role, number + 1, 0, "label") for number, (role, _) in enumerate(texts)]
    pieces = [Piece(n, "zh", [text], None, [None]) for n, (_, text) in enumerate(texts)]
    ledger = ledger_of(rows, tmp_path, piece=1)
    verdicts = select(
        ledger,
        required_languages=[],
        deduplication=DeduplicationConfig(near_duplicate_threshold=None, leak_threshold=0.6),
        splitting=SplittingConfig(),
        fixed_labels=True,
        pairs_count=False,
        read_texts=lambda: iter(pieces),
    )
    found = [OUTCOMES[code] for code in verdicts.outcome.tolist()]
    assert found == ["", "leak_near", "leak_near", "", ""]
    details = verdicts.details().between(0, 5)
    assert details[2] == "similarity 0.636 to a test row"
    assert details[1].endswith("to a validation row")
