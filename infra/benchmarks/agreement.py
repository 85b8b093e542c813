"""Whether every system computes the same, before any of them is timed.

    first batch   one batch through each system's loss, dropout off: equal to 1e-5
    last loss     30 steps of each system's own loop over the same batches in the same order from
                  the same weights, dropout off, fp32: the loss over their rows after the last step
                  is equal to 1e-4

A loss of one batch cannot show a clipping, an optimizer or a schedule that differs; the second
check does. The tolerance lies between what the same maths and other maths gave after 30 steps of
the quickstart (2026-11-26): the three systems differed by less than 1e-7 of the loss; a peak rate
higher by a hundredth by 2e-3, adam_beta2 0.99 by 7e-4, no clipping by 4e-3, a cosine for the line
by 6e-3. The weights' decay is too weak to show in 30 steps (2e-5).

These steps begin at the peak rate: peers warm up from a first step at rate 0, Decant from one above
it. That difference is known, and it is one step of all.
"""

from __future__ import annotations

import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from infra.benchmarks import engine
from infra.benchmarks.material import Material
from tasks.training.batching.examples import Examples

FIRST_LOSS_TOLERANCE = 1e-5
LAST_LOSS_TOLERANCE = 1e-4


def check_first_losses(material: Material, examples: Examples) -> dict[str, float]:
    """Losses of the first batch with dropout off: Decant's, and each peer's difference from it.

    Raises: SystemExit if one differs by more than 1e-5 of the loss.
    """
    from infra.benchmarks.peers import hugging_face, text_brewer

    rows = slice(0, material.config.training.batch_size)
    lists = engine.as_lists(engine.take(examples.input_ids, np.arange(rows.stop)))
    ids, mask = hugging_face.pad(lists, material.student_facts["pad_token_id"], None)
    longer = hugging_face.pad(
        lists, material.student_facts["pad_token_id"], material.student_facts["max_length_tokens"]
    )
    assert examples.teacher_logits is not None
    teacher_logits = torch.from_numpy(examples.teacher_logits[rows])
    labels = torch.from_numpy(examples.labels[rows])
    student = material.student().eval()
    objective = material.config.objective
    with torch.no_grad():
        logits, padded_logits = student(ids, mask), student(*longer)
        ours = engine.objective(material)(
            logits, labels, teacher_logits, num_examples=len(labels), num_labelled=len(labels)
        )["loss"]
        settings = {"alpha": objective.alpha, "temperature": objective.temperature}
        trainer = hugging_face.kd_loss(logits, teacher_logits, **settings)
        padded = hugging_face.kd_loss(padded_logits, teacher_logits, **settings)
        system = text_brewer.distiller(material, student, student, tempfile.gettempdir())
        outputs = {"logits": logits, "labels": labels}
        brewed, _ = system.compute_loss(
            text_brewer.student_adaptor(None, outputs),
            text_brewer.teacher_adaptor(None, {"logits": teacher_logits}),
        )
        log_probs = F.log_softmax(teacher_logits / objective.temperature, -1)
        entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
        brewed = brewed - objective.alpha * objective.temperature**2 * entropy
    peers = {"trainer": trainer, "trainer_padded": padded, "textbrewer": brewed}
    return differences(
        float(ours),
        {name: float(loss) for name, loss in peers.items()},
        tolerance=FIRST_LOSS_TOLERANCE,
        of="the first batch",
    )


def check_last_losses(
    material: Material, teacher: nn.Module, exact: Examples, *, num_steps: int
) -> dict[str, float]:
    """The loss over all rows after `num_steps` steps: Decant's, and each peer's difference from it.

    Args:
        exact: the examples with the teacher's logits in fp32, which TextBrewer's teacher gives.
        num_steps: less if there are fewer whole batches.
    Returns: also `steps`, and the loss `before` the first of them.
    Raises: SystemExit if one differs by more than 1e-4 of the loss.
    """
    from infra.benchmarks.peers import hugging_face, text_brewer

    material = material.with_training(
        num_epochs=1, warmup_share=0.0, precision="fp32", validations_per_epoch=1
    )
    batch_size = material.config.training.batch_size
    num_steps = min(num_steps, len(exact) // batch_size)
    drawn = np.random.default_rng(0).permutation(len(exact))[: num_steps * batch_size]
    chosen = drawn[engine.order_of_rows(material, engine.part_of(exact, drawn))]
    part = engine.part_of(exact, drawn)
    ours = without_dropout(material.student())
    before = engine.loss_of(material, ours, part)
    engine.train_epoch(material, part, ours)
    peers = {name: without_dropout(material.plain_student()) for name in ("trainer", "textbrewer")}
    options = {"chosen": chosen, "num_epochs": 1}
    hugging_face.train(
        material, teacher, "in_order", student=peers["trainer"],
        teacher_logits=exact.teacher_logits, **options,
    )  # fmt: skip
    text_brewer.train(
        material, teacher, student=peers["textbrewer"], hard_labels=exact.labels, in_order=True,
        **options,
    )  # fmt: skip
    found = differences(
        engine.loss_of(material, ours, part),
        {name: engine.loss_of(material, student, part) for name, student in peers.items()},
        tolerance=LAST_LOSS_TOLERANCE,
        of=f"{num_steps} steps",
    )
    return {"steps": num_steps, "before": before, **found}


def without_dropout(model: nn.Module) -> nn.Module:
    """`model`, which drops nothing in training either, in attention neither."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def differences(
    ours: float, peers: dict[str, float], *, tolerance: float, of: str
) -> dict[str, float]:
    """Decant's loss, and what each peer's differs from it.

    Args:
        tolerance: relative; of losses below 1, absolute.
        of: what was computed, for the refusal.
    Raises: SystemExit if one differs by more, or is no number.
    """
    found = {"decant": ours}
    for name, loss in peers.items():
        found[name] = loss - ours
        if not abs(found[name]) <= tolerance * max(1.0, abs(ours)):
            raise SystemExit(
                f"{name}'s loss after {of} differs by {found[name]:.2g} from {ours:.6f}: "
                "what does not compute the same is not compared"
            )
    return found
