"""Which rows an epoch reads when rare languages are to be seen more often than they occur.

    rows       en 900   de 90   sw 10          1,000 an epoch, whatever the temperature
    T = 1      900      90      10             as they are: every row once
    T = 3.33   568      285     147            ~ n^(1/T); a Swahili row is read 14 or 15 times
    T → ∞      333      333     333

The draw is a pure function of (seed, epoch), like the order it is then put in: a resumed run reads
what an undisturbed one reads. Rows of a language are drawn without replacement until all of them
have been, so no row is read twice more often than another of its language.

References: Conneau et al. 2020, arXiv:1911.02116, section 3.1 (XLM-R; alpha = 1/T = 0.3 there).
Shapes: R rows, G languages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_contracts.errors import RecipeError
from tasks.runtime.seeding import generator


def quotas(counts_G: np.ndarray, temperature: float) -> np.ndarray:
    """Rows of each language that an epoch reads: int64, (G,), as many together as there are.

    Args:
        counts_G: rows of each language, at least one.
        temperature: >= 1; 1 leaves the shares as they are.
    """
    total = int(counts_G.sum())
    shares_G = counts_G.astype(np.float64) ** (1 / temperature)
    wanted_G = total * shares_G / shares_G.sum()
    found_G = np.floor(wanted_G + 1e-9).astype(np.int64)
    # Largest remainders get what rounding down has left, the first of equals first.
    left = total - int(found_G.sum())
    found_G[np.argsort(found_G - wanted_G, kind="stable")[:left]] += 1
    return found_G


def drawn_rows(groups_R: np.ndarray, *, temperature: float, seed: int, epoch: int) -> np.ndarray:
    """Row numbers that an epoch reads, ascending: uint32 or int64, (R,).

    Args:
        groups_R: int, language of each row, from 0 without a gap.
    """
    num_rows = len(groups_R)
    dtype = np.uint32 if num_rows < 2**32 else np.int64
    counts_G = np.bincount(groups_R)
    rng = generator(seed, "languages", epoch)
    parts = []
    for group, quota in enumerate(quotas(counts_G, temperature)):
        rows = np.flatnonzero(groups_R == group).astype(dtype)
        times, rest = divmod(int(quota), len(rows))
        parts += [rows] * times
        parts.append(rng.permutation(rows)[:rest])
    return np.sort(np.concatenate(parts))


def check_languages(rows: object, temperature: float | None) -> None:
    """Whether `rows` can be drawn by language, told before the training.

    Raises: RecipeError if a temperature is given and nothing is noted of the rows' languages.
    """
    if temperature is not None and getattr(rows, "groups", None) is None:
        raise RecipeError(
            f"training.language_temperature is {temperature:g}, but nothing is known of the "
            "languages of these rows",
            rule="languages are drawn where teachers and students are trained for a task",
            remedy="leave language_temperature out",
        )


def language_facts(
    groups: np.ndarray | None, names: Sequence[str], temperature: float | None
) -> dict[str, int]:
    """`rows_<language>` that there are and `drawn_<language>` an epoch, if they are drawn."""
    if groups is None or temperature is None:
        return {}
    counts_G = np.bincount(groups, minlength=len(names))
    drawn_G = quotas(counts_G, temperature)
    facts = {f"rows_{name}": int(count) for name, count in zip(names, counts_G, strict=True)}
    drawn = {f"drawn_{name}": int(count) for name, count in zip(names, drawn_G, strict=True)}
    return {**facts, **drawn}
