"""Tokenization is measured on real texts and a pretrained tokenizer, if they are given."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from infra.benchmarks import machine, report, synthetic, tokenizing
from infra.benchmarks.settings import Settings

SENTENCES = {
    "en": ["Turn on the light.", "The cat sat on the mat."],
    "sw": ["Washa taa.", "Paka alikaa."],
    "zh": ["打开灯。", "猫坐在垫子上。"],
}


@pytest.fixture
def sib200(tmp_path):
    """Two splits of three languages; the splits share a sentence."""
    folder = tmp_path / "sib200"
    folder.mkdir()
    for language, texts in SENTENCES.items():
        for split, part in (("train", texts), ("dev", texts[:1])):
            table = pa.table({"text": part, "label": ["x"] * len(part)})
            pq.write_table(table, folder / f"{split}.{language}.parquet")
    return folder


@pytest.fixture
def multilingual_model(tmp_path):
    """A folder with a unigram tokenizer, framed as XLM-R frames texts."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    letters = sorted({*"▁.", *"".join(text for part in SENTENCES.values() for text in part)})
    pieces = [(name, 0.0) for name in special] + [(letter, -5.0) for letter in letters]
    tokenizer = Tokenizer(models.Unigram([*pieces, ("▁the", -1.0)], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    folder = tmp_path / "model"
    folder.mkdir()
    # As hub files do: the benchmark must not cut or pad by what such a file switches on.
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>", length=9)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def small(tmp_path, **folders):
    return Settings(True, 1, tmp_path / "work", tmp_path / "results", **folders)


def found_cases(settings, folder):
    folder.mkdir()
    return list(tokenizing.cases(settings, folder))


def test_without_folders_the_section_is_the_synthetic_one_alone(tmp_path):
    """A run without the data, as most are, fails or measures another thing than before."""
    (only,) = found_cases(small(tmp_path), tmp_path / "cases")
    assert pq.read_metadata(only.source).num_rows == 5_000
    assert Tokenizer.from_file(str(only.file)).get_vocab_size() <= 2000


def test_each_folder_adds_its_texts_and_its_tokenizer(tmp_path, sib200, multilingual_model):
    """A row of the report that says sentences, or pretrained, and measured neither."""
    settings = small(tmp_path, sib200=sib200, multilingual_model=multilingual_model)
    _, commands, trained, both = found_cases(settings, tmp_path / "cases")
    sentences = {text for part in SENTENCES.values() for text in part}
    for case in (trained, both):
        assert set(pq.read_table(case.source)["text"].to_pylist()) == sentences
    vocabulary = Tokenizer.from_file(str(multilingual_model / "tokenizer.json")).get_vocab()
    for case in (commands, both):
        assert Tokenizer.from_file(str(case.file)).get_vocab() == vocabulary
    assert Tokenizer.from_file(str(trained.file)).get_vocab() != vocabulary
    # One folder alone: no sentences without theirs, no pretrained tokenizer without its own.
    only_texts = found_cases(small(tmp_path, sib200=sib200), tmp_path / "texts")
    assert [case.texts for case in only_texts[1:]] == [trained.texts]
    only_model = found_cases(
        small(tmp_path, multilingual_model=multilingual_model), tmp_path / "tokenizer"
    )
    assert [case.texts for case in only_model[1:]] == [commands.texts]


def test_numbered_texts_stay_distinct_and_begin_as_they_are():
    """Copies: one of two tokenizers remembers them, and its rate is that of a dictionary."""
    assert tokenizing.numbered(["a", "b c"], 5) == ["a", "b c", "a1", "b c1", "a2"]


def test_a_folder_without_sentences_is_refused(tmp_path):
    """A rate of zero texts a second, printed as a result."""
    with pytest.raises(SystemExit, match=r"no <split>\.<language>\.parquet"):
        synthetic.sentences(tmp_path)


@pytest.mark.slow
def test_real_sentences_and_a_pretrained_tokenizer_are_measured_and_told(
    tmp_path, sib200, multilingual_model
):
    """Figures of a tokenizer made for the benchmark, read as those of the one people use."""
    settings = small(tmp_path, sib200=sib200, multilingual_model=multilingual_model)
    found = tokenizing.run(settings, "tokenize")
    assert [case["rows"] for case in found["further"]] == [2_000, 6, 6]
    settings.results.mkdir()
    result = {"settings": settings.record(), "machine": machine.describe(), "seconds": 1.0}
    (settings.results / "tokenize.json").write_text(json.dumps(result | found))
    text = report.write_report(settings.results, tmp_path).read_text(encoding="utf-8")
    assert "6 texts (sentences in many languages), tokenizer: the multilingual model's" in text
    assert text.count("| datasets.map, processes |") == 4
    assert "`infra/benchmarks/run tokenize --sib200 DIR --multilingual-model DIR`" in text
    assert str(tmp_path) not in text
