"""The most memory that this process has held, for promises about memory."""

import resource


def peak_memory_bytes():
    """Bytes resident at most, since the process began (Linux counts them in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
