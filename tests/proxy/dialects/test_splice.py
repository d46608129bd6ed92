"""Splicing the model's name: only that value changes, and only where it is beyond doubt."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.dialects.splice import with_model

TEXT = st.text(max_size=12)
LOOKALIKES = st.sampled_from(['"model": "old"', '{"model":"old"}', '\\"model\\": \\"old\\"', "model", "old"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT | LOOKALIKES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.just("model"), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.dictionaries(TEXT | st.sampled_from(["messages", "tools"]), VALUES, max_size=5)


@given(
    BODIES, TEXT | st.just("old"), TEXT, st.integers(0, 5), st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " : ")])
)
@settings(deadline=None)
def test_only_the_top_level_model_changes(
    body: dict[str, object], old: str, new: str, place: int, separators: tuple[str, str]
) -> None:
    body.pop("model", None)
    items = [*body.items()]
    items.insert(place % (len(items) + 1), ("model", old))
    before = json.dumps(dict(items), separators=separators).encode()
    after = with_model(before, new)
    assert after is not None
    assert json.loads(after) == {**dict(items), "model": new}
    # Every other byte is as it was: what is left and right of the old value.
    old_value = json.dumps(old).encode()
    assert any(
        after.startswith(before[:at]) and after.endswith(before[at + len(old_value) :])
        for at in range(len(before))
        if before.startswith(old_value, at)
    )


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_never_raise(body: bytes) -> None:
    with_model(body, "new")
    with_model(b'{"model":"a"' + body, "new")


def test_of_repeated_keys_the_last_one_counts() -> None:
    assert with_model(b'{"model":"a","x":1,"model":"a"}', "b") == b'{"model":"a","x":1,"model":"b"}'
    assert with_model(b'{"model":"z","x":1,"model":"a"}', "b") == b'{"model":"z","x":1,"model":"b"}'


def test_nested_and_quoted_lookalikes_stay() -> None:
    body = b'{"a":{"model":"m"},"model" : "m","s":"{\\"model\\": \\"m\\"}","b":[{"model":"m"}]}'
    assert with_model(body, "n") == body.replace(b'"model" : "m"', b'"model" : "n"')


def test_numbers_and_order_keep_their_bytes() -> None:
    body = b'{ "temperature": 1.0e0, "model":"\\u0061", "seed": 12345678901234567890 }'
    assert with_model(body, 'q"é') == body.replace(b'"\\u0061"', '"q\\"é"'.encode())


def test_the_same_name_leaves_the_body_as_it_is() -> None:
    body = b'{"model":"m"}'
    assert with_model(body, "m") is body


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"model":5}', b'{"model":null}', b'{"model":"a"', b'--form\r\nname="model"', b"[" * 5000,
     b'{"mod\\u0065l":"a"}'],
)  # fmt: skip
def test_a_body_without_a_place_for_it_gives_none(body: bytes) -> None:
    assert with_model(body, "new") is None


def test_many_lookalikes_cost_little() -> None:
    deep = b"[" + b'{"model":"m"},' * 50_000 + b"{}]"
    start = time.perf_counter()
    assert with_model(b'{"model":"m","deep":' + deep + b"}", "n") == b'{"model":"n","deep":' + deep + b"}"
    assert with_model(b'{"a":' + deep + b',"model":"m","b":' + deep + b"}", "n") is None
    assert time.perf_counter() - start < 5
