"""Who may write: by the lease as it is seen, never by another machine's clock."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from seawall_operator.connection import Connection
from seawall_operator.election import ADDRESS, DURATION, RENEW_DEADLINE, Election, look, renewed
from seawall_operator.kube import ApiError, Kube

TIME = datetime(2026, 1, 1, tzinfo=UTC)
EMPTY: dict[str, Any] = {"metadata": {"name": "l", "namespace": "n"}}


def test_a_lease_that_nobody_holds_is_over_at_once() -> None:
    assert look(EMPTY, None, 5.0).over(5.0)


def test_a_lease_is_over_when_its_renewals_have_stopped_for_its_duration_whatever_they_say() -> None:
    held = renewed(EMPTY, "one", "", datetime(1999, 1, 1, tzinfo=UTC))
    seen = look(held, None, 100.0)
    assert not seen.over(100.0 + DURATION)
    # Looking again at the same renewal does not make it younger.
    assert look(held, seen, 110.0).over(100.0 + DURATION + 0.1)
    assert not look(renewed(held, "one", "", TIME), seen, 110.0).over(110.0 + DURATION)


def test_taking_a_lease_over_is_counted_and_renewing_it_is_not() -> None:
    first = renewed(EMPTY, "one", "https://10.0.0.1:8443", TIME)
    assert first["spec"]["leaseTransitions"] == 0 and first["spec"]["holderIdentity"] == "one"
    assert first["metadata"]["annotations"] == {ADDRESS: "https://10.0.0.1:8443"}
    again = renewed(first, "one", "", TIME)
    assert again["spec"]["acquireTime"] == first["spec"]["acquireTime"] and again["spec"]["leaseTransitions"] == 0
    assert renewed(again, "two", "", TIME)["spec"]["leaseTransitions"] == 1


class Server(Kube):
    """One lease, which may be out of reach."""

    def __init__(self) -> None:
        super().__init__(Connection("http://nowhere"))
        self.lease: dict[str, Any] | None = None
        self.away = False

    async def call(self, method: str, path: str, body: Any = None, **_: Any) -> dict[str, Any]:
        if self.away:
            raise ApiError(0, "ClientError", "away")
        if method != "GET":
            version = int((self.lease or EMPTY)["metadata"].get("resourceVersion", 0)) + 1
            self.lease = {**body, "metadata": {**body["metadata"], "resourceVersion": str(version)}}
        if self.lease is None:
            raise ApiError(404, "NotFound", "no lease")
        return self.lease


class Clock:
    now = 1000.0

    def time(self) -> float:
        return self.now


async def test_who_cannot_renew_stops_before_anyone_else_may_begin_and_one_that_slept_does_not_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, clock, server, moved = asyncio.get_running_loop(), Clock(), Server(), list[tuple[str, bool]]()
    one, two = (
        Election(server, "n", "l", name, lambda leads, name=name: moved.append((name, leads)))
        for name in ("one", "two")
    )
    with monkeypatch.context() as patched:
        patched.setattr(loop, "time", clock.time)
        await one._step()
        await two._step()
        assert (one.leads, two.leads) == (True, False)
        # The one that leads sleeps: nobody has told it anything when it wakes.
        clock.now += RENEW_DEADLINE
        assert not one.leads
        await two._step()
        assert not two.leads
        clock.now += DURATION - RENEW_DEADLINE + 0.1
        await two._step()
        assert (one.leads, two.leads) == (False, True)
        await one._step()
        assert (one.leads, two.leads) == (False, True)
        # And it cannot be reached.
        server.away = True
        clock.now += RENEW_DEADLINE - 0.1
        await two._step()
        assert two.leads
        clock.now += 0.2
        await two._step()
        assert not two.leads
    assert moved == [("one", True), ("two", True), ("one", False), ("two", False)]
