from hypothesis import given
from hypothesis import strategies as st

from seawall.core.window import Window


@given(st.lists(st.tuples(st.floats(0, 4), st.integers(0, 1)), max_size=60))
def test_a_window_counts_all_of_the_last_nine_cells_and_nothing_older_than_ten(
    samples: list[tuple[float, int]],
) -> None:
    window, now, seen = Window(1.0, 10, 2), 0.0, []
    for step, counter in samples:
        now += step
        window.add(now, counter)
        seen.append((now, counter))
        for which in (0, 1):
            times = [at for at, of in seen if of == which]
            assert sum(at > now - 9 for at in times) <= window.sums[which] <= sum(at > now - 10 for at in times)


def test_a_long_silence_empties_it() -> None:
    window = Window(1.0, 10, 1)
    window.add(5.0, 0)
    window.advance(1e6)
    assert window.sums == [0]


def test_a_clock_that_seems_to_stand_still_or_go_back_loses_nothing() -> None:
    window = Window(1.0, 10, 1)
    window.add(50.0, 0)
    window.add(49.0, 0)
    assert window.sums == [2]


def test_rescaling_keeps_what_was_counted_and_forgets_it_a_whole_window_later() -> None:
    window = Window(1.0, 10, 1)
    window.add(100.0, 0)
    window.rescale(6.0)
    window.advance(150.0)
    assert window.sums == [1]
    window.advance(170.0)
    assert window.sums == [0]
