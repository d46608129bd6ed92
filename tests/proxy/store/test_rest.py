"""When a store that does not answer is left alone."""

from seawall.store.rest import Rest


def test_failures_that_successes_interrupt_never_lead_to_a_rest() -> None:
    rest = Rest(failures=3)
    for _ in range(10):
        rest.bad(0.0)
        rest.bad(0.0)
        rest.good()
    assert rest.allows(0.0) and not rest.resting


def test_after_failures_in_a_row_one_is_let_through_per_rest() -> None:
    rest = Rest(failures=3, seconds=1.0)
    for _ in range(3):
        assert rest.allows(10.0)
        rest.bad(10.0)
    assert rest.resting
    assert not rest.allows(10.9)
    assert [rest.allows(11.0), rest.allows(11.0), rest.allows(11.9)] == [True, False, False]
    # The first never came to an end.
    assert rest.allows(12.0)
    rest.bad(12.05)
    assert not rest.allows(13.0)
    assert rest.allows(13.05)
    rest.good()
    assert rest.allows(13.06) and rest.allows(13.06) and not rest.resting
