"""The short way for the hits that nearly all are comes to what the long way would have come to."""

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from seawall.core import cache_fields as fields
from seawall.core import cache_model as model
from seawall.core.cache import CacheSettings, Hit, Stored, decide
from seawall.core.cache_fields import Directives

T = 1_764_000_000.0

# Close to one another as well, so that edges are met.
spans = st.one_of(st.integers(-20, 20).map(float), st.floats(-1e6, 1e6), st.sampled_from([0.0, -10.0, 10.0, 60.0]))
soon = st.one_of(st.integers(0, 20).map(float), st.floats(0, 100), spans)
policies = st.builds(
    CacheSettings,
    ttl=st.sampled_from([1e6, 60.0, 10.0, 0.0]),
    while_revalidate=st.sampled_from([0.0, 10.0, 1e6]),
    if_error=st.sampled_from([0.0, 10.0, 1e6]),
    negative_ttl=st.sampled_from([0.0, 5.0, 1e6]),
)


@st.composite
def kept(draw: st.DrawFn) -> Stored:
    came = T + draw(spans)
    return Stored(
        draw(st.sampled_from([200, 201, 400, 404, 413, 422])),
        draw(st.sampled_from([[], [(b"Age", b"900")], [(b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT")]])),
        draw(st.one_of(st.floats(1, 1e6), spans)),
        came - draw(st.one_of(st.floats(0, 30), spans)),
        came,
        draw(st.booleans()),
    )


def at_length(stored: Stored, policy: CacheSettings, now: float) -> object:
    return decide(fields.NONE, model._within(stored, policy), model._windows(stored, policy), [], now)


@settings(max_examples=800)
@given(kept(), policies, soon)
@example(Stored(200, [], 60, T, T), CacheSettings(ttl=60), 59.9)
@example(Stored(200, [], 60, T, T), CacheSettings(ttl=60), 60.0)
@example(Stored(404, [], 60, T, T), CacheSettings(ttl=60, negative_ttl=5), 5.0)
@example(Stored(200, [], 60, T + 1, T), CacheSettings(ttl=60), 1.0)
def test_where_the_short_way_answers_the_long_way_says_the_same(
    stored: Stored, policy: CacheSettings, later: float
) -> None:
    now = stored.response_time + later
    short, long = model._plainly(stored, policy, now), at_length(stored, policy, now)
    if short is not None:
        assert isinstance(long, Hit)
        assert (short.ttl, short.not_modified) == (long.ttl, long.not_modified)
        assert abs(short.age - long.age) < 1e-5
        assert short.age >= 0 and short.ttl > 0
    elif isinstance(long, Hit):
        # It leaves only what is odd: clocks that went back.
        assert now < stored.response_time or stored.response_time < stored.request_time
    found = model.look_up(fields.NONE, stored, policy, now)
    assert found == (short if short is not None else long)


@settings(max_examples=300)
@given(kept(), policies, soon)
def test_an_agent_that_wishes_nothing_in_as_many_words_is_told_the_same(
    stored: Stored, policy: CacheSettings, later: float
) -> None:
    now, wordy = stored.response_time + later, Directives()
    assume(wordy is not fields.NONE)
    plainly, at_ease = model.look_up(fields.NONE, stored, policy, now), model.look_up(wordy, stored, policy, now)
    if isinstance(plainly, Hit):
        assert isinstance(at_ease, Hit)
        assert abs(plainly.age - at_ease.age) < 1e-5 and plainly.ttl == at_ease.ttl
    else:
        assert plainly == at_ease
