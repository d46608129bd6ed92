"""Chat completions as servers of many makers answer them: OpenAI's model of pydantic-ai, which takes what Mistral,
OpenRouter's and Snowflake's servers leave out of an answer as they mean it.

Imported by the first model that is made: it brings in OpenAI's SDK.
"""

from openai.types.chat import ChatCompletion
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.openai._chat_completions import LenientChatCompletion


class CompatibleChatModel(OpenAIChatModel):
    """Overrides the hook that checks answers; streams are taken as they come already."""

    def _validate_completion(self, response: ChatCompletion) -> LenientChatCompletion:
        answer = response.model_dump(warnings=False)
        for choice in answer.get("choices") or ():
            calls = (choice.get("message") or {}).get("tool_calls") or ()
            if not choice.get("finish_reason"):
                choice["finish_reason"] = "tool_calls" if calls else "stop"
            for call in calls:
                call["type"] = call.get("type") or "function"
                function = call.get("function")
                if isinstance(function, dict) and function.get("arguments") is None:
                    function["arguments"] = ""
        return LenientChatCompletion.model_validate(answer)
