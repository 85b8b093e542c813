"""Unlabelled texts as mapped files, with the words of their tokens: see `masked_texts`.

    corpus + tokenizer ──part by part──► texts
        train/, held_out/   token_ids.bin  offsets.bin  lengths.bin  word_marks.bin
        candidates.bin      int32, sorted: ids that occur
        texts.json          sizes

A text longer than the reader's limit becomes several rows. Which texts are held out is decided by
their content, so a copy of one never lies on the other side. 2 bytes a token for ids (4 if the
vocabulary has more than 65,536 entries), 1 for marks, 12 a row; all of it mapped, not read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydantic import Field

from data_contracts.artifacts import Artifact, StageSummary
from data_contracts.errors import ContractViolation, SourceError
from tasks.corpus.tables import part_paths, read_table
from tasks.corpus.text.words import BEGINS, SPECIAL, word_starts, words
from tasks.corpus.tokenizers.encoding import CHUNK_ROWS, readable_text, special_frame
from tasks.corpus.tokens.facts import read_token_facts
from tasks.runtime.stages import Stage, StageConfig, Workspace, run_stage
from tasks.training.adaptation.masked_texts import MaskedTexts, Masking
from tasks.training.batching.ragged import RaggedIds

VERSION = 1
_SIDES = ("train", "held_out")
_UINT16_TOKENS = 65_536
_COLUMNS = ("text", "language", "parallel_text", "parallel_language")


class Config(StageConfig):
    """Which texts are mapped."""

    roles: tuple[str, ...] = Field(description="roles of the rows, in order")
    languages: tuple[str, ...] = Field(description="the first of these that a row offers is read")
    max_length_tokens: int = Field(description="tokens of a row, special tokens included")
    held_out_share: float = Field(description="share of the texts that are kept for scoring")


def map_texts(
    config: Config,
    *,
    corpus: Artifact,
    tokens: Artifact,
    mask_share: float,
    seed: int,
    workspace: Workspace,
) -> tuple[MaskedTexts, MaskedTexts]:
    """Texts to learn from and texts held out, both masked by (seed, step).

    Args:
        tokens: of the reader, for its tokenizer.
    Raises: SourceError if the tokenizer has no token to hide others with; ContractViolation if
        there are too few texts.
    """
    facts = read_token_facts(tokens.path)
    hidden = facts["special_token_ids"].get("mask_token")
    if hidden is None:
        raise SourceError(
            "the tokenizer has no mask token",
            rule="one of [MASK], <mask>, <|mask|>",
            remedy="adapt another model, or leave the section adaptation out",
        )
    folder = run_stage(
        STAGE,
        config,
        {"corpus": corpus, "tokens": tokens},
        store=workspace.store,
        progress=workspace.progress,
        force=workspace.force,
        run_id=workspace.run_id,
    ).artifact.path
    return open_texts(folder, mask_token_id=hidden, mask_share=mask_share, seed=seed)


def open_texts(
    folder: Path, *, mask_token_id: int, mask_share: float, seed: int
) -> tuple[MaskedTexts, MaskedTexts]:
    """The texts that were written to `folder`: those to learn from, and those held out."""
    sizes = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    candidates = np.fromfile(folder / "candidates.bin", np.int32)
    masking = Masking(mask_share, mask_token_id, candidates, seed)
    learned, held_out = (_open(folder / side, sizes[side], sizes["dtype"]) for side in _SIDES)
    return MaskedTexts(*learned, masking), MaskedTexts(*held_out, masking)


def _open(folder: Path, sizes: Mapping[str, int], dtype: str) -> tuple[RaggedIds, np.ndarray]:
    def mapped(name: str, kind: Any, size: int) -> np.ndarray:
        return np.memmap(folder / f"{name}.bin", kind, mode="r", shape=(size,)).view(np.ndarray)

    rows, tokens = sizes["rows"], sizes["tokens"]
    ids = RaggedIds(
        mapped("token_ids", dtype, tokens),
        mapped("offsets", np.int64, rows + 1),
        mapped("lengths", np.int32, rows),
    )
    return ids, mapped("word_marks", np.uint8, tokens)


def write_texts(
    config: Config, inputs: Mapping[str, Artifact], workspace: Workspace
) -> StageSummary:
    """Tokenize the texts of the corpus and find their words."""
    import tokenizers

    corpus, tokens = inputs["corpus"].path, inputs["tokens"].path
    tokenizer = tokenizers.Tokenizer.from_file(str(tokens / "tokenizer" / "tokenizer.json"))
    vocab_size = tokenizer.get_vocab_size()
    dtype = np.dtype(np.uint16 if vocab_size <= _UINT16_TOKENS else np.int32)
    cutter = _Cutter(tokenizer, config.max_length_tokens)
    sides = {name: _Side(workspace.output / name, dtype) for name in _SIDES}
    counts = np.zeros(vocab_size, np.int64)
    parts = part_paths(corpus / "rows", config.roles)
    workspace.progress.start("finding words", total=len(parts), unit="parts")
    for path in parts:
        texts, languages = readable_text(read_table(path, _COLUMNS), config.languages)
        read = [
            (text, language)
            for text, language in zip(texts.to_pylist(), languages.to_pylist(), strict=True)
            if text
        ]
        for start in range(0, len(read), CHUNK_ROWS):
            for text, ids, marks in cutter.rows(read[start : start + CHUNK_ROWS]):
                name = "held_out" if _is_held_out(text, config.held_out_share) else "train"
                sides[name].put(ids, marks)
                counts += np.bincount(ids[marks != SPECIAL], minlength=vocab_size)
        workspace.progress.advance(1)
    sizes = {name: side.close() for name, side in sides.items()}
    for name, found in sizes.items():
        if not found["rows"]:
            raise _too_few(config, name, sum(size["rows"] for size in sizes.values()))
    special = {int(number) for number in _special_ids(tokens)}
    candidates = [number for number in np.flatnonzero(counts).tolist() if number not in special]
    np.array(candidates, np.int32).tofile(workspace.output / "candidates.bin")
    text = json.dumps({**sizes, "dtype": dtype.name}, indent=1, sort_keys=True)
    (workspace.output / "texts.json").write_text(text + "\n", encoding="utf-8")
    return StageSummary(
        facts={
            "rows": sizes["train"]["rows"],
            "held_out_rows": sizes["held_out"]["rows"],
            "tokens": sizes["train"]["tokens"],
            "candidates": len(candidates),
        }
    )


STAGE = Stage("masked_texts", VERSION, write_texts)


class _Cutter:
    """Texts to rows of token ids and word marks."""

    def __init__(self, tokenizer: Any, max_length_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._prefix, self._suffix = special_frame(tokenizer)
        self._room = max_length_tokens - len(self._prefix) - len(self._suffix)
        if self._room < 1:
            raise SourceError(
                f"max_length_tokens is {max_length_tokens}, special tokens take all of it",
                rule="at least one token of text must fit",
                remedy="raise max_length_tokens of the model that is adapted",
            )

    def rows(self, read: list[tuple[str, str]]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """(text, ids, marks) of each row; marks as in `tasks.corpus.text.words`."""
        texts = [text for text, _ in read]
        encoded = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        around = [SPECIAL] * len(self._prefix), [SPECIAL] * len(self._suffix)
        for (text, language), one in zip(read, encoded, strict=True):
            marks = word_starts(one.offsets, words(text, language), len(text))
            for start in range(0, len(marks), self._room):
                part = slice(start, start + self._room)
                ids = [*self._prefix, *one.ids[part], *self._suffix]
                # A row may begin inside a word: what is left of it is a word of its own.
                kept = [BEGINS, *marks[part][1:]]
                yield (
                    text,
                    np.array(ids, np.int64),
                    np.array([*around[0], *kept, *around[1]], np.uint8),
                )


class _Side:
    """The files of one side, written row by row."""

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        folder.mkdir(parents=True)
        self._dtype, self._tokens, self._rows = dtype, 0, 0
        self._files: dict[str, BinaryIO] = {
            name: (folder / f"{name}.bin").open("wb")
            for name in ("token_ids", "offsets", "lengths", "word_marks")
        }
        self._files["offsets"].write(np.zeros(1, np.int64).tobytes())

    def put(self, ids: np.ndarray, marks: np.ndarray) -> None:
        self._tokens += len(ids)
        self._rows += 1
        self._files["token_ids"].write(ids.astype(self._dtype).tobytes())
        self._files["offsets"].write(np.int64(self._tokens).tobytes())
        self._files["lengths"].write(np.int32(len(ids)).tobytes())
        self._files["word_marks"].write(marks.tobytes())

    def close(self) -> dict[str, int]:
        for file in self._files.values():
            file.close()
        return {"rows": self._rows, "tokens": self._tokens}


def _is_held_out(text: str, share: float) -> bool:
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _special_ids(tokens: Path) -> list[int]:
    facts = read_token_facts(tokens)
    return list(facts["special_token_ids"].values())


def _too_few(config: Config, side: str, num_rows: int) -> ContractViolation:
    wanted = f"{' or '.join(config.roles)} in {' or '.join(config.languages)}"
    return ContractViolation(
        f"{num_rows} rows of text of the role {wanted}: none of them is "
        + ("to be learned from" if side == "train" else "held out for scoring"),
        rule=f"{config.held_out_share:.0%} of the texts are held out, at least one on each side",
        remedy="add sources of these roles and languages, or raise adaptation.held_out_share",
    )
