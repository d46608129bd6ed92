"""Labs as upstreams of a benchmark: scripted and asked through their control endpoint."""

import json
import time
import urllib.request
from typing import Any

from machine import Broken, Process


def control(url: str, path: str, document: object = None) -> Any:
    """Talk to a lab's control endpoint."""
    body = None if document is None else json.dumps(document).encode()
    with urllib.request.urlopen(urllib.request.Request(url + path, body), timeout=10) as answer:
        return json.loads(answer.read())


def until_listening(process: Process, url: str) -> None:
    """Until it listens."""
    while True:
        process.check()
        try:
            control(url, "")
        except OSError as error:
            if getattr(error, "code", None) is not None:
                return
            if time.perf_counter() - process.began > 30:
                raise Broken(f"{process.name} does not listen: {error}") from None
            time.sleep(0.02)
        else:
            return
