"""Anthropic's messages as the provider's side asks for them.

Imported by the first model that is made: it brings in Anthropic's SDK.
"""

from dataclasses import replace

from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.settings import ModelSettings

from seawall.translate.sampling import one_of_two


class MessagesModel(AnthropicModel):
    """Its structured output always keeps to the schema, so one that need not be kept to is asked for alike."""

    def prepare_request(
        self, model_settings: ModelSettings | None, model_request_parameters: ModelRequestParameters
    ) -> tuple[ModelSettings | None, ModelRequestParameters]:
        output = model_request_parameters.output_object
        if output is not None and output.strict is False:
            output = replace(output, strict=None)
            model_request_parameters = replace(model_request_parameters, output_object=output)
        return super().prepare_request(one_of_two(model_settings), model_request_parameters)
