"""Which language tags a language covers: `zh` covers `zh`, `zh-Hant` and the like.

So a row in zh-CN may be read by whoever reads zh, and gives away one in zh that it is tested on:
`primary_subtag` says what language both are in.

References: RFC 4647, section 3.3.1 (basic filtering).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute  # its functions are made at import: a type checker sees none of them


def primary_subtag(tag: str) -> str:
    """The language that a BCP-47 `tag` is of, lower case: zh of zh, zh-CN and ZH-Hant."""
    return tag.partition("-")[0].lower()


def covers(language: str, tag: str) -> bool:
    """Whether `language` covers the BCP-47 `tag`."""
    return f"{tag}-".lower().startswith(f"{language}-".lower())


def in_language(tags: pa.Array | pa.ChunkedArray, language: str) -> Any:
    """Boolean mask of the BCP-47 `tags` that `language` covers; null where a tag is."""
    lowered = pc.utf8_lower(tags)
    return pc.or_(
        pc.equal(lowered, language.lower()), pc.starts_with(lowered, language.lower() + "-")
    )


def in_any_language(tags: pa.ChunkedArray, languages: Iterable[str]) -> Any:
    """Boolean mask of the `tags` that one of `languages`, at least one, covers."""
    first, *others = languages
    mask = in_language(tags, first)
    for language in others:
        mask = pc.or_(mask, in_language(tags, language))
    return mask
