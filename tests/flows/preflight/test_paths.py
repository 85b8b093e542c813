"""All that a recipe lacks on this machine is told at once, before anything runs."""

from types import SimpleNamespace

import pytest

from data_contracts.errors import RecipeError
from flows.preflight.paths import check_places


def refusal(*uris):
    """What is said of a recipe that reads `uris`."""
    recipe = SimpleNamespace(name="mine", locations=lambda: uris)
    with pytest.raises(RecipeError) as caught:
        check_places(recipe, "quickstart")
    return caught.value


def test_few_missing_files_are_named_one_by_one(tmp_path, monkeypatch):
    """One file of six is told at a time, each after the step before it has run again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.csv").write_text("text")
    uris = [f"data/{number}.csv" for number in range(6)]
    said = refusal("here.csv", *uris, "hf://some/model")
    assert [fact for fact in uris if f"no file at '{fact}'" in said.fact] == uris
    assert said.fact.count("no file at") == 6
    assert "quickstart.yaml say how its data are made" in said.remedy


def test_many_missing_files_are_counted_by_folder(tmp_path, monkeypatch):
    """A new user's first run answered by a wall of 38 paths, in which the one model drowns."""
    monkeypatch.chdir(tmp_path)
    of_two = [f"data/{folder}/{number}.csv" for number in range(4) for folder in ("a", "b")]
    said = refusal(*of_two, "models/encoder")
    assert said.fact == (
        "recipe mine: 4 files missing in 'data/a', '0.csv' the first; 4 files missing in 'data/b', "
        "'0.csv' the first; no file at 'models/encoder'"
    )
