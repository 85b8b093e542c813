"""Names that a file spells in its own way are led to those of the recipe, or it is told why not."""

import json
from collections import Counter

import pytest
from pydantic import ValidationError

from data_contracts.errors import SourceError
from tasks import ingestion
from tasks.corpus.sources.label_maps import check_keys_occur, mapped
from tasks.corpus.sources.source import FileSource
from tasks.runtime.fingerprint import canonical_json
from tests.tasks.small_corpus import (
    VERBS,
    chinese_of,
    counts_of,
    ingest,
    quarantine_of,
    rows_of,
    source_of,
    text_of,
    write_csv,
)


def config_of(problem="text_classification", *, labels=None, **fields):
    """Of one source with these fields."""
    source = {"name": "s", "format": "jsonl", "uri": "s.jsonl", "role": "train", "language": "en"}
    return ingestion.Config.model_validate(
        {
            "problem": problem,
            "source_language": "en",
            "target_language": "zh",
            "filters": {"labels": labels},
            "sources": [{**source, "columns": {"label": "label"}, **fields}],
        }
    )


def test_a_source_without_a_map_has_the_key_it_had():
    """A new field, empty by default: every corpus and all that was trained on it, made again."""
    assert "label_map" not in canonical_json(config_of())
    assert "label_map" not in canonical_json(config_of(label_map={}))
    assert '"label_map":{"Heat":"heat"}' in canonical_json(config_of(label_map={"Heat": "heat"}))


def test_files_that_spell_classes_in_their_own_way_make_one_corpus(sources, store, tmp_path):
    """A file of the same classes with capitals went to the quarantine, or trained them twice."""
    spelt = [(text_of(n), VERBS[n % 8].title()) for n in range(400)]
    path = write_csv(tmp_path / "spelt.csv", spelt)
    label_map = {verb.title(): verb for verb in VERBS}
    train = source_of("train", path, "train", "en", label_map=label_map)
    artifact = ingest([train, *sources[1:]], store)
    assert quarantine_of(artifact) == []
    plain = ingest(sources, store)
    names = ("labels.json", "counts.json")
    for name in names:
        assert (artifact.path / name).read_bytes() == (plain.path / name).read_bytes()
    for one, other in zip(rows_of(artifact, "train"), rows_of(plain, "train"), strict=True):
        assert (one["text"], one["label"]) == (other["text"], other["label"])


def test_a_key_that_no_label_has_is_refused(sources, store, tmp_path):
    """`Opne` for `Open`: its rows became a ninth class, which no test row has."""
    path = write_csv(tmp_path / "spelt.csv", [(text_of(n), "Open") for n in range(400)])
    train = source_of("spelt", path, "train", "en", label_map={"Opne": "open"})
    with pytest.raises(SourceError, match="label_map of source 'spelt' has 'Opne', which") as told:
        ingest([*sources, train], store)
    assert "as the file spells it" in told.value.remedy


def test_one_map_may_serve_files_of_which_some_lack_a_class(sources, store, tmp_path):
    """A test file in which one class is rare ended the run of a map that is right."""
    label_map = {"Open": "open", "Close": "close"}
    given = {}
    for role, rows in (("train", ("Open", "Close")), ("validation", ("Open",))):
        start = {"train": 90_000, "validation": 95_000}[role]  # a text has one class
        spelt = [(text_of(start + n), rows[n % len(rows)]) for n in range(40)]
        path = write_csv(tmp_path / f"spelt-{role}.csv", spelt)
        given[role] = source_of(f"spelt-{role}", path, role, "en", label_map=label_map)
    assert ingest([*sources, *given.values()], store)
    with pytest.raises(SourceError, match=r"spelt-validation.* 'Close', which"):
        ingest([*sources, given["validation"]], store)


def test_a_key_may_be_that_of_rows_which_another_source_did_not_draw():
    """One map for all sources was right, and with fewer train rows it was refused."""
    label_map = {"Open": "open", "Close": "close"}
    (plain,) = config_of(label_map=label_map).sources
    drawn = config_of(label_map=label_map, max_rows=9).sources[0].model_copy(update={"name": "all"})
    found = [(drawn, Counter(Open=9)), (plain, Counter(Open=1))]
    check_keys_occur(found, drawn=[drawn])
    with pytest.raises(SourceError, match="has 'Close', which"):
        check_keys_occur(found)  # as before a run, when all rows are read
    other = drawn.model_copy(update={"label_map": {"Open": "open"}})
    with pytest.raises(SourceError, match="has 'Close', which"):
        check_keys_occur([(other, found[0][1]), found[1]], drawn=[other])


def test_each_name_is_looked_up_once():
    """Two classes with exchanged names, which a second look-up exchanges back."""
    occurred = Counter()
    swap = {"left": "right", "right": "left"}
    assert [mapped(name, swap, occurred) for name in ("left", "right", "up")] == [
        "right", "left", "up",
    ]  # fmt: skip
    source = config_of(label_map=swap).sources[0]
    check_keys_occur([(source, occurred)])
    del occurred["left"]
    with pytest.raises(SourceError, match="has 'left', which"):
        check_keys_occur([(source, occurred)])


@pytest.mark.parametrize(
    ("problem", "fields", "said"),
    [
        ("question_answering", {"columns": {"question": "q", "answers": "a"}},
         "rows of question_answering have no names of classes"),
        ("translation", {"columns": {"target_text": "t"}},
         "rows of translation have no names of classes"),
        ("text_classification", {"columns": {}, "role": "transfer"},
         "names no column of labels: set columns.label,"),
        ("text_classification", {"labels": ["cool", "fan"]},
         "leads 'Heat' to 'heat', which is not one of the 2 names of data.filters.labels"),
        ("text_classification", {"label_map": {"Heat": " "}}, "neither name may be empty"),
        ("text_classification", {"label_map": {"Heat": "heat", "Heat ": "cool"}},
         "has the key 'Heat' twice"),
        ("text_classification", {"label_map": {1: "heat"}}, "1 is not a text: write the names in"),
        ("text_classification", {"label_map": {"Heat": True}}, "True is not a text"),
    ],
)  # fmt: skip
def test_a_map_without_a_meaning_is_refused_when_the_recipe_is_read(problem, fields, said):
    """Passed over, it looks as if it had been applied."""
    with pytest.raises(ValidationError, match="label_map") as refused:
        config_of(problem, **{"label_map": {"Heat": "heat"}, **fields})
    assert said in str(refused.value)


def test_the_recipe_says_what_the_map_is():
    """A field that no form shows is one that nobody finds."""
    schema = json.dumps(FileSource.model_json_schema())
    assert "what classes are called in the recipe where the file has other names" in schema


def test_removed_characters_are_not_mixed_with_mapped_names(sources, store, tmp_path):
    """A name of a class among the counts of invisible characters."""
    path = write_csv(tmp_path / "spelt.csv", [(chinese_of(70_000 + n), "Open") for n in range(9)])
    spelt = source_of("spelt", path, "test", "zh", label_map={"Open": "open"})
    assert not [name for name in counts_of(ingest([*sources, spelt], store))["removed_characters"]
                if "Open" in name]  # fmt: skip
