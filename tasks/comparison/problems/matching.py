"""Two texts, one of C classes: as text classification, but for what is read and for one floor.

`cosine_*` knows only how alike two texts look: a cross-encoder that does not beat it has learnt to
count common characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from tasks.comparison.material import Reader
from tasks.comparison.problems.classification import TextClassification
from tasks.metrics.baselines.pairs import cosine_probabilities
from tasks.metrics.latency import Text
from tasks.metrics.systems import Answers


@dataclass(frozen=True)
class Matching(TextClassification):
    """See `tasks.comparison.problem.ComparedProblem`."""

    name: ClassVar[str] = "matching"

    def texts(self, reader: Reader, roles: Sequence[str], ids: pa.ChunkedArray) -> list[Text]:
        """Both texts of each row, in the reader's language."""
        return [*self.pairs(reader, roles, ids)]

    def pairs(
        self, reader: Reader, roles: Sequence[str], ids: pa.ChunkedArray
    ) -> list[tuple[str, str]]:
        """Both texts of each row, in the reader's language."""
        first, second = (
            self.material.texts(reader, roles, ids, column=column) for column in ("text", "text_b")
        )
        return list(zip(first, second, strict=True))

    def floor_texts(self, roles: Sequence[str], ids: pa.ChunkedArray) -> list[str]:
        """One text after the other, for the linear floors."""
        return ["\n".join(pair) for pair in self.pairs("student", roles, ids)]

    def answer_floors(self) -> Iterator[tuple[str, Answers]]:
        """`cosine_pseudo_label`, `cosine_gold`, then those of text classification."""
        if self.settings.linear:
            tests, rows, pseudo_labels = self.learned()
            # As many as the linear floors learn from: they count n-grams, too.
            drawn = self.settings.floor_rows(len(rows), "cosine floor")
            rows, pseudo_labels = rows.take(pa.array(drawn)), pseudo_labels[drawn]
            ids = rows["example_id"]
            pairs = self.pairs("student", self.settings.train_on, ids)
            test_pairs = self.pairs("student", ["test"], tests["example_id"])
            gold = rows["label"].to_numpy()
            for name, labels in (("cosine_pseudo_label", pseudo_labels), ("cosine_gold", gold)):
                known = np.flatnonzero(labels >= 0)
                if np.unique(labels[known]).size >= 2:
                    probabilities = cosine_probabilities(
                        [pairs[i] for i in known.tolist()],
                        labels[known],
                        test_pairs,
                        num_classes=len(self.material.label_names),
                    )
                    yield name, self.from_probabilities(tests, probabilities)
        yield from super().answer_floors()
