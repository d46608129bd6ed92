"""What each provider's API takes, as data. What it means for a request is `fit`'s."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one provider's API takes.

    own: how the names of settings begin that only its models read. files: media types, or beginnings of such, of inline
    files. urls: `kind` and media type of links that are passed on; all others pydantic-ai would download itself, past
    our wire. most: the highest value of a setting, or the length of a list. sampling: settings that its reasoning
    models ignore. tiers: service tiers that it knows.
    """

    own: str
    files: tuple[str, ...]
    urls: frozenset[str]
    most: Mapping[str, float]
    tiers: frozenset[str]
    sampling: tuple[str, ...] = ("temperature", "top_p", "top_k")
    no_sampling: tuple[str, ...] = ()
    """The profile's flags of models that take no sampling settings at all."""
    reasoning: str = ""
    """The profile's flag of models that ignore them while they reason."""
    budgeted: str = ""
    """Its models think within `max_tokens`, and then take neither sampling settings nor a forced call; the profile's
    flag of those that do so without a budget."""
    claude: str = ""
    """The profile's flag that says `anthropic` of the models that are so, where not all are."""
    closed: bool = False
    """Structured output has no objects but those whose fields are listed."""
    top_k: str = ""
    """The profile's flag of models that take it; all do where there is none."""
    effort: str = ""
    """The profile's flag of models that can be told how much to think."""
    forced: str = ""
    """The profile's flag of models that can be made to call a tool; all can where there is none."""
    kept_from: str = ""
    """The profile's flag of models that can be kept from calling tools which a conversation has called before."""
    schema_beside_tools: str = ""
    """The profile's flag of models that keep to a schema also where they have tools; all do where there is none."""
    goes_on: bool = True
    """An assistant's last words are gone on with, where OpenAI's models answer anew."""


_TEXTS = ("text/plain", "text/csv", "text/html", "text/markdown", "application/json")
_OFFICE = (
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
)
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")

OPENAI = Limits(
    own="openai_",
    files=("application/pdf", "audio/wav", "audio/mpeg", *_IMAGES, *_TEXTS),
    urls=frozenset({"image-url"}),
    most={"temperature": 2.0, "stop_sequences": 4},
    tiers=frozenset({"auto", "default", "flex", "priority"}),
    sampling=("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", "openai_logprobs"),
    reasoning="openai_supports_reasoning",
    goes_on=False,
)

MESSAGES = Limits(
    own="anthropic_",
    files=("application/pdf", "text/plain", *_IMAGES),
    urls=frozenset({"image-url", "document-url application/pdf"}),
    most={"temperature": 1.0},
    tiers=frozenset({"auto", "default"}),
    no_sampling=("anthropic_disallows_sampling_settings",),
    budgeted="anthropic_supports_adaptive_thinking",
    closed=True,
)

GEMINI = Limits(
    own="google_",
    files=("application/pdf", "audio/", "video/", *_IMAGES, *_TEXTS),
    urls=frozenset(),
    most={"temperature": 2.0, "stop_sequences": 5},
    tiers=frozenset({"auto", "default"}),
    schema_beside_tools="google_supports_tool_combination",
)

# Anthropic's, Amazon's, Meta's and other makers' models behind one API; what they can differs, and so does what they
# refuse. Links are not passed on but to S3, which no agent's dialect has.
CONVERSE = Limits(
    own="bedrock_",
    files=("application/pdf", *_OFFICE, "text/plain", "text/csv", "text/html", "text/markdown", *_IMAGES),
    urls=frozenset(),
    most={"temperature": 1.0},
    tiers=frozenset({"auto", "default", "flex", "priority"}),
    no_sampling=("anthropic_disallows_sampling_settings", "bedrock_disallows_sampling_settings"),
    budgeted="bedrock_supports_adaptive_thinking",
    claude="bedrock_thinking_variant",
    closed=True,
    top_k="bedrock_top_k_variant",
    effort="bedrock_thinking_variant",
    forced="bedrock_supports_tool_choice",
    kept_from="bedrock_tool_choice_none_variant",
)
