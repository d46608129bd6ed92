"""The grammar of fault texts: what it reads, what it refuses."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.lab.grammar import parse, parse_model, parse_steps
from seawall.lab.plan import PRELUDE, Break, Breakage, Latency, Plan, Status, Trouble, Wire
from seawall.lab.words import WORDS, FaultSyntaxError, Word, seconds

EXAMPLES = st.sampled_from([word.example for word in WORDS])


def plan(text: str, *, elapsed: float = 0.0, nth: int = 0) -> Plan:
    return parse(text).resolve(elapsed=elapsed, nth=nth, rng=random.Random(1))


@pytest.mark.parametrize("word", WORDS, ids=lambda word: str(word.form))
def test_every_word_parses_its_example_as_itself(word: Word) -> None:
    first = next(one for one in WORDS if one.pattern.fullmatch(word.example))
    assert first.example == word.example
    assert parse(word.example).parts


def test_a_status_with_retry_after() -> None:
    assert plan("429-retry-after-2").status == Status(429, retry_after="2")
    assert plan("503").status == Status(503)


def test_words_are_joined_by_plus() -> None:
    made = plan("cut-5+gzip+latency-uniform-10ms-50ms")
    assert made.breakage == Breakage(Break.CUT, 5)
    assert made.gzip
    assert made.first_byte == Latency("uniform", 0.01, 0.05)


def test_reset_before_and_after_the_head_differ() -> None:
    assert plan("reset").wire is Wire.RESET
    assert plan("reset-0").breakage == Breakage(Break.RESET, 0)
    assert plan("reset-prelude").breakage == Breakage(Break.RESET, PRELUDE)


def test_an_error_event_names_its_trouble() -> None:
    assert plan("error-2-rate-limit").breakage == Breakage(Break.ERROR, 2, Trouble.RATE_LIMIT)
    assert plan("error-overloaded").breakage == Breakage(Break.ERROR, trouble=Trouble.OVERLOADED)


def test_parameters_follow_after_semicolons_and_the_last_takes_the_rest() -> None:
    status = plan("503; retry-after=Wed, 21 Oct 2099 07:28:00 GMT; code=busy; message=later; or = never").status
    assert status is not None
    assert status.retry_after == "Wed, 21 Oct 2099 07:28:00 GMT"
    assert status.error_code == "busy"
    assert status.message == "later; or = never"


def test_scenario_words_add_up() -> None:
    scenario = plan("tool-a,b+rounds-2+tokens-5; text=ahoy").scenario
    assert (scenario.tools, scenario.rounds, scenario.tokens, scenario.text) == (("a", "b"), 2, 5, "ahoy")


def test_a_flapping_fault_follows_the_clock() -> None:
    states = [plan("flap-2s-3s-reset", elapsed=at).healthy for at in (0.0, 1.9, 2.0, 4.9, 5.0, 6.9, 7.0)]
    assert states == [True, True, False, False, True, True, False]


def test_fail_n_spoils_the_first_n_of_each_n_plus_one() -> None:
    assert [plan("fail-2", nth=nth).healthy for nth in range(6)] == [False, False, True, False, False, True]


def test_a_flaky_fault_hits_its_share() -> None:
    rng = random.Random(3)
    spec = parse("flaky-30-cut-2")
    hits = sum(not spec.resolve(elapsed=0, nth=0, rng=rng).healthy for _ in range(4000))
    assert 0.26 < hits / 4000 < 0.34


def test_flaky_with_a_status_is_not_read_as_a_percentage() -> None:
    faults = [spec.resolve(elapsed=0, nth=0, rng=_Always()) for spec in (parse("flaky-503"), parse("flaky-100-reset"))]
    assert faults[0].status == Status(503)
    assert faults[1].wire is Wire.RESET


class _Always:
    def random(self) -> float:
        return 0.0


def test_the_parameter_p_waives_the_whole_text() -> None:
    spec = parse("503; p=0.5")
    rng = random.Random(5)
    healthy = sum(spec.resolve(elapsed=0, nth=0, rng=rng).healthy for _ in range(2000))
    assert 900 < healthy < 1100


def test_a_model_name_holds_a_fault_after_its_prefix() -> None:
    spec = parse_model("lab-503@east")
    assert spec is not None
    assert spec.text == "503"
    assert parse_model("gpt-4o") is None


def test_steps_are_separated_by_bars() -> None:
    assert [spec.text for spec in parse_steps("503 | reset|ok")] == ["503", "reset", "ok"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("cutt-5", "cutt-5"),
        ("", "''"),
        ("503+429", "contradict"),
        ("reset+silent", "contradict"),
        ("cut-2; retry-after=1", "retry-after"),
        ("503; colour=red", "colour"),
        ("503; p=2", "p must be"),
        ("fail-2-flaky", "nested"),
        ("flap-0s-0s", "period"),
        ("99", "99"),
    ],
)
def test_what_does_not_parse_is_named(text: str, named: str) -> None:
    with pytest.raises(FaultSyntaxError, match=named):
        parse(text)


@given(st.text(max_size=60))
def test_no_text_crashes_the_parser(text: str) -> None:
    try:
        parse_steps(text)
    except FaultSyntaxError:
        pass


@given(EXAMPLES, EXAMPLES)
def test_two_words_commute_or_contradict(one: str, other: str) -> None:
    results: list[Plan | None] = []
    for text in (f"{one}+{other}", f"{other}+{one}"):
        try:
            results.append(plan(text))
        except FaultSyntaxError:
            results.append(None)
    scenario_words = "tool", "rounds", "tokens", "no-tools"
    if not (one.startswith(scenario_words) and other.startswith(scenario_words)):
        conditional = "flaky", "flap", "fail"
        assert results[0] == results[1] or one.startswith(conditional) or other.startswith(conditional)


@pytest.mark.parametrize(("text", "value"), [("250ms", 0.25), ("2s", 2.0), ("1.5m", 90.0), ("3", 3.0)])
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)
