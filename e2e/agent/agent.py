"""An agent as anybody would write one, with OpenAI's SDK: it knows nothing of seawall, and its base URL is what the SDK
finds. It prints one JSON object for each thing that happened. SIGTERM ends it after the call under way.

    agent.py talk              calls, plain and streamed in turn, until it is told to end
    agent.py calls N           so many calls; exits 1 if one failed
    agent.py stream MODEL      one streamed answer, told word by word
    agent.py many N MODEL      so many streamed answers at once, to different questions
    agent.py fill N MODEL      N different questions, one after the other
    agent.py sent              the credential that the provider was sent
"""

import asyncio
import json
import signal
import sys
import time
from typing import Any

from openai import AsyncOpenAI, OpenAI, OpenAIError

MODEL = "gpt-4o-mini"
PAUSE = 0.1
QUESTION = "Which features would you make of the table of orders?"


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


class Agent:
    """Nothing is tried again here: whatever keeps its calls from failing is not the SDK."""

    def __init__(self) -> None:
        self.client = OpenAI(max_retries=0, timeout=120)
        self.ended = False
        self.first = ""
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, *_: object) -> None:
        self.ended = True

    def ask(self, model: str = MODEL, question: str = QUESTION) -> str:
        answer = self.client.chat.completions.create(model=model, messages=[{"role": "user", "content": question}])
        return answer.choices[0].message.content or ""

    def stream(self, model: str = MODEL, *, aloud: bool = False) -> str:
        """Raises OpenAIError also where the answer ends without saying why."""
        words, finish = [], None
        messages: Any = [{"role": "user", "content": QUESTION}]
        for chunk in self.client.chat.completions.create(model=model, messages=messages, stream=True):
            for choice in chunk.choices:
                finish = choice.finish_reason or finish
                words.append(choice.delta.content or "")
                if aloud:
                    tell(word=words[-1])
        if finish is None:
            raise OpenAIError("the answer was cut")
        return "".join(words)

    def call(self, number: int) -> bool:
        """The same question always has the same answer, so that one which lacks a word is noticed."""
        kind, began = ("plain", "stream")[number % 2], time.monotonic()
        try:
            text, failed = self.ask() if kind == "plain" else self.stream(), ""
            self.first = self.first or text
            if text != self.first:
                failed = f"another answer: {text!r}"
        except OpenAIError as error:
            failed = f"{type(error).__name__}: {error}"
        tell(kind=kind, seconds=round(time.monotonic() - began, 3), failed=failed)
        return not failed

    def talk(self) -> int:
        number = 0
        while not self.ended:
            self.call(number)
            number += 1
            time.sleep(PAUSE)
        return 0

    def calls(self, count: int) -> int:
        return 1 if sum(not self.call(number) for number in range(count)) else 0

    def aloud(self, model: str) -> int:
        try:
            tell(whole=self.stream(model, aloud=True))
        except OpenAIError as error:
            tell(failed=f"{type(error).__name__}: {error}")
            return 1
        return 0

    def fill(self, count: int, model: str) -> int:
        tell(characters=sum(len(self.ask(model, f"{QUESTION} {number}")) for number in range(count)))
        return 0

    def sent(self) -> int:
        seen: Any = self.client.get("/inspect", cast_to=object)
        tell(authorization=[value for name, value in seen["headers"] if name.lower() == "authorization"])
        return 0


async def many(count: int, model: str) -> int:
    client = AsyncOpenAI(max_retries=0, timeout=300)

    async def one(number: int) -> str:
        messages: Any = [{"role": "user", "content": f"{QUESTION} {number}"}]
        try:
            stream = await client.chat.completions.create(model=model, messages=messages, stream=True)
            finish = [choice.finish_reason async for chunk in stream for choice in chunk.choices]
            return "" if finish and finish[-1] else "the answer was cut"
        except OpenAIError as error:
            return f"{type(error).__name__}: {error}"

    failed = [text for text in await asyncio.gather(*(one(number) for number in range(count))) if text]
    tell(streams=count, failed=len(failed), why=sorted(set(failed))[:3])
    return 1 if failed else 0


def main(words: list[str]) -> int:
    match words:
        case ["many", count, model]:
            return asyncio.run(many(int(count), model))
        case ["talk"]:
            return Agent().talk()
        case ["calls", count]:
            return Agent().calls(int(count))
        case ["stream", model]:
            return Agent().aloud(model)
        case ["fill", count, model]:
            return Agent().fill(int(count), model)
        case ["sent"]:
            return Agent().sent()
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
