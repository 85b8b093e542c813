"""Students of texts: what they learn from a teacher's texts and signals, and what is refused."""

import json

import numpy as np
import pytest
import torch

from data_contracts.errors import ContractViolation, RecipeError
from tasks import seq2seq_student, seq2seq_teacher
from tasks.corpus.tables import read_table
from tasks.modeling.encoder_decoder.config import PretrainedSeq2Seq
from tasks.modeling.encoder_decoder.network import Seq2SeqNetwork, load_seq2seq, output_projection
from tasks.runtime.progress import SilentProgress
from tasks.runtime.stages import run_stage
from tasks.training.batching.layouts import padded_layout
from tasks.training.losses.topk import topk_kl_loss
from tests.tasks.twelve_words import DECODING, SMALL, WORDS, history, training, weights


def test_a_student_that_is_its_teacher_has_nothing_to_learn(text_world):
    """Student and teacher swapped, or signals of other texts, show as a divergence here."""
    model = load_seq2seq(text_world.teacher.path / "model")
    (batch,) = text_world.mapped().batches(np.arange(32), padded_layout(), pad_token_id=0)
    with torch.no_grad():
        states = Seq2SeqNetwork(model)(batch.source, batch.labels_BL)
        logits = states @ output_projection(model)[0].T
        loss = topk_kl_loss(
            logits, batch.from_teacher, torch.ones(len(logits), dtype=torch.bool),
            temperature=1.0, normalizer=len(logits),
        )  # fmt: skip
    assert abs(loss.item()) < 1e-3


def test_a_student_needs_no_gold_text(text_world):
    """Transfer rows have none: the teacher's texts are their targets."""
    made = text_world.student(
        {"alpha": 0.5, "targets": "teacher"}, signals=text_world.signals,
        train_on=("transfer",), training=training(3),
    )  # fmt: skip
    facts = json.loads((made.path / "training.json").read_text("utf-8"))
    assert facts["num_examples"] == 40
    losses = [entry["loss_kd"] for entry in history(made)["steps"]]
    assert all(np.isfinite(losses))


def test_the_twin_without_distillation_reads_no_signals(text_world):
    made = text_world.student({"alpha": 0.0, "targets": "gold"})
    assert history(made)["steps"][-1]["loss_kd"] == 0.0
    assert set(made.manifest.upstream_keys) == {"tokens"}


def test_a_student_may_start_from_layers_of_its_teacher(text_world):
    start = PretrainedSeq2Seq(init="pretrained", decoder_layers=1)
    made = text_world.student(
        {"alpha": 0.0, "targets": "gold"}, architecture=start, teacher=text_world.teacher,
        training=training(1, learning_rate=1e-9),
    )  # fmt: skip
    mine, theirs = weights(made), weights(text_world.teacher)
    name = "self_attn.k_proj.weight"
    torch.testing.assert_close(
        mine[f"model.decoder.layers.0.{name}"], theirs[f"model.decoder.layers.1.{name}"]
    )
    assert "model.decoder.layers.1." + name not in mine


def test_the_same_recipe_gives_the_same_student(text_world):
    objective = {"alpha": 0.7, "targets": "teacher", "temperature": 2.0}
    first = text_world.student(objective, signals=text_world.signals)
    again = text_world.student(objective, signals=text_world.signals, force=True)
    assert first.content_digest == again.content_digest


def test_steps_on_the_students_own_texts_ask_the_teacher(text_world):
    """With lambda 1 no gold or stored text is read: only the divergence on own texts is left."""
    own = {"alpha": 0.5, "targets": "teacher", "on_policy": {"share": 1.0, "k": 8}}
    made = text_world.student(own, signals=text_world.signals, teacher=text_world.teacher)
    entry = history(made)["steps"][-1]
    assert entry["loss"] == pytest.approx(entry["loss_kd"], rel=1e-5)
    assert entry["loss_kd"] > 0
    again = text_world.student(
        own, signals=text_world.signals, teacher=text_world.teacher, force=True
    )
    assert made.content_digest == again.content_digest
    for asked in ({"temperature": 0.2}, {"k": 2}):  # other texts, and less said of each
        other = text_world.student(
            {**own, "on_policy": {**own["on_policy"], **asked}},
            signals=text_world.signals, teacher=text_world.teacher,
        )  # fmt: skip
        assert history(other)["steps"][-1]["loss_kd"] != entry["loss_kd"]


def test_own_texts_that_the_teacher_could_not_read_are_refused_first(text_world):
    """IndexError in the middle of training, at the first text beyond the teacher's positions."""
    own = {"alpha": 0.5, "targets": "teacher", "on_policy": {"share": 0.5, "k": 8}}
    longer = DECODING.model_copy(update={"max_length_tokens": 9})
    with pytest.raises(RecipeError, match="up to 9 tokens, the teacher of on-policy steps reads 8"):
        text_world.student(
            own, signals=text_world.signals, teacher=text_world.teacher, decoding=longer
        )


FADING = {"kind": "cosine", "start": 0.9, "end": 0.1}
LISTED = {
    "terms": [
        {"kind": "skew_kl", "weight": FADING, "temperature": {"start": 3.0, "end": 1.0}},
        {"kind": "total_variation", "name": "near", "weight": 0.2},
        {"kind": "hard", "weight": 0.5},
    ]
}


@pytest.mark.parametrize("on_policy", [0.0, 0.5])
def test_the_history_tells_each_term_its_weight_and_its_share(text_world, on_policy):
    """Curves of a sum say nothing of its parts, nor why they move."""
    made = text_world.student(
        {**LISTED, "on_policy": {"share": on_policy, "k": 8}}, signals=text_world.signals,
        training=training(3), **({"teacher": text_world.teacher} if on_policy else {}),
    )  # fmt: skip
    found = history(made)
    steps, planned = found["steps"], 3 * 256 // 16
    assert steps[-1]["step"] == planned
    # At the last step, by the end of each schedule; before, by the cosine itself.
    assert steps[-1]["weight_skew_kl"] == 0.1
    assert steps[-1]["temperature_skew_kl"] == 1.0
    first = steps[0]["step"] - 1
    fade = (1 + np.cos(np.pi * first / (planned - 1))) / 2
    assert steps[0]["weight_skew_kl"] == pytest.approx(0.1 + 0.8 * fade)
    for entry in steps:
        assert entry["weight_near"] == 0.2
        assert entry["weight_hard"] == 0.5
        assert min(entry["loss_skew_kl"], entry["loss_near"], entry["loss_hard"]) > 0
    for entry in found["validations"]:
        shares = [entry[f"share_{name}"] for name in ("skew_kl", "near", "hard")]
        assert min(shares) > 0
        assert sum(shares) == pytest.approx(1.0)


def test_a_history_of_two_numbers_is_as_it_was(text_world):
    """New lines are other bytes: every student of an unchanged recipe would be another."""
    made = text_world.student({"alpha": 0.5}, signals=text_world.signals)
    names = {name for entry in history(made)["steps"] for name in entry}
    assert names == {"step", "loss", "loss_kd", "loss_hard", "learning_rate"}
    assert not any("share" in name for name in history(made)["validations"][-1])


class StopError(Exception):
    pass


class StopAtSecond(SilentProgress):
    """Ends a training as a crash would, at its second validation."""

    def validated(self, number, figures):
        del figures
        if number == 2:
            raise StopError


def test_schedules_go_on_where_a_crash_left_them(text_world):
    """A schedule that begins anew after a resume: a student that no recipe describes."""
    config = seq2seq_student.Config(
        problem="translation", target_language="zh", architecture=SMALL, objective=LISTED,
        decoding=DECODING, training=training(4, validations_per_epoch=1),
    )  # fmt: skip
    inputs = {"tokens": text_world.tokens, "signals": text_world.signals}
    lines = []

    class Heard(SilentProgress):
        def say(self, message):
            lines.append(message)

    def run(**options):
        stage = seq2seq_student.STAGE
        return run_stage(stage, config, inputs, store=text_world.store, **options).artifact

    with pytest.raises(StopError):
        run(progress=StopAtSecond())
    resumed = run(progress=Heard())
    assert any("resuming at step 16" in line for line in lines)
    told, kept = history(resumed), weights(resumed)
    undisturbed = run(force=True)
    assert history(undisturbed) == told
    assert all(torch.equal(kept[name], value) for name, value in weights(undisturbed).items())


def test_distributions_of_other_tokens_are_refused(text_world):
    """Ids of another vocabulary are valid ids: nothing but a digest tells them apart."""
    words = (*WORDS[:4], *reversed(WORDS[4:]))
    other = text_world.tokens_of(words=words)
    with pytest.raises(ContractViolation, match="another tokenizer"):
        text_world.student(
            {"alpha": 0.5, "targets": "teacher"}, tokens=other, signals=text_world.signals
        )
    with pytest.raises(ContractViolation, match="another tokenizer"):
        text_world.asked(tokens=other)
    # The teacher's texts can still be learnt, cut by the student's own tokenizer.
    found = text_world.mapped(tokens=other, with_topk=False)
    said = read_table(text_world.signals.path / "train" / "part-00000.parquet")["target_text"]
    ids = found.target_ids.values[: found.target_ids.offsets[1]].tolist()
    assert [words[i] for i in ids] == [*said[0].as_py().split(), "[SEP]"]


def test_a_teachers_texts_are_cut_where_targets_are(text_world):
    """A student with its own tokenizer learned summaries as long as articles may be."""
    words = (*WORDS[:4], *reversed(WORDS[4:]))
    short = text_world.mapped(
        tokens=text_world.tokens_of(words=words, max_target_tokens=3), with_topk=False
    ).target_ids
    said = read_table(text_world.signals.path / "train" / "part-00000.parquet")["target_text"]
    expected = [[*text.split()[:2], "[SEP]"] for text in said.to_pylist()]
    found = np.split(short.values, short.offsets[1:-1])
    assert [[words[i] for i in ids] for ids in found] == expected


def test_targets_may_be_longer_than_sources(text_world):
    """IndexError in the first step: positions were counted for sources and written texts alone."""
    tokens = text_world.tokens_of(spoken=4, max_target_tokens=32)  # up to 17 tokens, beyond 8
    made = text_world.student({"alpha": 0.0, "targets": "gold"}, tokens=tokens)
    config = seq2seq_teacher.Config(
        problem="translation", target_language="zh", architecture=SMALL, decoding=DECODING,
        training=training(1),
    )  # fmt: skip
    teacher = run_stage(
        seq2seq_teacher.STAGE, config, {"tokens": tokens}, store=text_world.store
    ).artifact
    for artifact in (made, teacher):
        model = load_seq2seq(artifact.path / "model")
        assert model.config.max_position_embeddings == 17


def test_signals_of_other_texts_than_gold_are_refused(text_world):
    """Word-level signals belong to the tokens before them: gold words, the teacher's predictions of
    its own text."""
    signals = text_world.asked(targets="sequence")
    table = read_table(signals.path / "train" / "part-00000.parquet")["target_ids"].to_pylist()
    gold = read_table(text_world.tokens.path / "train" / "part-00000.parquet")[
        "target_ids"
    ].to_pylist()
    assert table != gold, "the teacher is perfect: the test shows nothing"
    with pytest.raises(ContractViolation, match="other texts than the gold ones"):
        text_world.student({"alpha": 0.5, "targets": "gold"}, signals=signals)


def test_rows_without_any_target_are_refused(text_world):
    with pytest.raises(ContractViolation, match="none of 40 rows"):
        text_world.student({"alpha": 0.0, "targets": "gold"}, train_on=("transfer",))


def test_objectives_that_cannot_learn_are_refused():
    with pytest.raises(ValueError, match="on_policy"):
        seq2seq_student.Config(
            problem="generation", target_language="en", architecture=SMALL,
            objective={"alpha": 0.0, "on_policy": {"share": 0.5}}, training=training(1),
        )  # fmt: skip
    with pytest.raises(ValueError, match="no term compares distributions"):
        seq2seq_student.Config(
            problem="generation", target_language="en", architecture=SMALL,
            objective={"terms": [{"kind": "hard"}], "on_policy": {"share": 0.5}},
            training=training(1),
        )  # fmt: skip
    with pytest.raises(ValueError, match="not a teacher"):
        seq2seq_teacher.Config(
            problem="generation", target_language="en", training=training(1),
            architecture=PretrainedSeq2Seq(init="pretrained"),
        )  # fmt: skip


def test_the_step_is_not_chosen_by_languages_that_are_not_learned(text_world):
    """A student of Chinese commands judged by its English replies: the best step is noise."""
    elsewhere = text_world.tokens_of(validated_in="zh")
    with pytest.raises(ContractViolation, match="no validation row in en has a target"):
        text_world.student({"alpha": 0.0, "targets": "gold"}, tokens=elsewhere)
