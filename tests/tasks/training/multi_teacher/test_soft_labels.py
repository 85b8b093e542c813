"""Real teachers of other tokenizers and other orders of labels, side by side row by row."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from tasks import teacher_signals
from tasks.corpus.tables import write_table
from tasks.corpus.text.units import segment
from tasks.modeling.backbones.encoder import build_student_backbone
from tasks.modeling.config import StudentArchitecture
from tasks.modeling.heads.classifier import save_classifier
from tasks.problems import PROBLEMS
from tasks.runtime.stages import run_stage
from tasks.training.multi_teacher.soft_labels import Panel
from tests.tasks.small_problems import first_tokens, make_tokenizer

PART = "transfer/part-00000.parquet"
TEXTS = ("turn the kitchen lamp off", "play music", "turn on the heater", "is the door open")
IDS = [f"{row:032x}" for row in range(len(TEXTS))]
LABELS = {"words": ["place", "thing", "deed"], "letters": ["deed", "place", "thing"]}
# Of words as wholes, of which the first teacher reads four; of letters, fifteen and more a text.
VOCABULARIES = {"words": 150, "letters": 30}


@pytest.fixture
def teacher(store, publish):
    """Asks one of two teachers; gives its signals and, by hand, what it says of each text."""

    def ask(name, problem, rows):
        tokenizer = make_tokenizer(TEXTS, VOCABULARIES[name])
        torch.manual_seed(len(name))
        shape = StudentArchitecture(num_layers=1, hidden_size=16, num_heads=2, intermediate_size=32)
        backbone = build_student_backbone(
            shape, vocab_size=tokenizer.get_vocab_size(), pad_token_id=0, max_length_tokens=64
        )
        model = (
            PROBLEMS[problem]
            .build_model(backbone, num_labels=3, pooling="mean", dropout=0.1)
            .eval()
        )
        torch.nn.init.normal_(model.head.weight, std=2.0)
        ids = [tokenizer.encode(TEXTS[row]).ids for row in rows]
        firsts = [
            first_tokens(tokenizer, TEXTS[row], segment(TEXTS[row]), before=[2]) for row in rows
        ]

        def write_model(output):
            save_classifier(model, output / "model", problem=problem)
            labels = json.dumps({"labels": LABELS[name]})
            (output / "model" / "labels.json").write_text(labels)

        def write_tokens(output):
            item = pa.list_(pa.int32())
            columns = {
                "example_id": [IDS[row] for row in rows],
                "input_ids": pa.array(ids, item),
                "label": pa.array([-1] * len(rows), pa.int32()),
            }
            if problem == "token_classification":
                columns["unit_positions"] = pa.array(firsts, item)
                columns["unit_labels"] = pa.array([[-1] * len(f) for f in firsts], item)
            write_table(pa.table(columns), output / PART)
            facts = {"vocab_size": VOCABULARIES[name], "pad_token_id": 0, "max_length_tokens": 64}
            facts["num_tokens"] = {"transfer": sum(map(len, ids))}
            (output / "tokens.json").write_text(json.dumps(facts))

        key = {"name": name, "problem": problem}
        inputs = {
            "teacher": publish(store, "teacher", write_model, config=key),
            "tokens": publish(store, "tokens", write_tokens, config=key),
        }
        config = teacher_signals.Config(roles=("transfer",), precision="fp32")
        signals = run_stage(teacher_signals.STAGE, config, inputs, store=store).artifact

        def said(row):
            i = rows.index(row)
            text = torch.tensor([ids[i]])
            states = model.backbone(input_ids=text).last_hidden_state[0]
            states = (
                states[firsts[i]] if problem == "token_classification" else states.mean(0)[None]
            )
            return model.head(states).detach().numpy(), len(ids[i])

        return signals.path, said

    return ask


@pytest.mark.parametrize("problem", ["text_classification", "token_classification"])
def test_teachers_that_read_other_tokens_are_set_side_by_side(teacher, problem):
    """Predictions of the neighbour's text or word, or of another class: each teacher's own order of
    rows, number of tokens and order of labels is right only for itself."""
    words, of_words = teacher("words", problem, [0, 1, 2])
    letters, of_letters = teacher("letters", problem, [3, 2, 0])
    ((ids, soft_labels),) = Panel(PROBLEMS[problem], [words, letters]).blocks(PART)
    assert ids.to_pylist() == [IDS[row] for row in (0, 1, 2, 3)]
    assert of_letters(0)[1] > of_words(0)[1] + 5, "the same tokens: nothing is tested"
    order = [LABELS["letters"].index(label) for label in LABELS["words"]]
    ends = np.cumsum(soft_labels.counts)
    for row, (end, count) in enumerate(zip(ends, soft_labels.counts, strict=True)):
        units = len(segment(TEXTS[row])) if problem == "token_classification" else 1
        assert count == units
        answers = slice(end - count, end)
        for k, (said, has_read) in enumerate(((of_words, row < 3), (of_letters, row != 1))):
            assert (soft_labels.read_KA[k, answers] == has_read).all()
            if has_read:
                expected = said(row)[0][:, order if k else [0, 1, 2]]
                found = soft_labels.logits_KAC[k, answers]
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
