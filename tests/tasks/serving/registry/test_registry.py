"""The registry: what is there, by content, and what a name or alias means."""

import pytest

from data_contracts.errors import UserError
from tasks.registration import lineage, promote, rollback, versions
from tasks.serving.bundle.delivered import delivered_model
from tasks.serving.registry.registry import DIGEST_TAG, Registry, aliases_of, is_registered


@pytest.fixture
def registry(registry_home):
    return Registry()


def create(registry, name, digest):
    """A version of a model that holds nothing but its digest."""
    with_name = registry.client.search_registered_models(f"name='{name}'")
    if not with_name:
        registry.client.create_registered_model(name)
    made = registry.client.create_model_version(name, "file:///nowhere", tags={DIGEST_TAG: digest})
    return int(made.version)


def test_a_version_is_found_by_its_content_the_oldest_first(registry):
    """A lost race between two machines: each keeps believing in its own copy."""
    versions = [create(registry, "by-content", digest) for digest in ("aa", "bb", "aa")]
    assert registry.find("by-content", "aa") == versions[0]
    assert registry.find("by-content", "bb") == versions[1]
    assert registry.find("by-content", "cc") is None
    assert registry.find("never-heard-of", "aa") is None


def test_whether_a_version_stands_is_read_without_mlflow_and_alike(registry):
    """The shortcut past MLflow reads a table that a release has changed, and says no for ever."""
    version = create(registry, "stands", "dd")
    assert is_registered("stands", version, "dd")
    assert not is_registered("stands", version, "ee")
    assert not is_registered("stands", version + 1, "dd")
    assert registry.find("stands", "dd") == version
    registry.client.delete_model_version("stands", str(version))
    assert not is_registered("stands", version, "dd")


def test_an_alias_is_moved_once_and_a_second_time_is_no_change(registry):
    """A nightly run that sets what is set leaves a trail of changes nobody made."""
    version = create(registry, "alias", "ff")
    assert registry.set_alias("alias", "champion", version, why="first")
    assert not registry.set_alias("alias", "champion", version, why="again")
    assert registry.aliases("alias") == {"champion": version}
    assert registry.resolve("alias", "champion") == registry.resolve("alias", version) == version
    notes = [key for key in registry.tags("alias", version) if key.startswith("alias_change")]
    assert len(notes) == 1
    with pytest.raises(UserError, match="no version or alias 'challenger'"):
        registry.resolve("alias", "challenger")


def test_aliases_are_read_without_mlflow_and_as_they_are_now(registry, monkeypatch):
    """A run whose registration is cached calls the model champion that was rolled back."""
    first, second = create(registry, "moves", "aa"), create(registry, "moves", "bb")
    create(registry, "moves-too", "aa")
    registry.set_alias("moves-too", "challenger", 1, why="another model's")
    registry.set_alias("moves", "challenger", second, why="registered")
    for version in (first, second):
        registry.promote("moves", version, why="passed")
    assert aliases_of("moves", second) == ["challenger", "champion"]
    registry.rollback("moves")
    monkeypatch.setattr(Registry, "__init__", None)  # cannot be opened
    assert aliases_of("moves", first) == ["champion"]
    assert aliases_of("moves", second) == ["challenger", "previous"]
    monkeypatch.undo()
    asked = {"challenger": second, "champion": first, "previous": second}
    assert registry.aliases("moves") == asked
    assert aliases_of("never-heard-of", 1) == []


def test_models_that_are_not_ours_are_passed_over(registry):
    """`decant status` ends in an error about somebody else's model on the shared server."""
    registry.client.create_registered_model("ChurnModel")
    registry.client.create_model_version("ChurnModel", "file:///nowhere")
    ours = create(registry, "ours", "aa")
    registry.client.create_model_version("ours", "file:///nowhere")  # by hand, under our name
    found = [(one.model_name, one.version) for one in registry.versions()]
    assert ("ours", ours) in found
    assert ("ChurnModel", 1) not in found
    assert [one.version for one in registry.versions("ours")] == [ours]


def score(name):
    with delivered_model(f"models:/{name}@champion"):
        pass


@pytest.mark.parametrize("ask", [lineage, promote, rollback, score])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_reads_a_registry_makes_none(tmp_path, monkeypatch, ask, elsewhere):
    """A mistyped DECANT_HOME: an empty database in a new folder, and a long wait for it."""
    home = tmp_path / "home"
    monkeypatch.setenv("DECANT_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if elsewhere:
        home.mkdir()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mine.db'}")
        (home / "mine.db").touch()  # as a killed `mlflow server` leaves it
    before = list(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="no model 'mine' is registered at sqlite:") as told:
        ask("mine")
    assert "decant run RECIPE registers one" in told.value.remedy
    with pytest.raises(UserError, match="'Mine' cannot be the name of a model"):
        ask("Mine")
    assert versions() == []
    assert list(tmp_path.rglob("*")) == before
