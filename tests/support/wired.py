"""The whole chain for recorded traffic: agents, the proxy with a route for every recorded host, the tee, the replay
server."""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent

from aws import access_keys
from harness import Running, proxy, route, upstream
from recorded import WIRE, recordings
from replay_server import Tee, tee

RECORDED = recordings() if WIRE.is_dir() else ()
ANTHROPIC = "api.anthropic.com"
SPEAKS_OPENAI = frozenset(
    {"api.openai.com", "api.cerebras.ai", "api.deepseek.com", "api.groq.com", "api.mistral.ai", "api.voyageai.com"}
    | {"demo-endpoints.pydantic.workers.dev", "myorg-myaccount.snowflakecomputing.com", "openrouter.ai"}
    | {"router.huggingface.co"}
)
SNOWFLAKE = ".snowflakecomputing.com"
"""What was recorded there is Cortex, which speaks OpenAI's protocol below a dialect of its own."""
HOSTS = sorted({r.host for r in RECORDED})
GOOGLE = "googleapis.com"
ONE_TRY = "retry: {attempts: 0}"
RUNS = itertools.count()
"""The replay server plays a recording once per run."""


def dialect_of(host: str) -> str:
    if host == ANTHROPIC:
        return "Anthropic"
    if host.startswith("bedrock"):
        return "Bedrock"
    if host.endswith(GOOGLE):
        return "Gemini"
    if host.endswith(SNOWFLAKE):
        return "Snowflake"
    return "OpenAI" if host in SPEAKS_OPENAI else "Generic"


def policy(
    port: int, rule: str, extra: str = "", keys: Path = Path("keys"), dialect: Callable[[str], str] = dialect_of
) -> str:
    """An upstream and a route for every recorded host, `/at/HOST`. keys: AWS's. dialect: of a host."""
    auth = f"{dedent(extra)}\nauth: {{type: AWSSigV4, region: us-east-1, credentialsFile: {keys}}}"
    names = {host: host.lower().replace(".", "-") for host in HOSTS}
    return "".join(
        upstream(name, f"http://127.0.0.1:{port}", dialect(host), auth if dialect(host) == "Bedrock" else extra)
        + route(name, f"/at/{host}", name, rule)
        for host, name in names.items()
    )


@asynccontextmanager
async def wired(
    target: int, folder: Path, rule: str, *, pace: float = 0.0, extra: str = "",
    dialect: Callable[[str], str] = dialect_of,
) -> AsyncIterator[tuple[Running, Tee]]:  # fmt: skip
    """A proxy before the tee before the replay server. `extra`: of every upstream."""
    keys = access_keys(folder)
    async with (
        tee(target, pace) as between,
        proxy(policy(between.port, rule, extra, keys, dialect), folder) as running,
    ):
        yield running, between
