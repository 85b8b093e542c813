"""What the translation table of quality.md is made by still goes from pairs to table."""

import re

import pandas as pd
import torch

from infra.benchmarks.translation import COMPARED, OBJECTIVES, main

WORDS = {"one": "一", "red": "红", "cat": "猫", "dog": "狗", "tea": "茶", "sees": "看"}


def test_every_system_is_trained_scored_and_compared(tmp_path, capsys):
    """The stages ask for a fact that the benchmark's own tokens lack, and nobody can repeat it."""
    sentences = [f"{a} {b} {c}" for a in WORDS for b in WORDS for c in WORDS]
    pairs = pd.DataFrame({"source": sentences})
    pairs["target"] = pairs.source.map(lambda text: "".join(WORDS[word] for word in text.split()))
    pairs = pairs.sample(frac=1.0, random_state=0)
    for name, rows in {"train": pairs[:64], "dev": pairs[64:72], "test": pairs[72:80]}.items():
        rows.to_parquet(tmp_path / f"{name}.en-zh.parquet")
    threads = torch.get_num_threads()
    sizes = ["--seeds", "1", "--epochs", "1", "--rounds", "1"]
    try:
        main([str(tmp_path), str(tmp_path / "store"), *sizes])
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert printed.startswith("8 test sentences; nrefs:1|")
    figures = r"[\d.]+ \| [\d.]+ \| [\d,]+ \| ([\d.]+) \[.*\]"
    rows = re.findall(rf"^\| (.+) \| ([14]) \| {figures} \|$", printed, re.M)
    systems = ["teacher", *OBJECTIVES]
    assert [row[:2] for row in rows] == [(name, beams) for name in systems for beams in "41"]
    assert rows[0][2] == "1.0"  # the teacher with its beams, whose times they are
    assert len(re.findall(r"BLEU: [+-][\d.]+ \[", printed)) == 2 * len(COMPARED)
