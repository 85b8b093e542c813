"""Remote files are copied once, whole, and known by what their server says of their content."""

import errno
import os
import shutil
from pathlib import Path

import fsspec
import pytest
from huggingface_hub import HfFileSystem

from data_contracts.errors import SourceError, TransientError
from tasks.runtime.files.locations import local_files, local_folder, location_digest


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DECANT_HOME", str(tmp_path / "home"))


@pytest.fixture
def fetched(monkeypatch):
    """Names of the objects that are fetched, as they are."""
    names = []
    filesystem = fsspec.get_filesystem_class("s3")
    get_file = filesystem.get_file

    def noted(self, path, to):
        names.append(path.rpartition("/")[2])
        return get_file(self, path, to)

    monkeypatch.setattr(filesystem, "get_file", noted)
    return names


def files_below(folder):
    return sorted(path.name for path in Path(folder).rglob("*") if path.is_file())


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
    assert "the path of a copy" in error.value.remedy  # of who has no way to the hub at all
    HfFileSystem.clear_instance_cache()
    if offline:
        with pytest.raises(TransientError, match="unset HF_HUB_OFFLINE"):
            local_folder("hf://org/not-in-any-cache@abc123")


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
    """A retry loop, or a traceback, over a key that does not exist or a glob of no meaning."""
    for uri in (
        "s3://decant-test/none.csv",
        "s3://decant-test/no/*.csv",
        "s3://no-such-bucket/a.csv",
        "s3://decant-test/in/**.csv",
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


def test_of_a_set_only_what_is_new_is_fetched(bucket, fetched):
    """A terabyte copied again, and kept twice, for each day's new file."""
    for name in ("a", "b"):
        bucket.put_object(Key=f"in/{name}.csv", Body=name.encode())
    before = local_files("s3://decant-test/in/")
    assert fetched == ["a.csv", "b.csv"]
    bucket.put_object(Key="in/sub/c.csv", Body=b"c")
    after = local_files("s3://decant-test/in/")
    assert fetched == ["a.csv", "b.csv", "c.csv"]
    assert [path.read_bytes() for path in after] == [b"a", b"b", b"c"]
    assert after[0].parent != before[0].parent  # names and content of the earlier set stay its own
    assert all(one.samefile(other) for one, other in zip(before, after, strict=False))
    assert local_files("s3://decant-test/in/b.csv")[0].samefile(after[1])
    assert len(fetched) == 3


def test_sets_are_whole_on_disks_without_links(bucket, monkeypatch):
    """A store on a share that knows no links: nothing remote can be read."""

    def refused(self, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refused)
    for name in ("a", "b"):
        bucket.put_object(Key=f"in/{name}.csv", Body=name.encode())
    assert [path.read_bytes() for path in local_files("s3://decant-test/in/")] == [b"a", b"b"]


@pytest.mark.parametrize("body", [b"new!", b"longer"])
def test_an_object_that_changes_while_it_is_copied_is_not_believed(bucket, monkeypatch, body):
    """Tomorrow's rows under today's digest, for as long as the copy is kept."""
    bucket.put_object(Key="in/a.csv", Body=b"old!")
    filesystem = fsspec.get_filesystem_class("s3")
    get_file = filesystem.get_file

    def overtaken(self, path, to):
        bucket.put_object(Key="in/a.csv", Body=body)
        return get_file(self, path, to)

    with monkeypatch.context() as patch:
        patch.setattr(filesystem, "get_file", overtaken)
        with pytest.raises(TransientError, match="changed while it was copied"):
            local_files("s3://decant-test/in/a.csv")
    assert files_below(os.environ["DECANT_HOME"]) == []
    assert local_files("s3://decant-test/in/a.csv")[0].read_bytes() == body


def test_half_an_object_is_not_believed(bucket, monkeypatch):
    """A connection that ends early and says nothing: the first half of the rows, for ever."""
    bucket.put_object(Key="in/a.csv", Body=b"whole")
    filesystem = fsspec.get_filesystem_class("s3")
    monkeypatch.setattr(filesystem, "get_file", lambda self, path, to: Path(to).write_bytes(b"wh"))
    with pytest.raises(TransientError, match="5 bytes were listed, 2 came"):
        local_files("s3://decant-test/in/a.csv")
    assert files_below(os.environ["DECANT_HOME"]) == []


def test_what_programs_note_beside_objects_is_not_content(bucket):
    """A notebook's draft, uploaded with its folder, is trained on."""
    bucket.put_object(Key=".in/a.csv", Body=b"a")  # above what the files share it says nothing
    bucket.put_object(Key=".in/b.csv", Body=b"b")
    before = location_digest("s3://decant-test/.in")
    bucket.put_object(Key=".in/.ipynb_checkpoints/a.csv", Body=b"draft")
    for uri in ("s3://decant-test/.in", "s3://decant-test/.in/**/*.csv"):
        assert location_digest(uri) == before
        assert [path.name for path in local_files(uri)] == ["a.csv", "b.csv"]


def test_a_copy_that_is_used_is_touched(bucket):
    """`decant gc` takes away what is read every night, and it is fetched again."""
    for name in ("a", "b"):
        bucket.put_object(Key=f"in/{name}.csv", Body=name.encode())
    local_files("s3://decant-test/in/")
    folders = list((Path(os.environ["DECANT_HOME"]) / "downloads").iterdir())
    assert len(folders) == 3
    for folder in folders:
        os.utime(folder, (0, 0))
    local_files("s3://decant-test/in/")
    assert all(folder.stat().st_mtime > 0 for folder in folders)


def cut(path):
    path.write_bytes(path.read_bytes()[:2])


def flip(path):
    path.write_bytes(b"?" + path.read_bytes()[1:])
    os.utime(path, (1, 1))  # a clock of coarse ticks


def unseal(path):
    flip(path)
    for seal in (path.parent / ".sealed").iterdir():
        seal.unlink()


@pytest.mark.parametrize("damage", [cut, flip, unseal])
def test_a_damaged_copy_is_fetched_again(bucket, fetched, damage):
    """Two of 500 bytes, kept for what the server has: a wrong result under the right key."""
    bucket.put_object(Key="in/a.csv", Body=b"whole")
    damage(local_files("s3://decant-test/in/a.csv")[0])
    assert local_files("s3://decant-test/in/a.csv")[0].read_bytes() == b"whole"
    assert local_files("s3://decant-test/in/a.csv")[0].read_bytes() == b"whole"
    assert fetched == ["a.csv", "a.csv"]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_damaged_file_of_a_set_is_replaced(bucket, fetched, monkeypatch, has_links):
    """The copy is mended, and the folder that is read keeps the link to the damaged one."""

    def refused(self, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if not has_links:
        monkeypatch.setattr(Path, "hardlink_to", refused)
    for name in ("a", "b"):
        bucket.put_object(Key=f"in/{name}.csv", Body=name.encode() * 9)
    for damage in (cut, flip):
        damage(local_files("s3://decant-test/in/")[1])
        for _ in range(2):
            places = local_files("s3://decant-test/in/")
            assert [path.read_bytes() for path in places] == [b"a" * 9, b"b" * 9]
    # Where there are no links, the copy itself was sound.
    assert fetched == ["a.csv", "b.csv", *(["b.csv"] * 2 if has_links else [])]
