"""Rows that student and teacher read as different tokens are found, whatever the ids."""

from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from data_contracts.errors import ContractViolation
from tasks.training.auxiliary.token_alignment import check_same_tokens
from tasks.training.batching.ragged import RaggedIds

TEACHER = ["<pad>", "<unk>", *(f"w{number}" for number in range(40))]
STUDENT = ["<pad>", "<unk>", *(f"w{number}" for number in range(0, 40, 3)), "own"]


def save(folder, words):
    (folder / "tokenizer").mkdir(parents=True)
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    return folder


def ragged(texts, words):
    ids = [[words.index(word) for word in text] for text in texts]
    offsets = np.cumsum([0, *map(len, ids)]).astype(np.int64)
    return RaggedIds(np.array([i for text in ids for i in text], np.int32), offsets)


@pytest.fixture
def check(toy, tmp_path):
    folders = save(tmp_path / "student", STUDENT), save(tmp_path / "teacher", TEACHER)

    def checked(mine, theirs):
        examples = replace(
            toy["examples"](len(mine)),
            input_ids=ragged(mine, STUDENT),
            teacher_ids=ragged(theirs, TEACHER),
        )
        check_same_tokens(examples, *folders)

    return checked


def test_tokens_are_compared_by_spelling(check, monkeypatch):
    """A trimmed vocabulary has ids of its own, so equal ids would refuse every text."""
    monkeypatch.setattr("tasks.training.auxiliary.token_alignment._ROWS_AT_ONCE", 2)
    texts = [["w3", "w0", "w9"], ["w6"], ["<unk>", "w39"], ["w0"], ["w12", "w3"]]
    check(texts, texts)


@pytest.mark.parametrize(
    ("row", "mine", "theirs"),
    [
        (0, ["w3"], ["w6"]),  # another token
        (3, ["w3", "w0"], ["w3"]),  # another number of them
        (4, ["own"], ["w0"]),  # one that the teacher does not have
    ],
)
def test_a_row_of_other_tokens_is_named(check, monkeypatch, row, mine, theirs):
    """One row shifts all that follow, or hides behind rows of its length."""
    monkeypatch.setattr("tasks.training.auxiliary.token_alignment._ROWS_AT_ONCE", 2)
    texts = [["w3", "w0"], ["w6"], ["w9", "w0", "w6"], ["w0"], ["w12", "w3"]]
    own, other = list(texts), list(texts)
    own[row], other[row] = mine, theirs
    with pytest.raises(ContractViolation, match=f"1 of 5 rows .* row {row} is the first"):
        check(own, other)
    own[2] = ["w9", "w0", "w3"]
    with pytest.raises(ContractViolation, match=f"2 of 5 rows .* row {min(row, 2)} is"):
        check(own, other)
