"""From rows and an untrained encoder-decoder to a model folder: what its training stages share.

    fit_seq2seq: train on rows, choose the step by validation rows, write
        model/ (weights, generation settings, tokenizer, head.json, labels.json)
        history.json   training.json            as `fitting.fit` does

Each validation measures the loss of all validation rows and the texts written for some of them,
greedily: beam search would cost as much as the training between two validations. Of an objective
that is told it also measures how much each term pulls (`sequence_probe`).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import torch
from torch import nn

from data_contracts.artifacts import StageSummary
from data_contracts.errors import ContractViolation, UserError
from tasks.modeling.encoder_decoder.config import DecodingConfig
from tasks.modeling.encoder_decoder.network import Seq2SeqNetwork, output_projection, save_seq2seq
from tasks.modeling.evaluation_mode import evaluation_mode
from tasks.modeling.heads.classifier import num_parameters
from tasks.modeling.texts import moved
from tasks.problems.seq2seq import Seq2SeqProblem
from tasks.runtime.machine.device import resolve_precision
from tasks.runtime.stages import Workspace
from tasks.training.batching.batches import num_steps
from tasks.training.batching.examples import read_rows
from tasks.training.batching.language_sampling import language_facts
from tasks.training.batching.layouts import Layout, padded_layout
from tasks.training.batching.ragged import RaggedIds
from tasks.training.distributed.steps import current_ranks
from tasks.training.engine.loop import train
from tasks.training.engine.precision_probe import precision_facts
from tasks.training.fitting.fit import copy_tokenizer, selection_of, write_json, write_record
from tasks.training.losses import hard_label_loss
from tasks.training.optimization.config import TrainingConfig
from tasks.training.sequences.examples import Seq2SeqExamples
from tasks.training.sequences.generation import load_reader, to_texts, write
from tasks.training.sequences.objective import Seq2SeqObjective
from tasks.training.sequences.probe import SequenceProbe
from tasks.training.sequences.tokens import read_seq2seq_tokens
from tasks.training.sequences.vocabulary_chunks import over_vocabulary

pc: Any = pyarrow.compute

_VALIDATION_PASS_TOKENS = 4096


def fit_seq2seq(
    network: Seq2SeqNetwork,
    examples: Seq2SeqExamples,
    objective: Seq2SeqObjective,
    config: TrainingConfig,
    *,
    problem: Seq2SeqProblem,
    language: str,
    decoding: DecodingConfig,
    validation_texts: int,
    tokens: Path,
    seed: int,
    workspace: Workspace,
) -> StageSummary:
    """Train `network` and write its folder into `workspace.output`.

    Args:
        language: of the texts that are written, BCP-47.
        decoding: kept in the folder; validation takes its length limits.
        validation_texts: validation rows for which texts are written.
        tokens: directory of the tokens artifact: tokenizer, labels and validation rows, of which
            those in the languages of `examples` are read: others say nothing of what is learned.
        seed: of order and dropout.
    Raises: ContractViolation if no validation row has a target; RecipeError if the figure that
        chooses the step is none of the problem's.
    """
    if current_ranks().sharded:
        raise UserError(
            "an encoder-decoder was to be sharded over several devices",
            rule="its output matrix is read outside of its forward pass, so it must be whole",
            remedy="leave --sharded out: its weights are then replicated",
        )
    chosen_by = selection_of(problem, config)
    facts = read_seq2seq_tokens(tokens)
    validation = _Validation(
        problem,
        _validation_rows(tokens, examples.group_names),
        tokens,
        language,
        decoding,
        validation_texts,
    )
    precision = resolve_precision(config.precision)
    config = config.model_copy(update={"selection": chosen_by, "precision": precision})
    measured = precision_facts(precision, workspace.progress)

    def validate(candidate: nn.Module) -> dict[str, float]:
        assert isinstance(candidate, Seq2SeqNetwork)
        return validation.figures(candidate, precision=precision)

    probe = SequenceProbe(
        examples,
        objective,
        config,
        pad_token_id=facts.pad_token_id,
        planned_steps=num_steps(len(examples), config.batch_size) * config.num_epochs,
        seed=seed,
    )
    result = train(
        network,
        examples,
        objective,
        config,
        pad_token_id=facts.pad_token_id,
        validate=validate,
        seed=seed,
        work=workspace.work,
        progress=workspace.progress,
        layout=padded_layout(grouped=config.group_by_length),
        probe=probe if objective.is_told else None,
    )
    folder = workspace.output / "model"
    save_seq2seq(network.model, folder, decoding)
    copy_tokenizer(tokens, folder)
    shutil.copyfile(tokens / "labels.json", folder / "labels.json")
    head = {
        "problem": problem.name,
        "target_language": language,
        "max_length_tokens": facts.max_length_tokens,
        "decoding": decoding.model_dump(),
    }
    write_json(folder / "head.json", head)
    state = result.state
    best = state.best_validation
    write_record(
        workspace.output,
        result,
        num_parameters=num_parameters(network),
        num_examples=len(examples),
        precision=precision,
        seed=seed,
    )
    return StageSummary(
        facts={
            f"validation_{problem.metrics[0]}": round(best[problem.metrics[0]], 4),
            "validation_loss": round(best["loss"], 4),
            "steps": state.step,
            "parameters": num_parameters(network),
            "train_seconds": state.train_seconds,
            **measured,
            **language_facts(examples.groups, examples.group_names, config.language_temperature),
            "loader_wait_seconds": result.loader_wait_seconds,
            "threads": result.num_threads,
        }
    )


class _Validation:
    """The validation rows, read once."""

    def __init__(
        self,
        problem: Seq2SeqProblem,
        table: pa.Table,
        tokens: Path,
        language: str,
        decoding: DecodingConfig,
        num_texts: int,
    ) -> None:
        self._problem, self._language = problem, language
        self._facts = read_seq2seq_tokens(tokens)
        self._reader = load_reader(tokens / "tokenizer")
        self._rows = Seq2SeqExamples(
            RaggedIds.from_arrow(table["input_ids"]), RaggedIds.from_arrow(table["target_ids"])
        )
        # Spread over the file, whose order may mean something.
        chosen = np.unique(np.linspace(0, len(table) - 1, min(num_texts, len(table)), dtype=int))
        some = table.take(chosen)
        self._sources = RaggedIds.from_arrow(some["input_ids"])
        self._references = self._reader.decode_batch(some["target_ids"].to_pylist())
        self._decoding = decoding.model_copy(update={"num_beams": 1})

    def figures(self, network: Seq2SeqNetwork, *, precision: str) -> dict[str, float]:
        """`loss` in nats a token, and the problem's metrics of the texts written."""
        hypotheses = write(
            network.model,
            self._sources,
            self._decoding,
            pad_token_id=self._facts.pad_token_id,
            vocab_size=self._facts.vocab_size,
        )
        written = to_texts(self._reader, [found[0] for found in hypotheses])
        return {
            "loss": self._loss(network, precision),
            **self._problem.score(written, self._references, language=self._language),
        }

    def _loss(self, network: Seq2SeqNetwork, precision: str) -> float:
        device = next(network.parameters()).device
        rows = np.arange(len(self._rows))
        num_tokens, _ = self._rows.normalizers(rows)
        matrix_VD, bias_V = output_projection(network.model)
        size = self._facts.vocab_size
        layout = Layout("bucketed", _VALIDATION_PASS_TOKENS)
        total = 0.0
        with (
            evaluation_mode(network),
            torch.no_grad(),
            torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"),
        ):
            for batch in self._rows.batches(rows, layout, pad_token_id=self._facts.pad_token_id):
                labels_BL = batch.labels_BL.to(device)
                states_ND = network(moved(batch.source, device), labels_BL)
                terms = over_vocabulary(
                    lambda logits, labels: {
                        "loss": hard_label_loss(logits, labels, normalizer=float(num_tokens))
                    },
                    states_ND,
                    matrix_VD[:size],
                    None if bias_V is None else bias_V[:size],
                    (labels_BL[labels_BL >= 0],),
                )
                total += float(terms["loss"])
        return total


def _validation_rows(tokens: Path, languages: Sequence[str]) -> pa.Table:
    """The validation rows with a target, in these languages."""
    table = read_rows(tokens, ["validation"])
    table = table.filter(pc.is_valid(table["target_ids"]))
    table = table.filter(pc.is_in(table["language"], value_set=pa.array(languages, pa.string())))
    if not len(table):
        raise ContractViolation(
            f"no validation row in {', '.join(languages)} has a target text",
            rule="the best step is chosen on rows whose target is known, in the languages that "
            "are trained on",
            remedy="map a target_text column for a validation source in such a language",
        )
    return table
