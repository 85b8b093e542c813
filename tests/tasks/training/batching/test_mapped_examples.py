"""Mapped examples hold what the Parquet parts hold, and cost no memory."""

import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_contracts.artifacts import StageSummary
from data_contracts.errors import ContractViolation
from tasks.corpus.tables import read_table, write_table
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.stages import Stage, StageConfig, Workspace, run_stage
from tasks.training.batching.examples import pseudo_labels
from tasks.training.batching.mapped_examples import map_examples
from tests.tasks.small_problems import make_inputs

ROWS = {"train": [3], "transfer": [5, 4], "validation": [2]}


class Made(StageConfig):
    """Tells hand-made artifacts apart."""

    vocab_size: int
    shift: int = 0


def make(store, vocab_size=100, shift=0):
    """Tokens of some rows, and signals of them in reverse order within each part."""

    def write(config, inputs, workspace):
        rng = np.random.default_rng(0)
        number = 0
        for role, parts in ROWS.items():
            for part, rows in enumerate(parts):
                texts = [rng.integers(0, vocab_size, rng.integers(1, 9)) for _ in range(rows)]
                ids = [f"{row:032x}" for row in range(number, number + rows)]
                number += rows
                if "logits" in workspace.output.name:
                    values = pa.array(np.repeat(np.arange(number - rows, number), 3)[::-1] * 1.0)
                    logits = pa.FixedSizeListArray.from_arrays(values.cast(pa.float32()), 3)
                    table = {"example_id": ids[::-1], "logits": logits}
                else:
                    table = {
                        "example_id": ids,
                        "input_ids": pa.array(texts, pa.list_(pa.int32())),
                        "label": pa.array([row % 3 - 1 for row in range(rows)], pa.int32()),
                        "language": [("zh", "en")[row % 2] for row in range(rows)],
                    }
                path = workspace.output / role / f"part-{part:05d}.parquet"
                write_table(pa.table(table), path)
        labels = {"labels": ["a", "b", "c"]}
        (workspace.output / "labels.json").write_text(json.dumps(labels))
        (workspace.output / "tokens.json").write_text(json.dumps({"vocab_size": vocab_size}))
        return StageSummary()

    config = Made(vocab_size=vocab_size, shift=shift)
    return {
        name: run_stage(Stage(stage, 1, write), config, {}, store=store).artifact
        for name, stage in {"tokens": "tokens", "signals": "logits"}.items()
    }


def mapped(store, made, roles, **options):
    workspace = Workspace(store.root, store.root, store)
    return map_examples(
        made["tokens"], roles, problem="text_classification", workspace=workspace, **options
    )


def expected_rows(made, roles):
    """(ids, label) of every row, read the plain way."""
    import pyarrow.parquet as pq

    for role in roles:
        for path in sorted((made["tokens"].path / role).glob("*.parquet")):
            for row in pq.read_table(path).to_pylist():
                yield row["example_id"], row["input_ids"], row["label"]


@pytest.mark.parametrize("vocab_size", [100, 65_536, 65_537])
def test_mapped_examples_are_the_rows_of_the_parts(store, vocab_size):
    """Ids above 65,535 wrapped around in 16 bits; labels of the neighbour's row."""
    made = make(store, vocab_size)
    roles = ["transfer", "train"]
    examples = mapped(store, made, roles, signals=made["signals"])
    rows = list(expected_rows(made, roles))
    assert len(examples) == len(rows) == 12
    ids = examples.input_ids
    for row, (example_id, tokens, label) in enumerate(rows):
        start, stop = ids.offsets[row : row + 2]
        assert ids.values[start:stop].tolist() == tokens
        assert (ids.lengths[row], examples.labels[row]) == (len(tokens), label)
        assert examples.teacher_logits[row].tolist() == [float(int(example_id, 16))] * 3
    assert examples.label_names == ("a", "b", "c")
    assert pseudo_labels(examples).labels.tolist() == [0] * 12
    assert ids.values.dtype == (np.int32 if vocab_size > 65_536 else np.uint16)


def test_students_of_the_same_signals_share_one_mapping(store):
    """Ten seeds decoded the same million rows ten times."""
    made = make(store)
    mapped(store, made, ["transfer"], signals=made["signals"])
    mapped(store, made, ["transfer"], signals=made["signals"])
    assert len(list(store.root.glob("artifacts/examples/*"))) == 1
    mapped(store, made, ["transfer"], signals=None)
    assert len(list(store.root.glob("artifacts/examples/*"))) == 2


def test_a_gold_label_student_learns_from_the_labelled_rows_alone(store):
    """A step without one labelled row has no gradient: its backward pass raises."""
    made = make(store)
    kept = mapped(store, made, ["transfer"], signals=made["signals"], labelled_only=True)
    rows = [row for row in expected_rows(made, ["transfer"]) if row[2] >= 0]
    assert kept.labels.tolist() == [label for _, _, label in rows]
    assert kept.teacher_logits[:, 0].tolist() == [float(int(row[0], 16)) for row in rows]


def test_roles_without_rows_are_refused(store):
    """An empty mapping is an error of the operating system that names no role."""
    with pytest.raises(ContractViolation, match="no rows of role test"):
        mapped(store, make(store), ["test"], signals=None)


def test_what_the_teacher_reads_beside_is_the_same_row_by_id(store):
    """A student compared, layer by layer, with what its teacher says of another text."""
    made = make(store)

    def write(config, inputs, workspace):
        """The same rows in reverse, cut otherwise, all in one part."""
        rows = [row for role in ROWS for row in expected_rows(made, [role])][::-1]
        ids = [[int(row[0], 16), 50_000] for row in rows]
        table = {"example_id": [row[0] for row in rows], "input_ids": ids}
        write_table(
            pa.table(table, schema=pa.schema([("example_id", pa.string()),
                                              ("input_ids", pa.list_(pa.int32()))])),
            workspace.output / "train" / "part-00000.parquet",
        )  # fmt: skip
        for name in ("labels.json", "tokens.json"):
            facts = json.loads((made["tokens"].path / name).read_text())
            (workspace.output / name).write_text(json.dumps({**facts, "pad_token_id": 7}))
        return StageSummary()

    theirs = run_stage(Stage("tokens", 2, write), Made(vocab_size=1), {}, store=store).artifact
    roles = ["train", "transfer"]
    examples = mapped(store, made, roles, signals=None, teacher_tokens=theirs, groups="role")
    offsets, values = examples.teacher_ids.offsets, examples.teacher_ids.values
    found = [values[a:b].tolist() for a, b in pairwise(offsets)]
    assert found == [[int(row[0], 16), 50_000] for row in expected_rows(made, roles)]
    assert examples.teacher_pad_id == 7
    assert examples.group_names == ("train", "transfer")
    assert examples.groups.tolist() == [0] * 3 + [1] * 9


def test_of_a_long_context_the_teacher_reads_the_same_window(store, publish):
    """The end of a context trained as the teacher reads its beginning: they share the example."""

    def questions(role, language):
        rooms = ["hall", "attic", "cellar", "garden"]
        for i in range(4):
            text = " ".join(f"The {room} is {i + n} wide." for n, room in enumerate(rooms))
            yield {
                "text": text, "parallel_text": None, "question": f"How wide is the {rooms[i]}?",
                "domain": None, "answer_starts": [], "answer_texts": [],
            }  # fmt: skip

    labels = ["start", "end"]
    made = make_inputs(store, publish, "question_answering", questions, labels, num_seeds=1)
    examples = map_examples(
        made["student_tokens"],
        ["transfer"],
        problem="question_answering",
        signals=made["teacher_signals"],
        teacher_tokens=made["teacher_tokens"],
        workspace=Workspace(store.root, store.root, store),
    )
    mine, theirs = examples.input_ids, examples.teacher_ids
    assert len(mine) == 4 * 7, "seven windows of each question"
    assert theirs.values.tolist() == mine.values.tolist()
    assert theirs.offsets.tolist() == mine.offsets.tolist()


PASS = """
import sys
from pathlib import Path
import numpy as np, pyarrow as pa
from data_contracts.artifacts import StageSummary
from tasks.corpus.tables import write_table
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.stages import Stage, StageConfig, Workspace, run_stage
from tasks.training.batching.mapped_examples import map_examples
parts, store = int(sys.argv[1]), ArtifactStore(Path(sys.argv[2]))
def write(config, inputs, workspace):
    rng = np.random.default_rng(0)
    for part in range(parts):
        rows = 25_000
        offsets = np.arange(0, 20 * rows + 1, 20, dtype=np.int32)
        ids = pa.ListArray.from_arrays(offsets, rng.integers(0, 999, 20 * rows, dtype=np.int32))
        keys = [f"{part * rows + row:032x}" for row in range(rows)]
        labels = pa.array(np.zeros(rows, np.int32))
        tags = pa.array(["zh"] * rows)
        columns = {"example_id": keys, "input_ids": ids, "label": labels, "language": tags}
        write_table(pa.table(columns),
                    workspace.output / "transfer" / f"part-{part:05d}.parquet")
    (workspace.output / "labels.json").write_text('{"labels": ["a", "b"]}')
    (workspace.output / "tokens.json").write_text('{"vocab_size": 999}')
    return StageSummary()
tokens = run_stage(Stage("tokens", 1, write), StageConfig(), {}, store=store).artifact
workspace = Workspace(store.root, store.root, store)
# The peak is that of mapping, not of writing these rows: forget the one so far.
pa.default_memory_pool().release_unused()
Path("/proc/self/clear_refs").write_text("5")
examples = map_examples(
    tokens, ["transfer"], problem="text_classification", signals=None, workspace=workspace
)
values = examples.input_ids.values
total = sum(int(values[at : at + 1000].sum()) for at in range(0, len(values), 100_000))
# What is free already, the allocator gives back some time later, on a busy machine much later.
pa.default_memory_pool().release_unused()
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["RssAnon"].split()[0]), int(status["VmHWM"].split()[0]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_rows(tmp_path):
    """A million more rows, and the training that ran yesterday is killed for memory."""
    peaks = {}
    for parts in (2, 8):
        command = [sys.executable, "-c", PASS, str(parts), str(tmp_path / str(parts))]
        root = Path(__file__).parents[4]
        found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr
        peaks[parts] = [int(value) * 1024 for value in found.stdout.split()]
    # 150,000 rows of 20 tokens more: 24 MB as arrays in memory, and as much again while joining.
    anonymous = peaks[8][0] - peaks[2][0]
    assert anonymous / 150_000 < 40, peaks
    assert (peaks[8][1] - peaks[2][1]) / 150_000 < 120, peaks


def test_rows_and_labels_are_kept_by_language(store):
    """A zero-shot baseline that saw target-language rows, or a loss that saw their labels."""
    made = make(store)
    rows = list(expected_rows(made, ["train", "transfer"]))
    languages = [("zh", "en")[row % 2] for count in (3, 5, 4) for row in range(count)]
    english = mapped(store, made, ["train", "transfer"], signals=None, languages=["en"])
    kept = [ids for (_, ids, _), spoken in zip(rows, languages, strict=True) if spoken == "en"]
    found = [
        english.input_ids.values[start:stop].tolist()
        for start, stop in zip(
            english.input_ids.offsets[:-1], english.input_ids.offsets[1:], strict=True
        )
    ]
    assert found == kept
    all_rows = mapped(store, made, ["train", "transfer"], signals=None, label_languages=["en"])
    assert all_rows.labels.tolist() == [
        label if spoken == "en" else -1
        for (_, _, label), spoken in zip(rows, languages, strict=True)
    ]


def test_the_teacher_decides_at_its_own_thresholds(store, publish, tmp_path):
    """A student of "hard pseudo-labels" that trains on others than the teacher gives: a baseline
    that is weaker than it is, and distillation's gain over it."""
    names = ["lamp", "music", "door"]

    def rows_of(role, language):
        for number in range(8):
            chosen = [name for i, name in enumerate(names) if number >> i & 1]
            yield {
                "text": " ".join(["turn", "on", *chosen]),
                "parallel_text": None,
                "labels": chosen,
            }

    inputs = make_inputs(store, publish, "multilabel_classification", rows_of, names, num_seeds=1)
    said = read_table(inputs["teacher_signals"].path / "transfer" / "part-1.parquet")
    probabilities = 1 / (1 + np.exp(-np.array(said["logits"].to_pylist(), dtype=np.float64)))
    thresholds = np.quantile(probabilities, 0.3, axis=0)

    def write_signals(output):
        # the teacher counts its classes in another order than the student
        shutil.copytree(inputs["teacher_signals"].path, output, dirs_exist_ok=True)
        (output / "labels.json").write_text(json.dumps({"labels": ["door", "lamp", "music"]}))
        (output / "thresholds.json").write_text(json.dumps({"thresholds": thresholds.tolist()}))

    signals = publish(ArtifactStore(tmp_path), "teacher_signals", write_signals)
    examples = map_examples(
        inputs["student_tokens"], ["transfer"], problem="multilabel_classification",
        signals=signals, workspace=Workspace(store.root, store.root, store),
    )  # fmt: skip
    expected = (probabilities >= thresholds)[:, [1, 2, 0]]
    assert 0 < expected.mean() < 1
    assert (pseudo_labels(examples).labels == expected).all()
    assert (expected != (probabilities[:, [1, 2, 0]] >= 0.5)).any()
