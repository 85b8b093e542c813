"""Where the answers of batch scoring may be written, and what they replace there."""

import fcntl
import os

import pyarrow.parquet as pq
import pytest

from data_contracts.errors import UserError
from tasks.serving.scoring.scoring import ScoringConfig, score
from tests.tasks.serving.scoring.test_scoring import TEXTS, write_jsonl, write_rows


@pytest.fixture
def model(exported):
    return exported.path / "model"


def test_a_second_run_to_the_same_output_is_kept_away(model, tmp_path):
    """Two schedules that overlap interleave their bytes in one file."""
    source = write_jsonl(tmp_path / "texts.jsonl", [{"text": TEXTS[0]}])
    with (tmp_path / ".out.parquet.partial").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another run is writing"):
            score(model, str(source), tmp_path / "out.parquet")
    score(model, str(source), tmp_path / "out.parquet")  # the holder is gone, its file remained
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 1
    assert not (tmp_path / ".out.parquet.partial").exists()


def test_the_input_is_not_overwritten(model, tmp_path):
    """`decant score m texts.parquet texts.parquet`."""
    path = write_rows(tmp_path, "parquet", TEXTS)
    before = path.read_bytes()
    with pytest.raises(UserError, match="is the input itself"):
        score(model, str(path), path, ScoringConfig(text_column="body"))
    assert path.read_bytes() == before


def test_answers_are_not_written_under_the_name_of_another_format(model, tmp_path):
    """Parquet in answers.csv: the next program reads noise."""
    source = write_jsonl(tmp_path / "texts.jsonl", [{"text": TEXTS[0]}])
    with pytest.raises(UserError, match=r"named as CSV.*\n.*\n.*answers\.parquet"):
        score(model, str(source), tmp_path / "answers.csv")
    assert not (tmp_path / "answers.csv").exists()


def test_a_folder_is_no_place_for_one_file_of_answers(model, tmp_path):
    """A traceback after an hour, when all has been scored."""
    source = write_jsonl(tmp_path / "texts.jsonl", [{"text": TEXTS[0]}])
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"out is a folder\n.*\n.*answers\.parquet.*--shards-on"):
        score(model, str(source), tmp_path / "out")


def test_what_is_no_file_is_not_replaced_by_one(model, tmp_path):
    """`decant score m t /dev/null`, as root: from then on each program's noise fills the disk."""
    source = write_jsonl(tmp_path / "texts.jsonl", [{"text": TEXTS[0]}])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match=r"pipe is a device.*and no file\n.*\nname a file"):
        score(model, str(source), pipe)
    assert pipe.is_fifo()


def test_what_a_link_points_to_is_replaced_and_not_the_link(model, tmp_path):
    """Answers beside the disk that was made for them, while its readers see last week's."""
    source = write_jsonl(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])
    large = tmp_path / "large_disk"
    large.mkdir()
    (large / "answers.parquet").write_bytes(b"last week")
    link = tmp_path / "out.parquet"
    link.symlink_to(large / "answers.parquet")
    score(model, str(source), link)
    assert link.readlink() == large / "answers.parquet"
    assert pq.read_table(large / "answers.parquet").num_rows == len(TEXTS)
    assert [path.name for path in large.iterdir()] == ["answers.parquet"]
