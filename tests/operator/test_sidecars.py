"""Who runs what: by the sidecars' own word, and only of those that were seen lately."""

import pytest

from seawall_operator import sidecars
from seawall_operator.sidecars import SEEN_SECONDS, Counts, Report, Sidecars

KEY = ("team", "default")


def test_a_sidecar_counts_for_what_it_says_that_it_runs() -> None:
    known = Sidecars()
    assert known.say(KEY, "a", Report("r1", at=1.0))
    assert known.say(KEY, "b", Report("r0", refused="r1", error="no such field", at=1.0))
    assert known.say(KEY, "c", Report("r0", at=1.0))
    counts = known.counts(KEY, "r1", 2.0)
    assert (counts.total, counts.current, counts.stale, counts.rejected) == (3, 1, 1, 1)
    assert counts.error == "no such field" and counts.synced == "1/3"
    assert known.counts(("team", "other"), "r1", 2.0) == Counts()


def test_the_same_again_is_no_news_and_an_older_word_counts_for_nothing() -> None:
    known = Sidecars()
    known.say(KEY, "a", Report("r1", at=5.0))
    assert not known.say(KEY, "a", Report("r1", at=6.0))
    assert not known.say(KEY, "a", Report("r0", at=1.0))
    assert known.counts(KEY, "r1", 6.0).current == 1


def test_who_was_not_seen_for_a_minute_does_not_count_and_is_forgotten() -> None:
    known = Sidecars()
    known.say(KEY, "a", Report("r1", at=0.0))
    assert known.counts(KEY, "r1", SEEN_SECONDS).total == 1
    assert known.counts(KEY, "r1", SEEN_SECONDS + 0.1).total == 0
    assert known.forget(SEEN_SECONDS + 0.1) == {KEY} and not list(known.all())


def test_memory_is_bounded_whatever_says_it_is_a_sidecar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecars, "MAX_SIDECARS", 3)
    known = Sidecars()
    for number in range(10):
        known.say(KEY, f"p{number}", Report("r", at=float(number)))
    assert [pod for _, pod, _ in known.all()] == ["p7", "p8", "p9"]


def test_a_pod_has_one_profile_whatever_it_says() -> None:
    known = Sidecars()
    for number in range(100):
        assert known.say(("team", f"invented-{number}"), "a", Report("r", at=float(number)))
    assert [(key, pod) for key, pod, _ in known.all()] == [(("team", "invented-99"), "a")]
    assert not known.say(("team", "invented-5"), "a", Report("r", at=5.0)), "an older word"
    assert known.profiles() == {"team": ["invented-99"]}
