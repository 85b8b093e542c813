"""A small world of rooms and lamps: all artifacts an evaluation reads, made of tiny models."""

import json

import pyarrow as pa
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tasks import export, teacher_signals
from tasks.corpus.tables import write_table
from tasks.modeling.backbones.encoder import build_student_backbone
from tasks.modeling.config import StudentArchitecture
from tasks.modeling.heads.classifier import EncoderClassifier, save_classifier
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.stages import run_stage

LABELS = ("brightness", "turn_off", "turn_on", "状态")
CHINESE = ("把{}亮度调高", "关闭{}的灯", "打开{}的灯", "{}是什么状态")
ENGLISH = ("dim the {} lights", "switch off the {}", "switch on the {}", "what about the {}")
ROOMS = {
    "客厅": "parlour", "卧室": "bedroom", "厨房": "kitchen", "书房": "study", "浴室": "bathroom",
    "阳台": "balcony", "车库": "garage", "走廊": "hall", "地下室": "cellar", "花园": "garden",
}  # fmt: skip
ROLE_ROOMS = {"train": slice(0, 5), "transfer": slice(0, 5), "validation": slice(5, 7),
              "test": slice(6, 10)}  # fmt: skip


def rows_of(role, language):
    """(text, other text, class) of a role in a language."""
    for zh, en in list(ROOMS.items())[ROLE_ROOMS[role]]:
        for label, (chinese, english) in enumerate(zip(CHINESE, ENGLISH, strict=True)):
            texts = (chinese.format(zh), english.format(en))
            yield (*(texts if language == "zh" else texts[::-1]), label)


def example_id(role, language, index):
    return f"{hash_free(role + language):08x}{index:024x}"


def hash_free(text):
    return sum(ord(character) * 31**i for i, character in enumerate(text)) % 16**8


def tokenizer_of(texts):
    """Every word and character a token: a trained vocabulary would differ from run to run."""
    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    pieces = {
        piece
        for text in texts
        for piece, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    }
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocab = {token: number for number, token in enumerate([*special, *sorted(pieces)])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


TOKENIZERS = {
    read: tokenizer_of([text for one in read.split("+") for text, _, _ in rows_of("train", one)])
    for read in ("en", "zh", "en+zh")
}


def write_corpus(output, *, gold=True):
    for role, languages in {
        "train": ["en"],
        "transfer": ["zh"],
        "validation": ["en", "zh"],
        "test": ["en", "zh"],
    }.items():
        for part, language in enumerate(languages):
            rows = list(rows_of(role, language))
            parallel = role == "transfer"
            labelled = gold or not parallel
            table = pa.table(
                {
                    "example_id": [example_id(role, language, i) for i in range(len(rows))],
                    "text": [text for text, _, _ in rows],
                    "language": [language] * len(rows),
                    "label": pa.array(
                        [LABELS[label] if labelled else None for *_, label in rows], pa.string()
                    ),
                    "parallel_text": pa.array(
                        [other if parallel else None for _, other, _ in rows], pa.string()
                    ),
                    "parallel_language": pa.array(
                        ["en" if parallel else None] * len(rows), pa.string()
                    ),
                    "source": ["rooms"] * len(rows),
                    "line": pa.array(range(1, len(rows) + 1), pa.int64()),
                }
            )
            write_table(table, output / "rows" / role / f"part-{part:05d}.parquet")
    counts = {
        "rooms": {
            "role": "transfer",
            "language": "zh",
            "rows_in": 23,
            "rows_out": 20,
            "quarantined": {"wrong_language": 2},
            "deduplicated": {"exact": 1},
            "rows_out_by_role": {"train": 0, "transfer": 20, "validation": 0, "test": 0},
        }
    }
    (output / "counts.json").write_text(json.dumps({"sources": counts}))
    (output / "labels.json").write_text(json.dumps({"labels": LABELS}))


def write_tokens(
    output, language, *, gold=True, test_labels=True, also_tested_in=None, reader=None
):
    """Tokens of all roles in a language; of the test rows also those in another one, if given."""
    tokenizer = TOKENIZERS[reader or language]
    num_rows, num_tokens = {}, {}
    for role in ("train", "transfer", "validation", "test"):
        if role == "train" and language == "zh":
            continue
        known = (gold or role != "transfer") and (test_labels or role != "test")
        table = token_rows(tokenizer, role, language, known=known)
        write_table(table, output / role / "part-00000.parquet")
        num_rows[role] = len(table)
        num_tokens[role] = sum(map(len, table["input_ids"].to_pylist()))
        if role == "test" and also_tested_in:
            table = token_rows(tokenizer, role, also_tested_in, known=known)
            write_table(table.take(list(range(len(table)))[::-1]), output / role / "part-1.parquet")
    (output / "tokenizer").mkdir()
    tokenizer.save(str(output / "tokenizer" / "tokenizer.json"))
    facts = {
        "vocab_size": tokenizer.get_vocab_size(), "pad_token_id": 0, "max_length_tokens": 24,
        "num_rows": num_rows, "num_tokens": num_tokens,
    }  # fmt: skip
    (output / "tokens.json").write_text(json.dumps(facts))
    (output / "labels.json").write_text(json.dumps({"labels": LABELS}))


def token_rows(tokenizer, role, language, *, known):
    # The teacher reads the parallel side of a transfer row: the row keeps its id.
    owner = "zh" if role == "transfer" else language
    rows = list(rows_of(role, language))
    return pa.table(
        {
            "example_id": [example_id(role, owner, i) for i in range(len(rows))],
            "input_ids": pa.array(
                [tokenizer.encode(text).ids for text, _, _ in rows], pa.list_(pa.int32())
            ),
            "label": pa.array([label if known else -1 for *_, label in rows], pa.int32()),
            "language": [language] * len(rows),
        }
    )


def write_model(output, language, *, seed, noise=0.0):
    """A random encoder whose head is fitted on the transfer texts, as if it had been trained."""
    torch.manual_seed(seed)
    tokenizer = TOKENIZERS[language]
    shape = StudentArchitecture(num_layers=2, hidden_size=32, num_heads=2, intermediate_size=64)
    backbone = build_student_backbone(
        shape, vocab_size=tokenizer.get_vocab_size(), pad_token_id=0, max_length_tokens=24
    )
    model = EncoderClassifier(backbone, num_labels=4, pooling="mean", dropout=0.1).eval()
    rows = [row for one in language.split("+") for row in rows_of("transfer", one)]
    with torch.no_grad():
        features = torch.stack(
            [
                backbone(
                    input_ids=(ids := torch.tensor([tokenizer.encode(text).ids])),
                    attention_mask=torch.ones_like(ids),
                ).last_hidden_state.mean(1)[0]
                for text, _, _ in rows
            ]
        )
        design = torch.cat([features, torch.ones(len(rows), 1)], 1)
        target = torch.nn.functional.one_hot(torch.tensor([row[2] for row in rows]), 4) * 6.0
        solution = torch.linalg.solve(design.T @ design + 0.1 * torch.eye(33), design.T @ target)
        solution += noise * torch.randn(solution.shape)
        model.head.weight.copy_(solution[:32].T)
        model.head.bias.copy_(solution[32])
    save_classifier(model, output / "model", problem="text_classification")
    tokenizer.save(str(output / "model" / "tokenizer.json"))
    (output / "model" / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"})
    )
    (output / "model" / "labels.json").write_text(json.dumps({"labels": LABELS}))
    steps = [{"step": s, "loss": 1 / s, "learning_rate": 0.1} for s in (1, 2, 3)]
    validations = [{"step": s, "accuracy": s / 4, "macro_f1": s / 4, "loss": 1.0} for s in (1, 3)]
    history = {"steps": steps, "validations": validations, "best_step": 3}
    (output / "history.json").write_text(json.dumps(history))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    training = {"steps_done": 3, "steps_planned": 3, "num_parameters": parameters, "seed": seed}
    (output / "training.json").write_text(json.dumps({**training, "stopped_early": False}))


def make_world(folder, publish):
    """(store, inputs): all artifacts an evaluation reads, two seeds of each student."""
    store = ArtifactStore(folder)

    def made(stage, write, **config):
        return publish(store, stage, write, config=config)

    inputs = {
        "corpus": made("corpus", write_corpus),
        "teacher": made("teacher", lambda out: write_model(out, "en", seed=1)),
        "teacher_tokens": made("tokens", lambda out: write_tokens(out, "en"), language="en"),
        "student_tokens": made("tokens", lambda out: write_tokens(out, "zh"), language="zh"),
    }
    inputs["teacher_signals"] = run_stage(
        teacher_signals.STAGE,
        teacher_signals.Config(precision="fp32"),
        {"teacher": inputs["teacher"], "tokens": inputs["teacher_tokens"]},
        store=store,
    ).artifact
    for name, noise in (("student", 0.05), ("pseudo_label", 1.5), ("supervised", 0.0)):
        for seed in (0, 1):
            inputs[f"{name}_{seed}"] = made(
                "student",
                lambda out, seed=seed, noise=noise: write_model(
                    out, "zh", seed=10 + seed, noise=noise
                ),
                seed=seed,
                objective={"hard_labels": "gold" if name == "supervised" else "teacher"},
                validation_language="zh",
                training={"selection": "auto"},
                name=name,
            )
    inputs["export"] = run_stage(
        export.STAGE,
        export.Config(min_int8_agreement=0.0),
        {"student": inputs["student_0"], "tokens": inputs["student_tokens"]},
        store=store,
    ).artifact
    return store, inputs
