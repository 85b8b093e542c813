"""What one run of the benchmarks is asked for: sizes, rounds, and where data lies."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Settings:
    """Sizes that a section reads.

    Args:
        tiny: a smoke run: sizes so small that the figures mean nothing.
        num_rounds: interleaved rounds.
        work: folder for artifacts and scratch files; git-ignored, kept between runs.
        results: folder of the sections' JSON files.
        sib200: folder with `<split>.<language>.parquet` (text, label, index_id), or None.
        multilingual_model: folder of a multilingual encoder (multilingual-e5-small), or None.
        memory_rows: table sizes of the section memory.
        systems: of the training sections only these full runs (and `rates`) are measured again,
            the rest is taken from the last result; all if empty.
    """

    tiny: bool
    num_rounds: int
    work: Path
    results: Path
    sib200: Path | None = None
    multilingual_model: Path | None = None
    memory_rows: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    systems: tuple[str, ...] = ()

    def record(self) -> dict:
        """What changes the figures, as JSON values: no path of this machine."""
        fields = asdict(self)
        return {name: fields[name] for name in ("tiny", "num_rounds", "memory_rows")}

    def pick(self, full: int, tiny: int) -> int:
        """A size by the kind of run."""
        return tiny if self.tiny else full


def needs_sib200(section: str) -> bool:
    """Whether a section trains on SIB-200, and so needs its folder and a multilingual encoder."""
    return section.endswith("sib200")


def say(message: str) -> None:
    """A line of progress with the time of day."""
    print(f"{time.strftime('%H:%M:%S')}  {message}", flush=True)
