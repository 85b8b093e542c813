"""What goes wrong in silence: measured right, and told only where it is so."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from tasks.corpus.tables import write_table
from tasks.modeling.backbones.encoder import build_student_backbone
from tasks.modeling.config import StudentArchitecture
from tasks.modeling.heads.classifier import EncoderClassifier
from tasks.training.batching.examples import Examples
from tasks.training.batching.ragged import RaggedIds
from tasks.training.engine.diagnostics import (
    TrainingProbe,
    collapsed,
    fertility,
    mean_cosine,
    teacher_certainty,
    teacher_domain,
)
from tasks.training.objectives.config import ObjectiveConfig
from tasks.training.objectives.objective import Objective
from tasks.training.optimization.config import TrainingConfig

CONFIG = TrainingConfig(num_epochs=1, learning_rate=1e-3, precision="fp32")


def examples(teacher_logits, labels=None):
    rng = np.random.default_rng(0)
    count = len(teacher_logits)
    texts = [rng.integers(4, 20, size=rng.integers(2, 6)) for _ in range(count)]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
    return Examples(
        example_ids=pa.chunked_array([[f"{row:032x}" for row in range(count)]]),
        input_ids=RaggedIds(np.concatenate(texts).astype(np.int32), offsets.astype(np.int64)),
        labels=np.asarray(teacher_logits).argmax(1) if labels is None else labels,
        teacher_logits=np.asarray(teacher_logits, dtype=np.float32),
        label_names=("a", "b", "c"),
    )


def objective(**fields):
    return Objective(ObjectiveConfig(**fields).loss_terms)


def student():
    torch.manual_seed(0)
    shape = StudentArchitecture(num_layers=1, hidden_size=16, num_heads=2, intermediate_size=16)
    backbone = build_student_backbone(shape, vocab_size=20, pad_token_id=0, max_length_tokens=8)
    return EncoderClassifier(backbone, num_labels=3, pooling="mean", dropout=0.3).train()


def probe_of(rows, goal):
    return TrainingProbe(rows, goal, CONFIG, pad_token_id=0, planned_steps=10, seed=1)


def test_gradient_shares_are_those_of_gradients_taken_by_hand():
    """A term that is weighed by its loss and not by what it moves."""
    logits = np.random.default_rng(1).normal(size=(12, 3)) * 3
    rows, model = examples(logits), student()
    probe = probe_of(rows, objective(alpha=0.7, temperature=2.0))
    found = probe(model, 3)
    assert len(probe._step.passes) > 1, "shares are of all texts, and not of a pass"
    model.eval()
    drawn = probe._step.rows
    texts = [
        rows.input_ids.values[rows.input_ids.offsets[row] : rows.input_ids.offsets[row + 1]]
        for row in drawn
    ]
    with torch.no_grad():
        read = [torch.from_numpy(text.astype(np.int64))[None] for text in texts]
        outputs = torch.cat([model(ids, torch.ones_like(ids)) for ids in read])
    outputs = outputs.double().requires_grad_()
    teacher = torch.from_numpy(logits[drawn])
    soft = torch.nn.functional.kl_div(
        (outputs / 2).log_softmax(-1), (teacher / 2).softmax(-1), reduction="batchmean"
    )
    hard = torch.nn.functional.cross_entropy(outputs, teacher.argmax(1))
    norms = [
        float(torch.autograd.grad(term, outputs, retain_graph=True)[0].norm())
        for term in (0.7 * 4 * soft, 0.3 * hard)
    ]
    assert found["share_kd"] == pytest.approx(norms[0] / sum(norms), rel=1e-3)
    assert found["share_hard"] == pytest.approx(norms[1] / sum(norms), rel=1e-3)


def test_a_look_changes_nothing():
    """A diagnosis that is felt: another dropout, a gradient left behind, the wrong mode."""
    model, rows = student(), examples(np.eye(3)[np.arange(12) % 3])
    probe = probe_of(rows, objective(alpha=1.0))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    found = probe(model, 0)
    assert torch.equal(torch.rand(3), expected)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert set(found) == {"embedding_cosine"}  # one term has nothing to share with
    assert probe(model, 0) == found
    assert not model.head._forward_pre_hooks


def test_the_mean_cosine_is_that_of_all_pairs():
    """Each vector's likeness with itself would count, and hide how unlike few texts are."""
    vectors = torch.randn(7, 4, generator=torch.Generator().manual_seed(2))
    pairs = [
        float(torch.nn.functional.cosine_similarity(vectors[i], vectors[j], dim=0))
        for i in range(7) for j in range(7) if i != j
    ]  # fmt: skip
    assert mean_cosine(vectors) == pytest.approx(np.mean(pairs), abs=1e-6)
    assert mean_cosine(torch.ones(5, 3)) == pytest.approx(1)
    assert mean_cosine(vectors[:1]) == 0


def test_collapse_is_told_of_the_step_that_is_delivered():
    """An alarm about a step that nobody gets, or none about the one that all get."""
    entries = [{"step": 5, "embedding_cosine": 0.999}, {"step": 9, "embedding_cosine": 0.4}]
    assert not collapsed(entries, 9).warnings
    (warning,) = collapsed(entries, 5).warnings
    assert "collapsed" in warning
    assert "0.9990" in warning


def test_a_saturated_teacher_is_told_at_the_temperature_of_the_loss():
    """Soft targets that are hard labels: the student is not distilled, and nothing says so."""
    sure = examples(np.eye(3)[np.arange(12) % 3] * 60)
    found = teacher_certainty(sure, objective(alpha=0.5, temperature=1.0))
    assert found.figures["teacher_entropy_share"] == pytest.approx(0, abs=1e-6)
    assert "saturated" in found.warnings[0]
    softened = teacher_certainty(sure, objective(alpha=0.5, temperature=20.0))
    assert not softened.warnings
    probabilities = np.exp([3.0, 0, 0]) / np.exp([3.0, 0, 0]).sum()
    expected = -(probabilities * np.log(probabilities)).sum() / np.log(3)
    assert softened.figures["teacher_entropy_share"] == pytest.approx(expected, abs=1e-4)
    assert not teacher_certainty(sure, objective(alpha=0.0)).figures  # nobody asks the teacher


def signals(folder, **scales):
    for role, scale in scales.items():
        logits = np.eye(3)[np.arange(30) % 3] * scale
        table = pa.table({
            "example_id": [f"{role}{row}" for row in range(30)],
            "logits": pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel(), pa.float32()), 3),
        })  # fmt: skip
        write_table(table, folder / role / "part-00000.parquet")
    return folder


def test_texts_that_the_teacher_does_not_know_are_told(tmp_path):
    """A student of guesses: the transfer texts are of another domain than the teacher's."""
    found = teacher_domain(signals(tmp_path / "off", transfer=0.5, validation=8.0), ["transfer"])
    sure, unsure = (float(np.exp(s) / (np.exp(s) + 2)) for s in (8.0, 0.5))
    assert found.figures == {
        "teacher_confidence_transfer": pytest.approx(unsure, abs=1e-4),
        "teacher_confidence_validation": pytest.approx(sure, abs=1e-4),
    }
    assert "another domain" in found.warnings[0]
    near = teacher_domain(signals(tmp_path / "near", transfer=4.0, validation=4.2), ["transfer"])
    assert not near.warnings
    assert not teacher_domain(signals(tmp_path / "only", transfer=4.0), ["transfer"]).figures


def test_a_vocabulary_in_pieces_is_told_by_the_same_texts(tmp_path):
    """Five tokens a character: slow, cut off and poorly learned, with the cause in no log."""

    def tokens(name, num_tokens):
        folder = tmp_path / name
        folder.mkdir()
        facts = {"num_rows": {"transfer": 10, "test": 5}, "num_tokens": {"transfer": num_tokens}}
        (folder / "tokens.json").write_text(json.dumps(facts))
        return folder

    teacher = tokens("teacher", 80)
    found = fertility(tokens("pieces", 200), teacher, ["transfer"])
    assert found.figures == {"tokens_over_teacher": 2.5}
    assert "20.0 tokens a text, the teacher 8.0" in found.warnings[0]
    assert not fertility(tokens("words", 100), teacher, ["transfer"]).warnings
    assert not fertility(tokens("none", 100), teacher, ["train"]).figures
