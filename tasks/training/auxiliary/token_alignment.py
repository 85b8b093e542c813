"""Whether student and teacher read the same tokens: what comparing token by token rests on.

    teacher   <s> ▁turn ▁on ▁the ▁lights </s>     0  6 142 ...  250,002 tokens
    student   <s> ▁turn ▁on ▁the ▁lights </s>     0  4  31 ...  trimmed to 7,000 of them

Ids may differ, spellings may not. A position that is another token to each would be compared all
the same, and teach nonsense without an error; so every row is looked at before the first step.

Shapes: V student's vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_contracts.errors import ContractViolation
from tasks.modeling.heads.units import ranges

if TYPE_CHECKING:
    from tasks.training.batching.examples import Examples

_ROWS_AT_ONCE = 65_536


def check_same_tokens(examples: Examples, tokens: Path, teacher_tokens: Path) -> None:
    """Refuse rows that student and teacher read as different tokens.

    Args:
        examples: with the tokens of both readers.
        tokens, teacher_tokens: folders of the tokens of both, with their tokenizers.
    Raises: ContractViolation telling how many rows differ.
    """
    assert examples.teacher_ids is not None, "rows are mapped with the teacher's tokens"
    mine, theirs = examples.input_ids, examples.teacher_ids
    ids_V = _teacher_ids(tokens, teacher_tokens)
    num_different, first = 0, 0
    for start in range(0, len(mine), _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, len(mine))
        my_offsets, offsets = mine.offsets[start : stop + 1], theirs.offsets[start : stop + 1]
        lengths = np.diff(my_offsets)
        different = lengths != np.diff(offsets)
        alike = np.flatnonzero(~different)
        own = mine.values[ranges(my_offsets[alike], lengths[alike])]
        other = theirs.values[ranges(offsets[alike], lengths[alike])]
        row_of_token = np.repeat(alike, lengths[alike])
        different[row_of_token[ids_V[own] != other]] = True
        if different.any() and not num_different:
            first = start + int(different.argmax())
        num_different += int(different.sum())
    if num_different:
        raise ContractViolation(
            f"{num_different:,} of {len(mine):,} rows are other tokens to the student than to the "
            f"teacher; row {first} is the first",
            rule="token_mse, token_cosine, relations and attention compare position by position, "
            "so both must read the same text, cut alike",
            remedy="give the student the teacher's tokenizer whole (kind: pretrained), or trimmed "
            "with a larger max_training_texts; or compare texts instead (hidden_mse, cka, ...)",
        )


def _teacher_ids(tokens: Path, teacher_tokens: Path) -> np.ndarray:
    """The teacher's id of each of the student's tokens, -1 where it has none: int64, (V,)."""
    from tokenizers import Tokenizer

    student, teacher = (
        Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json")).get_vocab()
        for folder in (tokens, teacher_tokens)
    )
    ids_V = np.full(max(student.values()) + 1, -1, dtype=np.int64)
    for token, number in student.items():
        ids_V[number] = teacher.get(token, -1)
    return ids_V
