"""Which operation answers a request: the lab's paths in one table. It reads the head only."""

import re
from collections.abc import Callable

from seawall.lab import azure, converse, gemini_paths, messages, openai_other, warehouse
from seawall.lab.answer import RejectedError
from seawall.lab.bigquery import BigQuery
from seawall.lab.chat import Chat
from seawall.lab.clickhouse import ClickHouse
from seawall.lab.databricks import Databricks
from seawall.lab.families import Anthropic, Bedrock, Family, Gemini, OpenAI, Warehouse
from seawall.lab.operation import Operation
from seawall.lab.plan import Trouble
from seawall.lab.responses import Responses
from seawall.lab.snowflake import Snowflake
from seawall.lab.trino import Trino
from seawall.lab.words import WORDS
from seawall.types import Head, header

MODELS = ("gpt-4o-mini", "claude-sonnet-4-5", *(f"lab-{word.example}" for word in WORDS))
_OPENAI, _ANTHROPIC, _GEMINI, _BEDROCK, _WAREHOUSE = OpenAI(), Anthropic(), Gemini(), Bedrock(), Warehouse()
_CORTEX = "/api/v2/cortex"
_LABEL = re.compile(r"/u/([A-Za-z0-9._-]{1,64})(/.*|)")


def labelled(path: str) -> tuple[str, str]:
    """The upstream's label and the path below it: `/u/east/v1/models` gives `east` and `/v1/models`."""
    match = _LABEL.fullmatch(path)
    return (match[1], match[2] or "/") if match else ("", path)


def _invoked(model: str, operation: str) -> Operation:
    match operation:
        case "converse" | "converse-stream":
            return converse.Converse(model, operation == "converse-stream")
        case "count-tokens":
            return converse.CountTokens(model)
        case _:
            return converse.Invoke(model, operation != "invoke")


class Routes:
    """The table of paths. It owns the warehouse's memory; `elapsed` gives the seconds since the lab's start."""

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._queries = warehouse.Store()
        self._jobs = warehouse.Store()
        self.trino, self.clickhouse = Trino(elapsed), ClickHouse(elapsed)
        self._own = (self.trino, self.clickhouse, Snowflake(elapsed), Databricks(elapsed), BigQuery(elapsed))
        self._fixed: dict[tuple[str, str], Operation] = {
            ("POST", "/chat/completions"): Chat(),
            ("POST", "/responses"): Responses(),
            ("POST", "/completions"): openai_other.Completions(),
            ("POST", "/embeddings"): openai_other.Embeddings(),
            ("POST", "/messages"): messages.Messages(),
            ("POST", "/messages/count_tokens"): messages.CountTokens(),
        }

    def family(self, head: Head, path: str) -> Family:
        """Whose errors a path answers with that no operation claims."""
        if header(head.headers, b"anthropic-version") is not None:
            return _ANTHROPIC
        if path.startswith("/model/"):
            return _BEDROCK
        if gemini_paths.owns(path):
            return _GEMINI
        if path.startswith("/openai/"):
            return azure.AZURE
        if (own := next((one for one in self._own if one.owns(path)), None)) is not None:
            return own.family
        return _WAREHOUSE if path.startswith("/warehouse") else _OPENAI

    def takes_text(self, path: str) -> bool:
        """Whether a body there is a statement, and no JSON."""
        return self.trino.owns(path) or self.clickhouse.owns(path)

    def find(self, head: Head, path: str) -> Operation:
        """Raises RejectedError for unknown paths."""
        method = "GET" if head.method == "HEAD" else head.method
        if (own := next((one for one in self._own if one.owns(path)), None)) is not None:
            if (known := own.find(method, path, head)) is not None:
                return known
            raise RejectedError(Trouble.NOT_FOUND, f"no such resource: {method} {path}")
        api = path.removeprefix(_CORTEX).removeprefix("/v1")
        fixed = self._fixed.get((method, api))
        if fixed is not None:
            return fixed
        if gemini_paths.owns(path) and (found := gemini_paths.operation(method, path, head.target)) is not None:
            return found
        if path.startswith("/openai/") and method == "POST":
            return azure.operation(path, head.target, self._fixed)
        if path.startswith("/warehouse/"):
            return self._warehouse(method, path, head)
        if method == "POST" and (asked := converse.asked(path)) is not None:
            return _invoked(*asked)
        if method == "GET" and (api == "/models" or api.startswith("/models/")):
            only = api.removeprefix("/models").removeprefix("/") or None
            if header(head.headers, b"anthropic-version") is not None:
                return messages.Models(MODELS, only)
            return openai_other.Models(MODELS, only)
        raise RejectedError(Trouble.NOT_FOUND, f"Invalid URL ({head.method} {path})")

    def _warehouse(self, method: str, path: str, head: Head) -> Operation:
        now = self._elapsed()
        match method, path.strip("/").split("/")[1:]:
            case "POST", ["queries"]:
                return warehouse.PostQuery(self._queries, now)
            case "GET", ["queries", id_]:
                return warehouse.GetQuery(self._queries, now, id_)
            case "POST", ["jobs"]:
                key = header(head.headers, b"idempotency-key")
                return warehouse.PostJob(self._jobs, now, key.decode("latin-1") if key is not None else None)
            case "GET", ["jobs", id_]:
                return warehouse.GetJob(self._jobs, now, id_)
            case "GET", ["pipelines", name, "status"]:
                return warehouse.GetPipeline(name)
        raise RejectedError(Trouble.NOT_FOUND, f"no such warehouse resource: {method} {path}")
