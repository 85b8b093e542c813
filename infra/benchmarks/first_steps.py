"""All rows of a training, of whose first epoch it reads the first steps alone.

What grows with rows (mapped files, the order of an epoch) is that of the whole epoch; what does not
(a step, a validation, a checkpoint) needs no more than a few dozen steps to be seen.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from tasks.training.batching.examples import Examples


@dataclass(frozen=True)
class FirstSteps(Examples):
    """Examples that say they are fewer: the loop counts its steps by that, and orders all rows.

    Args:
        num_read: rows that an epoch reads.
    """

    num_read: int = 0

    def __len__(self) -> int:
        return min(self.num_read, len(self.input_ids))


def first_steps(examples: Examples, num_read: int) -> FirstSteps:
    """`examples`, of whose epoch only the first `num_read` rows are read, in its order."""
    held = {field.name: getattr(examples, field.name) for field in fields(Examples)}
    return FirstSteps(**held, num_read=num_read)
