"""Small worlds of every encoder problem: all artifacts that an evaluation reads, tiny models.

    rows(role, language)   what a test writes: text, gold, ...   (a list of dicts of corpus columns)
    make_inputs(...)       corpus, tokens of both readers, teacher, its signals, students, export

One tokenizer reads both languages, so the teacher reads the target language too. Weights are drawn
at random and never trained: what is tested is that answers are read and counted rightly.
"""

import hashlib
import json

import pyarrow as pa
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from tasks import export, teacher_signals
from tasks.corpus.rows import ROW_KINDS
from tasks.corpus.tables import read_table, write_table
from tasks.corpus.text.units import align_spans, segment
from tasks.corpus.tokens.pair_encoding import framed_apart
from tasks.modeling.backbones.encoder import build_student_backbone
from tasks.modeling.config import StudentArchitecture
from tasks.modeling.heads.classifier import save_classifier
from tasks.problems import PROBLEMS
from tasks.runtime.stages import run_stage

ROLES = ("train", "transfer", "validation", "test")
LANGUAGES = ("en", "zh")
WINDOW, STRIDE = 6, 3


def id_of(role, language, index):
    return hashlib.sha256(f"{role} {language} {index}".encode()).hexdigest()[:32]


def make_tokenizer(texts, vocab_size=150):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=special)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def first_tokens(tokenizer, text, units, *, before=()):
    """Number of the token at each unit's first character, behind the `before` ids."""
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    starts = {start: number for number, (start, _) in reversed(list(enumerate(offsets)))}
    return [len(before) + starts[start] for start, _ in units]


def span_tokens(tokenizer, rows, labels):
    """Columns of tokens_token_classification."""
    for row in rows:
        units = segment(row["text"])
        spans = zip(row["span_starts"], row["span_ends"], row["span_labels"], strict=True)
        yield {
            "input_ids": tokenizer.encode(row["text"]).ids,
            "label": -1,
            "unit_positions": first_tokens(tokenizer, row["text"], units, before=[2]),
            "unit_labels": [labels.index(tag) for tag in align_spans(units, list(spans))],
        }


def window_tokens(tokenizer, rows, labels):
    """Columns of tokens_question_answering: windows of six units, three apart."""
    del labels
    for row in rows:
        units = segment(row["text"])
        start, end = -2, -2
        if row["answer_starts"]:
            first = row["answer_starts"][0]
            last = first + len(row["answer_texts"][0]) - 1
            start = next(i for i, (a, b) in enumerate(units) if a <= first < b)
            end = next(i for i, (a, b) in enumerate(units) if a <= last < b)
        question = tokenizer.encode(row["question"]).ids
        for window, first_unit in enumerate(range(0, max(1, len(units) - STRIDE), STRIDE)):
            held = units[first_unit : first_unit + WINDOW]
            base = held[0][0]
            stretch = row["text"][base : held[-1][1]]
            moved = [(a - base, b - base) for a, b in held]
            context = tokenizer.encode(stretch, add_special_tokens=False).ids
            yield {
                "example_id": row["example_id"],
                "input_ids": [*question, *context, 3],
                "label": -1,
                "window": window,
                "first_unit": first_unit,
                "unit_positions": first_tokens(tokenizer, stretch, moved, before=question),
                "start_unit": start,
                "end_unit": end,
                "num_units": len(units),
            }


def pair_tokens(tokenizer, rows, labels):
    """Columns of tokens, of pairs."""
    for row in rows:
        ids = tokenizer.encode(row["text"], row["text_b"]).ids
        yield {"input_ids": ids, "label": labels.index(row["label"])}


def multilabel_tokens(tokenizer, rows, labels):
    """Columns of tokens_multilabel."""
    for row in rows:
        known = [labels.index(label) for label in row["labels"]]
        yield {"input_ids": tokenizer.encode(row["text"]).ids, "label": -1, "labels": sorted(known)}


TOKENS = {
    "token_classification": (
        span_tokens,
        {"unit_positions": pa.list_(pa.int32()), "unit_labels": pa.list_(pa.int32())},
    ),
    "question_answering": (
        window_tokens,
        {
            "window": pa.int32(),
            "first_unit": pa.int32(),
            "unit_positions": pa.list_(pa.int32()),
            "start_unit": pa.int32(),
            "end_unit": pa.int32(),
            "num_units": pa.int32(),
        },
    ),
    "matching": (pair_tokens, {}),
    "multilabel_classification": (multilabel_tokens, {"labels": pa.list_(pa.int32())}),
}


def make_inputs(
    store, publish, problem, rows_of, labels, *, num_logits=None, num_seeds=2, pairs="together"
):
    """All inputs of an evaluation of `problem`; rows_of(role, language) gives corpus rows.

    pairs: how students read the texts of a pair; the teacher reads them together.
    """
    corpus_rows = {
        (role, language): [
            {"example_id": id_of(role, language, i), "language": language, **row}
            for i, row in enumerate(rows_of(role, language))
        ]
        for role in ROLES
        for language in LANGUAGES
    }
    texts = [value for rows in corpus_rows.values() for row in rows for value in row.values()]
    tokenizer = make_tokenizer([text for text in texts if isinstance(text, str)])
    of_student = Tokenizer.from_str(tokenizer.to_str())
    if pairs == "apart":
        framed_apart(of_student)

    def made(stage, write, **config):
        return publish(store, stage, write, config={"problem": problem, **config})

    def write_corpus(out):
        for (role, language), rows in corpus_rows.items():
            path = out / "rows" / role / f"part-{LANGUAGES.index(language)}.parquet"
            write_table(pa.Table.from_pylist(rows), path)
        rows = {"rows_in": 9, "rows_out": 9, "quarantined": {}, "deduplicated": {}}
        known = {"role": "train", "language": "zh", **rows, "rows_out_by_role": {"train": 9}}
        repairs = dict.fromkeys(ROW_KINDS[problem].repairs, 3)
        counts = {"sources": {"made": {**known, **repairs}}}
        (out / "counts.json").write_text(json.dumps(counts))

    def write_tokens(out, languages, tokenizer, pairs):
        tokenize, extra = TOKENS[problem]
        num_rows, num_tokens = dict.fromkeys(ROLES, 0), dict.fromkeys(ROLES, 0)
        for (role, language), rows in corpus_rows.items():
            if language not in languages:
                continue
            found = list(tokenize(tokenizer, rows, labels))
            num_rows[role] += len(found)
            num_tokens[role] += sum(len(one["input_ids"]) for one in found)
            ids = [row["example_id"] for row in rows]
            for number, one in enumerate(found):
                one.setdefault("example_id", ids[number % len(ids)])
                one["language"] = language
            schema = pa.schema(
                {
                    "example_id": pa.string(),
                    "input_ids": pa.list_(pa.int32()),
                    "label": pa.int32(),
                    "language": pa.string(),
                    **extra,
                }
            )
            path = out / role / f"part-{LANGUAGES.index(language)}.parquet"
            write_table(pa.Table.from_pylist(found, schema=schema), path)
        (out / "tokenizer").mkdir()
        tokenizer.save(str(out / "tokenizer" / "tokenizer.json"))
        facts = {"vocab_size": 150, "pad_token_id": 0, "max_length_tokens": 64, "pairs": pairs}
        facts |= {"num_rows": num_rows, "num_tokens": num_tokens}
        (out / "tokens.json").write_text(json.dumps(facts))
        (out / "labels.json").write_text(json.dumps({"labels": labels}))

    def write_model(out, seed, tokenizer, pairs):
        torch.manual_seed(seed)
        shape = StudentArchitecture(num_layers=1, hidden_size=16, num_heads=2, intermediate_size=32)
        backbone = build_student_backbone(
            shape, vocab_size=tokenizer.get_vocab_size(), pad_token_id=0, max_length_tokens=64
        )
        model = PROBLEMS[problem].build_model(
            backbone, num_labels=num_logits or len(labels), pooling="mean", dropout=0.1, pairs=pairs
        )
        torch.nn.init.normal_(model.head.weight, std=2.0)
        save_classifier(model.eval(), out / "model", problem=problem)
        tokenizer.save(str(out / "model" / "tokenizer.json"))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
        (out / "model" / "tokenizer_config.json").write_text(json.dumps(settings))
        (out / "model" / "labels.json").write_text(json.dumps({"labels": labels}))
        tuned = {
            "multilabel_classification": {"thresholds": [0.5] * len(labels)},
            "question_answering": {"null_threshold": 0.0},
        }
        if problem in tuned:
            (out / "model" / "thresholds.json").write_text(json.dumps(tuned[problem]))
        steps, validations = [{"step": 1, "loss": 1.0}], [{"step": 1, "loss": 1.0}]
        history = {"steps": steps, "validations": validations, "best_step": 1}
        (out / "history.json").write_text(json.dumps(history))
        training = {"steps_done": 1, "steps_planned": 1, "stopped_early": False, "seed": seed}
        (out / "training.json").write_text(json.dumps({**training, "num_parameters": 1234}))

    inputs = {
        "corpus": made("corpus", write_corpus),
        "teacher": made("teacher", lambda out: write_model(out, 1, tokenizer, "together")),
        "teacher_tokens": made(
            "tokens", lambda out: write_tokens(out, LANGUAGES, tokenizer, "together"), reader="t"
        ),
        "student_tokens": made(
            "tokens", lambda out: write_tokens(out, ["zh"], of_student, pairs), reader="s"
        ),
    }
    inputs["teacher_signals"] = run_stage(
        teacher_signals.STAGE,
        teacher_signals.Config(precision="fp32"),
        {"teacher": inputs["teacher"], "tokens": inputs["teacher_tokens"]},
        store=store,
    ).artifact
    for name in ("student", "zero_shot"):
        for seed in range(num_seeds):
            number = 10 + seed + 100 * (name == "zero_shot")
            inputs[f"{name}_{seed}"] = made(
                "student",
                lambda out, number=number: write_model(out, number, of_student, pairs),
                seed=number,
                objective={"hard_labels": "teacher"},
                validation_language="zh",
                training={"selection": "auto"},
            )
    inputs["export"] = run_stage(
        export.STAGE,
        export.Config(min_int8_agreement=0.0, max_logit_difference=0.01),
        {"student": inputs["student_0"], "tokens": inputs["student_tokens"]},
        store=store,
    ).artifact
    return inputs


def predictions(artifact, name):
    """Example id -> (right answer, answer) of one system, JSON read."""
    rows = read_table(artifact.path / "predictions" / f"{name}.parquet").to_pydict()
    columns = (rows[column] for column in ("example_id", "label", "prediction"))
    return {
        example_id: (json.loads(label), json.loads(answer))
        for example_id, label, answer in zip(*columns, strict=True)
    }
