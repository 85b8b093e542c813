"""The small student, registered once, and a downloaded copy of what the registry holds."""

import json
import shutil

import pytest

from tasks.registration import STAGE, Config
from tasks.runtime.artifacts import ArtifactStore
from tasks.runtime.stages import run_stage


@pytest.fixture(scope="session")
def registered(tmp_path_factory, registry_folder, exported, make_report, publish_evaluation):
    """record.json of the small student, registered as `served`."""
    store = ArtifactStore(tmp_path_factory.mktemp("registration"))
    report = publish_evaluation(store, make_report())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DECANT_HOME", str(registry_folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        inputs = {"export": exported, "evaluation": report}
        config = Config(model_name="served", example_texts=("打开客厅的灯",))
        made = run_stage(STAGE, config, inputs, store=store).artifact
    return json.loads((made.path / "record.json").read_text())


@pytest.fixture(scope="session")
def downloaded(tmp_path_factory, registered, registry_folder):
    """The registered model's folder, as a consumer downloads it."""
    from mlflow.artifacts import download_artifacts

    folder = tmp_path_factory.mktemp("downloaded") / "model"
    uri = f"sqlite:///{registry_folder / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        download_artifacts(f"models:/served/{registered['version']}", dst_path=str(folder))
    return folder


@pytest.fixture
def copy(downloaded, tmp_path):
    """A copy of that folder to spoil."""
    return shutil.copytree(downloaded, tmp_path / "copy")
