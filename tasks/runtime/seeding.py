"""Independent random streams from one seed.

Each use of randomness names its stream, so adding a draw in one place never shifts another.
Resuming is exact because a stream depends on (seed, name, position), not on what was drawn before.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def derive_seed(seed: int, *stream: str | int) -> int:
    """A 63-bit seed for the named stream, such as `derive_seed(0, "order", epoch)`."""
    text = "\x1f".join([str(seed), *map(str, stream)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *stream: str | int) -> np.random.Generator:
    """A NumPy generator for the named stream."""
    import numpy as np  # 0.1 s, which `decant plan` and `validate` need not pay

    return np.random.Generator(np.random.PCG64(derive_seed(seed, *stream)))
