"""Records whose JSON is part of keys."""

from typing import ClassVar

import pytest
from pydantic import Field

from data_contracts.artifacts import WithLaterFields


class Asked(WithLaterFields):
    later_fields: ClassVar[tuple[str, ...]] = ("names", "limit")

    rate: float = 0.5
    names: dict[str, str] = Field(default={})
    limit: int | None = None


class Stricter(Asked):
    rounds: int = 1


@pytest.mark.parametrize("record", [Asked, Stricter])
def test_a_field_that_came_later_is_written_only_where_it_is_used(record):
    """An update with one more option, of which everything that was ever trained is trained again;
    or an option that is in no key, so that its result is another option's."""
    old = record(rate=0.25).model_dump(mode="json")
    assert old == {name: value for name, value in old.items() if name in ("rate", "rounds")}
    assert old["rate"] == 0.25
    assert record(rate=0.25, names={}, limit=None).model_dump(mode="json") == old
    for used in ({"names": {"a": "b"}}, {"limit": 0}):
        said = record(rate=0.25, **used)
        assert said.model_dump(mode="json") == {**old, **used}
        assert record.model_validate_json(said.model_dump_json()) == said
