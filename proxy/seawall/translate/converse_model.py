"""Bedrock's Converse as the provider's side asks for it.

Imported by the first model that is made: pydantic-ai's model imports boto3.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx2
from pydantic_ai.messages import ModelMessage, ModelResponseStreamEvent
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.bedrock import BedrockConverseModel, BedrockModelSettings, BedrockStreamedResponse
from pydantic_ai.providers.bedrock import BedrockModelProfile, BedrockProvider
from pydantic_ai.settings import ModelSettings

from seawall.translate.converse_client import ConverseClient, Events, answer_of, request_of
from seawall.translate.sampling import one_of_two


class ConverseModel(BedrockConverseModel):
    """Overrides where requests are sent and streams are read: there it would wait in threads for a client that speaks
    HTTP by itself. The requests and the answers are as the model writes and reads them."""

    _botocore_supports_strict_tool_param = True
    _botocore_supports_output_config = True

    def __init__(self, model_name: str, url: str, http: httpx2.AsyncClient) -> None:
        client: Any = ConverseClient(url)
        super().__init__(model_name, provider=BedrockProvider(bedrock_client=client))
        self._url = url
        self._http = http

    def prepare_request(
        self, model_settings: ModelSettings | None, model_request_parameters: ModelRequestParameters
    ) -> tuple[ModelSettings | None, ModelRequestParameters]:
        if self.profile.get("bedrock_thinking_variant") == "anthropic":
            model_settings = one_of_two(model_settings)
        return super().prepare_request(model_settings, model_request_parameters)

    async def _messages_create(
        self,
        messages: list[ModelMessage],
        stream: bool,
        model_settings: BedrockModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> Any:
        created: Any = super()._messages_create
        prepared = await created(messages, stream, model_settings, model_request_parameters)
        url, body = request_of(self._url, prepared["asked"], stream=stream)
        accept = "application/vnd.amazon.eventstream" if stream else "application/json"
        request = self._http.build_request(
            "POST", url, content=body, headers={"content-type": "application/json", "accept": accept}
        )
        response = await self._http.send(request, stream=stream)
        request_id = response.headers.get("x-amzn-requestid")
        if stream:
            return {"stream": Events(response), "ResponseMetadata": {"RequestId": request_id}}
        return answer_of(response.content, request_id)

    @asynccontextmanager
    async def _open_stream(
        self, messages: list[ModelMessage], settings: BedrockModelSettings, parameters: ModelRequestParameters
    ) -> AsyncGenerator[BedrockStreamedResponse]:
        response = await self._messages_create(messages, True, settings, parameters)
        streamed = _Streamed(
            model_request_parameters=parameters,
            _model_name=self.model_name,
            _model_profile=cast(BedrockModelProfile, self.profile),
            _event_stream=response["stream"],
            _provider_name=self._provider.name,
            _model_id_namespace=self._provider.model_id_namespace,
            _provider_url=self.base_url,
            _provider_response_id=response["ResponseMetadata"]["RequestId"],
        )
        streamed.canonical_system = self._canonical_system_stamp
        try:
            yield streamed
        finally:
            await streamed.close_stream()


class _Streamed(BedrockStreamedResponse):
    """Reads the events on the loop, and lets go of them at once."""

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        self.provider_response_id = self._provider_response_id
        events = cast(Events, self._event_stream)
        async for chunk in events:
            for event in self._map_chunk(cast(Any, chunk)):
                yield event

    async def close_stream(self) -> None:
        await cast(Events, self._event_stream).aclose()
