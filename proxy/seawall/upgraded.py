"""After the commit of a WebSocket: both ends are joined, and nothing is tried again any more (docs/websockets.md).

The handshake was a call like any other: candidates, breakers, places, retries and failover are behind it. The session
is the rest of that call, and its upstream's sample is taken at its end.
"""

import asyncio

from seawall.answer import Answer, Terms
from seawall.clock import Clock
from seawall.faults import Code, Fault
from seawall.reply import upstream_headers
from seawall.run import Run
from seawall.websocket.frames import GOING_AWAY
from seawall.websocket.session import Session


async def hold(run: Run, answer: Answer, terms: Terms, clock: Clock) -> Fault | None:
    """Grant the agent its WebSocket and pass bytes on to the session's end. Returns the fault that ended it."""
    call, exchange, timeouts = run.call, answer.exchange, terms.timeouts
    assert call.upgrade is not None and exchange.end is not None
    run.committed = True
    agent = call.upgrade.switch(upstream_headers(call, run.ledger, exchange.headers))
    # The connection is the session's from here on; nobody else closes it.
    exchange.complete = True
    session = Session(agent, exchange.end, clock.now, timeouts.session_idle, timeouts.agent_write)
    try:
        fault = await session.run()
        if fault is not None and fault.code is Code.TIMEOUT_STREAM_IDLE:
            session.goodbye(GOING_AWAY, f"seawall: {fault.code.value}")
        if fault is not None and fault.code is Code.AGENT_STALLED:
            run.agent.drop()
    except asyncio.CancelledError:
        if run.agent.cut:
            session.goodbye(GOING_AWAY, f"seawall: {Code.DRAINING.value}")
        raise
    finally:
        session.close()
        call.body.passed(agent.passed)
        call.upgrade.sent_bytes += exchange.end.passed
    return fault
