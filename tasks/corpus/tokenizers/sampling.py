"""A bounded sample of a stream of texts: a function of the set of them, not of their order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pyarrow as pa


def sample_texts(chunks: Iterable[pa.Array], limit: int) -> list[str]:
    """The `limit` different texts of lowest hash among `chunks` (string, no nulls); all if fewer.

    At most twice as many are held. Appending data replaces only texts that hash higher.
    """
    kept: dict[bytes, str] = {}
    bound = b"\xff" * 17  # above every digest of 16 bytes
    for chunk in chunks:
        for text in chunk.unique().to_pylist():
            digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
            if digest < bound:
                kept[digest] = text
        if len(kept) > 2 * limit:
            kept = _lowest(kept, limit)
            bound = max(kept)
    return list((_lowest(kept, limit) if len(kept) > limit else kept).values())


def _lowest(kept: dict[bytes, str], limit: int) -> dict[bytes, str]:
    return {digest: kept[digest] for digest in sorted(kept)[:limit]}
