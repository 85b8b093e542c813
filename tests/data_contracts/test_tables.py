"""Contracts are read from ODCS files and hold for tables."""

import json
import math
from importlib import resources
from pathlib import Path

import jsonschema
import pyarrow as pa
import pytest
import yaml

import data_contracts
from data_contracts.errors import ContractViolation, RecipeError
from data_contracts.tables import arrow_schema, check_table, load_contract, read_contract

FOLDER = Path(data_contracts.__file__).parent
NAMES = sorted(path.name.removesuffix(".odcs.yaml") for path in FOLDER.glob("*.odcs.yaml"))


def corpus_row(number, **changes):
    row = {
        "example_id": f"{number:032x}",
        "text": "打开灯",
        "language": "zh-Hans",
        "label": "HassTurnOn",
        "parallel_text": "lights on",
        "parallel_language": "en",
        "source": "voice",
        "line": number + 1,
    }
    return row | changes


def corpus(*rows):
    return pa.Table.from_pylist(list(rows), schema=arrow_schema(load_contract("corpus")))


def signals(logits, size=2):
    ids = [f"{number:032x}" for number in range(len(logits))]
    schema = arrow_schema(load_contract("teacher_signals"), list_size=size)
    return pa.table({"example_id": ids, "logits": logits}, schema=schema)


@pytest.mark.parametrize("name", NAMES)
def test_every_contract_is_valid_odcs(name):
    """A file that only our own reader understands, so that no catalogue can take it in."""
    schema = resources.files("open_data_contract_standard").joinpath("schema.json").read_text()
    document = yaml.safe_load((FOLDER / f"{name}.odcs.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(document, json.loads(schema))


@pytest.mark.parametrize("name", NAMES)
def test_every_contract_loads_under_its_file_name_and_is_described(name):
    """A contract whose name says another table, or a column nobody can interpret."""
    contract = load_contract(name)
    assert contract.name == name
    assert contract.description
    assert all(column.description for column in contract.columns)
    assert arrow_schema(contract, list_size=3).names == list(contract.column_names)


def test_the_corpus_carries_its_quarantine_limit():
    """Ingestion that finds no limit would accept a source of which nothing is usable."""
    assert 0 < load_contract("corpus").properties["maxQuarantineRate"] < 1


def test_an_unknown_contract_is_the_users_error():
    """A typo answered with a traceback of ours."""
    with pytest.raises(RecipeError, match=r"no contract 'corpse'") as error:
        load_contract("corpse")
    assert "corpus" in error.value.rule


def test_good_rows_pass():
    """A check that refuses what it should let through stops every pipeline."""
    unlabelled = corpus_row(1, label=None, parallel_text=None, parallel_language=None)
    check_table(corpus(corpus_row(0), unlabelled), "corpus")
    check_table(corpus(), "corpus")
    check_table(signals([[0.5, -2.0], [1.0, 3.0]]), "teacher_signals")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"example_id": "xyz"}, "example_id matches"),
        ({"example_id": "0" * 31 + "A"}, "example_id matches"),
        ({"text": ""}, "text has at least 1 characters"),
        ({"text": "长" * 100_001}, "text has at most 100000 characters"),
        ({"text": None}, "text is not null"),
        ({"language": "Chinese, simplified"}, "language matches"),
        ({"label": ""}, "label has at least 1 characters"),
        ({"line": 0}, "line is at least 1"),
        ({"parallel_text": None}, "parallel_text and parallel_language are null together"),
        ({"source": None}, "source is not null"),
    ],
)
def test_each_rule_names_the_first_row_that_breaks_it(changes, rule):
    """A message that does not lead to the row: nobody can correct it."""
    rows = [corpus_row(0), corpus_row(1), corpus_row(2, **changes), corpus_row(3)]
    with pytest.raises(ContractViolation) as error:
        check_table(corpus(*rows), "corpus", name="part-00000")
    assert f"1 of 4 rows break `{rule}" in error.value.fact
    assert "first row 2" in error.value.fact
    assert "part-00000" in error.value.fact
    assert "corpus 1." in error.value.rule
    assert error.value.remedy


def test_counts_and_row_numbers_run_on_over_batches():
    """A file checked batch by batch that reports row 0 for a fault in its last batch."""
    good = [corpus_row(number) for number in range(6)]
    bad = [corpus_row(number, line=-number) for number in range(6, 9)]
    batches = corpus(*good, *bad).to_batches(max_chunksize=4)
    assert len(batches) == 3
    with pytest.raises(ContractViolation, match=r"3 of 9 rows break `line .* first row 6: -6"):
        check_table(iter(batches), "corpus")


def test_an_id_that_returns_in_a_later_batch_is_found():
    """Two rows of one id: signals would be joined to the wrong text."""
    rows = [corpus_row(0), corpus_row(1), corpus_row(2), corpus_row(1, line=9)]
    with pytest.raises(ContractViolation, match=r"1 of 4 rows break `example_id is unique`.*row 3"):
        check_table(corpus(*rows).to_batches(max_chunksize=2), "corpus")


def test_restricted_text_never_enters_the_message():
    """A personal text in a log, because it was too long."""
    row = corpus_row(0, text="secret-canary " * 10_000)
    with pytest.raises(ContractViolation) as error:
        check_table(corpus(row), "corpus")
    assert "canary" not in str(error.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused(value):
    """One NaN of the teacher turns the student's loss into NaN hours later."""
    with pytest.raises(ContractViolation, match=r"1 of 3 rows break `each item of logits"):
        check_table(signals([[0.0, 1.0], [1.0, value], [2.0, 1.0]]), "teacher_signals")


def test_lists_are_judged_item_by_item():
    """A negative token id is an index error, or worse a wrong embedding."""
    schema = arrow_schema(load_contract("tokens"))
    table = pa.table(
        {
            "example_id": [f"{number:032x}" for number in range(3)],
            "input_ids": [[2, 7, 3], [], [2, -1, -1]],
            "label": [0, -1, 1],
            "language": ["zh"] * 3,
        },
        schema=schema,
    )
    with pytest.raises(ContractViolation) as error:
        check_table(table, "tokens")
    assert "1 of 3 rows break `input_ids has at least 1 items`, first row 1" in error.value.fact
    assert "1 of 3 rows break `each item of input_ids is at least 0`, first row 2" in (
        error.value.fact
    )


def test_columns_and_types_must_be_those_of_the_contract():
    """int64 ids or a forgotten column, found by the reader instead of the writer."""
    table = corpus(corpus_row(0))
    with pytest.raises(ContractViolation, match="lacks label"):
        check_table(table.drop_columns(["label"]), "corpus")
    with pytest.raises(ContractViolation, match="unknown column extra"):
        check_table(table.append_column("extra", pa.array([1])), "corpus")
    wrong = table.set_column(7, "line", pa.array([1], pa.int32()))
    with pytest.raises(ContractViolation, match="line as int32, not int64"):
        check_table(wrong, "corpus")
    variable = pa.table({"example_id": ["0" * 32], "logits": pa.array([[1.0]])})
    with pytest.raises(ContractViolation, match=r"logits as list<.*not fixed_size_list<float32>"):
        check_table(variable, "teacher_signals")


def test_allowed_values_are_enforced_and_named(tmp_path, monkeypatch):
    """An enum that is read and never looked at."""
    text = (FOLDER / "predictions.odcs.yaml").read_text(encoding="utf-8")
    text = text.replace(
        "- name: label\n", "- name: label\n        enum: [{value: on}, {value: off}]\n"
    )
    path = tmp_path / "predictions.odcs.yaml"
    path.write_text(
        text.replace("{value: on}", "{value: 'on'}").replace("{value: off}", "{value: 'off'}")
    )
    contract = read_contract(path)
    monkeypatch.setattr(data_contracts.tables, "load_contract", lambda name: contract)
    table = pa.table(
        {
            "example_id": ["0" * 32, "1" * 32],
            "label": ["on", "dim"],
            "prediction": ["on", "on"],
            "confidence": pa.array([0.5, 1.0], pa.float32()),
        }
    )
    with pytest.raises(ContractViolation, match=r"label is one of on, off`, first row 1: 'dim'"):
        check_table(table, "predictions")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("apiVersion: v3.1.0", "apiVersion: v2.2.2"),
        ("physicalType: int64", "physicalType: uint7"),
        ("version: 1.1.1", "version: '1.1'"),
        ("{minimum: 1}", "{multipleOf: 2}"),
        ("kind: DataContract", "kind: DataContract\nsurprise: 1"),
    ],
)
def test_a_contract_that_cannot_be_enforced_is_refused_when_read(tmp_path, old, new):
    """A limit or type that is silently ignored: the file promises what nobody checks."""
    text = (FOLDER / "corpus.odcs.yaml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "corpus.odcs.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"corpus\.odcs\.yaml"):
        read_contract(path)
