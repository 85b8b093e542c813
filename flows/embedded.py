"""Prefect's API for one `decant run`: `python -m flows.embedded PORT`, ended by the run's end.

Prefect would start such a server itself, with two faults: it does so only after it is imported
(this one starts beside that import, a second and a half earlier), and `kill -9` of the run leaves
the server behind for ever (this one asks the kernel to be ended when its parent dies).
"""

import ctypes
import os
import signal
import sys

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

    if os.getppid() != parent:  # it died before the kernel was asked
        return
    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="error",
        lifespan="on",
    )


if __name__ == "__main__":
    main()
