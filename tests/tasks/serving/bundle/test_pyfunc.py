import json

import pytest

from tasks.serving.bundle.interfaces import INTERFACES
from tasks.serving.bundle.pyfunc import signature


@pytest.mark.parametrize("problem", INTERFACES)
def test_the_signature_says_what_the_interface_says(problem):
    """A client generated from the signature asks for a column that does not exist."""
    interface = INTERFACES[problem]
    found = signature(interface)
    assert [one.name for one in found.inputs] == [one.name for one in interface.inputs]
    assert [one.name for one in found.outputs] == [one.name for one in interface.outputs]
    assert {one.name: one.default for one in found.params} == {
        one.name: one.default for one in interface.parameters
    }


def test_entities_are_records_in_the_signature():
    """A list of records declared as a string: MLflow's clients read it as one."""
    (column,) = json.loads(
        json.dumps(signature(INTERFACES["token_classification"]).outputs.to_dict())
    )
    record = column["items"]["properties"]
    assert {name: kind["type"] for name, kind in record.items()} == {
        "start": "long",
        "end": "long",
        "text": "string",
        "label": "string",
        "score": "double",
    }
