"""A whole tiny problem: CSV files in two languages, a random teacher, and a recipe over them."""

import contextlib
import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.flows.preloaded import Preloaded

ROOMS = {
    "kitchen": "厨房", "bedroom": "卧室", "garage": "车库", "garden": "花园", "office": "办公室",
    "hall": "走廊", "attic": "阁楼", "cellar": "地下室", "bathroom": "浴室", "terrace": "露台",
}  # fmt: skip
INTENTS = {
    "on": (("turn on the light in the {}", "switch the {} light on", "light up the {}"),
           ("打开{}的灯", "把{}的灯打开", "让{}亮起来")),
    "off": (("turn off the light in the {}", "switch the {} light off", "make the {} dark"),
            ("关闭{}的灯", "把{}的灯关掉", "让{}暗下来")),
    "heat": (("how warm is it in the {}", "what is the {} temperature", "is the {} cold"),
             ("{}现在几度", "{}的温度是多少", "{}冷不冷")),
}  # fmt: skip


def pairs():
    """(label, English, Chinese) of every intent, wording and room: 90 rows."""
    return [
        (label, english.format(room), chinese.format(ROOMS[room]))
        for label, (in_english, in_chinese) in INTENTS.items()
        for english, chinese in zip(in_english, in_chinese, strict=True)
        for room in ROOMS
    ]


def write_csv(path, header, rows):
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def write_teacher(folder):
    """A BERT with random weights and a vocabulary of the tests' own words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    texts = [english for _, english, _ in pairs()]
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=200, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Folder with `recipe.yaml`, its CSV files and its teacher; a run takes some ten seconds."""
    folder = tmp_path_factory.mktemp("tiny")
    write_teacher(folder / "teacher")
    rows = pairs()
    parts = {"train": rows[0::3] + rows[1::3], "validation": rows[2::6], "test": rows[5::6]}
    sources = []
    for role, chosen in parts.items():
        write_csv(folder / f"en-{role}.csv", ["text", "label"], [(e, n) for n, e, _ in chosen])
        sources.append((f"en-{role}", role, "en", {"label": "label"}))
        if role != "train":
            write_csv(folder / f"zh-{role}.csv", ["text", "label"], [(c, n) for n, _, c in chosen])
            sources.append((f"zh-{role}", role, "zh", {"label": "label"}))
    write_csv(
        folder / "zh-pairs.csv", ["zh", "en", "label"], [(c, e, n) for n, e, c in parts["train"]]
    )
    columns = {"text": "zh", "parallel_text": "en", "label": "label"}
    sources.append(("zh-pairs", "transfer", "zh", columns))
    training = {"num_epochs": 4, "batch_size": 16, "learning_rate": 0.003}
    recipe = {
        "name": "tiny",
        "source_language": "en",
        "target_language": "zh",
        "data": {
            "sources": [
                {
                    "name": name,
                    "format": "csv",
                    "uri": str(folder / f"{name}.csv"),
                    "role": role,
                    "language": language,
                    "columns": columns,
                    **({"parallel_language": "en"} if role == "transfer" else {}),
                }
                for name, role, language, columns in sources
            ],
            # 90 rows of nine wordings are all alike; near copies are another file's tests.
            "deduplication": {"leak_threshold": None},
        },
        "teacher": {
            "model": str(folder / "teacher"),
            "max_length_tokens": 24,
            "training": training,
        },
        "student": {
            "tokenizer": {"kind": "wordpiece", "vocab_size": 120},
            "max_length_tokens": 24,
            "architecture": {
                "num_layers": 2,
                "hidden_size": 32,
                "num_heads": 2,
                "intermediate_size": 64,
            },
            "training": training,
        },
        # An untrained student is unsure: a rounding may flip one of its 15 answers.
        "export": {"min_int8_agreement": 0.0},
        "evaluation": {
            "num_resamples": 100,
            "speed": {"latency_texts": 5, "latency_seconds": 0.2, "rounds_seconds": 0.2},
        },
        "registration": {
            "model_name": "tiny-en-zh",
            "gates": {
                "max_drop_vs_teacher": 100,
                "min_gain_over_no_kd": -100,
                "min_int8_agreement": 0,
                "max_latency_ms_p50": None,
            },
        },
    }
    # JSON is YAML too, and has no anchors for the parts used twice.
    (folder / "recipe.yaml").write_text(json.dumps(recipe, ensure_ascii=False), encoding="utf-8")
    return folder


class CommandLine:
    """The command line in processes of their own, with a home of their own.

    They are interpreters of their own, or forks of one that is `preloaded`.
    """

    def __init__(self, folder, preloaded=None):
        self.folder = folder
        self.home = folder / "home"
        self._preloaded = preloaded

    def start(self, *arguments):
        """A running command, in a session of its own so that it can be killed as one."""
        environment = {
            **os.environ,
            "DECANT_HOME": str(self.home),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "OMP_NUM_THREADS": "1",
        }
        words = [str(argument) for argument in arguments]
        if self._preloaded is not None:
            return self._preloaded.start(words, folder=self.folder, environment=environment)
        return subprocess.Popen(
            [sys.executable, "-m", "flows", *words],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, *arguments, check=None):
        """A finished command; with `check`, its exit code must be that."""
        process = self.start(*arguments)
        stdout, stderr = process.communicate(timeout=280)
        if check is not None:
            assert process.returncode == check, stderr
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


@pytest.fixture(scope="session")
def preloaded():
    """The process that commands are forks of."""
    process = Preloaded()
    yield process
    process.close()


@pytest.fixture
def decant(tmp_path, preloaded):
    return CommandLine(tmp_path, preloaded)


@pytest.fixture(scope="session")
def finished(tiny, tmp_path_factory, preloaded):
    """The command line over a home in which the tiny recipe has run, and what that run said."""
    folder = tmp_path_factory.mktemp("finished")
    # The first run of all is what a user calls: an interpreter that has imported nothing yet.
    done = CommandLine(folder)("run", tiny / "recipe.yaml", "--no-orchestrator", check=0)
    return CommandLine(folder, preloaded), done


@pytest.fixture
def in_a_copy(finished, decant):
    """The command line over a copy of that home: what is made there, other tests do not meet."""
    shutil.copytree(finished[0].home, decant.home)
    return decant


@pytest.fixture
def before_students(in_a_copy):
    """The command line over such a copy whose students are due; all that they need is cached."""
    shutil.rmtree(in_a_copy.home / "artifacts" / "student")
    return in_a_copy


SERVER = b"prefect.server.api.server"


class PrefectHome:
    """A Decant home with a Prefect database of its own, and the processes started for it."""

    def __init__(self, path):
        self.path = path
        self.log = path / "log"
        path.mkdir(parents=True)

    def start(self, *arguments):
        """Start the command line; what it says goes to `log`."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT")}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "flows", *map(str, arguments)],
                env={
                    **kept,
                    "DECANT_HOME": str(self.path),
                    "PYTHONPATH": str(Path(__file__).parents[2]),
                    "OMP_NUM_THREADS": "1",
                    # A started run is found after a second instead of ten.
                    "PREFECT_RUNNER_POLL_FREQUENCY": "1",
                },
                cwd=self.path,
                # A shell's background job ignores Ctrl-C, and hands that on.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                stdout=log,
                stderr=log,
            )

    def rows(self, query):
        """Rows of the embedded server's database."""
        connection = sqlite3.connect(
            f"file:{self.path / 'prefect' / 'prefect.db'}?mode=ro", uri=True
        )
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def age_runs(self, seconds):
        """Set back when the runs began, in the database of a server that is gone."""
        assert not self.servers()
        began = f"strftime('%Y-%m-%d %H:%M:%f000', start_time, '-{seconds} seconds')"
        with contextlib.closing(sqlite3.connect(self.path / "prefect" / "prefect.db")) as database:
            changed = database.execute(f"UPDATE flow_run SET start_time = {began}")
            assert changed.rowcount > 0
            database.commit()

    def servers(self):
        """Process numbers of the Prefect servers that run for this home."""
        return self.processes(SERVER)

    def processes(self, named):
        """Process numbers of those that run for this home, with `named` in their command line."""
        found = set()
        for path in Path("/proc").glob("[0-9]*"):
            try:
                command = (
                    (path / "cmdline").read_bytes().replace(b"flows.orchestration.embedded", SERVER)
                )
                environment = (path / "environ").read_bytes()
            except OSError:
                continue
            if named in command and f"{self.path}/prefect".encode() in environment:
                found.add(int(path.name))
        return found

    def wait_for(self, condition, *, seconds):
        """What `condition` gives once it is true; fails with the log's end after `seconds`."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)
        return found

    def said(self):
        """The end of the log."""
        return self.log.read_text(encoding="utf-8")[-5000:]


@pytest.fixture
def prefect_home(tmp_path):
    return PrefectHome(tmp_path / "home")
