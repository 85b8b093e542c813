"""One source line serves many languages."""

import pytest

from data_contracts.errors import RecipeError
from flows.recipe.loading.files import read_recipe
from flows.recipe.loading.languages import expand_languages


def _sources(**source):
    return expand_languages({"data": {"sources": [source]}}, "r")["data"]["sources"]


def test_a_source_of_languages_becomes_one_source_each():
    """A language lost or given another's file would be trained on the wrong texts."""
    assert _sources(name="{language}-dev", uri="{spelling}.tsv", languages={"zh": "zho"}) == [
        {"name": "zh-dev", "uri": "zho.tsv", "language": "zh"}
    ]
    assert [one["uri"] for one in _sources(uri="{language}", languages=["zh", "fr"])] == [
        "zh",
        "fr",
    ]


@pytest.mark.parametrize(
    "source",
    [
        {"uri": "{language}.tsv"},
        {"uri": "a.tsv", "languages": ["zh"]},
        {"uri": "{language}.tsv", "language": "zh", "languages": ["zh"]},
        {"uri": "{language}.tsv", "languages": []},
    ],
)
def test_half_of_the_pair_is_refused(source):
    """A file literally named {language} would be missed only when the run opens it."""
    with pytest.raises(RecipeError, match=r"data\.sources\.0"):
        _sources(**source)


def test_the_shipped_recipe_of_many_languages_keeps_its_sources():
    """A language dropped from the recipe would go unscored."""
    sources = read_recipe("sib200_languages").data.sources
    names = [one.name for one in sources]
    assert len(names) == len(set(names)) == 46
    assert names[:4] == ["en-train", "en-dev", "zh-dev", "de-dev"]
