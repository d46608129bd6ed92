"""OpenAI requests that say the same in other words, brought to one form, so that they can be compared."""

import json
from typing import Any

from openai_sdk import Json

from seawall.translate.openai_settings import JSON_MODE


def known(value: Json, *left_out: str) -> Json:
    return {name: field for name, field in value.items() if field is not None and name not in left_out}


def chat_form(request: Json) -> Json:
    form = known(
        request, "messages", "tools", "max_tokens", "stop", "stream", "stream_options", "store", "user", "n",
        "logprobs", "metadata", "prompt_cache_key", "parallel_tool_calls", "tool_choice", "response_format",
        "prediction",
    )  # fmt: skip
    form["said"] = [turn for message in request["messages"] for turn in chat_turns(message)]
    form["tools"] = [tool_form(tool["function"]) for tool in request.get("tools") or []]
    if (limit := request.get("max_tokens")) is not None:
        form["max_completion_tokens"] = limit
    if (stop := request.get("stop")) is not None:
        form["stop"] = [stop] if isinstance(stop, str) else stop
    asked = request.get("response_format") or {"type": "text"}
    form["format"] = known(asked.get("json_schema") or {}, "strict") | {"type": asked["type"]}
    if form["tools"]:
        form["parallel"] = request.get("parallel_tool_calls")
        form["choice"] = choice_form(request.get("tool_choice"), form["tools"])
    return form


def chat_turns(message: Json) -> list[Any]:
    content: Any = message.get("content")
    if message["role"] in ("system", "developer"):
        texts = [content] if isinstance(content, str) else [part["text"] for part in content]
        return [("system", text) for text in own_words(texts)]
    if message["role"] == "user":
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        return [("user", [part_form(part) for part in parts])]
    if message["role"] == "tool":
        texts = [content] if isinstance(content, str) else [part["text"] for part in content]
        return [("tool", message["tool_call_id"], "\n".join(texts))]
    parts = content if isinstance(content, list) else [{"text": content}] if content is not None else []
    said = [part.get("text") or part.get("refusal") or "" for part in parts]
    said += [message["refusal"]] if message.get("refusal") else []
    calls = [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"] or "{}"))
        for call in message.get("tool_calls") or []
    ]
    return [("assistant", "\n\n".join(said), calls)] if said or calls else []


def part_form(part: Json) -> Any:
    match part["type"]:
        case "text" | "input_text":
            return part["text"]
        case "image_url":
            url = part["image_url"]
            url = {"url": url} if isinstance(url, str) else url
            return ("image", url["url"], url.get("detail") or "auto")
        case "input_image":
            return ("image", part["image_url"], part.get("detail") or "auto")
        case "input_audio":
            return ("audio", part["input_audio"])
        case "file":
            return ("file", part["file"]["file_data"])
    return ("file", part.get("file_data") or part.get("file_url"))


def tool_form(tool: Json) -> Any:
    schema = tool.get("parameters") or {"type": "object", "properties": {}}
    return (tool["name"], tool.get("description") or "", schema, bool(tool.get("strict")))


def choice_form(choice: Any, tools: list[Any]) -> Any:
    """One function is the same as that function alone, and of a single function the same as any."""
    if not isinstance(choice, dict):
        return choice or "auto"
    if choice.get("type") == "allowed_tools":
        inner = choice.get("allowed_tools") or choice
        names = sorted((tool.get("function") or tool)["name"] for tool in inner["tools"])
        mode = inner["mode"]
    else:
        names, mode = [(choice.get("function") or choice)["name"]], "required"
    return mode if len(names) == len(tools) else (mode, names)


def responses_form(request: Json) -> Json:
    form = known(
        request, "input", "tools", "text", "include", "stream", "store", "user", "metadata", "prompt_cache_key",
        "truncation", "reasoning", "parallel_tool_calls", "tool_choice", "background", "max_tool_calls", "instructions",
    )  # fmt: skip
    given = request["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    # In JSON mode the instructions may go out as a message.
    instructions = [{"role": "system", "content": request["instructions"]}] if request.get("instructions") else []
    form["said"] = [turn for item in (*instructions, *items) for turn in item_turns(item)]
    form["tools"] = [tool_form(tool) for tool in request.get("tools") or []]
    asked = (request.get("text") or {}).get("format") or {"type": "text"}
    form["format"] = known(asked, "strict")
    form["effort"] = (request.get("reasoning") or {}).get("effort")
    if form["tools"]:
        form["parallel"] = request.get("parallel_tool_calls")
        form["choice"] = choice_form(request.get("tool_choice"), form["tools"])
    return form


def item_turns(item: Json) -> list[Any]:
    content = item.get("content")
    match item.get("type") or item["role"], item.get("role"):
        case _, "system" | "developer":
            texts = [content] if isinstance(content, str) else [part["text"] for part in content or []]
            return [("system", text) for text in own_words(texts)]
        case _, "user":
            return [("user", [content] if isinstance(content, str) else [part_form(part) for part in content or []])]
        case _, "assistant":
            texts = (
                [content]
                if isinstance(content, str)
                else [part.get("text") or part["refusal"] for part in content or []]
            )
            return [("assistant", item.get("id"), text) for text in texts]
        case "function_call", _:
            arguments = json.loads(item["arguments"] or "{}")
            return [("call", item.get("id"), item["call_id"], item["name"], arguments)]
        case "function_call_output", _:
            output = item["output"]
            return [
                ("result", item["call_id"], [output] if isinstance(output, str) else [part_form(p) for p in output])
            ]
    texts = [part["text"] for part in (*item.get("summary", ()), *(content or ())) if part["text"]]
    return [("reasoning", item["id"], text) for text in texts]


def own_words(texts: list[str]) -> list[str]:
    """Without what the model is told in JSON mode, alone or behind the agent's own instructions."""
    told = JSON_MODE.format(schema='{"type": "object"}')
    return [text.removesuffix(told).removesuffix("\n\n") for text in texts if text != told]
