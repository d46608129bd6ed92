"""ClickHouse: what a request is, what its answer's end means, and what is told of it (SEMANTICS §1 and §6)."""

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.dialects.base import Form, Material, Never
from seawall.dialects.clickhouse import ClickHouse
from seawall.faults import Code, Fault, Problem
from seawall.types import Facts, Head, Headers, Safety

CLICKHOUSE = ClickHouse()
TAG = b"abcdefghijklmnop"
TAGGED: Headers = [(b"X-ClickHouse-Exception-Tag", TAG)]
WORDS = b"Code: 210. DB::Exception: Connection refused. (NETWORK_ERROR) (version 26.9.1.1 (official build))"
ROWS = b"1\ta\n2\tb\n"


def read(
    body: bytes = b"", method: str = "POST", path: str = "/", fields: Headers | None = None, **given: str
) -> Facts:
    target = f"{path}?{urlencode(given)}" if given else path
    return CLICKHOUSE.read(Head(method, target, fields or []), target, body)


def frame(words: bytes = WORDS, tag: bytes = TAG) -> bytes:
    return b"\r\n__exception__\r\n%b\r\n%b\r\n%d %b\r\n__exception__\r\n" % (tag, words, len(words), tag)


def watched(*pieces: bytes, headers: Headers | None = None, ended: bool = True) -> Fault | None:
    watch = CLICKHOUSE.watch(Facts("query"), headers)
    released = b"".join(watch.feed(piece) for piece in pieces)
    if ended:
        released += watch.end()
    assert released == b"".join(pieces), "rows pass as they come"
    assert watch.terminal == (ended and watch.fault is None)
    return watch.fault


def test_the_statement_is_the_parameter_and_the_body_behind_it() -> None:
    for facts in (
        read(b"SELECT 1"),
        read(query="SELECT 1"),
        read(b"FROM t", query="SELECT a"),
        read(b"a", query="SELECT"),
    ):
        assert (facts.operation, facts.safety, facts.writes) == ("query", Safety.SAFE, "")
        assert facts.raceable
    for facts in (
        read(b"INSERT INTO t VALUES (1)"),
        read(b"1", query="INSERT INTO t VALUES"),
        read(b"INTO OUTFILE 'x'", query="SELECT 1"),
        read(b"; DROP TABLE t", query="SELECT 1"),
        read(b"DROP TABLE t"),
        read(b"SELECT 1\xff"),
        read(b"SELECT 1", fields=[(b"content-encoding", b"zstd")]),
        read(b"SELECT 1", decompress="1"),
        read(),
    ):
        assert facts.safety is Safety.UNSAFE
        assert facts.writes


def test_a_forms_statement_must_be_its_parameter() -> None:
    form: Headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    data = b'--x\r\nContent-Disposition: form-data; name="t"\r\n\r\n1\t2\r\n--x--'
    assert read(data, fields=form, query="SELECT * FROM t").writes == ""
    assert read(data.replace(b'"t"', b'"query"'), fields=form, query="SELECT 1").writes
    assert read(data, fields=form).writes


def test_servers_take_only_reads_with_get_and_with_the_setting() -> None:
    assert read(method="GET", query="INSERT INTO t VALUES (1)").safety is Safety.SAFE
    assert read(b"SELECT my_function(1)", readonly="1").safety is Safety.SAFE
    assert read(b"SELECT my_function(1)").safety is Safety.UNSAFE
    assert read(method="GET", path="/ping").safety is Safety.SAFE
    assert read(path="/a_handler").writes


@pytest.mark.parametrize(
    ("given", "body", "safety"),
    [
        ({"insert_deduplication_token": "a"}, b"INSERT INTO t VALUES (1)", Safety.KEYED),
        ({"insert_deduplication_token": "a", "query": "INSERT INTO t FORMAT Native"}, b"\x00\xff", Safety.KEYED),
        ({"query": "INSERT INTO t SETTINGS insert_deduplication_token = 'a' VALUES"}, b"(1)", Safety.KEYED),
        ({"insert_deduplication_token": ""}, b"INSERT INTO t VALUES (1)", Safety.UNSAFE),
        ({"insert_deduplication_token": "a"}, b"DROP TABLE t", Safety.UNSAFE),
        ({"insert_deduplication_token": "a", "insert_deduplicate": "0"}, b"INSERT INTO t VALUES (1)", Safety.UNSAFE),
        ({"insert_deduplication_token": "a", "async_insert": "1"}, b"INSERT INTO t VALUES (1)", Safety.UNSAFE),
        (
            {"insert_deduplication_token": "a", "async_insert": "1", "async_insert_deduplicate": "1"},
            b"INSERT INTO t VALUES (1)",
            Safety.KEYED,
        ),
    ],
)
def test_an_insert_that_would_be_dropped_may_be_sent_again(given: dict[str, str], body: bytes, safety: Safety) -> None:
    facts = read(body, **given)
    assert facts.safety is safety
    assert facts.writes, "it is no read for that"


def test_a_session_takes_one_request_at_a_time() -> None:
    facts = read(b"SELECT 1", session_id="s")
    assert facts.session == "s"
    assert not facts.raceable
    assert isinstance(CLICKHOUSE.cache_material(facts, b"SELECT 1"), Never)


@pytest.mark.parametrize(
    ("text", "seconds"), [("900", 900.0), ("0.5", 0.5), ("0", 0.0), ("-1", 0.0), ("x", 0.0), ("1e99", 0.0)]
)
def test_a_query_that_may_take_long_is_waited_for(text: str, seconds: float) -> None:
    assert read(b"SELECT 1", max_execution_time=text).patience == seconds


def test_an_exception_behind_rows_is_found() -> None:
    fault = watched(ROWS, frame(), headers=TAGGED)
    assert fault is not None
    assert (fault.code, fault.status) == (Code.SERVER_ERROR, 200)
    before = watched(ROWS, frame(), headers=TAGGED, ended=False)
    assert before is not None, "servers break off behind it"
    for rest in (b"__exception__\r\n" + WORDS, WORDS + b"\n", b'\n\t"exception": "' + WORDS + b'"\n}\n'):
        found = watched(ROWS, rest)
        assert found is not None and found.code is Code.SERVER_ERROR, rest


@given(st.integers(1, 40))
def test_an_exception_is_found_however_it_was_cut(size: int) -> None:
    data = ROWS + frame()
    fault = watched(*[data[at : at + size] for at in range(0, len(data), size)], headers=TAGGED)
    assert fault is not None


def test_rows_that_look_like_one_are_rows() -> None:
    assert watched(ROWS, headers=TAGGED) is None
    assert watched(WORDS + b"\n", headers=TAGGED) is None, "the head has told how an exception is framed"
    assert watched(frame(tag=b"ponmlkjihgfedcba"), headers=TAGGED) is None
    assert watched(WORDS + b"\n" + ROWS) is None
    assert watched(WORDS + b"\n", ended=False) is None, "more rows may follow"
    assert watched(b"x" * 100_000) is None


def test_an_exception_in_the_head_of_a_200_is_one() -> None:
    fault = watched(b"", headers=[(b"X-ClickHouse-Exception-Code", b"241")])
    assert fault is not None and fault.code is Code.OVERLOADED


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (62, Code.INVALID_REQUEST),
        (395, Code.INVALID_REQUEST),
        (159, Code.INVALID_REQUEST),
        (60, Code.NOT_FOUND),
        (164, Code.FORBIDDEN),
        (516, Code.UNAUTHORIZED),
        (202, Code.RATE_LIMITED),
        (252, Code.RATE_LIMITED),
        (201, Code.QUOTA_EXHAUSTED),
        (241, Code.OVERLOADED),
        (745, Code.OVERLOADED),
        (210, Code.SERVER_ERROR),
        (999, Code.SERVER_ERROR),
        (373, Code.CONFLICT),
        (216, Code.CONFLICT),
    ],
)
def test_an_errors_code_says_more_than_its_status(number: int, code: Code) -> None:
    body = b"Code: %d. DB::Exception: no. (X) (version 26.9)\n" % number
    for headers in ([(b"x-clickhouse-exception-code", b"%d" % number)], []):
        fault = CLICKHOUSE.judge(Facts("query"), 500, headers, body, 0.0)
        assert fault is not None
        assert fault.code is code


def test_memory_that_the_query_alone_has_used_up_is_its_own_fault() -> None:
    body = b"Code: 241. DB::Exception: Memory limit (for query) exceeded: would use 10.00 GiB. (MEMORY_LIMIT_EXCEEDED)"
    fault = CLICKHOUSE.judge(Facts("query"), 500, [], body, 0.0)
    assert fault is not None and fault.code is Code.INVALID_REQUEST


def test_errors_of_what_stands_before_it_go_by_their_status() -> None:
    fault = CLICKHOUSE.judge(Facts("query"), 503, [(b"retry-after", b"3")], b"<html>", 0.0)
    assert fault is not None
    assert (fault.code, fault.hint) == (Code.OVERLOADED, 3.0)


def test_what_is_kept() -> None:
    material = CLICKHOUSE.cache_material(read(b"SELECT 1", database="a"), b"SELECT 1")
    assert isinstance(material, Material)
    assert (material.deterministic, material.without) == (True, frozenset({"query_id", "log_comment"}))
    varying = CLICKHOUSE.cache_material(read(b"SELECT now()"), b"SELECT now()")
    assert isinstance(varying, Material) and not varying.deterministic
    assert isinstance(CLICKHOUSE.cache_material(read(b"DROP TABLE t"), b""), Never)
    assert CLICKHOUSE.finish(Facts("query"), ROWS, Form.PLAIN).unfinished == ""
    assert CLICKHOUSE.finish(Facts("query"), ROWS + WORDS + b"\n", Form.PLAIN).unfinished


def test_an_error_of_ours_reads_as_one_of_its_own() -> None:
    problem = Problem(Fault(Code.STATEMENT_REFUSED, "the statement begins with DROP"), "no", "sw_1")
    status, fields = CLICKHOUSE.error_head(problem)
    assert status == 403
    assert (b"x-clickhouse-exception-code", b"164") in fields
    assert CLICKHOUSE.error(None, problem).startswith(b"Code: 164. DB::Exception: no. (READONLY)\n{")


def test_a_key_is_a_user_with_a_password_or_a_token() -> None:
    assert CLICKHOUSE.credential(b"user:secret") == (b"authorization", b"Basic dXNlcjpzZWNyZXQ=")
    assert CLICKHOUSE.credential(b"a.b.c") == (b"authorization", b"Bearer a.b.c")
    assert CLICKHOUSE.credential_parameters() == {"user", "password"}
