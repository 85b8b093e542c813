"""An evaluation of translations by tiny encoder-decoders, scored again by sacreBLEU."""

import hashlib
import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch
from sacrebleu.metrics import BLEU, CHRF
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from tasks.comparison.material import Material
from tasks.comparison.problem import Settings
from tasks.comparison.problems import COMPARED
from tasks.comparison.sections import lengths
from tasks.comparison.timing.generation import Writer
from tasks.corpus.tables import read_table, write_table
from tasks.metrics.scores import rouge
from tasks.metrics.statistics import scores_of
from tasks.metrics.systems import scores_by_seed
from tasks.modeling.encoder_decoder.config import DecodingConfig, Seq2SeqShape
from tasks.modeling.encoder_decoder.decoding import decode
from tasks.modeling.encoder_decoder.network import (
    Seq2SeqTokens,
    build_seq2seq,
    load_seq2seq,
    save_seq2seq,
)
from tasks.runtime.artifacts import ArtifactStore
from tests.tasks.small_problems import predictions

PAIRS = (
    ("the cat sleeps. all day.", "猫在睡觉"),
    ("the dog barks", "狗在叫"),
    ("a bird sings", "鸟在唱歌"),
    ("the fish swims", "鱼在游泳"),
)
IDS = [hashlib.sha256(english.encode()).hexdigest()[:32] for english, _ in PAIRS]
WRITTEN_BY_TEACHER = ["猫在睡觉", "狗在叫", "鸟唱歌", "鱼在游"]
DECODING = DecodingConfig(num_beams=2, length_penalty=0.6, max_length_tokens=9)


@pytest.fixture(scope="module")
def world(tmp_path_factory, publish):
    """(store, inputs): English to Chinese, one token a character."""
    store = ArtifactStore(tmp_path_factory.mktemp("texts"))
    characters = sorted({character for pair in PAIRS for text in pair for character in text})
    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "</s>", *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 2)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "</s>"])

    def corpus(out):
        table = pa.table(
            {
                "example_id": IDS,
                "text": [english for english, _ in PAIRS],
                "language": ["en"] * 4,
                "parallel_text": pa.nulls(4, pa.string()),
                "target_text": [chinese for _, chinese in PAIRS],
                "domain": ["pet", "pet", "wild", "wild"],
            }
        )
        write_table(table, out / "rows" / "test" / "part-00000.parquet")
        (out / "counts.json").write_text('{"sources": {}}')

    def tokens(out):
        table = pa.table(
            {
                "example_id": IDS,
                "input_ids": pa.array(
                    [tokenizer.encode(english).ids for english, _ in PAIRS], pa.list_(pa.int32())
                ),
                "label": pa.array([-1] * 4, pa.int32()),
                "language": ["en"] * 4,
            }
        )
        write_table(table, out / "test" / "part-00000.parquet")
        (out / "tokenizer").mkdir()
        tokenizer.save(str(out / "tokenizer" / "tokenizer.json"))
        facts = {"vocab_size": len(vocabulary), "pad_token_id": 0, "max_length_tokens": 32}
        (out / "tokens.json").write_text(json.dumps(facts))
        (out / "labels.json").write_text('{"labels": []}')

    def signals(out):
        table = pa.table(
            {
                "example_id": IDS[::-1],
                "hypotheses": [[text, "猫"] for text in WRITTEN_BY_TEACHER[::-1]],
            }
        )
        write_table(table, out / "test" / "part-00000.parquet")
        (out / "labels.json").write_text('{"labels": []}')

    def model(out, seed):
        torch.manual_seed(seed)
        shape = Seq2SeqShape(
            encoder_layers=1, decoder_layers=1, hidden_size=16, num_heads=2, intermediate_size=32
        )
        network = build_seq2seq(shape, Seq2SeqTokens(len(vocabulary), 0, 2, 32))
        save_seq2seq(network, out / "model", DECODING)
        head = {"problem": "translation", "decoding": DECODING.model_dump()}
        (out / "model" / "head.json").write_text(json.dumps(head))
        history = {"steps": [{"step": 1, "loss": 1.0}], "validations": [], "best_step": 1}
        (out / "history.json").write_text(json.dumps(history))
        (out / "training.json").write_text(json.dumps({"num_parameters": 999}))

    def made(stage, write, **config):
        return publish(store, stage, write, config={"world": "texts", **config})

    inputs = {
        "corpus": made("corpus", corpus),
        "teacher_tokens": made("tokens", tokens),
        "teacher_signals": made("teacher_signals", signals),
    }
    inputs["student_tokens"] = inputs["teacher_tokens"]
    for number, name in enumerate(("teacher", "student_0", "student_1", "no_kd_0", "no_kd_1")):
        inputs[name] = made(
            "student",
            lambda out, number=number: model(out, number),
            seed=number,
            objective={"targets": "teacher"},
            training={"selection": "auto"},
        )
    inputs["export"] = made("export", lambda out: model(out, 1), seed=1)
    return store, inputs


@pytest.fixture(scope="module")
def evaluated(world, evaluate):
    """(inputs, artifact, report)."""
    store, inputs = world
    return inputs, *evaluate(store, inputs, "translation")


def written_alone(inputs, name):
    """Each source by itself, no padding."""
    model = load_seq2seq(inputs[name].path / "model")
    folder = inputs["student_tokens"].path
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    for row in read_table(folder / "test" / "part-00000.parquet").to_pylist():
        ids = torch.tensor([row["input_ids"]])
        size = tokenizer.get_vocab_size()
        [[best, *_]] = decode(model, ids, torch.ones_like(ids), DECODING, vocab_size=size)
        yield tokenizer.decode(list(best.token_ids))


def test_texts_are_those_of_the_network_and_of_the_teachers_signals(evaluated):
    """Batches sorted by length must give each text back to its own source."""
    inputs, artifact, report = evaluated
    for name in ("student_0", "student_1", "no_kd_0"):
        found = predictions(artifact, name)
        assert [found[one][1] for one in IDS] == list(written_alone(inputs, name))
    teacher = predictions(artifact, "teacher")
    assert [teacher[one][1] for one in IDS] == WRITTEN_BY_TEACHER
    assert list(report.systems) == ["teacher", "student", "no_kd", "copied_source"]
    assert report.systems["no_kd"].kind == "no_kd"
    labels = {label for label, _ in teacher.values()}
    assert not any("在" in label for label in labels), "references are the user's own texts"


def test_scores_and_signature_are_sacrebleus(evaluated):
    """A translation figure without its tokenizer cannot be compared with any other."""
    inputs, artifact, report = evaluated
    references = [[chinese for _, chinese in PAIRS]]
    bleu, chrf = BLEU(tokenize="zh"), CHRF(word_order=2)
    systems = {"teacher": [WRITTEN_BY_TEACHER]}
    systems["student"] = [list(written_alone(inputs, f"student_{seed}")) for seed in (0, 1)]
    for name, runs in systems.items():
        for scores, texts in zip(report.systems[name].seeds, runs, strict=True):
            expected = bleu.corpus_score(texts, references).score
            assert 100 * scores["bleu"] == pytest.approx(expected)
            assert 100 * scores["chrf"] == pytest.approx(chrf.corpus_score(texts, references).score)
    assert report.primary.signature == str(bleu.get_signature())
    page = (artifact.path / "report.html").read_text(encoding="utf-8")
    assert all(str(one.get_signature()) in page for one in (bleu, chrf))
    assert {one.against for one in report.delivered_comparisons} == {"teacher"}
    assert all(one.paired for one in report.comparisons), "all read the same sources"
    assert set(report.variants) == {"safetensors"}
    assert [one.value for one in report.groups] == ["pet", "wild"]


def test_long_texts_are_scored_apart(world, monkeypatch):
    """Translators fail on long sentences first, and most test sentences are short."""
    _, inputs = world
    monkeypatch.setattr(lengths, "_MIN_EXAMPLES", 2)
    compared = COMPARED["translation"](Material(inputs, "en", "zh"), Settings())
    answers = {"student": compared.answer_models([inputs["student_0"].path / "model"])}
    written = list(written_alone(inputs, "student_0"))
    found = [one for one in compared.sections(answers).groups if "length" in one.column]
    assert [one.value for one in found] == ["12 to 13", "14 to 24"]
    for one, rows in zip(found, ((1, 2), (0, 3)), strict=True):
        expected = BLEU(tokenize="zh").corpus_score(
            [written[row] for row in rows], [[PAIRS[row][1] for row in rows]]
        )
        assert 100 * one.scores["student"]["bleu"] == pytest.approx(expected.score)


def test_how_a_model_writes_travels_with_it(world):
    """A student scored greedily that ships with four beams is another student."""
    _, inputs = world
    writer = Writer(inputs["student_0"].path / "model", inputs["student_tokens"].path)
    assert writer.decoding == DECODING
    texts = [english for english, _ in PAIRS]
    assert writer(texts) == list(written_alone(inputs, "student_0"))


@pytest.mark.parametrize(
    ("problem", "primary", "looks", "floors"),
    [("summarization", "rouge_l", {"repetition", "length_ratio"},
      ["first_sentence", "copied_source"]),
     ("generation", "chrf", {"distinct_1", "distinct_2", "repetition", "length_ratio"},
      ["copied_source"])],
)  # fmt: skip
def test_other_written_problems_are_scored_by_their_own_metrics(
    world, problem, primary, looks, floors
):
    """BLEU of a summary rewards copying its source; replies that are all the same, or run in
    circles, are told by no likeness to a reference."""
    _, inputs = world
    # Here the student reads the language that its tokens are in.
    compared = COMPARED[problem](Material(inputs, "en", "en"), Settings())
    assert compared.measures[0].name == primary
    answers = dict(compared.answer_floors())
    assert list(answers) == floors
    assert answers["copied_source"].predictions[0][0] == PAIRS[0][0]
    if problem == "summarization":
        assert answers["first_sentence"].predictions[0][0] == "the cat sleeps."
    [scores] = scores_by_seed(answers["copied_source"], compared.measures)
    assert looks < set(scores) == {measure.name for measure in compared.measures}


def test_a_summarizer_of_several_languages_is_scored_in_each(world, publish, evaluate):
    """A recipe that promised a score in each language, and a report that had none."""
    store, inputs = world
    languages = ["en", "zh", "zh", "en"]

    def tokens(out):
        shutil.copytree(inputs["student_tokens"].path, out, dirs_exist_ok=True)
        (out / "manifest.json").unlink()
        path = out / "test" / "part-00000.parquet"
        table = read_table(path).drop_columns("language")
        write_table(table.append_column("language", pa.array(languages)), path)

    spoken = publish(store, "tokens", tokens, config={"languages": languages})
    made = {**inputs, "student_tokens": spoken, "teacher_tokens": spoken}
    artifact, report = evaluate(store, made, "summarization")
    groups = {one.value: one for one in report.groups if one.column == "language"}
    assert [*groups] == ["zh", "en"]
    assert groups["zh"].scores["student"] == report.systems["student"].mean
    rows = [row for row, language in enumerate(languages) if language == "en"]
    runs = [predictions(artifact, f"en/student_{seed}") for seed in (0, 1)]
    assert all(run.keys() == {IDS[row] for row in rows} for run in runs)
    by_hand = []
    for run in runs:
        said, right = [run[IDS[row]][1] for row in rows], [PAIRS[row][1] for row in rows]
        statistics = rouge.rouge_statistics(said, right)
        by_hand.append(scores_of(statistics, rouge.MEASURES)["rouge_l"])
    assert groups["en"].scores["student"]["rouge_l"] == pytest.approx(np.mean(by_hand))
    assert groups["en"].scores["teacher_on_target"] == report.systems["teacher"].mean


def test_replies_can_be_looked_up_in_what_the_student_was_taught(store, publish):
    """A student that is worse than looking up its training rows had no rival in its report."""
    from_teacher = {"打开灯": "已打开", "关闭灯": "已关闭", "关掉灯": "已关闭"}
    asked = {"请打开灯": "好的，已打开", "请关闭灯": "好的，已关闭"}
    ids = {text: hashlib.sha256(text.encode()).hexdigest()[:32] for text in (*from_teacher, *asked)}

    def rows(out, role, texts, targets):
        table = pa.table(
            {"example_id": [ids[text] for text in texts], "text": [*texts], "target_text": targets}
        )
        write_table(table, out / "rows" / role / "part-00000.parquet")

    def corpus(out):
        rows(out, "transfer", from_teacher, pa.nulls(3, pa.string()))
        rows(out, "test", asked, [*asked.values()])

    def tokens(out):
        for role, texts in (("transfer", from_teacher), ("test", asked)):
            table = pa.table(
                {"example_id": [ids[text] for text in texts], "language": ["zh"] * len(texts)}
            )
            write_table(table, out / role / "part-00000.parquet")

    def signals(out):
        table = pa.table(
            {
                "example_id": [ids[text] for text in from_teacher][::-1],
                "target_text": [*from_teacher.values()][::-1],
            }
        )
        write_table(table, out / "transfer" / "part-00000.parquet")

    inputs = {
        "corpus": publish(store, "corpus", corpus),
        "student_tokens": publish(store, "tokens", tokens),
        "teacher_signals": publish(store, "teacher_signals", signals),
    }
    compared = COMPARED["generation"](Material(inputs, "en", "zh"), Settings())
    floors = {name: one.predictions[0] for name, one in compared.answer_floors()}
    assert floors == {
        "nearest_reply": ["已打开", "已关闭"],
        "commonest_reply": ["已关闭", "已关闭"],
        "copied_source": ["请打开灯", "请关闭灯"],
    }
