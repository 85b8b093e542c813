"""Tags of words (IOB2, IOB1, IOBES, BILOU, BMES) -> spans of words, mended where they disagree.

    B-PER I-PER O I-LOC  ->  (0, 2, PER) (3, 4, LOC), one repair: the I-LOC continues nothing

A tag that continues nothing (I- after O, or after another type) begins a span: that is how
conlleval reads it (Tjong Kim Sang and De Meulder 2003), and it is counted. In IOB1 every span
begins so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_OUTSIDE = frozenset({"O", "o", "_", ""})
_BEGINS, _ENDS = frozenset("BSU"), frozenset("ESLU")
_PREFIXES = frozenset("BIESLUM")


def tag_problem(tag: str) -> str | None:
    """What is wrong with a tag; None if it can be read."""
    if tag in _OUTSIDE:
        return None
    prefix, dash, label = tag.partition("-")
    if prefix not in _PREFIXES or not dash or not label.strip():
        return f"the tag {tag[:64]!r} is neither O nor a prefix of {''.join(sorted(_PREFIXES))}"
    return None


def split_tag(tag: str) -> tuple[str, str]:
    """(`B-`, `PER`) of B-PER; what has no type is all prefix."""
    prefix, dash, label = tag.partition("-")
    return prefix + dash, label


def types_of_tags(tags: Iterable[str]) -> set[str]:
    """What `tags` name, B-PER and I-PER alike; a tag that continues nothing names its type too.

    Args:
        tags: each without `tag_problem`.
    """
    return {split_tag(tag)[1] for tag in tags if tag not in _OUTSIDE}


def spans_of_tags(tags: Sequence[str]) -> tuple[list[tuple[int, int, str]], int]:
    """Spans of words (first, after the last, label) that `tags` mean, and how many were mended.

    Args:
        tags: one a word, each without `tag_problem`.
    """
    spans: list[tuple[int, int, str]] = []
    start, label, repaired = -1, "", 0
    for place, tag in enumerate(tags):
        prefix, _, found = ("O", "", "") if tag in _OUTSIDE else tag.partition("-")
        continues = start >= 0 and prefix not in _BEGINS and prefix != "O" and found == label
        if start >= 0 and not continues:
            spans.append((start, place, label))
            start = -1
        if prefix != "O" and not continues:
            repaired += prefix not in _BEGINS
            start, label = place, found
        if start >= 0 and prefix in _ENDS:
            spans.append((start, place + 1, label))
            start = -1
    if start >= 0:
        spans.append((start, len(tags), label))
    return spans, repaired
