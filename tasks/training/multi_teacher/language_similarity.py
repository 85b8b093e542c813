"""How near a teacher's language lies to the target language, in the eyes of one encoder.

    texts a teacher was fine-tuned on ──encoder──► mean vector  ┐ cosine ──► softmax of z-scores
    texts of the target language      ──encoder──► mean vector  ┘

All teachers are compared by one encoder, so that their cosines are on one scale. Cosines of mean
vectors all lie close to 1 and differ in the second or third place: they are brought to mean 0 and
standard deviation 1 before the softmax, which otherwise would find all teachers equal.

References: Wu et al. 2020, arXiv:2004.12440, section 3.3. Of its ways this is the one without
    training: cosine to mean embeddings. The learned one, there a little better, is in
    `language_identification`: it reads the same vectors, one a text.
Shapes: B texts of a batch, L length, D width, K teachers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from tasks.corpus.tables import iter_batches, part_paths
from tasks.corpus.text.languages import in_any_language
from tasks.modeling.backbones.encoder import load_backbone
from tasks.modeling.heads.pooling import mean_pool
from tasks.training.engine.loop import place

_BATCH_TEXTS = 32


def sample_texts(
    corpus: Path, roles: Sequence[str], languages: Sequence[str], *, most: int
) -> list[str]:
    """Texts of a corpus in one of `languages`: those of the smallest ids, which are as if drawn.

    Which they are depends neither on the order of the rows nor on their parts.
    """
    kept: list[tuple[str, str]] = []
    for path in part_paths(corpus / "rows", roles):
        for batch in iter_batches(path, columns=["example_id", "text", "language"]):
            table = pa.Table.from_batches([batch])
            table = table.filter(in_any_language(table["language"], languages))
            columns = (table[name].to_pylist() for name in ("example_id", "text"))
            kept = sorted([*kept, *zip(*columns, strict=True)])[:most]
    return [text for _, text in kept]


def mean_embeddings(
    folder: Path, groups: Sequence[Sequence[str]], *, max_length_tokens: int
) -> np.ndarray:
    """Mean over the texts of each group of their `text_vectors`: float64, (groups, D)."""
    vectors = text_vectors(folder, groups, max_length_tokens=max_length_tokens)
    return np.stack([of_group.mean(0).numpy() for of_group in vectors])


def text_vectors(
    folder: Path, groups: Sequence[Sequence[str]], *, max_length_tokens: int
) -> list[Tensor]:
    """Mean-pooled unit vectors of the texts of each group, shortest first: float64, (texts, D).

    Args:
        folder: a pretrained encoder with its tokenizer.json.
        groups: texts, at least one each.
        max_length_tokens: of a text that are read.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length_tokens)
    device = place()
    encoder = cast(nn.Module, load_backbone(folder)).eval().to(device)
    found = []
    for texts in groups:
        ids = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
        vectors = []
        for start in range(0, len(order), _BATCH_TEXTS):
            rows = [torch.tensor(ids[row]) for row in order[start : start + _BATCH_TEXTS]]
            input_ids_BL = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
            lengths = torch.tensor([len(row) for row in rows], device=device)
            columns = torch.arange(input_ids_BL.shape[1], device=device)
            mask_BL = (columns < lengths[:, None]).long()
            with torch.inference_mode():
                states = encoder(input_ids=input_ids_BL, attention_mask=mask_BL).last_hidden_state
                pooled_BD = mean_pool(states.float(), mask_BL)
                vectors.append(torch.nn.functional.normalize(pooled_BD).double().cpu())
        found.append(torch.cat(vectors))
    return found


def cosines(vectors_KD: np.ndarray, target_D: np.ndarray) -> np.ndarray:
    """Cosine of each vector with the target's, (K,)."""
    norms = np.linalg.norm(vectors_KD, axis=1) * np.linalg.norm(target_D)
    return vectors_KD @ target_D / norms


def standardised_softmax(scores_K: np.ndarray) -> np.ndarray:
    """Weights that add up to 1: softmax of the scores, brought to mean 0 and deviation 1.

    Equal scores give equal weights.
    """
    deviation = scores_K.std()
    if deviation < 1e-9:
        return np.full(len(scores_K), 1 / len(scores_K))
    powers = np.exp((scores_K - scores_K.mean()) / deviation)
    return powers / powers.sum()
