"""An origin of plain HTTP that answers as a test says."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from peers import request_head

Answer = tuple[int, list[str], bytes]
"""Status, header lines, body."""


@dataclass
class Origin:
    """Answers as `say` says, and remembers the requests' heads."""

    say: Callable[[str, dict[str, str]], Answer]
    heads: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            first, *lines = (await request_head(reader)).decode().split("\r\n")
            fields = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}
            self.heads.append((first, fields))
            status, more, body = self.say(first, fields)
            has_body = status not in (304, 204)
            length = [f"content-length: {len(body)}"] if has_body else []
            head = "\r\n".join([f"HTTP/1.1 {status} X", *more, *length, "", ""]).encode()
            writer.write(head + (b"" if first.startswith("HEAD") or not has_body else body))
