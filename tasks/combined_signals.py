"""Combined signals: what several teachers said of a row, as if one had said it.

    signals_<teacher> (+ teacher_<teacher>, or corpus) (+ tokens) → teacher_signals
        <role>/part-NNNNN.parquet, labels.json   as of one teacher: students see no difference
        combination.json                         what each teacher counted, and why
        thresholds.json                          where labels are decided by thresholds (several
                                                 labels a text, no answer): those of the mean

    teacher en   90 % sport   10 % travel      ┐ weighted mean of probabilities,
    teacher de   50 % sport   50 % travel      ┘ its logarithm is the logit: 70 %, 30 %

Teachers may have other tokenizers and other orders of classes, which are aligned by name. A row
that only some have read is combined from those; of a text that one has cut off earlier, the end is
the others'. Weights are the same for all rows (uniform, fixed, by validation figure, by language
similarity), or each row's own (how sure each teacher is of it).

Part by part and row block by row block: memory does not grow with the rows. Parts have the names
they have in the corpus, from which all teachers read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from data_contracts.artifacts import (
    THRESHOLDS_FILE,
    Artifact,
    StageSummary,
    WithLaterFields,
)
from tasks.modeling.config import EncoderProblem
from tasks.runtime.stages import Stage, StageConfig, Workspace

if TYPE_CHECKING:
    import numpy as np

    from tasks.training.multi_teacher.teacher_languages import TeacherWeights

VERSION = 2

Weighting = Literal["uniform", "fixed", "validation", "similarity", "confidence"]


class Combination(WithLaterFields):
    """What each of several teachers counts, as a recipe's section."""

    later_fields: ClassVar[tuple[str, ...]] = ("similarity",)

    weighting: Weighting = Field(
        "uniform",
        description="what a teacher counts: all the same (uniform), as given (fixed), as much as "
        "its best validation figure (validation), by how near the language it was fine-tuned in "
        "lies to the target language (similarity), or row by row by how sure it is (confidence: "
        "exp of minus its entropy)",
    )
    weights: dict[str, float] = Field(
        default={}, description="of each teacher by name (the first is `teacher`), if fixed"
    )
    average: Literal["probabilities", "logits"] = Field(
        "probabilities",
        description="what is averaged; of logits the mean is dominated by the surest teacher, and "
        "a start or end that lies within a token of one of them is none for all",
    )
    encoder: str | None = Field(
        None,
        description="URI of the pretrained encoder that compares languages, if weighting is "
        "similarity; the first teacher's model if not given",
    )
    max_texts: int = Field(
        512, ge=1, le=100_000, description="texts of a language that the encoder reads at most"
    )
    similarity: Literal["cosine", "learned"] = Field(
        "cosine",
        description="how languages are compared, if weighting is similarity: by the cosine of the "
        "mean vectors of their texts, or by an identifier trained to tell the teachers' languages "
        "apart (learned), which then says whose the target's texts might be",
    )

    @model_validator(mode="after")
    def _weights_are_wanted(self) -> Combination:
        if (self.weighting == "fixed") != bool(self.weights):
            raise ValueError(
                f"{len(self.weights)} weights are given and weighting is {self.weighting}: fixed "
                "takes one a teacher, the others none"
            )
        if self.weights and not (min(self.weights.values()) >= 0 < max(self.weights.values())):
            raise ValueError("weights must be 0 or more, and not all 0")
        return self

    @model_validator(mode="after")
    def _languages_are_compared(self) -> Combination:
        unread = {
            "encoder": self.encoder,
            "max_texts": self.max_texts,
            "similarity": self.similarity,
        }
        given = [name for name, value in unread.items()
                 if value != type(self).model_fields[name].default]  # fmt: skip
        if given and self.weighting != "similarity":
            raise ValueError(
                f"{' and '.join(given)} is given and weighting is {self.weighting}: languages are "
                "compared for weighting: similarity alone; leave it out"
            )
        return self


class Config(StageConfig):
    """Which teachers are combined, and what each counts."""

    problem: EncoderProblem = Field(
        "text_classification", description="problem type: decides what a distribution is"
    )
    teachers: tuple[str, ...] = Field(min_length=2, description="names, as inputs are named after")
    combination: Combination = Field(description="what each teacher counts")
    languages: tuple[tuple[str, ...], ...] = Field(
        (), description="languages of each teacher, if weighting is similarity"
    )
    target_language: str | None = Field(
        None, description="language that they are compared with, if weighting is similarity"
    )
    seed: int = Field(0, ge=0, description="of the identifier of languages, if one is trained")

    @model_validator(mode="after")
    def _each_has_a_weight(self) -> Config:
        weights = self.combination.weights
        if weights and set(weights) != set(self.teachers):
            raise ValueError(
                f"combination.weights are of {', '.join(weights)}, but the teachers are "
                f"{', '.join(self.teachers)}: give one a teacher"
            )
        return self

    @model_validator(mode="after")
    def _languages_can_be_told_apart(self) -> Config:
        learned = self.combination.similarity == "learned"
        if learned and len({frozenset(known) for known in self.languages}) < 2:
            raise ValueError(
                f"the {len(self.teachers)} teachers have the same languages "
                f"({', '.join(self.languages[0]) if self.languages else 'none'}): similarity: "
                "learned trains to tell two or more apart; give teachers other languages, or "
                "choose another weighting"
            )
        return self

    @model_serializer(mode="wrap")
    def _a_seed_that_is_read(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """With the seed only where something is trained: other keys do not change with it."""
        unused = () if self.combination.similarity == "learned" else ("seed",)
        return {name: value for name, value in serialize(self).items() if name not in unused}

    def locations(self) -> tuple[str, ...]:
        """The bytes of the encoder that compares languages are part of the key."""
        encoder = self.combination.encoder
        return (encoder,) if encoder else ()


def combine_signals(
    config: Config, inputs: Mapping[str, Artifact], workspace: Workspace
) -> StageSummary:
    """Average the signals of `config.teachers`, part by part.

    `inputs["tokens"]` are of one of them, where the problem decides by thresholds.

    Raises: ContractViolation if teachers know other classes, or other units of a context.
    """
    import json
    import shutil

    import numpy as np
    import pyarrow as pa

    from data_contracts.tables import check_table
    from tasks.corpus.tables import write_table
    from tasks.problems import PROBLEMS
    from tasks.training.fitting.fit import write_json
    from tasks.training.multi_teacher.averaging import averaged
    from tasks.training.multi_teacher.combined_thresholds import combined_thresholds
    from tasks.training.multi_teacher.soft_labels import Panel

    problem = PROBLEMS[config.problem]
    panel = Panel(problem, [inputs[f"signals_{name}"].path for name in config.teachers])
    scores, weights, figures = _weights(config, inputs)
    num_rows = num_answers = 0
    shares = np.zeros(len(config.teachers))
    workspace.progress.start("combining teachers", total=len(panel.parts), unit="parts")
    for part in panel.parts:
        tables: list[pa.Table] = []
        for ids, soft_labels in panel.blocks(part):
            logits, mean_shares = averaged(
                soft_labels,
                weights,
                distribution=problem.distribution,
                by_confidence=config.combination.weighting == "confidence",
                average=config.combination.average,
            )
            tables.append(problem.restated(ids, logits, soft_labels.counts))
            shares += mean_shares * len(logits)
            num_answers += len(logits)
            num_rows += len(ids)
        table = pa.concat_tables(tables)
        check_table(table, problem.signals_contract)
        write_table(table, workspace.output / part)
        workspace.progress.advance(1)
    shutil.copyfile(panel.folders[0] / "labels.json", workspace.output / "labels.json")
    if "tokens" in inputs:
        thresholds = combined_thresholds(problem, inputs["tokens"].path, workspace.output)
        if thresholds is not None:
            write_json(workspace.output / THRESHOLDS_FILE, thresholds)
    told = {
        name: {"score": score, "mean_share": round(share, 6)}
        for name, score, share in zip(
            config.teachers, scores, (shares / max(1, num_answers)).tolist(), strict=True
        )
    }
    text = json.dumps(
        {"weighting": config.combination.weighting, "teachers": told, **figures},
        allow_nan=False,
        indent=2,
        sort_keys=True,
    )
    (workspace.output / "combination.json").write_text(text + "\n", encoding="utf-8")
    facts = {f"share_{name}": round(found["mean_share"], 3) for name, found in told.items()}
    return StageSummary(facts={"rows": num_rows, **facts, **figures})


def _weights(
    config: Config, inputs: Mapping[str, Artifact]
) -> tuple[list[float], np.ndarray, dict[str, float]]:
    """What each teacher was judged by, what it counts, both (teachers,), and figures of how."""
    import numpy as np

    weighting = config.combination.weighting
    if weighting == "fixed":
        scores = [config.combination.weights[name] for name in config.teachers]
    elif weighting == "validation":
        scores = [_validation_figure(inputs[f"teacher_{name}"]) for name in config.teachers]
    elif weighting == "similarity":
        found = _by_language(config, inputs["corpus"])
        return found.scores, found.weights_K, found.figures
    else:
        scores = [1.0] * len(config.teachers)
    return scores, np.array(scores), {}


def _validation_figure(teacher: Artifact) -> float:
    """The problem's primary figure at the step that the teacher is from."""
    import json

    from tasks.problems import PROBLEMS

    history = json.loads((teacher.path / "history.json").read_text(encoding="utf-8"))
    head = json.loads((teacher.path / "model" / "head.json").read_text(encoding="utf-8"))
    best = next(v for v in history["validations"] if v["step"] == history["best_step"])
    return float(best[PROBLEMS[head["problem"]].metrics[0]])


def _by_language(config: Config, corpus: Artifact) -> TeacherWeights:
    from tasks.runtime.files.locations import local_folder
    from tasks.training.multi_teacher.teacher_languages import teacher_weights

    encoder, target = config.combination.encoder, config.target_language
    assert encoder, "the recipe names the encoder"
    assert target, "the recipe names the target language"
    return teacher_weights(
        corpus.path,
        local_folder(encoder),
        languages=config.languages,
        target=target,
        similarity=config.combination.similarity,
        max_texts=config.combination.max_texts,
        seed=config.seed,
    )


STAGE = Stage("combined_signals", VERSION, combine_signals)
