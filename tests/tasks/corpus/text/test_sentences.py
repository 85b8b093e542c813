"""Sentences end where a reader of their language sees them end."""

import pytest

from tasks.corpus.text.sentences import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("长城东起山海关。真的？！是；没错", ["长城东起山海关。", "真的？！", "是；", "没错"]),
        ("Er wog 3.5 kg. „Wirklich?“ Ja, z. B. gestern.",
         ["Er wog 3.5 kg.", "„Wirklich?“", "Ja, z. B. gestern."]),
        ("J. S. Bach lived here. See www.bach.org!",
         ["J. S. Bach lived here.", "See www.bach.org!"]),
        ("متى افتتح؟ افتتح عام 2010؛ وهو الأطول.",
         ["متى افتتح؟", "افتتح عام 2010؛", "وهو الأطول."]),
        ("  \n ", []),
        ("", []),
    ],
)  # fmt: skip
def test_sentences_by_hand(text, expected):
    """An answer cut at the point of its number, or two sentences taken for one."""
    assert [text[start:end] for start, end in sentences(text)] == expected
