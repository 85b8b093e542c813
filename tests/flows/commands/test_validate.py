"""`decant validate`: what it finds in files of this machine before anything runs."""

import shutil


def test_validate_finds_a_column_that_a_file_does_not_have(decant, tiny):
    """Said to be valid, and refused by the first step of the run."""
    recipe = tiny / "recipe.yaml"
    assert "is valid" in decant("validate", recipe, check=0).stdout
    done = decant("validate", recipe, "--set", "data.sources.1.columns.text=sentence")
    assert done.returncode == 2
    assert "has no column 'sentence'" in done.stderr


def test_validate_finds_a_key_of_a_map_that_no_label_has(decant, tiny):
    """Said to be valid, and refused by the first step of the run."""
    misspelt = "data.sources.0.label_map={onn: off-on}"
    done = decant("validate", tiny / "recipe.yaml", "--set", misspelt)
    assert done.returncode == 2
    assert "label_map of source 'en-train' has 'onn'" in done.stderr


def test_validate_tells_each_missing_file_once_and_what_the_hub_s_are_called(decant, tiny):
    """Fourteen paths for seven files, and no word of the form that was wanted."""
    done = decant(
        "validate", tiny / "recipe.yaml",
        "--set", "data.sources.0.uri=nowhere/a.csv",
        "--set", "data.sources.1.uri=Davlan/sib200",
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("nowhere/a.csv") == 1
    assert "no file at 'nowhere/a.csv'; no file at 'Davlan/sib200'" in done.stderr
    remedy = done.stderr.partition("remedy: ")[2]
    assert remedy.count("check the path") == 1
    assert "hf://datasets/Davlan/sib200@revision/file" in remedy


def test_validate_looks_into_every_file_and_for_rows(decant, tiny, tmp_path):
    """The second file of a month, written by another program; or a file with a header alone."""
    many = tmp_path / "many"
    many.mkdir()
    shutil.copy(tiny / "en-train.csv", many / "a.csv")
    (many / "b.csv").write_text("sentence;label\nhello;on\n", encoding="utf-8")
    at_many = ("--set", f"data.sources.0.uri={many}/*.csv")
    done = decant("validate", tiny / "recipe.yaml", *at_many)
    assert done.returncode == 2
    assert "b.csv has no column" in done.stderr
    assert "one cell, 'sentence;label'" in done.stderr
    (many / "b.csv").write_text("text,label\n", encoding="utf-8")
    done = decant("validate", tiny / "recipe.yaml", *at_many)
    assert done.returncode == 2
    assert "'en-train/b.csv' has no rows" in done.stderr
