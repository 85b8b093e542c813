"""A card tells of its own model."""

import pytest

from tasks.serving.bundle.interfaces import INTERFACES, input_rows
from tasks.serving.bundle.model_card import write_card


def card(make_report, problem, licence="MIT", notes=()):
    report = make_report()
    report = report.model_copy(update={"problem": problem, "notes": notes})
    interface = INTERFACES[problem]
    texts = tuple("早" for _ in interface.inputs)
    [example] = input_rows(problem, [texts])
    return write_card(
        report,
        model_name="papers",
        licence=licence,
        gates=(),
        serving={"max_length_tokens": 64},
        interface=interface,
        labels=(),
        example=example,
        lineage={"artifacts": []},
    )


@pytest.mark.parametrize("problem", list(INTERFACES))
def test_a_request_names_only_parameters_that_the_model_has(make_report, problem):
    """The sample call of a translator asked for a form that no translator has."""
    has_variant = any(one.name == "variant" for one in INTERFACES[problem].parameters)
    told = card(make_report, problem)
    assert ('params={"variant": "onnx_int8"}' in told) is has_variant
    assert ("variant rounds" in told) is has_variant
    for column in INTERFACES[problem].inputs:
        assert f'"{column.name}": ["早"]' in told


@pytest.mark.parametrize(("problem", "asked"), [("translation", "en"), ("summarization", "zh")])
def test_the_language_of_requests_is_that_of_what_is_read(make_report, problem, asked):
    """An English-to-Chinese translator that its card calls one for Chinese texts."""
    told = card(make_report, problem)
    assert f"Language of the texts it is asked about: {asked}\n" in told


def test_texts_of_several_lines_stay_in_their_place(make_report):
    """A licence or a note that is a block of a recipe's YAML: its second paragraph left the list,
    and a line with a # became a section of the card."""
    told = card(
        make_report,
        "matching",
        licence="CC BY 4.0;\n\n# the data's own\n",
        notes=("Pairs are made.\n\n## They are no translations.\n",),
    )
    assert "- Licence: CC BY 4.0; # the data's own\n" in told
    assert "- Pairs are made. ## They are no translations.\n" in told
