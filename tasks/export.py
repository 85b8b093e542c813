"""Student → the files that are delivered: safetensors, int8 ONNX, tokenizer, and how to read texts.

Both forms are checked on real validation texts before anything is handed on: the fp32 graph must
give the network's logits, and the int8 graph must answer almost every text the same way.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from data_contracts.artifacts import Artifact, StageSummary
from data_contracts.errors import ContractViolation, SourceError
from tasks.corpus.normalization import NormalizationConfig
from tasks.runtime.stages import Stage, StageConfig, Workspace

if TYPE_CHECKING:
    import numpy as np

VERSION = 1

INT8_FILE = "model.int8.onnx"
SERVING_FILE = "serving.json"


class Config(StageConfig):
    """How far the delivered forms may differ from the trained network, and what texts look like."""

    normalization: NormalizationConfig = Field(
        default=NormalizationConfig(),
        description="the corpus's text normalisation, which the delivered model applies to every "
        "text it is asked about; give the same as for the corpus",
    )
    max_parity_texts: int = Field(
        default=512, ge=1, description="validation texts the forms are compared on, evenly chosen"
    )
    max_logit_difference: float = Field(
        default=1e-4,
        gt=0,
        description="largest difference of any logit between the network and its fp32 ONNX graph",
    )
    min_int8_agreement: float = Field(
        default=0.98,
        ge=0,
        le=1,
        description="smallest share of those texts that the int8 graph answers like the network; "
        "below it with 8-bit embeddings, they are tried in fp32 before the stage fails",
    )


def export(config: Config, inputs: Mapping[str, Artifact], workspace: Workspace) -> StageSummary:
    """Write `model/`, `parity.json` and the student's training record.

    Args:
        inputs: `student` (model folder) and `tokens` (the student's, for real validation texts).
    Raises:
        SourceError: there are no validation texts to compare on.
        ContractViolation: a form differs from the network by more than the configuration allows.
    """
    from tasks.problems import load_model
    from tasks.serving.onnx_export import export_onnx, predict_onnx, write_onnx
    from tasks.training.inference import predict_logits

    student, tokens = inputs["student"].path, inputs["tokens"].path
    facts = json.loads((tokens / "tokens.json").read_text(encoding="utf-8"))
    input_ids = _validation_texts(tokens, config.max_parity_texts)
    pad_token_id = facts["pad_token_id"]
    model_folder = workspace.output / "model"
    _copy_model(student, model_folder)
    _write_json(
        model_folder / SERVING_FILE,
        {
            "max_length_tokens": facts["max_length_tokens"],
            "pad_token_id": pad_token_id,
            "normalization": config.normalization.model_dump(mode="json"),
        },
    )

    workspace.progress.say(f"export: comparing both forms on {len(input_ids)} validation texts")
    network = load_model(model_folder)
    expected = predict_logits(network, input_ids, pad_token_id=pad_token_id)
    graph = export_onnx(network)
    found = predict_onnx(graph, input_ids, pad_token_id=pad_token_id)
    difference = float(abs(found - expected).max())
    # Written so that NaN, which compares false with everything, fails too.
    if not difference <= config.max_logit_difference:
        raise ContractViolation(
            f"the ONNX graph's logits differ from the network's by up to {difference:.2g} on "
            f"{len(input_ids)} validation texts",
            rule=f"they may differ by {config.max_logit_difference:.2g} (max_logit_difference)",
            remedy="this architecture does not survive tracing: please report it, with its "
            "config.json",
        )
    int8_graph, agreement, embeddings = _quantize(config, graph, input_ids, pad_token_id, expected)
    write_onnx(int8_graph, model_folder / INT8_FILE)
    parity = {
        "max_abs_logit_difference": difference,
        "argmax_agreement": agreement,
        "num_texts": len(input_ids),
        "int8_embeddings": embeddings,
        "size_bytes": {
            "safetensors": sum(path.stat().st_size for path in model_folder.glob("*.safetensors")),
            "onnx_int8": (model_folder / INT8_FILE).stat().st_size,
        },
    }
    _write_json(workspace.output / "parity.json", parity)
    return StageSummary(
        facts={
            "int8_agreement": round(agreement, 4),
            "int8_megabytes": round(parity["size_bytes"]["onnx_int8"] / 1e6, 2),
        }
    )


def _quantize(config, graph, input_ids, pad_token_id, expected):
    """The smallest int8 graph that agrees: (graph, agreement, whether embeddings are 8-bit)."""
    from tasks.serving.onnx_export import predict_onnx, quantize_int8

    agreement = 0.0
    for embeddings in (True, False):
        int8_graph = quantize_int8(graph, embeddings=embeddings)
        found = predict_onnx(int8_graph, input_ids, pad_token_id=pad_token_id)
        agreement = float((found.argmax(1) == expected.argmax(1)).mean())
        if agreement >= config.min_int8_agreement:
            return int8_graph, agreement, embeddings
    raise ContractViolation(
        f"the int8 graph answers {agreement:.2%} of {len(input_ids)} validation texts like the "
        "network, with embeddings in fp32",
        rule=f"at least {config.min_int8_agreement:.2%} are asked for (min_int8_agreement)",
        remedy="train longer (unsure answers flip first), widen the student, or lower "
        "export.min_int8_agreement if that loss is acceptable",
    )


def _validation_texts(tokens: Path, most: int) -> list[np.ndarray]:
    import numpy as np
    import pyarrow as pa

    from tasks.corpus.tables import read_table

    parts = sorted((tokens / "validation").glob("*.parquet"))
    tables = [read_table(part, columns=["input_ids"]) for part in parts]
    if not sum(map(len, tables)):
        raise SourceError(
            "the student's tokens hold no validation rows",
            rule="the delivered forms are compared with the network on real validation texts",
            remedy="give a source with the role validation, or let data.splitting make one",
        )
    column = pa.concat_tables(tables)["input_ids"]
    chosen = np.unique(np.linspace(0, len(column) - 1, min(most, len(column))).astype(np.int64))
    return [np.asarray(ids, dtype=np.int32) for ids in column.take(chosen).to_pylist()]


def _copy_model(student: Path, folder: Path) -> None:
    shutil.copytree(student / "model", folder)
    for name in ("history.json", "training.json"):
        shutil.copyfile(student / name, folder.parent / name)


def _write_json(path: Path, value: object) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


STAGE = Stage("export", VERSION, export)
