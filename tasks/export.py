"""Student → the files that are delivered: safetensors, int8 ONNX, tokenizer, and how to read texts.

Both forms are checked on real validation texts before anything is handed on: the fp32 graph must
give the network's logits, and the int8 graph must answer almost every text the same way.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from data_contracts.artifacts import THRESHOLDS_FILE, Artifact, StageSummary
from data_contracts.errors import ContractViolation, SourceError
from tasks.corpus.text.normalization import NormalizationConfig
from tasks.runtime.stages import Stage, StageConfig, Workspace

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 4

INT8_FILE = "model.int8.onnx"
SERVING_FILE = "serving.json"
WINDOW_FACTS = ("max_question_tokens", "window_stride_tokens")


class Config(StageConfig):
    """How far the delivered forms may differ from the trained network, and what texts look like."""

    normalization: NormalizationConfig = Field(
        default=NormalizationConfig(),
        description="the corpus's text normalisation, which the delivered model applies to every "
        "text it is asked about; give the same as for the corpus",
    )
    max_parity_texts: int = Field(
        default=512,
        ge=1,
        description="validation examples the forms are compared on, evenly chosen",
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
        description="smallest share of their answers (classes, tags, spans) that the int8 graph "
        "gives like the network; below it embeddings, then more and more of its products are kept "
        "in 16 bits before the stage fails",
    )


def export(config: Config, inputs: Mapping[str, Artifact], workspace: Workspace) -> StageSummary:
    """Write `model/`, `parity.json` and the student's training record.

    Args:
        inputs: `student` (model folder) and `tokens` (the student's, for real validation rows).
    Raises:
        SourceError: there are no validation rows to compare on.
        ContractViolation: a form differs from the network by more than the configuration allows.
    """
    import numpy as np

    from tasks.corpus.tokens.facts import read_token_facts
    from tasks.problems import PROBLEMS, SEQ2SEQ_PROBLEMS, load_model
    from tasks.serving.export.onnx_export import export_onnx, predict_onnx, write_onnx
    from tasks.serving.export.parity import AGREEMENTS
    from tasks.serving.export.quantization import product_noise
    from tasks.training.fitting.inference import predict_rows

    student, tokens = inputs["student"].path, inputs["tokens"].path
    if _read_json(student / "model" / "head.json")["problem"] in SEQ2SEQ_PROBLEMS:
        from tasks.serving.export.encoder_decoder import export_writer

        return export_writer(
            student,
            tokens,
            workspace,
            normalization=config.normalization.model_dump(mode="json"),
            num_texts=config.max_parity_texts,
            min_agreement=config.min_int8_agreement,
        )
    facts = read_token_facts(tokens)
    model_folder = workspace.output / "model"
    _copy_model(student, model_folder)
    head = _read_json(model_folder / "head.json")
    problem, pad_token_id = PROBLEMS[head["problem"]], facts["pad_token_id"]
    serving: dict[str, Any] = {
        "problem": problem.name,
        "max_length_tokens": facts["max_length_tokens"],
        "pad_token_id": pad_token_id,
        "normalization": config.normalization.model_dump(mode="json"),
    }
    # How questions and contexts were cut in training, so that they are cut so in service.
    serving |= {name: value for name, value in facts.items() if name in WINDOW_FACTS}
    serving |= _thresholds(model_folder)
    _write_json(model_folder / SERVING_FILE, serving)

    rows = _validation_rows(tokens, problem.token_columns, config.max_parity_texts)
    workspace.progress.say(f"export: comparing both forms on {len(rows)} validation rows")
    network = load_model(model_folder)
    expected, answers = predict_rows(
        network, problem, rows, num_labels=head["num_labels"], pad_token_id=pad_token_id
    )
    graph = export_onnx(network)
    input_ids = [np.asarray(ids, dtype=np.int32) for ids in rows["input_ids"].to_pylist()]
    found = predict_onnx(graph, input_ids, pad_token_id=pad_token_id, units=answers.units)
    difference = float(abs(found - expected).max())
    # Written so that NaN, which compares false with everything, fails too.
    if not difference <= config.max_logit_difference:
        raise ContractViolation(
            f"the ONNX graph's logits differ from the network's by up to {difference:.2g} on "
            f"{len(rows)} validation rows",
            rule=f"they may differ by {config.max_logit_difference:.2g} (max_logit_difference)",
            remedy="this architecture does not survive tracing: please report it, with its "
            "config.json",
        )

    def agrees(int8_graph):
        logits = predict_onnx(int8_graph, input_ids, pad_token_id=pad_token_id, units=answers.units)
        return AGREEMENTS[problem.name](rows, answers, logits, expected, serving)

    noise = product_noise(graph, input_ids, pad_token_id=pad_token_id)
    int8_graph, form = _quantize(config, graph, noise, agrees)
    write_onnx(int8_graph, model_folder / INT8_FILE)
    parity = {
        "max_abs_logit_difference": difference,
        **form,
        "num_rows": len(rows),
        "size_bytes": {
            "safetensors": sum(path.stat().st_size for path in model_folder.glob("*.safetensors")),
            "onnx_int8": (model_folder / INT8_FILE).stat().st_size,
        },
    }
    _write_json(workspace.output / "parity.json", parity)
    return StageSummary(
        facts={
            "int8_agreement": round(form["agreement"], 4),
            "int8_megabytes": round(parity["size_bytes"]["onnx_int8"] / 1e6, 2),
        }
    )


def _quantize(config, graph, noise, agrees):
    """The first of the int8 graph's forms that agrees, and what parity.json says of it."""
    from tasks.serving.export.quantization import forms, quantize_int8

    agreement, num_answers = 0.0, 0
    for embeddings, left_out in forms(noise):
        int8_graph = quantize_int8(graph, embeddings=embeddings, left_out=left_out)
        agreement, num_answers = agrees(int8_graph)
        if agreement >= config.min_int8_agreement:
            return int8_graph, {
                "agreement": agreement,
                "num_answers": num_answers,
                "int8_embeddings": embeddings,
                "num_products": len(noise),
                "products_in_fp32": left_out,
            }
    raise ContractViolation(
        f"the int8 graph gives {agreement:.2%} of {num_answers} answers to validation rows like "
        "the network, even with all of its weights in 16 bits",
        rule=f"at least {config.min_int8_agreement:.2%} are asked for (min_int8_agreement)",
        remedy="train longer (unsure answers flip first), widen the student, or lower "
        "export.min_int8_agreement if that loss is acceptable",
    )


def _validation_rows(tokens: Path, columns: Sequence[str], most: int) -> pa.Table:
    """Token rows of at most `most` validation examples, evenly chosen, each with all its rows."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute

    from tasks.corpus.tables import part_paths, read_table

    compute: Any = pyarrow.compute
    parts = part_paths(tokens, ["validation"])
    tables = [read_table(part, columns=list(columns)) for part in parts]
    if not sum(map(len, tables)):
        raise SourceError(
            "the student's tokens hold no validation rows",
            rule="the delivered forms are compared with the network on real validation texts",
            remedy="give a source with the role validation, or let data.splitting make one",
        )
    table = pa.concat_tables(tables)
    examples = table["example_id"].unique()
    chosen = np.unique(np.linspace(0, len(examples) - 1, min(most, len(examples))).astype(np.int64))
    return table.filter(
        compute.is_in(table["example_id"], value_set=examples.take(pa.array(chosen)))
    )


def _thresholds(model_folder: Path) -> dict[str, Any]:
    """What training tuned on validation rows beside the weights, where the problem has such."""
    path = model_folder / THRESHOLDS_FILE
    return _read_json(path) if path.is_file() else {}


def _copy_model(student: Path, folder: Path) -> None:
    shutil.copytree(student / "model", folder)
    for name in ("history.json", "training.json"):
        shutil.copyfile(student / name, folder.parent / name)


def _write_json(path: Path, value: object) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


STAGE = Stage("export", VERSION, export)
