"""JSON in one form: the same meaning has the same bytes, another meaning others, and doubtful bodies have none."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.dialects._canonical import canonical


def form(body: bytes) -> bytes | None:
    found = canonical(body, frozenset())
    return None if found is None else found[1]


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values: st.SearchStrategy[Any] = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)
bodies = st.dictionaries(st.text(max_size=5), values, max_size=5)


def is_utf8(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def shuffled(value: Any, draw: Any) -> Any:
    if isinstance(value, dict):
        items = draw(st.permutations(list(value.items())))
        return {name: shuffled(inner, draw) for name, inner in items}
    return [shuffled(inner, draw) for inner in value] if isinstance(value, list) else value


def typed(value: Any) -> Any:
    """For comparing: true is not 1, but 1.0 is, and every digit that was written counts."""
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, dict):
        return {name: typed(inner) for name, inner in value.items()}
    return [typed(inner) for inner in value] if isinstance(value, list) else value


@given(st.data(), bodies.filter(is_utf8))
def test_order_blanks_and_escapes_make_no_difference(data: st.DataObject, body: dict[str, Any]) -> None:
    one = json.dumps(body).encode()
    other = json.dumps(shuffled(body, data.draw), ensure_ascii=False, indent=data.draw(st.integers(0, 3))).encode()
    assert form(one) is not None
    assert form(one) == form(other)


@given(bodies.filter(is_utf8), bodies.filter(is_utf8))
def test_another_meaning_has_another_form(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = form(json.dumps(one).encode()) == form(json.dumps(other).encode())
    assert same == (typed(one) == typed(other))


@given(bodies.filter(is_utf8))
def test_the_form_says_what_the_body_said(body: dict[str, Any]) -> None:
    found = form(json.dumps(body).encode())
    assert found is not None
    assert typed(json.loads(found, parse_float=Decimal)) == typed(body)


@pytest.mark.parametrize(
    "same",
    [
        ["1", "1.0", "10e-1", "1E0", "0.1e1", "1.000000000000000000000000000000"],
        ["0", "-0", "0.0", "-0.0", "0e5"],
        ["0.1", "1e-1", "0.10"],
        ["100", "1e2", "1E+2"],
        ["1e400", "10e399"],
        ['"é"', '"\\u00e9"'],
        ['"\\ud83d\\ude00"', '"😀"'],
        ['"/"', '"\\/"'],
    ],
)
def test_ways_to_write_one_value(same: list[str]) -> None:
    assert len({form(b'{"a":%b}' % text.encode()) for text in same}) == 1


@pytest.mark.parametrize(
    "others",
    [
        ["9007199254740992", "9007199254740993", "9007199254740993.5"],
        ["0.1", "0.10000000000000000001"],
        ["123456789012345678901234567890", "123456789012345678901234567891"],
        ["1", '"1"', "true", "[1]"],
        ["null", '""', "0", "false", "[]", "{}"],
        ['"\\u00e9"', '"e\\u0301"'],
        ['"a"', '"A"', '"a "'],
    ],
)
def test_values_that_differ(others: list[str]) -> None:
    forms = {form(b'{"a":%b}' % text.encode()) for text in others}
    assert len(forms) == len(others)
    assert None not in forms


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":1}',
        b'{"x":[{"a":1,"a":2}]}',
        b'{"a":"","a":""}',
        b'{"a\\"":1,"a\\"":1}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":"\\ud800"}',
        b'{"a":1e999999999999}',
        b'{"a":01}',
        b"{'a':1}",
        b'{"a":1',
        b'{"a":1}{}',
        b"\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        b"[]",
        b"",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_bodies_without_one_certain_meaning_have_no_form(body: bytes) -> None:
    assert form(body) is None


@pytest.mark.parametrize("body", [b'{"a":"\\":","b":"\\\\"}', b'{"a\\"":1,"a":2}', b'{"a":"\\\\\\"","b":"\\\\\\\\"}'])
def test_quotes_within_texts_are_no_members(body: bytes) -> None:
    assert json.loads(form(body) or b"") == json.loads(body)


@pytest.mark.parametrize("left_out", [b'"user":"u"', b'"user":{"a":"\\"b","c":[1.50]}', b'"user":null,"metadata":{}'])
def test_members_that_are_left_out_must_be_read_for_certain_too(left_out: bytes) -> None:
    without = frozenset({"user", "metadata", "x"})
    found = canonical(b'{"a":1,' + left_out + b"}", without)
    assert found is not None
    assert found[1] == b'{"a":1}'
    assert "user" in found[0]
    assert canonical(b'{"a":1,' + left_out + b"," + left_out + b"}", without) is None
