"""Tags of words become spans; what is mended is counted."""

import pytest

from tasks.corpus.text.tags import spans_of_tags, tag_problem, types_of_tags


@pytest.mark.parametrize(
    ("tags", "spans", "repaired"),
    [
        ("B-PER I-PER O B-LOC", [(0, 2, "PER"), (3, 4, "LOC")], 0),
        ("B-LOC B-LOC I-LOC", [(0, 1, "LOC"), (1, 3, "LOC")], 0),
        ("O I-LOC I-LOC", [(1, 3, "LOC")], 1),  # begins without B-
        ("B-PER I-LOC I-LOC", [(0, 1, "PER"), (1, 3, "LOC")], 1),  # another type
        ("I-A I-B I-A", [(0, 1, "A"), (1, 2, "B"), (2, 3, "A")], 3),
        ("S-PER B-ORG I-ORG E-ORG O", [(0, 1, "PER"), (1, 4, "ORG")], 0),  # IOBES
        ("B-ORG E-ORG I-ORG", [(0, 2, "ORG"), (2, 3, "ORG")], 1),  # goes on after its end
        ("U-LOC B-PER L-PER", [(0, 1, "LOC"), (1, 3, "PER")], 0),  # BILOU
        ("B-X M-X E-X", [(0, 3, "X")], 0),  # BMES
        ("B-a-b I-a-b", [(0, 2, "a-b")], 0),  # a dash in the type
        ("O O", [], 0),
        ("", [], 0),
    ],
)
def test_tags_mean_these_spans(tags, spans, repaired):
    """An entity cut in two, or two made one, in training and in the score alike."""
    assert spans_of_tags(tags.split()) == (spans, repaired)
    assert types_of_tags(tags.split()) == {label for _, _, label in spans}


@pytest.mark.parametrize("tag", ["LOC", "X-LOC", "B-", "B_LOC", "BLOC", "b-LOC"])
def test_other_tags_are_refused(tag):
    """A tag that is read as O: every entity of a file is silently lost."""
    assert tag_problem(tag)
