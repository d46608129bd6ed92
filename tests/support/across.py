"""A proxy before a lab that plays a provider of each dialect, with agents of each that are answered by another one: as
the only upstream, after one of their own, or raced against it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import anthropic
import httpx2
import openai
from anthropic import AsyncAnthropic
from google.genai import Client
from google.genai.client import AsyncClient
from google.genai.types import HttpOptions
from harness import Running, lab, proxy, route, upstream
from openai import AsyncOpenAI
from stage import LENIENT, ONE_TRY

from seawall.lab import Lab

INJECTED = "sk-injected-by-policy"
"""The key that goes to every upstream."""
OWN = "sk-of-the-agent-itself"
"""What agents send; it must never reach another provider than theirs."""

OTHER = {"OpenAI": "a", "Anthropic": "o", "Gemini": "o"}
"""By an agent's dialect, the upstream that speaks another one."""
SAME = {"OpenAI": "o", "Anthropic": "a", "Gemini": "g"}


@dataclass(frozen=True)
class Across:
    lab: Lab
    running: Running

    @property
    def openai(self) -> str:
        return f"{self.running.url}/openai/v1"

    @property
    def anthropic(self) -> str:
        return f"{self.running.url}/anthropic"

    @property
    def gemini(self) -> str:
        return f"{self.running.url}/gemini"


def only(dialect: str) -> str:
    """Backends of a rule for `route`: another dialect alone."""
    return OTHER[dialect]


def after_its_own(dialect: str) -> str:
    return f"{SAME[dialect]} {OTHER[dialect]}"


def raced(dialect: str) -> str:
    return f"{SAME[dialect]}|{OTHER[dialect]}"


def in_order(backends: str) -> Callable[[str], str]:
    """These for agents of any dialect: `a o`."""
    return lambda dialect: backends


def other_first(dialect: str) -> str:
    return f"{OTHER[dialect]} {SAME[dialect]}"


def key_file(folder: Path) -> Path:
    file = folder / "key"
    file.write_text(INJECTED)
    return file


def upstreams(folder: Path, url: str, extra: str = LENIENT) -> str:
    """`o` speaks OpenAI's dialect, `a` Anthropic's, `g` Gemini's; `extra`: of all."""
    spec = f"auth: {{type: APIKey, keyFile: {key_file(folder)}}}\n{dedent(extra)}"
    return (
        upstream("o", f"{url}/u/o/v1", "OpenAI", spec)
        + upstream("a", f"{url}/u/a", "Anthropic", spec)
        + upstream("g", f"{url}/u/g", "Gemini", spec)
    )


def routes(backends: Callable[[str], str], rule: str) -> str:
    prefixes = {"OpenAI": "/openai/v1", "Anthropic": "/anthropic", "Gemini": "/gemini"}
    return "".join(
        route(dialect.lower(), prefix, backends(dialect), f"dialect: {dialect}\n{rule}")
        for dialect, prefix in prefixes.items()
    )


@asynccontextmanager
async def across(
    folder: Path, backends: Callable[[str], str] = only, rule: str = ONE_TRY, extra: str = LENIENT
) -> AsyncIterator[Across]:
    """backends: of the rule for agents of a dialect. rule: of all rules, extra: of all upstreams."""
    async with lab() as providers:
        policy = upstreams(folder, providers.url, extra) + routes(backends, rule)
        async with proxy(policy, folder) as running:
            yield Across(providers, running)


def openai_agent(at: Across, **options: Any) -> AsyncOpenAI:
    """The SDK as it is, without the 30 ms in which it reads certificates that loopback needs none of."""
    return AsyncOpenAI(
        http_client=openai.DefaultAsyncHttpxClient(verify=False),
        **{"base_url": at.openai, "api_key": OWN, "max_retries": 0, **options},
    )


def anthropic_agent(at: Across, **options: Any) -> AsyncAnthropic:
    return AsyncAnthropic(
        http_client=anthropic.DefaultAsyncHttpxClient(verify=False),
        **{"base_url": at.anthropic, "api_key": OWN, "max_retries": 0, **options},
    )


@asynccontextmanager
async def google(url: str) -> AsyncIterator[AsyncClient]:
    """The asynchronous side of Google's SDK, which closes all of its connections."""
    async with httpx2.AsyncClient(verify=False, timeout=None) as http:
        yield Client(api_key=OWN, http_options=HttpOptions(base_url=url, httpx_async_client=http)).aio


def gemini_agent(at: Across) -> AbstractAsyncContextManager[AsyncClient]:
    return google(at.gemini)
