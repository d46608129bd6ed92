"""A provider's own words for its errors, which its agents are told in whatever dialect they speak. They may quote what
was asked, so they are for the agent alone: never for a log, a metric or a decision."""

from dataclasses import replace

from seawall.dialects.words import own_words
from seawall.faults import Code, Fault

# Not a provider's error, but what we make of its bytes.
_OURS = frozenset({Code.MALFORMED_EVENT, Code.TRUNCATED, Code.PROTOCOL_ERROR})


def in_body(fault: Fault, body: bytes) -> Fault:
    """The fault that a body tells of, with its words."""
    return fault if fault.code in _OURS else replace(fault, words=own_words(body))


def in_events(fault: Fault, events: bytes) -> Fault:
    """The fault that the last of some server-sent events tells of, with its words."""
    data = [line[5:] for line in events.splitlines() if line.startswith(b"data:")]
    return fault if fault.code in _OURS or not data else replace(fault, words=own_words(data[-1]))
