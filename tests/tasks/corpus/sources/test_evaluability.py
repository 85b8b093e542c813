"""What sources say of themselves tells what the corpus stage would find, and nothing else."""

import pytest

from data_contracts.errors import SourceError
from tasks.corpus.sources.evaluability import lacking_roles
from tests.tasks.small_corpus import config_of, ingest, write_pairs


def labelled_pairs(entry, folder):
    write_pairs(folder / "pairs.jsonl", range(200), label=True)
    columns = {"text": "zh", "parallel_text": "en", "label": "intent"}
    return {**entry, "columns": columns}


@pytest.mark.parametrize(
    ("without", "labels", "lacking"),
    [
        ((), False, {"en": [], "zh": []}),
        (("zh-test",), False, {"en": [], "zh": ["test"]}),
        (("zh-test", "zh-validation"), False, {"en": [], "zh": ["validation", "test"]}),
        (("zh-test", "zh-validation"), True, {"en": [], "zh": []}),
        (("train",), False, {"en": ["validation", "test"], "zh": []}),
    ],
)
def test_the_corpus_stage_refuses_just_what_was_said_to_lack_rows(
    sources, store, tmp_path, without, labels, lacking
):
    """A recipe called valid that its first step refuses, or refused though it would have run."""
    chosen = [
        labelled_pairs(entry, tmp_path) if labels and entry["name"] == "pairs" else entry
        for entry in sources
        if entry["name"] not in without
    ]
    config = config_of(chosen)
    found = {
        language: lacking_roles("text_classification", config.sources, language)
        for language in lacking
    }
    assert found == lacking
    if any(lacking.values()):
        with pytest.raises(SourceError, match="there are no"):
            ingest(chosen, store)
    else:
        ingest(chosen, store)


def test_pairs_are_what_sentences_are_evaluated_on():
    """Sentences have no labels: a recipe of them would always be refused."""
    values = {"format": "csv", "uri": "a.csv", "language": "zh"}
    parallel = {"parallel_language": "en", "columns": {"text": "zh", "parallel_text": "en"}}
    pairs = config_of(
        [{"name": "pairs", "role": "transfer", **values, **parallel}],
        problem="sentence_embedding",
    )
    alone = config_of(
        [{"name": "alone", "role": "transfer", **values}], problem="sentence_embedding"
    )
    assert lacking_roles("sentence_embedding", pairs.sources, "zh") == []
    assert lacking_roles("sentence_embedding", alone.sources, "zh") == ["validation", "test"]
