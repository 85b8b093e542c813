"""Prefect's API for one run: `python -m flows.orchestration.embedded PORT`, ended with the run.

Prefect would start such a server itself, with three faults: it does so only after it is imported
(this one starts beside that import, a second and a half earlier), `kill -9` of the run leaves the
server behind for ever (this one asks the kernel to be ended when its parent dies), and of two that
make the tables of a new home at once, one dies (this one waits for its turn).
"""

import ctypes
import os
import signal
import sys
from socket import socket

_PR_SET_PDEATHSIG = 1  # Linux, prctl(2)


def main() -> None:
    """Serve Prefect's API on loopback until told to stop, or until the parent is gone."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # What Prefect sets for servers it starts itself: no pages, no settings of its own.
    os.environ.update(
        PREFECT_UI_ENABLED="0", PREFECT__SERVER_EPHEMERAL="1", PREFECT__SERVER_FINAL="1"
    )
    import uvicorn

    from flows.orchestration.servers import prefect_starts_alone

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket] | None = None) -> None:
            with prefect_starts_alone():
                await super().startup(sockets)

    if os.getppid() != parent:  # it died before the kernel was asked
        return
    config = uvicorn.Config(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="error",
        lifespan="on",
    )
    server = Server(config)
    server.run()
    if not server.started:
        sys.exit(1)


if __name__ == "__main__":
    main()
