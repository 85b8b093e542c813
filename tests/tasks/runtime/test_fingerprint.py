"""One value, one fingerprint, on any machine; what has no stable form is refused."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from tasks.runtime.fingerprint import (
    canonical_json,
    content_digest,
    file_digest,
    fingerprint,
    jsonable,
)

VALUE = {"b": [1, 2.5, None, True], "a": {"名": "值", "t": (1, 2)}}
QUICK = settings(max_examples=60, deadline=None, derandomize=True)  # no timings on busy machines
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


class Options(BaseModel):
    """A model with a nested mapping."""

    name: str
    sizes: tuple[int, ...]
    table: dict[str, float]


def test_a_fingerprint_is_sha256_of_sorted_compact_json():
    """An encoder that changed in a refactor: every cached artifact of every user is lost."""
    text = '{"a":{"t":[1,2],"名":"值"},"b":[1,2.5,null,true]}'
    assert canonical_json(VALUE) == text
    assert fingerprint(VALUE) == hashlib.sha256(text.encode("utf-8")).hexdigest()


def test_a_fingerprint_is_the_same_in_every_process():
    """Keys that depend on the hash seed: nothing is ever cached."""
    code = (
        "from tasks.runtime.fingerprint import fingerprint; print(fingerprint(" + repr(VALUE) + "))"
    )
    for seed in ("0", "77"):
        found = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.strip() == fingerprint(VALUE)


@QUICK
@given(st.dictionaries(st.text(max_size=8), PLAIN))
def test_the_order_of_keys_does_not_count(value):
    """The same recipe with its lines in another order, computed twice."""
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))


@QUICK
@given(PLAIN)
def test_what_is_encoded_reads_back_as_it_was(value):
    """Two different values under one text: one is served the other's artifact."""
    assert json.loads(canonical_json(value)) == jsonable(value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        ("1", 1),
        (None, "null"),
        ([], {}),
        ([1, 2], [2, 1]),
        ("a", "á"),
        ([[1], 2], [1, [2]]),
    ],
)
def test_different_values_have_different_fingerprints(one, other):
    """`epochs: 1` and `epochs: true` sharing one artifact."""
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({1, 2}, TypeError),
        (frozenset("ab"), TypeError),
        (Path("here"), TypeError),
        (b"bytes", TypeError),
        (object(), TypeError),
        ({1: "a"}, TypeError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        ({"deep": [{"er": {3}}]}, TypeError),
    ],
)
def test_values_without_a_stable_form_are_refused(value, error):
    """A guess that works today and is a stale hit, or none, on the next machine."""
    with pytest.raises(error, match=r"has no stable form|order is not stable"):
        fingerprint(value)


def test_models_count_by_their_values():
    """A renamed class that invalidates everything, or a float of a model that is not seen."""
    options = Options(name="x", sizes=(1, 2), table={"b": 1.0, "a": 2.0})
    assert fingerprint(options) == fingerprint(
        {"table": {"a": 2.0, "b": 1.0}, "sizes": [1, 2], "name": "x"}
    )
    with pytest.raises(ValueError, match="no stable form"):
        fingerprint(options.model_copy(update={"table": {"a": float("nan")}}))


def test_file_and_content_digests_follow_bytes_and_names(tmp_path):
    """A file larger than one read of which only the first piece counts."""
    path = tmp_path / "large"
    data = os.urandom((1 << 20) + 17)
    path.write_bytes(data)
    assert file_digest(path) == hashlib.sha256(data).hexdigest()
    pairs = [("b", "2"), ("a", "1")]
    assert content_digest(pairs) == content_digest(reversed(pairs))
    assert content_digest(pairs) != content_digest([("a", "2"), ("b", "1")])
