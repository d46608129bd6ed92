"""How much one agent connection may cost, and for how long. Values only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one connection may cost. Sizes in bytes, times in seconds.

    head: request line and fields together, and likewise a trailer section.
    pipelined: requests that may wait behind the one that is being answered.
    head_timeout: from a request's first byte to the end of its head (slowloris).
    keep_alive: how long an idle connection is kept.
    body_idle: silence in the middle of a request body.
    write_timeout: how long an ended answer may wait for the agent to read it before the next one.
    close_timeout: how long an agent may read nothing of what is left of its answer while the connection closes.
    linger: how long a connection that is to be closed still takes what the agent sends.
    sweep: how often these times are looked at.
    """

    head: int = 256 * 1024
    fields: int = 2000
    pipelined: int = 64
    head_timeout: float = 30.0
    keep_alive: float = 75.0
    body_idle: float = 300.0
    write_timeout: float = 60.0
    close_timeout: float = 30.0
    linger: float = 2.0
    sweep: float = 5.0
