import json
import sys

import mlflow
import pytest

from data_contracts.errors import CorruptArtifact, SourceError, UserError
from tasks.serving.bundle.delivered import delivered_model
from tasks.serving.bundle.verification import verify_model


@pytest.mark.parametrize("which", ["/1", "@champion", ""])
def test_a_registered_version_is_fetched_and_verified(registered, registry_home, which):
    """Scoring with another version than the one that was named."""
    with delivered_model(f"models:/served{which}") as folder:
        assert json.loads((folder / "serving.json").read_text())["max_length_tokens"] == 16
        assert (folder / "model.int8.onnx").is_file()
    assert not folder.exists()


def test_folders_of_an_export_and_of_a_download_are_taken(exported, downloaded):
    """A student that was handed over as a folder, without any registry."""
    for folder in (exported.path, exported.path / "model", downloaded):
        with delivered_model(str(folder)) as found:
            assert (found / "labels.json").is_file()


def test_a_folder_that_mlflow_has_loaded_is_still_taken(copy, monkeypatch):
    """MLflow leaves the script compiled beside it: whoever had asked their copy once was told that
    somebody had changed it."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    mlflow.pyfunc.load_model(str(copy))
    assert list(copy.glob("__pycache__/*.pyc"))
    with delivered_model(str(copy)) as found:
        assert (found / "labels.json").is_file()
    with pytest.raises(CorruptArtifact, match="__pycache__"):  # MLflow would run it
        verify_model(copy)


def test_a_changed_download_is_refused(copy):
    """A weight changed on the way answers wrongly in ten million rows."""
    path = copy / "artifacts" / "bundle" / "model" / "labels.json"
    path.write_text(path.read_text().replace("HassTurnOn", "HassTurnOff"))
    with pytest.raises(CorruptArtifact, match=r"labels\.json"), delivered_model(str(copy)):
        pass


@pytest.mark.parametrize(
    ("uri", "kind", "said"),
    [
        ("models:/served@nobody", UserError, "no version or alias 'nobody'"),
        ("models:/never-made@champion", UserError, "no model 'never-made'"),
        ("models:/a/b/c", UserError, "does not name a version"),
        ("somewhere/else", SourceError, "there is no folder somewhere/else"),
    ],
)
def test_what_names_no_student_is_told(registered, registry_home, uri, kind, said):
    """A traceback out of MLflow for a typo."""
    with pytest.raises(kind, match=said), delivered_model(uri):
        pass
