"""Gemini as the provider's side asks it.

Imported by the first model that is made: it brings in Google's SDK.
"""

import copy
from dataclasses import replace
from typing import Any

from google.genai.types import ContentDict, ContentUnionDict
from pydantic_ai.messages import (
    BinaryContent,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.google import GoogleModel


class GeminiModel(GoogleModel):
    """Overrides where messages are mapped: how finely OpenAI's models look at an image would be taken for a cut of a
    video."""

    async def _map_messages(
        self, messages: list[ModelMessage], model_request_parameters: ModelRequestParameters
    ) -> tuple[ContentDict | None, list[ContentUnionDict]]:
        plain = [_plain(one) if isinstance(one, ModelRequest) else one for one in messages]
        return await super()._map_messages(plain, model_request_parameters)


def _plain(message: ModelRequest) -> ModelMessage:
    return replace(message, parts=[_part(part) for part in message.parts])


def _part(part: ModelRequestPart) -> ModelRequestPart:
    """A copy, where there is something to leave out: attempts of a race share the request."""
    if not isinstance(part, UserPromptPart | ToolReturnPart) or not isinstance(part.content, list | tuple):
        return part
    content: Any = [_item(item) for item in part.content]
    return replace(part, content=content)


def _item(item: Any) -> Any:
    if not isinstance(item, BinaryContent | ImageUrl) or item.vendor_metadata is None:
        return item
    item = copy.copy(item)
    item.vendor_metadata = None
    return item
