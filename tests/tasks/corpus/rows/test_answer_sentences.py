"""Questions and answered contexts become pairs, each with a label that is true."""

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tasks.corpus.filtering import FilterConfig
from tasks.corpus.readers.raw_rows import RawRow
from tasks.corpus.rows.answer_sentences import answer_sentences
from tasks.corpus.rows.kind import RowRules, UnfitError
from tasks.corpus.text.normalization import NormalizationConfig

ROOT = Path(__file__).parents[4]
FROM = "长城东起山海关，西至嘉峪关，是古代的工程。"
LENGTH = "长城全长两万多公里，经过十五个省区市。"
CHINESE = f"{FROM}{LENGTH}游客很多。"
BIRTH, DEATH = "Bach kam 1685 in Eisenach zur Welt.", "Er starb 65 Jahre später in Leipzig."
GERMAN = f"{BIRTH} {DEATH} Ja."
PLACE, OPENING = "يقع البرج في مدينة دبي.", "افتتح البرج عام 2010 بعد ست سنوات من البناء."


def pairs_of(question, context, answers, *, labelled=True):
    """(sentence, label) of each pair; answers are a cell, or texts where they first stand."""
    cell = answers
    if isinstance(answers, list):
        starts = [context.find(answer) for answer in answers]
        cell = {"text": answers, "answer_start": starts}
    rules = RowRules(
        problem="matching", source="mine", language="zh", parallel_language=None,
        needs_label=labelled, expand="answer_sentences", normalization=NormalizationConfig(),
        filters=FilterConfig(), keep_quarantined_text=False,
    )  # fmt: skip
    row = RawRow(question, None, None, {"text_b": context, "answers": cell, "domain": "web"})
    made = answer_sentences(row, rules, Counter())
    assert all(one.text == question and one.others.keys() == {"text_b", "domain"} for one in made)
    return [(one.others["text_b"], one.label) for one in made]


@pytest.mark.parametrize(
    ("question", "context", "answers", "expected"),
    [
        ("长城有多长？", CHINESE, ["两万多公里"], [(LENGTH, "yes"), (FROM, "no")]),
        ("Wo starb Bach?", GERMAN, ["Leipzig"], [(DEATH, "yes"), (BIRTH, "no")]),
        ("متى افتتح؟", f"{PLACE} {OPENING}", ["عام 2010"], [(OPENING, "yes"), (PLACE, "no")]),
        # Both long sentences answer; the short one is too short to be a no.
        ("长城？", CHINESE, ["长城东起山海关", "长城全长"], [(FROM, "yes")]),
        ("Wann?", "Er starb 1750.", ["1750"], [("Er starb 1750.", "yes")]),
        # An answer over the end of a sentence: where it begins, and no no where it ends.
        ("Wer?", "Es spielte das Orchester der St. Petersburger Oper in Bonn.",
         ["Orchester der St. Petersburger"], [("Es spielte das Orchester der St.", "yes")]),
        # As many characters are shared with two sentences: the last of them.
        ("甲乙？", "甲是一。乙是二。丙是三。", [], [("乙是二。", "no")]),
        # Nothing answers: the sentence that looks most as if it did.
        ("Wo starb Bach 65 Jahre später?", GERMAN, [], [(DEATH, "no")]),
    ],
)  # fmt: skip
def test_labelled_pairs_by_hand(question, context, answers, expected):
    """A teacher that learns that the sentence with the answer is none."""
    assert pairs_of(question, context, answers) == expected


def test_sentences_of_transfer_rows_are_taken_without_a_look_at_their_answers():
    """A student that reads other sentences where answers are known, so that its bound and its
    distillation are of different texts."""
    question = "长城东起哪里？"
    blind = pairs_of(question, CHINESE, None, labelled=False)
    assert [label for _, label in blind] == [None, None]
    assert blind[0][0] == FROM
    for answer, labels in {"山海关": ["yes", "no"], "两万多公里": ["no", "yes"]}.items():
        told = pairs_of(question, CHINESE, [answer], labelled=False)
        assert [sentence for sentence, _ in told] == [sentence for sentence, _ in blind]
        assert [label for _, label in told] == labels


def test_a_label_is_what_the_characters_say():
    """Of random contexts: a yes without the answer, a no with it, a sentence that is none."""
    draw, twos = random.Random(5), 0
    for _ in range(300):
        said = [
            "".join(draw.choices("甲乙丙丁戊", k=draw.randint(1, 24))) + "。"
            for _ in range(draw.randint(1, 6))
        ]
        context = "".join(said)
        start = draw.randrange(len(context) - 1)
        answer = context[start : start + draw.randint(1, 5)]
        made = pairs_of("乙丙？", context, [answer])
        first = context.find(answer)
        ends = [sum(map(len, said[: n + 1])) for n in range(len(said))]
        holder = said[next(n for n, end in enumerate(ends) if first < end)]
        assert made[0] == (holder, "yes")
        for sentence, label in made[1:]:
            twos += 1
            assert label == "no"
            assert sentence in said
            assert answer not in sentence
    assert twos > 60


@pytest.mark.parametrize(
    ("answers", "reason"), [(None, "missing_label"), (["Weimar"], "answer_not_found")]
)
def test_a_row_without_answers_is_no_labelled_row(answers, reason):
    """Contexts that nobody looked into, learned as if none of their sentences answered."""
    with pytest.raises(UnfitError) as refused:
        pairs_of("Wo?", GERMAN, answers)
    assert refused.value.reason == reason


@pytest.mark.parametrize("answers", [None, ["Leipzig"]])
def test_a_context_without_sentences_has_its_reason(answers):
    """max() of nothing, for one row of a million."""
    with pytest.raises(UnfitError) as refused:
        pairs_of("Wo?", " ", answers, labelled=False)
    assert refused.value.reason == "empty_text"


def test_an_answer_of_which_nobody_knows_the_place_is_in_no_no():
    """Bonn, rightly an answer and twice in the context, trained as none."""
    said = ["Bach was born in Saxony.", "Bach died in Bonn.", "He is buried in Bonn."]
    context = " ".join([*said, "The organ is large."])
    for n in range(20):
        cell = {"text": ["Saxony", "Bonn"], "answer_start": [context.index("Saxony"), 0]}
        made = pairs_of(f"Where {n}?", context, cell)
        assert made[1:] == [("The organ is large.", "no")]


def test_every_process_draws_the_same_sentence():
    """Rows, keys and weights that depend on which process prepared a batch."""
    script = (
        "from tests.tasks.corpus.rows.test_answer_sentences import pairs_of; import json\n"
        "long = ' '.join(f'This is the long sentence number {n}.' for n in range(40))\n"
        "said = [pairs_of(f'Which {n}?', long, None, labelled=False) for n in range(20)]\n"
        "print(json.dumps(said))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True,
            env={"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": str(ROOT)},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1
    others = {pairs[1][0] for pairs in json.loads(said.pop())}
    assert len(others) > 10  # a draw for each row, not one for all
