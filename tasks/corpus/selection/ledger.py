"""The numbers of all rows while they are judged together: on disk, and mapped where they change.

    piece after piece ──► 256 files by the text's hash ──► read back one at a time
                     └──► a byte of role a row, and one of outcome: mapped

Rows of one text meet in one file, so copies and contradictions are found file by file. The bytes of
role and outcome are read and written everywhere, but in mapped files, whose pages the kernel takes
back when memory is short. What must be held is one file while it is sorted, and a few bytes a row
that is set aside. Of 100 million rows: 2.8 GB on disk, a file of 11 MB and a few times that while
it is sorted, 0.2 GB mapped. Measured, all rules on hashes, the mapped pages counted in: 55 MB for
one million rows, 66 MB for five (2.8 bytes a row).
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_contracts.errors import SourceError

ROLES = ("train", "transfer", "validation", "test", "adapt")
TRAIN, TRANSFER, VALID, EVAL, ADAPT = range(5)
KEPT = ""
QUARANTINE_REASONS = (
    "contradiction",
    "leak_exact",
    "leak_near",
    "unknown_label",
    "unknown_tag",
)
COPY_KINDS = {"copy_exact": "exact", "copy_near": "near"}
OUTCOMES = (KEPT, *QUARANTINE_REASONS, *COPY_KINDS)
NO_LANGUAGE = -1

_FILE_BITS = 8
_MAX_ROWS = 2**32
ENTRY = np.dtype(
    [
        ("number", np.uint32),
        ("text_hash", np.uint64),
        ("parallel_hash", np.uint64),  # 0 without parallel text
        ("label", np.int32),  # index into `labels`, or code of an annotation; -1 for none
        ("language", np.int16),  # index into `languages`
        ("parallel_language", np.int16),  # NO_LANGUAGE without parallel text
    ]
)


class Ledger:
    """All rows that passed on their own, numbered in the order they came."""

    def __init__(self, folder: Path) -> None:
        """Keep the files in `folder`, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._num_rows = folder, 0
        self._paths = [folder / f"{number:03d}.rows" for number in range(1 << _FILE_BITS)]
        self._streams = [path.open("wb") for path in self._paths]
        self._role_stream, self._role = (folder / "role").open("wb"), np.empty(0, np.uint8)
        self._code_of_label: dict[str, int] = {}
        self._code_of_language: dict[str, int] = {}

    def __len__(self) -> int:
        return self._num_rows

    def add(
        self,
        *,
        role: str,
        language: str,
        parallel_language: str | None,
        labels: Sequence[str | None] | np.ndarray,
        text_hashes: np.ndarray,
        parallel_hashes: np.ndarray,
    ) -> None:
        """Take the rows of one piece: uint64 hashes and labels, shape (rows,).

        Labels are names, or codes of annotations (int32, -1 for none); one or the other in all
        pieces.

        Raises: SourceError beyond 4,294,967,296 rows.
        """
        if len(self) + len(labels) > _MAX_ROWS:
            raise SourceError(
                f"there are more than {_MAX_ROWS:,} rows",
                rule="rows of one corpus are numbered in 32 bits",
                remedy="make several corpora of the sources",
            )
        entries = np.empty(len(labels), ENTRY)
        entries["number"] = np.arange(len(self), len(self) + len(labels))
        entries["text_hash"], entries["parallel_hash"] = text_hashes, parallel_hashes
        codes = self._code_of_label
        entries["label"] = (
            labels
            if isinstance(labels, np.ndarray)
            else [-1 if name is None else codes.setdefault(name, len(codes)) for name in labels]
        )
        entries["language"] = self._language(language)
        entries["parallel_language"] = (
            NO_LANGUAGE if parallel_language is None else self._language(parallel_language)
        )
        places = (entries["text_hash"] >> np.uint64(64 - _FILE_BITS)).astype(np.uint16)
        order = np.argsort(places, kind="stable")
        bounds = np.searchsorted(places[order], np.arange(len(self._streams) + 1))
        entries = entries[order]
        for number, stream in enumerate(self._streams):
            stream.write(entries[bounds[number] : bounds[number + 1]].tobytes())
        self._role_stream.write(bytes([ROLES.index(role)]) * len(labels))
        self._num_rows += len(labels)

    def _language(self, tag: str) -> int:
        return self._code_of_language.setdefault(tag, len(self._code_of_language))

    def finish(self) -> None:
        """No more rows will come; from here on they can be read."""
        for stream in (*self._streams, self._role_stream):
            stream.close()
        self._role = self._mapped("role")

    def _mapped(self, name: str) -> np.ndarray:
        path = self._folder / name
        return np.asarray(np.memmap(path, np.uint8, "r+")) if len(self) else np.empty(0, np.uint8)

    @property
    def role(self) -> np.ndarray:
        """uint8, (rows,): index into `ROLES`, may be written to; after `finish`."""
        return self._role

    def verdicts(self) -> Verdicts:
        """All rows as kept, to be changed."""
        with (self._folder / "outcome").open("wb") as stream:
            stream.truncate(len(self))
        return Verdicts(self._mapped("outcome"))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of labels in order of appearance."""
        return tuple(self._code_of_label)

    @property
    def languages(self) -> tuple[str, ...]:
        """Tags of languages in order of appearance."""
        return tuple(self._code_of_language)

    def language_code(self, tag: str) -> int:
        """Number of a language; one that no entry has if there is none."""
        return self._code_of_language.get(tag, -2)

    def entries(self) -> Iterator[np.ndarray]:
        """All rows as `ENTRY` records, file by file; rows of one text are in one, in order."""
        for path in self._paths:
            entries = np.fromfile(path, ENTRY)
            if len(entries):
                yield entries


@dataclass
class Verdicts:
    """What became of each row; details only for rows that are set aside.

    Args:
        outcome: uint8, (rows,): index into `OUTCOMES`.
        cut_languages: role → languages whose rows of it were cut from labelled ones.
    """

    outcome: np.ndarray
    cut_languages: dict[str, list[str]] = field(default_factory=dict)
    _code_of_detail: dict[str, int] = field(default_factory=dict)
    _detailed: array[int] = field(default_factory=lambda: array("I"))
    _details: array[int] = field(default_factory=lambda: array("I"))

    def kept(self, numbers: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Mask of the rows that stay, among `numbers`."""
        return self.outcome[numbers] == 0

    def put(self, numbers: np.ndarray, outcome: str, details: str | Sequence[str] = "") -> None:
        """Give `outcome` to rows that had none, with one detail for all or one for each."""
        self.outcome[numbers] = OUTCOMES.index(outcome)
        if not details:
            return
        each = [details] * len(numbers) if isinstance(details, str) else details
        codes = self._code_of_detail
        self._detailed.extend(numbers.tolist())
        self._details.extend(codes.setdefault(detail, len(codes)) for detail in each)

    def details(self) -> DetailReader:
        """Details by row; nothing may be put after this."""
        return DetailReader(
            np.frombuffer(self._detailed, np.uint32),
            np.frombuffer(self._details, np.uint32),
            tuple(self._code_of_detail),
        )


class DetailReader:
    """Details of rows, looked up by range: few different texts, eight bytes a row."""

    def __init__(self, numbers: np.ndarray, codes: np.ndarray, texts: tuple[str, ...]) -> None:
        """Row `numbers[i]` has the detail `texts[codes[i]]`."""
        order = np.argsort(numbers, kind="stable")
        self._numbers, self._codes, self._texts = numbers[order], codes[order], texts

    def between(self, start: int, stop: int) -> dict[int, str]:
        """Row number → detail of the rows from `start` to before `stop`."""
        low, high = np.searchsorted(self._numbers, [start, stop])
        codes = self._codes[low:high].tolist()
        return dict(
            zip(self._numbers[low:high].tolist(), (self._texts[c] for c in codes), strict=True)
        )


@dataclass
class Census:
    """Which rows were kept, as far as later checks ask: counts, not rows."""

    train_labels: set[str]
    _counts: Counter[tuple[int, int, int]]  # (role, language, parallel language)

    @classmethod
    def of(cls, rows: Ledger, verdicts: Verdicts) -> Census:
        """Count the rows that `verdicts` keep."""
        labels: set[int] = set()
        counts: Counter[tuple[int, int, int]] = Counter()
        for entries in rows.entries():
            kept = entries[verdicts.kept(entries["number"])]
            roles = rows.role[kept["number"]]
            labels.update(np.unique(kept["label"][roles == TRAIN]).tolist())
            shape = np.stack([roles, kept["language"], kept["parallel_language"]], axis=1)
            for key, count in zip(*np.unique(shape, axis=0, return_counts=True), strict=True):
                counts[tuple(key.tolist())] += int(count)
        names = rows.labels
        return cls({names[label] for label in labels if label >= 0 and names}, counts)

    def count(self, language_code: int, role: str) -> int:
        """Rows of `role` that have the language on either side."""
        return sum(
            count
            for (number, *sides), count in self._counts.items()
            if number == ROLES.index(role) and language_code in sides
        )
