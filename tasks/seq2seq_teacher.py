"""Teachers that write texts: an encoder-decoder learns the rows whose target is known.

tokens (train, validation) → teacher
    model/        encoder-decoder, generation settings, tokenizer, head.json
    history.json  learning curves
    training.json what was run: steps, best step, precision, parameters

It starts from a pretrained folder or, where none is at hand, from random weights in a given shape:
the student is then trained by a model of its own kind, and what distillation is worth shows all the
same.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, model_validator

from data_contracts.artifacts import Artifact, StageSummary
from tasks.modeling.encoder_decoder.config import (
    DecodingConfig,
    PretrainedSeq2Seq,
    Seq2SeqArchitecture,
    Seq2SeqProblemName,
)
from tasks.runtime.machine.device import process_count
from tasks.runtime.stages import Stage, StageConfig, Workspace
from tasks.training.optimization.config import TrainingConfig

VERSION = 5


class Config(StageConfig):
    """What defines a teacher."""

    problem: Seq2SeqProblemName = Field(description="problem type: decides metrics")
    target_language: str = Field(description="BCP-47 tag of the texts that are written")
    architecture: Seq2SeqArchitecture = Field(
        description="a shape with random weights, or a pretrained encoder-decoder"
    )
    decoding: DecodingConfig = Field(
        default=DecodingConfig(), description="how it writes: kept in the folder"
    )
    validation_texts: int = Field(
        default=500,
        ge=1,
        le=100_000,
        description="validation rows for which texts are written, greedily, at each validation",
    )
    training: TrainingConfig = Field(description="optimisation")
    seed: int = Field(default=0, ge=0, description="seed of the weights, order and dropout")

    @model_validator(mode="after")
    def _has_no_teacher(self) -> Config:
        if self.architecture.copies_teacher:
            raise ValueError("a teacher starts from a shape or a pretrained model, not a teacher")
        return self

    def locations(self) -> tuple[str, ...]:
        """The bytes of a pretrained model are part of the key."""
        start = self.architecture
        return (start.model,) if isinstance(start, PretrainedSeq2Seq) else ()


def train_teacher(
    config: Config, inputs: Mapping[str, Artifact], workspace: Workspace
) -> StageSummary:
    """Train on the rows of role train that have a target, keeping the best validated weights."""
    if (processes := process_count()) > 1:
        from tasks.training.distributed.launching import run_in_ranks

        function = "tasks.seq2seq_teacher:train_teacher"
        return run_in_ranks(function, config, inputs, workspace, processes=processes)
    from tasks.modeling.encoder_decoder.network import Seq2SeqNetwork
    from tasks.problems import SEQ2SEQ_PROBLEMS
    from tasks.training.sequences.fit import fit_seq2seq
    from tasks.training.sequences.initialization import untrained_seq2seq
    from tasks.training.sequences.mapping import map_seq2seq_examples
    from tasks.training.sequences.objective import Seq2SeqObjective
    from tasks.training.sequences.objective_config import token_blend
    from tasks.training.sequences.tokens import longest_target, read_seq2seq_tokens

    tokens = inputs["tokens"].path
    examples = map_seq2seq_examples(
        inputs["tokens"],
        ["train"],
        targets="gold",
        signals=None,
        with_topk=False,
        workspace=workspace,
    )
    network = Seq2SeqNetwork(
        untrained_seq2seq(
            config.architecture,
            tokens=tokens,
            decoding=config.decoding,
            # Of all rows: it may be asked about the gold text of each.
            longest_target=longest_target(tokens, ("train", "transfer", "validation", "test")),
            seed=config.seed,
            role="teacher",
        )
    )
    return fit_seq2seq(
        network,
        examples,
        Seq2SeqObjective(
            network=network,
            vocab_size=read_seq2seq_tokens(tokens).vocab_size,
            loss_terms=token_blend(0.0),
            label_smoothing=config.training.label_smoothing,
        ),
        config.training,
        problem=SEQ2SEQ_PROBLEMS[config.problem],
        language=config.target_language,
        decoding=config.decoding,
        validation_texts=config.validation_texts,
        tokens=tokens,
        seed=config.seed,
        workspace=workspace,
    )


STAGE = Stage("teacher", VERSION, train_teacher)
