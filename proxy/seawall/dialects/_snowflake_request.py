"""Reads a request to Snowflake: the SQL API, the drivers' own protocol, and Cortex.

A `requestId` in the query makes a statement idempotent: it is carried out once, however often it is sent. seawall adds
none where there is none: a request that needs no help arrives as its agent wrote it.
"""

import re
from urllib.parse import unquote

import msgspec

from seawall.dialects import _warehouse as warehouse
from seawall.dialects._json import model_name, read
from seawall.dialects._sql import Sql
from seawall.dialects.anthropic import Anthropic
from seawall.dialects.openai import OpenAI
from seawall.types import Facts, Head, Safety

SQL = Sql("snowflake")
OPENAI, ANTHROPIC = OpenAI(), Anthropic()

_STATEMENT = re.compile(r"(?:^|/)statements(?:/([^/]+)(/cancel)?)?/?$")
# Python's, JDBC's and the other drivers', as snowflake-connector-python 5.2 sends it.
_DRIVER = re.compile(r"(?:^|/)(queries/v1/(?:query|abort)-request|session(?:/|$)|monitoring/queries/)")
_RESULT = re.compile(r"(?:^|/)(?:queries/[^/]+/result|monitoring/queries/[^/]+)$")
_CORTEX = re.compile(r"(?:^|/)cortex/(v1/(?:chat/completions|completions|responses|embeddings|messages)|inference:)")
# The last segment of a search of a Cortex Search service.
_SEARCH = re.compile(r"/cortex-search-services/[^/]+:query$")


class _Statement(msgspec.Struct, gc=False):
    statement: object = None
    warehouse: object = None


class _Query(msgspec.Struct, gc=False):
    sql_text: object = msgspec.field(default=None, name="sqlText")


class _Inference(msgspec.Struct, gc=False):
    model: object = None
    stream: object = None


_STATEMENTS = msgspec.json.Decoder(_Statement)
_QUERIES = msgspec.json.Decoder(_Query)
_INFERENCES = msgspec.json.Decoder(_Inference)


def facts_of(head: Head, path: str, body: bytes) -> Facts:
    """See `Dialect.read`."""
    resource = path.partition("?")[0]
    if head.method in warehouse.SAFE_METHODS:
        polled = _STATEMENT.search(resource) or _RESULT.search(resource)
        return Facts("poll" if polled else "other", safety=Safety.SAFE, pinned=True)
    if head.method != "POST":
        return warehouse.other(pinned=True)
    if (found := _STATEMENT.search(resource)) is not None:
        return _cancel(found[2]) if found[1] else _statement(path, body)
    if (driven := _DRIVER.search(resource)) is not None:
        return _driver(driven[1], path, body)
    if (cortex := _CORTEX.search(resource)) is not None:
        return _cortex(cortex[1], head, path, body)
    if _SEARCH.search(resource):
        return Facts("search", safety=Safety.SAFE_BILLED)
    return warehouse.other(pinned=True)


def handle(path: str) -> tuple[str, ...]:
    """The statement that a path names."""
    found = _STATEMENT.search(path.partition("?")[0])
    return (unquote(found[1]),) if found is not None and found[1] else ()


def _cancel(cancel: str | None) -> Facts:
    """A second cancellation finds the statement cancelled."""
    return Facts("cancel", safety=Safety.SAFE, pinned=True) if cancel else warehouse.other(pinned=True)


def _statement(path: str, body: bytes) -> Facts:
    asked = read(_STATEMENTS, body) or _Statement()
    keyed = warehouse.parameter(path, "requestId") != ""
    found = warehouse.reading(SQL, asked.statement, keyed=keyed)
    return Facts(
        "statement",
        model_name(asked.warehouse),
        safety=found.safety,
        writes=found.writes,
        alone=warehouse.parameter(path, "async") == "true",
        deterministic=found.deterministic,
        again="retry=true" if keyed and not warehouse.parameter(path, "retry") else "",
    )


def _driver(what: str, path: str, body: bytes) -> Facts:
    """A session is known to the account that began it only, so all of this goes to one upstream. To begin or end one,
    or to renew its token, does no harm twice; the drivers do so themselves."""
    if not what.endswith("query-request"):
        return Facts("session", safety=Safety.SAFE, pinned=True)
    asked = read(_QUERIES, body) or _Query()
    keyed = warehouse.parameter(path, "requestId") != ""
    found = warehouse.reading(SQL, asked.sql_text, keyed=keyed)
    again = "retryCount=1" if keyed and not warehouse.parameter(path, "retryCount") else ""
    return Facts("driver", safety=found.safety, pinned=True, writes=found.writes, again=again)


def _cortex(what: str, head: Head, path: str, body: bytes) -> Facts:
    """Models over OpenAI's protocol, Anthropic's, and Cortex's own."""
    if what == "v1/messages":
        return ANTHROPIC.read(head, path, body)
    if what.startswith("v1/"):
        return OPENAI.read(head, path, body)
    asked = read(_INFERENCES, body) or _Inference()
    return Facts("inference", model_name(asked.model), asked.stream is not False, Safety.SAFE_BILLED)
