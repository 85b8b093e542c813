"""What problems about the units of a text share: students answer as teachers' signals do.

A student's logits are put into the form of a teacher's signal (`Problem.signal_table`), so that one
piece of code reads both, whatever their tokenizers, lengths and windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute

from tasks.comparison.material import Material, Reader, is_any, labelled
from tasks.comparison.problem import Settings
from tasks.comparison.timing.formats import encoder_answerers, int8_logits
from tasks.comparison.timing.inference import Answerer
from tasks.problems import PROBLEMS, load_model
from tasks.runtime.machine.device import has_cuda
from tasks.training.engine.loop import place
from tasks.training.fitting.inference import predict_rows

pc: Any = pyarrow.compute


@dataclass(frozen=True)
class UnitComparison:
    """Rows, signals and forms of one problem about units."""

    material: Material
    settings: Settings
    name: ClassVar[str]
    labelled_by: ClassVar[str]
    """Corpus column that is null where a row has no right answer."""
    asks_questions: ClassVar[bool] = False

    def tests(self, reader: Reader) -> pa.Table:
        """The reader's tokens of test rows with a right answer, in its language.

        Raises: ContractViolation if there are none.
        """
        rows = self.material.rows(reader, ["test"])
        return labelled(rows, self._has_answer(rows, self.material.language(reader)), reader)

    def has_tests(self) -> bool:
        """Whether a test row of the students has a right answer."""
        rows = self.material.rows("student", ["test"])
        return is_any(self._has_answer(rows, self.material.target_language))

    def tests_of_teacher_on_target(self) -> pa.Table | None:
        """The student's test rows where the teacher has read all of them, else its own; or None."""
        rows = self.material.target_rows_of_teacher(self.tests("student"))
        if rows is None:
            return None
        rows = rows.filter(self._has_answer(rows, self.material.target_language))
        return rows if len(rows) else None

    def read_by_both(self, roles: Sequence[str]) -> pa.Table | None:
        """The student's rows whose text the teacher has read too, in the target language."""
        target = self.material.target_language
        rows = self.material.find_rows("student", roles, language=target)
        known = self.material.find_rows("teacher", roles, language=target)
        if rows is None or known is None:
            return None
        both = pc.is_in(rows["example_id"], value_set=known["example_id"].combine_chunks())
        rows = rows.filter(pc.and_(both, self.material.has_signal(rows["example_id"])))
        return rows if len(rows) else None

    def said_by(self, model: Path, rows: pa.Table) -> pa.Table:
        """What the student in a model folder says of rows of its tokens, as a signal table."""
        network = load_model(model)
        if has_cuda():  # on a CPU, `place` would set the number of threads that timing relies on
            network = network.to(place())
        problem = PROBLEMS[self.name]
        logits, answers = predict_rows(
            network,
            problem,
            rows,
            num_labels=len(self.material.label_names),
            pad_token_id=self.material.token_facts("student")["pad_token_id"],
        )
        return problem.signal_table(rows, logits, answers)

    def said_by_int8(self, rows: pa.Table, *, batch_size: int, num_threads: int) -> pa.Table:
        """What the int8 form says of rows of the student's tokens, as a signal table."""
        problem = PROBLEMS[self.name]
        answers = problem.answers(rows, num_labels=len(self.material.label_names))
        logits = int8_logits(
            self.material, rows, answers.units, batch_size=batch_size, num_threads=num_threads
        )
        return problem.signal_table(rows, logits, answers)

    def answerers(self, *, num_threads: int) -> dict[str, Answerer]:
        """Teacher, safetensors and int8 student, from text to logits of tokens."""
        return encoder_answerers(
            self.material, load_model, num_threads=num_threads, asks_questions=self.asks_questions
        )

    def corpus(
        self, roles: Sequence[str], ids: pa.ChunkedArray, columns: Sequence[str]
    ) -> dict[str, list[Any]]:
        """Columns of the corpus for these example ids, as lists."""
        return self.material.corpus_rows(roles, ids, columns).to_pydict()

    def _has_answer(self, rows: pa.Table, language: str) -> pa.ChunkedArray:
        """Spans and answers are places in `text`: a reader of the parallel text has none."""
        columns = ["language", self.labelled_by]
        found = self.material.corpus_rows(["test"], rows["example_id"], columns)
        return pc.and_(pc.equal(found["language"], language), pc.is_valid(found[self.labelled_by]))
