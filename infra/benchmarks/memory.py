"""Peak memory and seconds against rows: ingestion → tokenization → signals → loading → training.

Every step of every size runs in a process of its own, through the public stage functions, so its
peak is its own. What a process needs before it sees a row (imports) is measured too, as the step
`nothing`. Memory is what cannot be dropped: anonymous pages, sampled, and the whole of the largest
child; pages of mapped files are left out, because the kernel takes them back when memory is short
(the resident peak with them is recorded beside it).

The teacher is an encoder of one layer with random weights, so that signals of ten million rows are
a matter of minutes; what a larger one holds more are its weights. Training is the engine's, with
validations and a checkpoint, for the first steps of an epoch: see first_steps.py.

Sizes are given by --rows; the slope is over the largest two.

    infra/benchmarks/run memory --rows 10000,100000,1000000,10000000
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from infra.benchmarks import synthetic
from infra.benchmarks.settings import Settings, say

STEPS = ("nothing", "ingestion", "tokenization", "signals", "loading", "training")
# Nearly all that 10,000 rows have. Each has another number of tokens, and oneDNN keeps code for
# what it multiplied: in 48 steps that growth is not seen.
TRAINING_STEPS = 144
_VALIDATIONS = 2
_BATCH_SIZE = 64
_PROBLEM = "text_classification"
_MAX_LENGTH_TOKENS = 48


def run(settings: Settings, section: str) -> dict:
    """Measure each size; JSON values."""
    texts = synthetic.real_texts()
    found = []
    for num_rows in settings.memory_rows:
        folder = settings.work / "scratch" / f"memory-{num_rows}"
        shutil.rmtree(folder, ignore_errors=True)
        synthetic.write_parquet(folder / "texts.parquet", num_rows, texts)
        _write_tokenizer(folder, texts)
        measured = {}
        for step in STEPS:
            measured[step] = _child(step, folder)
            seconds, peak = measured[step]["seconds"], measured[step]["peak_mib"]
            say(f"  {num_rows:>12,} rows  {step:<13}{seconds:8.1f} s  {peak:8,.0f} MiB")
        measured["ingestion"]["input_mib"] = round(
            (folder / "texts.parquet").stat().st_size / 2**20, 1
        )
        found.append({"rows": num_rows, "steps": measured})
        if not settings.tiny:  # a smoke run's is small, and is looked at
            shutil.rmtree(folder)
    training = {"steps": TRAINING_STEPS, "batch_size": _BATCH_SIZE, "validations": _VALIDATIONS}
    return {"sizes": found, "slopes": slopes(found), "training": training}


def slopes(sizes: list[dict]) -> dict[str, dict[str, float]]:
    """Bytes and microseconds a row of each step, between the two largest sizes."""
    if len(sizes) < 2:
        return {}
    small, large = sorted(sizes, key=lambda size: size["rows"])[-2:]
    rows = large["rows"] - small["rows"]
    return {
        step: {
            "bytes_a_row": (large["steps"][step]["peak_mib"] - small["steps"][step]["peak_mib"])
            * 2**20
            / rows,
            "microseconds_a_row": (
                large["steps"][step]["seconds"] - small["steps"][step]["seconds"]
            )
            * 1e6
            / rows,
        }
        for step in STEPS
    }


def _child(step: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "infra.benchmarks.memory", step, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _write_tokenizer(folder: Path, texts: list[str]) -> None:
    from infra.benchmarks.tokenizing import small_tokenizer
    from tasks.corpus.tokenizers.tokenizer import save_tokenizer

    save_tokenizer(
        small_tokenizer(texts), folder / "tokenizer", max_length_tokens=_MAX_LENGTH_TOKENS
    )


def ingestion_inputs(folder: Path) -> tuple:
    """Stage, configuration and inputs of the step ingestion: `texts.parquet` as transfer rows."""
    from tasks import ingestion
    from tasks.corpus.sources.source import FileSource
    from tasks.demo_data.home_assistant import HomeAssistantSource

    def labelled(name: str, role: str, language: str, other: str) -> HomeAssistantSource:
        return HomeAssistantSource(
            name=name,
            format="home_assistant_intents",
            role=role,
            language=language,
            shared_with=(other,),
            rows_per_intent=20,
        )

    sources = [
        labelled("en-train", "train", "en", "zh"),
        *(
            labelled(f"{language}-{role}", role, language, other)
            for role in ("validation", "test")
            for language, other in (("en", "zh"), ("zh", "en"))
        ),
        FileSource(
            name="transfer",
            format="parquet",
            uri=str(folder / "texts.parquet"),
            role="transfer",
            language="zh",
        ),
    ]
    config = ingestion.Config(
        source_language="en", target_language="zh", sources=tuple(sources), max_quarantine_rate=1
    )
    return ingestion.STAGE, config, {}


def tokenization_inputs(folder: Path, corpus) -> tuple:
    """Stage, configuration and inputs of the step tokenization, with a tokenizer that is there."""
    from tasks import tokenization
    from tasks.corpus.tokenizers.config import PretrainedTokenizer

    config = tokenization.Config(
        languages=("zh",),
        tokenizer=PretrainedTokenizer(kind="pretrained", uri=str(folder / "tokenizer")),
        max_length_tokens=_MAX_LENGTH_TOKENS,
        roles=("transfer", "validation"),
    )
    return tokenization.STAGE, config, {"corpus": corpus}


def _run_stage(folder: Path, stage, config, inputs):
    from tasks.runtime.artifacts import ArtifactStore
    from tasks.runtime.machine.device import cpu_count
    from tasks.runtime.stages import run_stage

    store = ArtifactStore(folder / "home")
    outcome = run_stage(stage, config, inputs, store=store, workers=cpu_count())
    (folder / f"{stage.name}.path").write_text(str(outcome.artifact.path))
    return outcome.artifact


def _artifact(folder: Path, name: str):
    from tasks.runtime.artifacts import ArtifactStore

    return ArtifactStore(folder / "home").open(Path((folder / f"{name}.path").read_text()))


def _nothing(folder: Path) -> None:
    """Imports alone."""
    import datasets  # noqa: F401
    import torch  # noqa: F401

    from tasks.training.engine import loop  # noqa: F401


def _ingestion(folder: Path) -> None:
    _run_stage(folder, *ingestion_inputs(folder))


def _tokenization(folder: Path) -> None:
    _run_stage(folder, *tokenization_inputs(folder, _artifact(folder, "corpus")))


def _encoder(tokens: Path, *, num_labels: int, **shape: int):
    """A classifier with random weights for texts read as in `tokens`."""
    from tasks.corpus.tokens.facts import read_token_facts
    from tasks.modeling.backbones.encoder import build_student_backbone
    from tasks.modeling.config import StudentArchitecture
    from tasks.modeling.heads.classifier import EncoderClassifier, initialise

    facts = read_token_facts(tokens)
    initialise(0)
    backbone = build_student_backbone(
        StudentArchitecture(**shape),
        vocab_size=facts["vocab_size"],
        pad_token_id=facts["pad_token_id"],
        max_length_tokens=facts["max_length_tokens"],
    )
    return EncoderClassifier(backbone, num_labels=num_labels, pooling="mean", dropout=0.1)


def _write_teacher(config, inputs, workspace):
    from data_contracts.artifacts import StageSummary
    from tasks.problems import PROBLEMS
    from tasks.training.batching.examples import read_labels
    from tasks.training.fitting.fit import write_model

    tokens = inputs["tokens"].path
    shape = {"num_layers": 1, "hidden_size": 64, "num_heads": 2, "intermediate_size": 128}
    model = _encoder(tokens, num_labels=len(read_labels(tokens)), **shape)
    write_model(model, workspace.output / "model", PROBLEMS[_PROBLEM], tokens)
    return StageSummary()


def _signals(folder: Path) -> None:
    """A teacher's logits of every transfer row."""
    from tasks import teacher_signals
    from tasks.runtime.stages import Stage, StageConfig

    tokens = _artifact(folder, "tokens")
    stage = Stage("teacher", 1, _write_teacher)
    teacher = _run_stage(folder, stage, StageConfig(), {"tokens": tokens})
    config = teacher_signals.Config(roles=("transfer",))
    _run_stage(folder, teacher_signals.STAGE, config, {"teacher": teacher, "tokens": tokens})


def _workspace(folder: Path):
    from tasks.runtime.artifacts import ArtifactStore
    from tasks.runtime.stages import Workspace

    return Workspace(folder / "output", folder / "work", ArtifactStore(folder / "home"))


def _mapped(folder: Path):
    """The transfer rows as training maps them, with the teacher's logits."""
    from tasks.training.batching.mapped_examples import map_examples

    return map_examples(
        _artifact(folder, "tokens"),
        ["transfer"],
        problem=_PROBLEM,
        signals=_artifact(folder, "teacher_signals"),
        workspace=_workspace(folder),
    )


def _loading(folder: Path) -> None:
    """An epoch's batches in random order, all of them."""
    from infra.benchmarks.epochs import epoch_batches

    examples = _mapped(folder)
    for _ in epoch_batches(examples, _BATCH_SIZE, pad_token_id=0):
        pass


def _training(folder: Path) -> None:
    """A student's first steps as the stage `student` trains it: on what its teacher chose."""
    from infra.benchmarks.first_steps import first_steps
    from tasks.training.batching.examples import pseudo_labels
    from tasks.training.fitting.fit import fit
    from tasks.training.objectives.config import blend
    from tasks.training.objectives.objective import Objective
    from tasks.training.optimization.config import TrainingConfig

    tokens = _artifact(folder, "tokens").path
    examples = first_steps(pseudo_labels(_mapped(folder)), TRAINING_STEPS * _BATCH_SIZE)
    shape = {"num_layers": 2, "hidden_size": 192, "num_heads": 4, "intermediate_size": 768}
    fit(
        _encoder(tokens, num_labels=len(examples.label_names), **shape),
        examples,
        Objective(blend(0.8, 2.0)),
        TrainingConfig(
            num_epochs=1,
            batch_size=_BATCH_SIZE,
            learning_rate=1e-3,
            validations_per_epoch=_VALIDATIONS,
        ),
        problem=_PROBLEM,
        tokens=tokens,
        seed=0,
        workspace=_workspace(folder),
    )


def _status_mib(field: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


class _AnonymousPeak:
    """The largest number of anonymous MiB seen while the block ran, every 10 ms."""

    def __enter__(self):
        self.mib, self._over = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _watch(self):
        while True:
            self.mib = max(self.mib, _status_mib("RssAnon"))
            if self._over.wait(0.01):
                return


def main() -> None:
    """One step in this process; figures as the last line of stdout."""
    step, folder = sys.argv[1], Path(sys.argv[2])
    work = {
        "nothing": _nothing,
        "ingestion": _ingestion,
        "tokenization": _tokenization,
        "signals": _signals,
        "loading": _loading,
        "training": _training,
    }[step]
    started = time.perf_counter()
    with _AnonymousPeak() as peak:
        work(folder)
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - started,
                "peak_mib": peak.mib + child,
                "resident_peak_mib": _status_mib("VmHWM") + child,
            }
        )
    )


if __name__ == "__main__":
    main()
