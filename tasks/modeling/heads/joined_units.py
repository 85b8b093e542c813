"""Units that a tokenizer joined: what one token says of several units.

    text     北 京 人 去 海 关      tokens   北京 | 人 | 去 | 海关
    units    0  1  2  3  4  5      read at  1 1    2    3    4 4
    joined   -  j  -  -  -  j

A token has one state, so all its units get the same logits. Read one by one, a tag that begins
would begin two entities in 北京, and of two equally good ends of an answer the shorter would cut
海关 in half: in Chinese every fourth unit is joined to the one before it.

Nothing but NumPy is imported: a delivered model carries this file along.

Shapes: U units, of one text or of several, one after the other.
"""

from __future__ import annotations

import numpy as np

EXCLUDED = -1e4
"""Logit of a start or end that no token has; its probability is 0 in any precision."""


def joined_units(positions: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """Which units are read at the token of the unit before them: bool, (U,).

    Args:
        positions: (U,), number of the token, in its text, at which each unit is read.
        firsts: number of the first unit of each text; of a text without units, of the next one's.
    """
    joined = np.zeros(len(positions), dtype=bool)
    joined[1:] = positions[1:] == positions[:-1]
    joined[firsts[firsts < len(joined)]] = False
    return joined


def bounds_of_tokens(logits: np.ndarray, joined: np.ndarray) -> np.ndarray:
    """Start and end logits of units as those of the tokens that hold them: float32, (U, 2).

    A token starts an answer at its first unit and ends one at its last. All others are `EXCLUDED`.

    Args:
        logits: (U, 2).
        joined: (U,), as `joined_units` has them.
    """
    found = np.full(logits.shape, EXCLUDED, dtype=np.float32)
    first = ~joined
    last = np.append(first[1:], True)[: len(joined)]
    found[first, 0] = logits[first, 0]
    found[last, 1] = logits[last, 1]
    return found
