"""Commands as forks of one process that has imported their libraries: torch alone takes seconds.

    Preloaded.start ── arguments, folder, environment ──►  this file, run as a program
                       status, stdout, stderr               └─ keeper: tells how the command ended
                                                             └─ the command, in a session of its own

A fork imports Decant's own modules and Prefect anew, whose settings are fixed at their import. What
it does not show: an import that is missing since another library did it, settings of Hugging Face's
libraries made too late, an order of sets (all forks have one seed of hashes). Those are shown by
commands in interpreters of their own, of which each kind is called at least once.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What `decant run` and `decant score` import, beside what these import themselves.
LIBRARIES = (
    "torch", "torch._dynamo", "torch.distributed.tensor", "transformers.models.auto",
    "transformers.models.bert.modeling_bert", "transformers.trainer_utils", "pandas",
    "pyarrow.parquet", "pyarrow.dataset", "pyarrow.compute", "scipy.stats", "sklearn.metrics",
    "sklearn.linear_model", "sklearn.feature_extraction.text", "matplotlib.figure", "onnx",
    "sqlalchemy.orm", "pydantic", "rich.console", "jinja2", "fsspec",
)  # fmt: skip


class Process:
    """A command that runs: as much of `subprocess.Popen` as the tests use."""

    def __init__(self, status, stdout, stderr):
        self._status = status
        self._streams = [os.fdopen(fd, "rb") for fd in (stdout, stderr)]
        self.pid = self._told()
        self.returncode = None

    def poll(self):
        """The exit code, negative after a signal; None as long as it runs."""
        return self.wait(timeout=0)

    def wait(self, timeout=None):
        """The exit code; None if it still runs after `timeout` seconds."""
        if self.returncode is None:
            self._status.settimeout(timeout)
            with contextlib.suppress(BlockingIOError, TimeoutError):
                self.returncode = self._told()
        return self.returncode

    def _told(self):
        """The next number that the keeper tells."""
        number = self._status.recv(20)
        assert number, "the keeper or the process with the libraries ended; stderr says why"
        return int(number)

    def communicate(self, timeout=None):
        """What it and its children wrote to stdout and stderr, once nobody can write any more."""
        said = [b"", b""]

        def read(number):
            said[number] = self._streams[number].read()

        readers = [threading.Thread(target=read, args=[n], daemon=True) for n in (0, 1)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
        for stream in self._streams:
            stream.close()
        assert self.wait(timeout) is not None
        self._status.close()
        return tuple(text.decode() for text in said)


class Preloaded:
    """The process with the libraries; started with the first command."""

    def __init__(self):
        self._socket = self._process = None

    def start(self, arguments, *, folder, environment):
        """The command line with `arguments`, in a session of its own."""
        if self._socket is None:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            kept = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=kept,
            )
            theirs.close()
        ours, status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        (out, stdout), (err, stderr) = os.pipe(), os.pipe()
        request = json.dumps([arguments, str(folder), environment]).encode()
        socket.send_fds(self._socket, [request], [status.fileno(), stdout, stderr])
        status.close()
        os.close(stdout)
        os.close(stderr)
        return Process(ours, out, err)

    def close(self):
        """End the process; commands that run go on."""
        if self._socket is not None:
            self._socket.close()
            self._process.wait()


def serve(requests):
    """Fork a keeper for each request, until nobody can ask any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers leave no zombies
    while True:
        request, fds, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        if not request:
            return
        if os.fork() == 0:
            requests.close()
            keep(*json.loads(request), *fds)
            return
        for fd in fds:
            os.close(fd)


def keep(arguments, folder, environment, status, stdout, stderr):
    """Fork the command, and tell how it ended; its number it tells itself."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    command = os.fork()
    if command == 0:
        run(arguments, folder, environment, status, stdout, stderr)
    os.close(stdout)
    os.close(stderr)
    told = socket.socket(fileno=status)
    ended = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
    with contextlib.suppress(OSError):  # nobody asks any more
        told.send(str(ended).encode())
    os._exit(0)


def run(arguments, folder, environment, status, stdout, stderr):
    """Run the command as `python -m flows` does."""
    os.setsid()
    with socket.socket(fileno=status) as told:  # now it can be killed as a session
        told.send(str(os.getpid()).encode())
    os.chdir(folder)
    sys.path[0] = folder
    os.environ.clear()
    os.environ.update(environment)
    for ours, theirs in ((stdout, 1), (stderr, 2)):
        os.dup2(ours, theirs)
        os.close(ours)
    sys.argv = [str(ROOT / "flows" / "__main__.py"), *arguments]
    importlib.import_module("flows.__main__").main()  # ends as any program does, by SystemExit


if __name__ == "__main__":
    for library in LIBRARIES:
        importlib.import_module(library)
    ours = ("data_contracts", "flows", "prefect", "tasks")
    assert not [name for name in sys.modules if name.split(".")[0] in ours]
    threads = [(path / "comm").read_text().strip() for path in Path("/proc/self/task").iterdir()]
    # A fork has the first thread alone, and whatever lock another one held stays locked. Arrow's
    # allocator knows: in a fork it does without its thread.
    assert len([name for name in threads if name != "jemalloc_bg_thd"]) == 1, threads
    gc.freeze()  # a fork that collects garbage would look at all that is loaded
    serve(socket.socket(fileno=int(sys.argv[1])))
