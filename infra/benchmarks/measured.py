"""A section's result as it was kept, which tells a figure that it lacks from a mistake of ours.

Results are kept for months, and fields are added to what is measured: one without them is an old
result. A name that the report does not know, looked up in a table of its own, is a defect.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn


class NotMeasuredError(KeyError):
    """A field that a result, or a part of it, does not have."""


class Measured(dict[str, Any]):
    """A mapping of a result, at any depth."""

    def __missing__(self, key: str) -> NoReturn:
        raise NotMeasuredError(key)


def read_result(path: Path) -> Measured:
    """The result in the JSON file `path`."""
    return json.loads(path.read_text(encoding="utf-8"), object_hook=Measured)
