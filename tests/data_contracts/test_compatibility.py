"""A contract cannot change under its readers without its version saying so."""

from itertools import pairwise
from pathlib import Path

import pytest

from data_contracts.compatibility import (
    breaking_changes,
    compatible_changes,
    is_enough,
    needed_bump,
    taken_bump,
)
from data_contracts.tables import load_contract, read_contract

RELEASED = Path(__file__).parent / "released"
CONTRACTS = Path(__file__).parents[2] / "data_contracts"
NAMES = sorted(path.name.removesuffix(".odcs.yaml") for path in CONTRACTS.glob("*.odcs.yaml"))
CORPUS = (RELEASED / "corpus-1.0.0.yaml").read_text(encoding="utf-8")
NEW_COLUMN = """      - name: domain
        description: where the text is from
        logicalType: string
        physicalType: string
        required: REQUIRED
"""


@pytest.fixture
def changed(tmp_path):
    """A contract made from the corpus's file by replacing text."""

    def change(*replacements):
        text = CORPUS
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "corpus.odcs.yaml"
        path.write_text(text, encoding="utf-8")
        return read_contract(path)

    return change


def released(name):
    """Released versions of a contract, oldest first."""
    paths = RELEASED.glob(f"{name}-*.yaml")
    contracts = [read_contract(path) for path in paths]
    return sorted(contracts, key=lambda c: [int(part) for part in c.version.split(".")])


@pytest.mark.parametrize("name", NAMES)
def test_a_contract_changes_only_with_its_version(name):
    """Yesterday's artifact read by today's code under another meaning of the same version."""
    current, latest = load_contract(name), released(name)[-1]
    reasons = breaking_changes(latest, current) + compatible_changes(latest, current)
    assert is_enough(taken_bump(latest, current), needed_bump(latest, current)), (
        f"{name}.odcs.yaml changed since {latest.version} ({'; '.join(reasons) or 'wording'}): "
        f"raise its {needed_bump(latest, current)} version"
    )
    assert current == latest, (
        f"copy {name}.odcs.yaml to tests/data_contracts/released/{name}-{current.version}.yaml"
    )


@pytest.mark.parametrize("name", NAMES)
def test_released_versions_step_as_far_as_they_changed(name):
    """A break released as a patch, together with its own snapshot."""
    versions = released(name)
    for before, after in pairwise(versions):
        assert is_enough(taken_bump(before, after), needed_bump(before, after)), (
            f"{name} {before.version} -> {after.version}: {breaking_changes(before, after)}"
        )


def test_released_versions_belong_to_contracts_that_exist():
    """A contract deleted with its readers still about."""
    assert {path.name.rpartition("-")[0] for path in RELEASED.glob("*.yaml")} == set(NAMES)


LABEL = "description: name of the class, null for unlabelled text\n        "
LABEL_ENUM = LABEL + "enum: [{value: a}, {value: b}]\n        "


@pytest.mark.parametrize(
    ("replacements", "change"),
    [
        ([("      - name: source", "      - name: origin")], "column source removed"),
        ([("physicalType: int64", "physicalType: int32")], "line: type changed"),
        ([("required: false", "required: true")], "label: required"),
        ([("required: true", "required: false")], "example_id: no longer required"),
        ([("unique: true", "unique: false")], "example_id: no longer unique"),
        ([("maxLength: 256", "maxLength: 255")], "label: max_length 256 -> 255"),
        ([("minLength: 1,", "minLength: 2,")], "text: min_length 1 -> 2"),
        ([("{minimum: 1}", "{minimum: 1, maximum: 9}")], "line: maximum None -> 9"),
        ([("^[0-9a-f]{32}$", "^[0-9a-f]{16}$")], "example_id: pattern"),
        ([(LABEL, LABEL_ENUM)], "label: values restricted to a, b"),
        ([("value: 0.05", "value: 0.01")], "property maxQuarantineRate: 0.05 -> 0.01"),
        ([("[parallel_text, parallel_language]", "[]")], "requiredTogether changed"),
        (
            [
                (
                    "      - name: source",
                    NEW_COLUMN.replace("REQUIRED", "true") + "      - name: source",
                )
            ],
            "required column domain added",
        ),
    ],
)
def test_a_breaking_change_needs_a_major_version(changed, replacements, change):
    """A reader that meets nulls, other types or refused rows after a harmless-looking upgrade."""
    before, after = changed(), changed(*replacements)
    assert any(found.startswith(change) for found in breaking_changes(before, after))
    assert needed_bump(before, after) == "major"
    for version, enough in (("1.0.1", False), ("1.1.0", False), ("2.0.0", True)):
        stepped = changed(*replacements, ("version: 1.0.0", f"version: {version}"))
        assert is_enough(taken_bump(before, stepped), needed_bump(before, stepped)) is enough


def test_a_removed_allowed_value_breaks_and_an_added_one_does_not(changed):
    """Rows that were good yesterday and are refused today."""
    two = changed((LABEL, LABEL_ENUM))
    three = changed((LABEL, LABEL_ENUM.replace("{value: b}", "{value: b}, {value: c}")))
    assert breaking_changes(three, two) == ["label: allowed values removed: c"]
    assert breaking_changes(two, three) == []
    assert needed_bump(two, three) == "minor"


@pytest.mark.parametrize(
    "replacements",
    [
        [
            (
                "      - name: source",
                NEW_COLUMN.replace("REQUIRED", "false") + "      - name: source",
            )
        ],
        [("maxLength: 256", "maxLength: 512")],
        [("{minimum: 1}", "{minimum: 0}")],
        [("value: 0.05", "value: 0.1")],
    ],
    ids=["optional column", "longer", "smaller", "more quarantine"],
)
def test_a_compatible_addition_needs_a_minor_version(changed, replacements):
    """Every small addition called a break: major versions would stop meaning anything."""
    before, after = changed(), changed(*replacements)
    assert breaking_changes(before, after) == []
    assert needed_bump(before, after) == "minor"
    patched = changed(*replacements, ("version: 1.0.0", "version: 1.0.1"))
    assert not is_enough(taken_bump(before, patched), needed_bump(before, patched))


def test_words_need_a_patch_and_nothing_needs_nothing(changed):
    """A better description that forces a rebuild."""
    before = changed()
    assert needed_bump(before, before) == "none"
    assert needed_bump(before, changed(("row of the source", "line of the source"))) == "patch"


def test_a_version_does_not_go_back(changed):
    """A revert that gives one version number two meanings."""
    with pytest.raises(ValueError, match=r"0\.9\.0 lies before 1\.0\.0"):
        taken_bump(changed(), changed(("version: 1.0.0", "version: 0.9.0")))
