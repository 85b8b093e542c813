"""The delivered files of a model that writes texts: safetensors, tokenizer, and how to search.

There is one form: int8 kernels of a decoder, run a token at a time, gain little on short texts and
change what is written. What is delivered is searched by transformers, what was evaluated by the
engine's own search, so both write for some validation texts and must nearly always agree.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_contracts.artifacts import StageSummary
from data_contracts.errors import ContractViolation, SourceError
from tasks.corpus.tables import part_paths, read_table
from tasks.corpus.tokens.facts import read_token_facts
from tasks.modeling.encoder_decoder.config import DecodingConfig
from tasks.modeling.encoder_decoder.network import load_seq2seq
from tasks.runtime.stages import Workspace
from tasks.training.batching.ragged import RaggedIds
from tasks.training.sequences.generation import load_reader, source_batches, to_texts, write

_BATCH_TEXTS = 16


def export_writer(
    student: Path,
    tokens: Path,
    workspace: Workspace,
    *,
    normalization: dict[str, Any],
    num_texts: int,
    min_agreement: float,
) -> StageSummary:
    """Write `model/`, `parity.json` and the student's training record.

    Args:
        num_texts: validation texts written twice, evenly chosen.
        min_agreement: share of them that must come out equal.
    Raises:
        SourceError: there are no validation rows to compare on.
        ContractViolation: the two searches differ more often.
    """
    folder = workspace.output / "model"
    shutil.copytree(student / "model", folder)
    for name in ("history.json", "training.json"):
        shutil.copyfile(student / name, workspace.output / name)
    head, facts = _read_json(folder / "head.json"), read_token_facts(tokens)
    decoding = DecodingConfig.model_validate(head["decoding"])
    serving = {
        "problem": head["problem"],
        "max_length_tokens": facts["max_length_tokens"],
        "max_target_tokens": decoding.max_length_tokens,
        "pad_token_id": facts["pad_token_id"],
        "normalization": normalization,
    }
    _write_json(folder / "serving.json", serving)
    sources = _sources(tokens, num_texts)
    workspace.progress.say(f"export: writing {len(sources)} validation texts by both searches")
    reader, model = load_reader(folder), load_seq2seq(folder)
    hypotheses = write(
        model,
        sources,
        decoding,
        pad_token_id=facts["pad_token_id"],
        vocab_size=facts["vocab_size"],
        batch_texts=_BATCH_TEXTS,
    )
    expected = to_texts(reader, [found[0] for found in hypotheses])
    found = [""] * len(sources)
    generator: Any = model
    for rows, ids_BL, mask_BL in source_batches(sources, _BATCH_TEXTS, facts["pad_token_id"]):
        with torch.inference_mode():
            ids = generator.generate(input_ids=ids_BL, attention_mask=mask_BL)
        texts = reader.decode_batch(ids.tolist(), skip_special_tokens=True)
        for row, text in zip(rows.tolist(), texts, strict=True):
            found[row] = text
    agreement = float(
        np.mean([ours == theirs for ours, theirs in zip(expected, found, strict=True)])
    )
    if agreement < min_agreement:
        raise ContractViolation(
            f"transformers writes {agreement:.2%} of {len(found)} validation texts as the engine",
            rule=f"at least {min_agreement:.2%} are asked for (min_int8_agreement)",
            remedy="this model is not searched as it was evaluated: please report it, with its "
            "generation_config.json",
        )
    size_bytes = (folder / "model.safetensors").stat().st_size
    parity = {
        "agreement": agreement,
        "num_answers": len(found),
        "num_rows": len(found),
        "size_bytes": {"safetensors": size_bytes},
    }
    _write_json(workspace.output / "parity.json", parity)
    return StageSummary(
        facts={
            "search_agreement": round(agreement, 4),
            "megabytes": round(size_bytes / 1e6, 2),
        }
    )


def _sources(tokens: Path, most: int) -> RaggedIds:
    parts = part_paths(tokens, ["validation"])
    lists = [
        ids for part in parts for ids in read_table(part, ["input_ids"])["input_ids"].to_pylist()
    ]
    if not lists:
        raise SourceError(
            "the student's tokens hold no validation rows",
            rule="what is delivered is compared with what was evaluated on real validation texts",
            remedy="give a source with the role validation, or let data.splitting make one",
        )
    chosen = np.unique(np.linspace(0, len(lists) - 1, min(most, len(lists))).astype(np.int64))
    texts = [np.asarray(lists[row], dtype=np.int32) for row in chosen]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    return RaggedIds(np.concatenate(texts), offsets)


def _write_json(path: Path, value: object) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
