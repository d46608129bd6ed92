"""OpenAI's and Anthropic's SDKs answered by a deployment of Azure OpenAI: its own paths, key and words."""

from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from harness import lab, proxy, route, upstream
from stage import LENIENT, ONE_TRY

HI: Any = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("base", ["", "/openai", "/openai/v1"])
@pytest.mark.parametrize("fault", ["ok", "filter"])
async def test_agents_of_other_dialects(tmp_path: Path, base: str, fault: str) -> None:
    (tmp_path / "key").write_text("sk-azure")
    auth = f"auth: {{type: APIKey, keyFile: {tmp_path}/key}}\n"
    async with lab() as azure:
        azure.script([fault] * 4, then=fault)
        policy = upstream("azure", f"{azure.url}/u/azure{base}", "AzureOpenAI", auth + LENIENT.replace("    ", ""))
        for dialect, prefix in (("OpenAI", "/o/v1"), ("Anthropic", "/a")):
            rule = route(dialect.lower(), prefix, "azure", f"dialect: {dialect}\n{ONE_TRY}")
            policy += rule.replace("{name: azure, priority: 0}", "{name: azure, model: deployed}")
        async with (
            proxy(policy, tmp_path) as running,
            openai.AsyncOpenAI(base_url=f"{running.url}/o/v1", api_key="own", max_retries=0) as chat,
            anthropic.AsyncAnthropic(base_url=f"{running.url}/a", api_key="own", max_retries=0) as messages,
        ):
            if fault == "ok":
                told = await chat.chat.completions.create(model="gpt-5", messages=HI)
                assert told.choices[0].message.content and told.model == "deployed"
                stream = await chat.chat.completions.create(model="gpt-5", messages=HI, stream=True)
                assert [chunk async for chunk in stream]
                assert (await messages.messages.create(model="claude", max_tokens=9, messages=HI)).content
            else:
                with pytest.raises(openai.BadRequestError) as refused:
                    await chat.chat.completions.create(model="gpt-5", messages=HI)
                assert refused.value.code == "content_policy_violation"
                with pytest.raises(anthropic.BadRequestError):
                    await messages.messages.create(model="claude", max_tokens=9, messages=HI)
                assert {call.fault for call in running.calls} == {"CONTENT_POLICY"}
        for attempt in azure.attempts():
            assert (attempt.path, attempt.model) == ("/openai/v1/chat/completions", "deployed")
            assert "api-key" in attempt.header_names and "authorization" not in attempt.header_names
