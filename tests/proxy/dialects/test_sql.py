"""Which statements surely only read, and which are meant to get the same answer (SEMANTICS §1 and §6)."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seawall.dialects._sql import LARGEST_PARSED, Sql

WAREHOUSES = ("trino", "clickhouse", "snowflake", "databricks", "bigquery")
_COMBINATORS = ("IF", "ARRAY", "STATE", "MERGE", "ORNULL")
SQL = {
    name: Sql(name, complete=name in ("trino", "clickhouse"), combinators=_COMBINATORS if name == "clickhouse" else ())
    for name in WAREHOUSES
}

READS = [
    "SELECT 1",
    "  select a, sum(b) from c.d.e where x = 'a; DROP TABLE b' and y in (1, 2) group by 1;",
    "-- what for\nSELECT /* a hint */ a FROM t",
    "WITH a AS (SELECT 1 AS x), b AS (SELECT x FROM a) SELECT count(*) FROM b",
    "(SELECT 1) UNION ALL (SELECT 2)",
    'SELECT "update", "insert into" FROM "delete"',
    "SELECT update_time, is_deleted FROM t ORDER BY 1 LIMIT 10",
    "EXPLAIN SELECT a FROM t",
    "SHOW TABLES",
    "DESCRIBE t",
    "SELECT CASE WHEN a THEN 'x' ELSE 'y' END, CAST(b AS DECIMAL(10, 2)) FROM t",
    "SELECT row_number() OVER (PARTITION BY a ORDER BY b) FROM t",
]
WRITES = [
    "",
    ";",
    "INSERT INTO t VALUES (1)",
    "insert into t select 1",
    "UPDATE t SET a = 1",
    "DELETE FROM t",
    "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE",
    "CREATE TABLE t AS SELECT 1",
    "DROP TABLE t",
    "TRUNCATE TABLE t",
    "ALTER TABLE t ADD COLUMN a INT",
    "GRANT SELECT ON t TO u",
    "CALL p(1)",
    "EXECUTE IMMEDIATE 'DELETE FROM t'",
    "SET a = 1",
    "USE b",
    "BEGIN",
    "SELECT 1; DELETE FROM t",
    "SELECT 1; SELECT 2",
    "SELECT * INTO t FROM s",
    "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
    "WITH a AS (DELETE FROM t RETURNING 1) SELECT * FROM a",
    "WITH a AS (SELECT 1) DELETE FROM t",
    "EXPLAIN ANALYZE INSERT INTO t SELECT 1",
    "EXPLAIN ANALYZE DELETE FROM t",
    "SELECT somebodys_function(a) FROM t",
    "SELECT a.b.upper(x) FROM t",
    'SELECT "upper"("lower"."trim"(x)) FROM t',
    "WITH f(a) AS (SELECT 1) SELECT f(a) FROM f",
    "SELECT s.nextval",
    "SELECT 1 /* a /* b */ ; DELETE FROM t -- */",
    "SELECT 1 --\rINTO t",
    "SELECT ‘a; DELETE FROM t",
    "SELECT 'a",
    "SELECT FROM WHERE (",
    "hello",
    "SELECT 1 {# ' #} ; DELETE FROM t",
    "SELECT " + "\\" * 3 + "x" * LARGEST_PARSED,
]
VARIES = [
    "SELECT CURRENT_TIMESTAMP",
    "SELECT current_date",
    "SELECT * FROM t WHERE a > current_date - 1",
    "SELECT rand()",
    "SELECT CURRENT_USER",
    "SHOW TABLES",
    "EXPLAIN SELECT 1",
]
OWN = {
    "trino": (
        [
            "SELECT t.a FROM UNNEST(ARRAY[1, 2]) AS t(a)",
            "SELECT 'a\\'",
            "VALUES 1, 2",
            "SELECT approx_distinct(a) FROM t",
        ],
        [
            "SELECT 'a\\'; DELETE FROM t; --'",
            "SELECT * FROM TABLE(mysql.system.query(query => 'DELETE FROM t'))",
            "WITH FUNCTION f(x int) RETURNS int RETURN x SELECT f(1)",
            "SELECT ai_gen('x')",
            "PREPARE q FROM DELETE FROM t",
            "EXECUTE q",
            "START TRANSACTION",
        ],
        [
            "SELECT uuid()",
            "SELECT now()",
            "SELECT * FROM t TABLESAMPLE BERNOULLI (10)",
            "SELECT random()",
            "SELECT localtimestamp",
        ],
    ),
    "clickhouse": (
        [
            "SELECT 'a\\'; DROP TABLE x; --'",
            "SELECT countIf(a > 1), sumIfOrNull(b, 1), quantile(0.9)(x), uniqExactMerge(y) FROM t",
            "SELECT toStartOfHour(ts) AS h, count() FROM t GROUP BY h SETTINGS max_threads = 1 FORMAT JSONCompact",
            "SELECT * FROM numbers(10)",
            "SELECT {a:UInt8}, {b:Identifier} FROM t FINAL PREWHERE c",
            "WITH 1 AS x SELECT x",
        ],
        [
            "SELECT * FROM url('http://example.com/buy')",
            "SELECT * FROM executable('rm', 'TSV', 'a String')",
            "SELECT 1 INTO OUTFILE 'x'",
            "SELECT generateSerialID('a')",
            "SELECT sleep(3)",
            "SYSTEM SHUTDOWN",
            "OPTIMIZE TABLE t",
            "KILL QUERY WHERE 1",
            "SELECT aiGenerate('x')",
        ],
        [
            "SELECT generateUUIDv4()",
            "SELECT now64(3)",
            "SELECT today()",
            "SELECT randCanonical()",
            "SELECT dictGet('a', 'b', 1)",
        ],
    ),
    "snowflake": (
        [
            "SELECT x:a.b::string FROM t, LATERAL FLATTEN(input => x)",
            "SELECT $$ it's; $$ AS a",
            "SELECT 1 // a comment; DELETE FROM t",
            "SELECT $1 FROM @stage",
        ],
        [
            "SELECT SYSTEM$CANCEL_QUERY('x')",
            "SELECT 1 ->> INSERT INTO t SELECT * FROM $1",
            "COPY INTO t FROM @s",
            "PUT file://a @s",
            "SELECT my.schema.external_function(1)",
            "SELECT AI_CLASSIFY('a', ['b'])",
        ],
        [
            "SELECT * FROM TABLE(RESULT_SCAN(LAST_QUERY_ID()))",
            "SELECT seq4() FROM TABLE(GENERATOR(ROWCOUNT => 3))",
            "SELECT UUID_STRING()",
        ],
    ),
    "databricks": (
        ["FROM t SELECT a", "SELECT explode(array(1, 2))", "SELECT 'it\\'s'"],
        [
            "OPTIMIZE t",
            "CACHE TABLE t",
            "FROM t INSERT INTO s SELECT *",
            "SELECT ai_query('m', 'x')",
            "REFRESH TABLE t",
        ],
        ["SELECT uuid()", "SELECT monotonically_increasing_id()"],
    ),
    "bigquery": (
        [
            "SELECT NET.HOST(url), SAFE_DIVIDE(a, b) FROM `p.d.t`",
            "FROM t |> WHERE x > 1",
            'SELECT """a "b"; c""" AS x',
            "SELECT 1 # a comment; DELETE FROM t",
        ],
        [
            "EXPORT DATA OPTIONS (uri = 'gs://x') AS SELECT 1",
            "SELECT AI.GENERATE('x')",
            "DECLARE x INT64; SELECT 1",
            "LOAD DATA INTO t FROM FILES (uris = ['x'])",
        ],
        ["SELECT GENERATE_UUID()", "SELECT SESSION_USER()"],
    ),
}


def _all(own: int, shared: list[str]) -> list[tuple[str, str]]:
    return [(name, text) for name in WAREHOUSES for text in shared + OWN[name][own]]


@pytest.mark.parametrize(("warehouse", "text"), _all(0, READS))
def test_a_query_is_read_only(warehouse: str, text: str) -> None:
    verdict = SQL[warehouse].read(text)
    assert verdict.read_only, verdict.writes


@pytest.mark.parametrize(("warehouse", "text"), _all(1, WRITES))
def test_what_may_do_more_than_read_is_not_read_only(warehouse: str, text: str) -> None:
    verdict = SQL[warehouse].read(text)
    assert verdict.writes
    assert not verdict.deterministic


@pytest.mark.parametrize(("warehouse", "text"), _all(2, VARIES))
def test_what_may_answer_otherwise_the_next_time_is_not_deterministic(warehouse: str, text: str) -> None:
    verdict = SQL[warehouse].read(text)
    assert verdict.read_only, verdict.writes
    assert not verdict.deterministic


def test_a_plain_query_is_deterministic() -> None:
    assert all(sql.read("SELECT a, count(*) FROM t WHERE b = 'now()' GROUP BY a").deterministic for sql in SQL.values())


_WORDS = """
    SELECT select FROM WHERE WITH AS ( ) , ; 1 a t 'x' 'it''s' "q" `b` upper( f( count( t( t(a) INSERT INTO VALUES
    UPDATE SET DELETE MERGE USING CREATE TABLE CALL DROP -- /* */ ' " \\ $$ # // ->> |> := {# #} UNION ALL EXPLAIN SHOW
    CASE WHEN THEN END nextval RETURNING EXECUTE FUNCTION a.b. .f( FOR
"""
_PIECES = st.sampled_from(_WORDS.split())
_TEXTS = st.lists(st.tuples(_PIECES, st.sampled_from([" ", " ", "\n", "", "\r"]))).map(
    lambda pieces: "".join(word + blank for word, blank in pieces)
)


@given(st.sampled_from(WAREHOUSES), _TEXTS | st.text())
@settings(max_examples=400)
def test_any_text_gets_a_verdict(warehouse: str, text: str) -> None:
    verdict = SQL[warehouse].read(text)
    assert verdict.read_only or not verdict.deterministic
    assert SQL[warehouse].read(text) == verdict


@given(st.sampled_from(WAREHOUSES), _TEXTS.map(lambda rest: "SELECT " + rest))
@settings(max_examples=600)
@example("trino", "SELECT 1 -- \n; DELETE FROM t")
@example("clickhouse", "SELECT 'a''b' , upper('x')")
def test_the_quick_reader_never_takes_for_a_query_what_the_parser_takes_for_more(warehouse: str, text: str) -> None:
    """It may take what the parser, and so the warehouse, cannot read at all: that does nothing."""
    quick = SQL[warehouse].quick(text)
    if quick is not None and quick.read_only:
        parsed = SQL[warehouse].parsed(text)
        assert parsed.read_only or parsed.writes == "is not understood", (quick, parsed)
        assert not quick.deterministic or parsed.deterministic or not parsed.read_only


_DOING = st.sampled_from(
    [
        "INSERT INTO t VALUES (1)",
        "DELETE FROM t",
        "UPDATE t SET a = 1",
        "MERGE INTO t USING s ON a = b WHEN MATCHED THEN DELETE",
        "CREATE TABLE t (a INT)",
        "DROP TABLE t",
        "CALL p()",
        "TRUNCATE TABLE t",
    ]
)
_BEFORE = st.lists(
    st.sampled_from(["-- a\n", "/* b */", "\n", " ", "\t", "WITH a AS (SELECT 1) ", "EXPLAIN ANALYZE ", "SELECT 1; "])
)
_AFTER = st.lists(st.sampled_from([" -- SELECT", "/* 1 */", ";", "\n", " ; SELECT 1"]))


@given(st.sampled_from(WAREHOUSES), _BEFORE, _DOING, _AFTER)
@settings(max_examples=400)
def test_what_acts_is_found_wherever_it_stands(warehouse: str, before: list[str], doing: str, after: list[str]) -> None:
    assert SQL[warehouse].read("".join(before) + doing + "".join(after)).writes


@pytest.mark.parametrize("warehouse", WAREHOUSES)
def test_ten_kilobytes_are_read_without_the_parser(warehouse: str) -> None:
    columns = ", ".join(f"coalesce(t.column_{at}, 0) AS c{at}, 'text {at}'" for at in range(230))
    text = f"SELECT {columns} FROM a.b.t JOIN x.y.z ON t.id = z.id WHERE t.v BETWEEN 1 AND 2 GROUP BY 1"
    assert len(text) > 10_000
    quick = SQL[warehouse].quick(text)
    assert quick is not None
    assert quick.read_only


def test_a_statement_that_was_read_before_is_looked_up() -> None:
    text = "SELECT 'it\\'s' AS a, " + ", ".join(f"c{at}" for at in range(1500))
    first = SQL["clickhouse"].read(text)
    started = time.perf_counter()
    for _ in range(100):
        assert SQL["clickhouse"].read(text) is first
    assert (time.perf_counter() - started) / 100 < 0.001
