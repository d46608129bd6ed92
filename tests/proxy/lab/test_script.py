"""Scripts: steps, schedules and windows, and which one decides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.lab.script import Phase, ScriptDocument, Scripts, Step, Window
from seawall.lab.words import FaultSyntaxError


def faults(scripts: Scripts, times: list[float], upstream: str = "east") -> list[str | None]:
    return [spec.text if (spec := scripts.next(upstream, "m", "/p", at)) else None for at in times]


def scripted(document: ScriptDocument, at: float = 0.0) -> Scripts:
    scripts = Scripts()
    scripts.set([document], at)
    return scripts


def test_steps_are_taken_one_per_attempt_and_then_the_rest_applies() -> None:
    scripts = scripted(ScriptDocument(steps=["503", Step("reset", times=2)], then="429"))
    assert faults(scripts, [0.0] * 5) == ["503", "reset", "reset", "429", "429"]


def test_repeated_steps_begin_again() -> None:
    assert faults(scripted(ScriptDocument(steps=["503", "ok"], repeat=True)), [0.0] * 4) == ["503", "ok", "503", "ok"]


def test_a_schedule_runs_from_the_moment_it_was_set() -> None:
    phases = [Phase("ok", "2s"), Phase("503", 2)]
    scripts = scripted(ScriptDocument(schedule=phases, then="reset"), at=100.0)
    assert faults(scripts, [100.0, 101.9, 102.0, 103.9, 104.0]) == ["ok", "ok", "503", "503", "reset"]


def test_a_repeated_schedule_flaps() -> None:
    scripts = scripted(ScriptDocument(schedule=[Phase("ok", 2), Phase("503", 2)], repeat=True))
    assert faults(scripts, [0.5, 2.5, 4.5, 6.5]) == ["ok", "503", "ok", "503"]


def test_outage_windows_hold_only_within_their_bounds() -> None:
    scripts = scripted(ScriptDocument(windows=[Window("503", 5, "25s")]))
    assert faults(scripts, [4.9, 5.0, 24.9, 25.0]) == ["ok", "503", "503", "ok"]


def test_the_most_exact_script_decides_whatever_the_order() -> None:
    for order in (False, True):
        scripts = Scripts()
        documents = [ScriptDocument(steps=["500"], repeat=True)]
        documents.append(ScriptDocument(upstream="east", path="/p", steps=["503"], repeat=True))
        for document in reversed(documents) if order else documents:
            scripts.set([document], 0.0)
        assert faults(scripts, [0.0]) == ["503"]
        assert faults(scripts, [0.0], upstream="west") == ["500"]


def test_a_script_for_another_upstream_says_nothing() -> None:
    assert faults(scripted(ScriptDocument(upstream="west", steps=["503"])), [0.0]) == [None]


def test_setting_the_same_match_replaces_and_clearing_forgets() -> None:
    scripts = scripted(ScriptDocument(upstream="east", steps=["503"]))
    scripts.set([ScriptDocument(upstream="east", steps=["429"])], 0.0)
    assert faults(scripts, [0.0]) == ["429"]
    assert scripts.clear(upstream="east") == 1
    assert faults(scripts, [0.0]) == [None]


@pytest.mark.parametrize(
    "document",
    [
        ScriptDocument(),
        ScriptDocument(steps=["503"], windows=[]),
        ScriptDocument(steps=["no such fault"]),
        ScriptDocument(steps=[Step("503", times=1_000_000)]),
        ScriptDocument(schedule=[Phase("503", "soon")]),
        ScriptDocument(schedule=[Phase("503", -1)]),
    ],
)
def test_a_bad_script_is_refused_and_changes_nothing(document: ScriptDocument) -> None:
    scripts = scripted(ScriptDocument(steps=["503"], repeat=True))
    with pytest.raises(FaultSyntaxError):
        scripts.set([ScriptDocument(steps=["429"]), document], 0.0)
    assert faults(scripts, [0.0]) == ["503"]


@given(st.lists(st.tuples(st.sampled_from(["ok", "503", "reset"]), st.integers(1, 5)), max_size=6), st.integers(0, 40))
def test_steps_play_exactly_their_list(steps: list[tuple[str, int]], attempts: int) -> None:
    scripts = scripted(ScriptDocument(steps=[Step(*step) for step in steps], then="429"))
    expected = [fault for fault, times in steps for _ in range(times)]
    expected += ["429"] * attempts
    assert faults(scripts, [0.0] * attempts) == expected[:attempts]
