"""A list of names, by hand."""

from tasks.corpus.text.units import segment
from tasks.metrics.baselines.entities import Gazetteer
from tasks.metrics.scores.entities import Span


def spans(text, *names):
    return [Span(text.index(name), text.index(name) + len(name), label) for name, label in names]


def learned(*examples):
    return Gazetteer((text, segment(text), found) for text, found in examples)


def test_the_longest_name_wins():
    """北京 found inside 北京大学 is an error that no reader makes."""
    first, second = "北京大学在北京", "Die Stadt Köln liegt am Rhein"
    names = learned(
        (first, [*spans(first, ("北京大学", "ORG")), Span(5, 7, "LOC")]),
        (second, spans(second, ("Köln", "LOC"))),
    )
    assert len(names) == 3
    text = "Köln und 北京大学, 北京"
    assert names.find(text, segment(text)) == [
        Span(0, 4, "LOC"), Span(9, 13, "ORG"), Span(15, 17, "LOC"),
    ]  # fmt: skip
    # A part of a word is no name; a name cut off at the end of the text is none either.
    assert names.find("Kölner 北", segment("Kölner 北")) == []


def test_a_name_has_its_most_frequent_type():
    """`Washington` is a person once and a city a hundred times."""
    text = "Jordan spielt"
    person, place = spans(text, ("Jordan", "PER")), spans(text, ("Jordan", "LOC"))
    assert learned((text, person), (text, place), (text, place)).find(text, segment(text)) == place
    assert learned((text, person), (text, place)).find(text, segment(text)) == place
