"""Who may write: by the lease as it is seen, never by another machine's clock."""

from datetime import UTC, datetime
from typing import Any

from seawall_operator.election import ADDRESS, DURATION, look, renewed

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
