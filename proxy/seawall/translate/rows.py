"""Which of pydantic-ai's models speaks which dialect: the only table that knows.

Their SDKs are imported by `bring`, or else by the first model that is made. Credentials, retries and limits of time are
not theirs: the client that they are given speaks over our own wire.
"""

import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import httpx2
from pydantic_ai.models import Model

from seawall.dialects import REGISTRY
from seawall.dialects.base import Dialect
from seawall.translate.limits import CONVERSE, GEMINI, MESSAGES, OPENAI, Limits

# The SDKs need some key to be built; the transport sends none of theirs.
_NO_KEY = "kept-by-seawall"

# Where OpenAI's own models are, which know `max_completion_tokens` and partly nothing else.
_OPENAI = ".openai.com"
_OWN_HOSTS = (_OPENAI, ".azure.com")

# Between these stands what other models thought earlier in a conversation.
_EARLIER = ("<earlier-reasoning>", "</earlier-reasoning>")

# The last segment of a base URL that names a version of Gemini's API.
_VERSION = re.compile(r"v\d+[a-z]*\d*")


@dataclass(frozen=True, slots=True)
class Row:
    """How providers of one dialect are asked.

    package: of the SDK, without which there is no such model. build: (base URL, model's name, client) → model.
    dialect and operation judge the bytes. brings: what is installed to have the package.
    """

    package: str
    build: Callable[[str, str, httpx2.AsyncClient], Model]
    errors: Callable[[], tuple[type[Exception], ...]]
    limits: Limits
    dialect: Dialect
    operation: str
    brings: str = "seawall[translate]"


def missing(dialect: str) -> str:
    """Why no provider of a dialect can be asked; "" when it can."""
    row = ROWS.get(dialect)
    if row is None:
        return f"there is no translation to the dialect {dialect}"
    try:
        found = importlib.util.find_spec(row.package) is not None
    except ModuleNotFoundError:
        found = False
    return "" if found else f"the package {row.package} is not installed: it comes with {row.brings}"


@cache
def bring(dialect: str) -> None:
    """Import what models of a dialect need, once `missing` has nothing to say; a second or two, so not on the loop."""
    row = ROWS[dialect]
    row.build("http://upstream.invalid", "none", httpx2.AsyncClient(trust_env=False))
    row.errors()


def _openai(url: str, model: str, client: httpx2.AsyncClient) -> Model:
    from openai import AsyncOpenAI
    from pydantic_ai.profiles import ModelProfile
    from pydantic_ai.profiles.openai import OpenAIModelProfile
    from pydantic_ai.providers.openai import OpenAIProvider

    from seawall.translate.compatible import CompatibleChatModel

    sdk = AsyncOpenAI(api_key=_NO_KEY, base_url=url, http_client=client, max_retries=0, timeout=None)
    provider = OpenAIProvider(openai_client=sdk)
    profile: ModelProfile = OpenAIModelProfile()
    host = str(sdk.base_url.host)
    own = host.endswith(_OWN_HOSTS)
    if not own and not (provider.model_profile(model) or {}).get("openai_supports_reasoning"):
        # The older name is the one that servers of other makers know.
        profile = OpenAIModelProfile(openai_chat_supports_max_completion_tokens=False)
    if host.endswith(_OPENAI):
        # Its models never reason between tags, so that what stands between some is what they say.
        profile = OpenAIModelProfile(thinking_tags=_EARLIER)
    return CompatibleChatModel(model, provider=provider, profile=profile)


def _azure(url: str, model: str, client: httpx2.AsyncClient) -> Model:
    """The paths that need no `api-version` and take a deployment as the model."""
    return _openai(f"{url.removesuffix('/v1').removesuffix('/openai')}/openai/v1", model, client)


def _openai_errors() -> tuple[type[Exception], ...]:
    from openai import OpenAIError

    return (OpenAIError,)


def _anthropic(url: str, model: str, client: httpx2.AsyncClient) -> Model:
    """The SDK appends the version itself."""
    from anthropic import AsyncAnthropic
    from pydantic_ai.providers.anthropic import AnthropicProvider

    from seawall.translate.anthropic_model import MessagesModel

    base = url.removesuffix("/v1")
    sdk = AsyncAnthropic(api_key=_NO_KEY, base_url=base, http_client=client, max_retries=0, timeout=None)
    return MessagesModel(model, provider=AnthropicProvider(anthropic_client=sdk))


def _anthropic_errors() -> tuple[type[Exception], ...]:
    from anthropic import AnthropicError

    return (AnthropicError,)


def _gemini(url: str, model: str, client: httpx2.AsyncClient) -> Model:
    """The SDK appends the version itself: the base URL's own, else the one that has tools and system prompts."""
    from google.genai import Client
    from google.genai.types import HttpOptions
    from pydantic_ai.providers.google import GoogleProvider

    from seawall.translate.gemini_model import GeminiModel

    base, _, last = url.rpartition("/")
    version = last if _VERSION.fullmatch(last) else ""
    options = HttpOptions(base_url=base if version else url, api_version=version or "v1beta", httpx_async_client=client)
    return GeminiModel(
        model, provider=GoogleProvider(client=Client(vertexai=False, api_key=_NO_KEY, http_options=options))
    )


def _gemini_errors() -> tuple[type[Exception], ...]:
    from google.genai.errors import APIError

    return (APIError,)


def _bedrock(url: str, model: str, client: httpx2.AsyncClient) -> Model:
    from seawall.translate.converse_model import ConverseModel

    return ConverseModel(model, url, client)


def _bedrock_errors() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError
    from pydantic_ai.exceptions import ModelAPIError

    return (BotoCoreError, ModelAPIError)


ROWS: Mapping[str, Row] = MappingProxyType(
    {
        "OpenAI": Row("openai", _openai, _openai_errors, OPENAI, REGISTRY["OpenAI"], "chat"),
        "AzureOpenAI": Row("openai", _azure, _openai_errors, OPENAI, REGISTRY["AzureOpenAI"], "chat"),
        "Anthropic": Row(
            "anthropic",
            _anthropic,
            _anthropic_errors,
            MESSAGES,
            REGISTRY["Anthropic"],
            "messages",
        ),
        "Gemini": Row(
            "google.genai",
            _gemini,
            _gemini_errors,
            GEMINI,
            REGISTRY["Gemini"],
            "generate",
        ),
        "Bedrock": Row(
            "boto3",
            _bedrock,
            _bedrock_errors,
            CONVERSE,
            REGISTRY["Bedrock"],
            "converse",
            brings="seawall[translate,bedrock]",
        ),
    }
)
"""By an Upstream's `dialect`. Groq, Mistral, DeepSeek, OpenRouter and others speak OpenAI's."""
