"""The store serves what was published, byte for byte, or says that it cannot."""

import errno
import json
import os
import shutil

import pytest

import tasks.runtime.artifacts
from data_contracts.artifacts import KeyParts, Manifest, RowCounts, StageSummary
from data_contracts.errors import CorruptArtifact
from tasks.runtime.artifacts import MANIFEST, ArtifactStore, replace_file
from tasks.runtime.fingerprint import fingerprint

PARTS = KeyParts(stage="letters", version=1, config={"size": 3}, upstream={"data": "d" * 64})
FILES = {"a.txt": b"alpha", "sub/b.bin": bytes(range(256)) * 40, "sub/deep/empty": b""}


def publish(store, parts=PARTS, files=FILES, summary=None):
    with store.writing(parts) as output:
        for name, content in files.items():
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (output / name).write_bytes(content)
        return store.publish(
            output,
            parts,
            summary or StageSummary(),
            upstream_keys={"data": "e" * 64},
            locations={"data.csv": "f" * 64},
            duration_seconds=1.5,
        )


def flip_bit(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0b100
    path.write_bytes(content)


def edit_manifest(directory, **changes):
    content = json.loads((directory / MANIFEST).read_text())
    (directory / MANIFEST).write_text(json.dumps(content | changes))


DAMAGE = {
    "first bit": lambda d: flip_bit(d / "sub/b.bin", 0),
    "last bit": lambda d: flip_bit(d / "sub/b.bin", -1),
    "cut off": lambda d: os.truncate(d / "sub/b.bin", 100),
    "emptied": lambda d: os.truncate(d / "a.txt", 0),
    "longer": lambda d: (d / "a.txt").write_bytes(b"alphabet"),
    "missing file": lambda d: (d / "a.txt").unlink(),
    "missing empty file": lambda d: (d / "sub/deep/empty").unlink(),
    "extra file": lambda d: (d / "extra.txt").write_text("x"),
    "renamed file": lambda d: (d / "a.txt").rename(d / "c.txt"),
    "manifest cut off": lambda d: os.truncate(d / MANIFEST, 200),
    "manifest emptied": lambda d: os.truncate(d / MANIFEST, 0),
    "manifest not JSON": lambda d: (d / MANIFEST).write_text("hello"),
    "manifest of another key": lambda d: edit_manifest(d, key="0" * 64),
    "manifest without files": lambda d: edit_manifest(d, files=[]),
    "manifest with other parts": lambda d: edit_manifest(
        d, key_parts=PARTS.model_dump() | {"version": 2}
    ),
    "manifest of a later format": lambda d: edit_manifest(d, surprise=1),
    "digest of the content": lambda d: edit_manifest(d, content_digest="0" * 64),
}


def test_what_was_published_is_found_with_its_facts(store):
    """A store that loses what a night computed."""
    summary = StageSummary(
        row_counts=RowCounts(rows_in=5, rows_out=3, quarantined={"too_long": 2}), facts={"size": 3}
    )
    published = publish(store, summary=summary)
    found = store.lookup(PARTS)
    assert found == published
    assert {name: (found.path / name).read_bytes() for name in FILES} == FILES
    assert found.stage == "letters"
    assert found.key == fingerprint(PARTS) == found.path.name
    assert found.manifest.row_counts == summary.row_counts
    assert found.manifest.upstream_keys == {"data": "e" * 64}
    assert found.manifest.environment["python"]
    assert store.lookup(PARTS.model_copy(update={"version": 2})) is None
    assert [manifest.key for manifest in store.artifacts()] == [published.key]


def test_the_content_digest_follows_bytes_and_names_alone(store, tmp_path):
    """The same bytes made twice, believed different: everything downstream is rebuilt."""
    one = publish(store)
    other = publish(ArtifactStore(tmp_path / "b"), PARTS.model_copy(update={"version": 9}))
    assert one.content_digest == other.content_digest
    assert one.key != other.key
    changed = publish(ArtifactStore(tmp_path / "c"), files=FILES | {"a.txt": b"Alpha"})
    assert changed.content_digest != one.content_digest


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_found_before_use(store, damage):
    """A flipped bit in a model, served from the cache for months."""
    artifact = publish(store)
    damage(artifact.path)
    with pytest.raises(CorruptArtifact) as error:
        store.lookup(PARTS)
    assert error.value.fact.startswith(f"artifact letters/{artifact.key[:12]}")
    assert error.value.remedy
    publish(store)  # the same key can be published again over the damage
    assert store.lookup(PARTS) is not None


def test_every_single_bit_of_a_file_counts(store):
    """A digest over sizes, or over the first megabyte."""
    artifact = publish(store)
    for position in range(0, len(FILES["sub/b.bin"]), 997):
        flip_bit(artifact.path / "sub/b.bin", position)
        with pytest.raises(CorruptArtifact, match=r"sub/b\.bin has changed"):
            store.lookup(PARTS)
        flip_bit(artifact.path / "sub/b.bin", position)
    assert store.lookup(PARTS) == artifact


def test_a_link_out_of_the_artifact_is_not_content(store, tmp_path):
    """A file that is verified here and changes there."""
    artifact = publish(store)
    outside = tmp_path / "outside"
    shutil.copy(artifact.path / "a.txt", outside)
    (artifact.path / "a.txt").unlink()
    (artifact.path / "a.txt").symlink_to(outside)
    with pytest.raises(CorruptArtifact, match=r"a\.txt has become a link"):
        store.lookup(PARTS)


def test_a_stage_cannot_publish_a_link(store, tmp_path):
    """An artifact whose bytes lie in a folder that is cleaned up tonight."""
    (tmp_path / "outside").write_text("x")
    with store.writing(PARTS) as output:
        (output / "a.txt").symlink_to(tmp_path / "outside")
        with pytest.raises(ValueError, match=r"letters wrote links instead of files: a\.txt"):
            store.publish(
                output,
                PARTS,
                StageSummary(),
                upstream_keys={},
                locations={},
                duration_seconds=0,
            )
    assert store.lookup(PARTS) is None


def test_a_directory_without_manifest_is_no_artifact(store):
    """Half of an artifact of another tool, taken for whole."""
    directory = store.directory(PARTS)
    directory.mkdir(parents=True)
    (directory / "a.txt").write_bytes(b"alpha")
    assert store.lookup(PARTS) is None
    assert publish(store).path == directory
    assert store.lookup(PARTS) is not None


def test_what_is_not_published_leaves_nothing(store):
    """Failed attempts that fill the disk, or are found later."""

    def fail():
        with store.writing(PARTS) as output:
            (output / "a.txt").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.lookup(PARTS) is None
    assert list((store.root / "tmp").iterdir()) == []


def test_a_broken_manifest_does_not_hide_the_others(store):
    """One damaged file, and `gc` or `lineage` sees nothing at all."""
    publish(store)
    other = publish(store, PARTS.model_copy(update={"version": 2}))
    (other.path / MANIFEST).write_text("{")
    assert [manifest.key_parts.version for manifest in store.artifacts()] == [1]


def test_row_counts_that_do_not_reconcile_cannot_be_stated():
    """Rows lost in a stage whose report says that all is well."""
    with pytest.raises(ValueError, match="10 in, 7 out, 2 quarantined, 0 deduplicated"):
        RowCounts(rows_in=10, rows_out=7, quarantined={"too_long": 2})


def test_a_manifest_reads_back_as_it_was_written(store):
    """Lineage that only the process knows that wrote it."""
    manifest = publish(store).manifest
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def test_a_replaced_file_is_the_old_or_the_new(tmp_path):
    """`status` read while it is written."""
    path = tmp_path / "runs" / "r" / "step.json"
    replace_file(path, "old")
    replace_file(path, "new 新")
    assert path.read_text(encoding="utf-8") == "new 新"
    assert [file.name for file in path.parent.iterdir()] == ["step.json"]


def test_a_file_that_cannot_be_replaced_leaves_no_part_of_it(tmp_path, monkeypatch):
    """A full disk that each attempt fills a little more, under names that nobody clears away."""

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    replace_file(tmp_path / "pointer.json", "old")
    monkeypatch.setattr(tasks.runtime.artifacts, "_fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(tmp_path / "pointer.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["pointer.json"]
    assert (tmp_path / "pointer.json").read_text(encoding="utf-8") == "old"
