from seawall.core.cooldown import Cooldowns

KEY = ("openai", "gpt-5", "credential")


def test_who_never_was_refused_is_due() -> None:
    assert Cooldowns().due(KEY, 0.0)


def test_a_rest_ends_by_itself() -> None:
    cooldowns = Cooldowns()
    cooldowns.rest(KEY, 0.0, 5.0)
    assert not cooldowns.due(KEY, 4.9)
    assert cooldowns.seconds(KEY, 4.0) == 1.0
    assert cooldowns.due(KEY, 5.0)
    assert cooldowns.snapshot(5.0) == []


def test_a_shorter_hint_does_not_shorten_a_rest() -> None:
    cooldowns = Cooldowns()
    cooldowns.rest(KEY, 0.0, 30.0)
    cooldowns.rest(KEY, 1.0, 2.0)
    assert not cooldowns.due(KEY, 29.0)


def test_a_sole_candidate_is_tried_anyway() -> None:
    cooldowns = Cooldowns()
    cooldowns.rest(KEY, 0.0, 5.0)
    assert cooldowns.due(KEY, 1.0, sole=True)
    cooldowns.park(KEY, 0.0)
    assert cooldowns.due(KEY, 1.0, sole=True)


def test_a_parked_credential_is_tried_by_exactly_one_call_a_minute() -> None:
    cooldowns = Cooldowns()
    cooldowns.park(KEY, 0.0)
    tries = [tick / 10 for tick in range(6000) if cooldowns.due(KEY, tick / 10)]
    assert tries == [60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 420.0, 480.0, 540.0]


def test_asking_for_the_time_takes_no_turn() -> None:
    cooldowns = Cooldowns()
    cooldowns.park(KEY, 0.0)
    assert cooldowns.seconds(KEY, 61.0) == 0.0
    assert cooldowns.due(KEY, 61.0)
    assert not cooldowns.due(KEY, 61.0)


def test_a_success_ends_it() -> None:
    cooldowns = Cooldowns()
    cooldowns.park(KEY, 0.0)
    assert cooldowns.due(KEY, 60.0)
    cooldowns.clear(KEY, started=60.0)
    assert cooldowns.due(KEY, 61.0)
    assert cooldowns.due(KEY, 61.0)


def test_a_late_success_of_an_older_call_ends_nothing() -> None:
    cooldowns = Cooldowns()
    cooldowns.park(KEY, 10.0)
    cooldowns.clear(KEY, started=9.0)
    assert not cooldowns.due(KEY, 11.0)


def test_a_transient_429_does_not_end_a_parking() -> None:
    cooldowns = Cooldowns()
    cooldowns.park(KEY, 0.0)
    cooldowns.rest(KEY, 1.0, 600.0)
    (resting,) = cooldowns.snapshot(1.0)
    assert (resting.parked, resting.seconds) == (True, 59.0)


def test_keys_rest_apart() -> None:
    cooldowns = Cooldowns()
    cooldowns.rest(KEY, 0.0, 5.0)
    assert cooldowns.due(("openai", "gpt-5", "another credential"), 1.0)


def test_memory_is_bounded_whatever_models_agents_name() -> None:
    cooldowns = Cooldowns(limit=10)
    for number in range(1000):
        cooldowns.rest(number, number, 3600.0)
    assert [resting.key for resting in cooldowns.snapshot(1000.0)] == list(range(990, 1000))


def test_it_is_false_while_nobody_rests() -> None:
    cooldowns = Cooldowns()
    assert not cooldowns
    cooldowns.rest(KEY, 0.0, 5.0)
    assert cooldowns
