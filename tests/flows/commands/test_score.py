"""`decant score`: what its arguments may not be. What it writes: `tests/flows/test_scoring.py`."""

import pytest


@pytest.mark.parametrize("option", ["--text-column", "--second-column", "--id-column"])
def test_a_variable_that_is_not_set_is_no_name_of_a_column(decant, tiny, option):
    """`--id-column "$KEY"`: a traceback, or a night's answers with an id that is null in each."""
    done = decant("score", "models:/m/1", tiny / "zh-test.csv", "out.parquet", option, "")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error:  {option} is empty\n")
    assert not decant.home.exists()


def test_a_variable_that_is_not_set_is_no_file_or_model(decant):
    """`decant score "$MODEL" "$TEXTS" out.parquet`: whatever lies in the working directory."""
    done = decant("score", "", "", "out.parquet")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error:  MODEL and SOURCE are empty\n")


@pytest.mark.parametrize("output", ["", "."])
def test_scores_do_not_replace_the_working_directory(decant, tiny, output):
    """`decant score MODEL texts "$OUTPUT" --rows-per-shard 100000` in a folder just made."""
    done = decant("score", "models:/m/1", tiny / "zh-test.csv", output, "--rows-per-shard", 1)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error:  OUTPUT is empty, or the working directory\n")
    assert not list(decant.folder.iterdir())
