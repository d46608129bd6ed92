"""What the engine needs of translation: to have a call put to a candidate that speaks another dialect than the agent.

`translate.translator` is the one implementation. It costs 100 MB, so nothing imports it: `load` does, for a process
whose policy has such candidates.
"""

import errno
import importlib
import importlib.util
from collections.abc import Iterable
from typing import Protocol

from seawall.answer import Source, Terms
from seawall.call import Call
from seawall.clock import Clock
from seawall.faults import Fault
from seawall.runtime import Candidate
from seawall.types import Headers
from seawall.upstream.pool import Pool


class Translator(Protocol):
    """Puts calls to candidates whose `foreign` is true."""

    def prepare(self, candidates: Iterable[Candidate]) -> None:
        """Take the candidates of a new policy: what they need is made now, and what nobody needs any more is let go.
        A call that is under way keeps what it began with."""

    def unfit(self, call: Call, candidate: Candidate) -> tuple[str, ...]:
        """What of a call's request this candidate cannot be asked, each as `field: why`; empty when it can."""

    def exchange(self, call: Call, candidate: Candidate, terms: Terms, number: int, traced: Headers) -> Source | Fault:
        """One attempt, the call's `number`th, which `head` of what is returned begins. traced: fields that its request
        has besides. A Fault: nothing was, or will be, sent."""


def require(dialects: Iterable[str]) -> None:
    """Import what translation to these dialects needs: a few seconds, once in a process, in which its loop must not
    wait. Raises OSError where something is not installed."""
    if importlib.util.find_spec("pydantic_ai") is None:
        raise OSError(errno.ENOPKG, "a rule mixes dialects, which needs seawall[translate] to be installed")
    rows = importlib.import_module("seawall.translate.rows")
    for dialect in sorted(dialects):
        if why := rows.missing(dialect):
            raise OSError(errno.ENOPKG, why)
        rows.bring(dialect)


def load(pool: Pool, clock: Clock) -> Translator:
    """The process's translator, after `require`."""
    translator: Translator = importlib.import_module("seawall.translate.translator").Translator(pool, clock)
    return translator
