"""The alerts before Prometheus's own judge, promtool: each one fires when it must, says what it should, and is silent
otherwise."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from monitoring.alerts import ALERTS, Alert, rules

from monitoring import alerts

Series = Mapping[str, str]
"""Of a metric with its labels: its values minute by minute, in promtool's notation."""


@dataclass(frozen=True)
class Case:
    """What there is, and what the alert does `at` that time. labels: of the alert that fires; None: it does not. value:
    as its words show it."""

    about: str
    alert: str
    series: Series
    at: str
    labels: Mapping[str, str] | None = None
    value: str = ""


def fires(about: str, alert: str, series: Series, at: str, value: str = "", /, **labels: str) -> Case:
    return Case(about, alert, series, at, labels, value)


def silent(about: str, alert: str, series: Series, at: str, /) -> Case:
    return Case(about, alert, series, at)


def calls(failed: str, good: str, route: str = "chat") -> Series:
    """How many calls of a route failed so far, and how many were answered."""
    labels = f'namespace="a",pod="p",route="{route}"'
    return {
        f'seawall_requests_total{{{labels},outcome="error"}}': failed,
        f'seawall_requests_total{{{labels},outcome="primary"}}': good,
    }


def pods(metric: str, *values: str, labels: str = "", namespace: str = "a") -> Series:
    """A gauge or counter of each sidecar of a namespace."""
    more = f",{labels}" if labels else ""
    return {f'{metric}{{namespace="{namespace}",pod="p{n}"{more}}}': value for n, value in enumerate(values)}


def revisions(*names: str, namespace: str = "a") -> Series:
    """Which policy each sidecar runs."""
    return {
        f'seawall_config_info{{namespace="{namespace}",pod="p{n}",revision="{name}",version="1"}}': "1x600"
        for n, name in enumerate(names)
    }


ROUTE = {"namespace": "a", "route": "chat"}
MODEL = {"namespace": "a", "upstream": "openai", "key": "gpt-5"}
OPENAI = {"namespace": "a", "upstream": "openai"}
_MODEL, _OPENAI = 'upstream="openai",key="gpt-5"', 'upstream="openai"'
_REDIS, _UPSTREAM = 'store="Redis"', 'kind="Upstream"'
READY = pods("seawall_ready", "1x600", "1x600", "1x600")
LEADER, MISSED = "seawall_operator_leader", "seawall_operator_missed_changes_total"


def breakers(*states: str) -> Series:
    return {**READY, **pods("seawall_breaker_state", *states, labels=_MODEL)}


FAST, SLOW = "SeawallErrorBudgetBurnsFast", "SeawallErrorBudgetBurns"
OPEN, ISOLATED = "SeawallBreakerOpen", "SeawallUpstreamIsolated"
PARKED, UNREADABLE = "SeawallCredentialParked", "SeawallCredentialUnreadable"
STALE, REFUSED = "SeawallSidecarsStale", "SeawallPolicyRefused"
RESTS, LOSES = "SeawallCacheStoreRests", "SeawallLogLosesLines"
LEADERLESS, MISSES = "SeawallOperatorLeaderless", "SeawallOperatorMissesChanges"
CANNOT, LARGE = "SeawallOperatorCannotWrite", "SeawallBundleTooLarge"

CASES: Sequence[Case] = (
    fires("2 % of the calls fail", FAST, calls("0+2x90", "0+98x90"), "70m", "2%", **ROUTE),
    fires("all calls fail", FAST, calls("0+9x90", "0x90"), "5m", "100%", **ROUTE),
    silent("they have failed for a minute", FAST, calls("0+9x90", "0x90"), "2m"),
    silent("1 % of them fails", FAST, calls("0+1x90", "0+99x90"), "70m"),
    silent("an outage is over", FAST, calls("0+90x30 2700x40", "0+10x30 400+100x40"), "40m"),
    silent("none fails", FAST, calls("0x90", "0+99x90"), "70m"),
    silent("nobody calls", FAST, calls("5x90", "500x90"), "70m"),
    fires("1 % of the calls fails", SLOW, calls("0+1x400", "0+99x400"), "390m", "1%", **ROUTE),
    silent("they have failed for ten minutes", SLOW, calls("0+1x400", "0+99x400"), "10m"),
    silent("one of 200 fails", SLOW, calls("0+1x400", "0+199x400"), "390m"),
    silent("an outage has been over for an hour", SLOW, calls("0+9x60 540x90", "0+91x150"), "140m"),
    fires("two of three sidecars keep away", OPEN, breakers("2x90", "2x90", "0x90"), "10m", **MODEL),
    silent("they have for four minutes", OPEN, breakers("0x5 2x90", "0x5 2x90", "0x90"), "9m"),
    silent("one of three does", OPEN, breakers("2x90", "0x90", "0x90"), "10m"),
    silent("they probe", OPEN, breakers("1x90", "1x90", "1x90"), "10m"),
    silent("other sidecars do", OPEN, {**READY, **pods("seawall_breaker_state", "0x90", labels=_MODEL)}, "10m"),
    fires("one is isolated since yesterday", ISOLATED, breakers("3x600", "0x600"), "5h", **MODEL),
    silent("one is, for three hours", ISOLATED, breakers("3x600", "0x600"), "3h"),
    silent("one is open", ISOLATED, breakers("2x600", "0x600"), "5h"),
    fires("quota is gone", PARKED, pods("seawall_credentials_parked", "0x9", "1x9", labels=_OPENAI), "2m", **OPENAI),
    silent("quota is there", PARKED, pods("seawall_credentials_parked", "0x9", "0x9", labels=_OPENAI), "2m"),
    silent("it was gone a moment", PARKED, pods("seawall_credentials_parked", "1 0x9", labels=_OPENAI), "0m"),
    fires(
        "a key file is empty", UNREADABLE, pods("seawall_credential_unreadable", "1x9", "0x9", labels=_OPENAI), "6m",
        **OPENAI,
    ),
    silent("it is being replaced", UNREADABLE, pods("seawall_credential_unreadable", "1x2 0x9", labels=_OPENAI), "2m"),
    fires("one has not taken what others run", STALE, revisions("new", "new", "old"), "15m", namespace="a"),
    silent("all run the same", STALE, revisions("new", "new"), "15m"),
    silent("namespaces differ", STALE, {**revisions("a"), **revisions("b", namespace="b")}, "15m"),
    silent(
        "they change", STALE,
        {'seawall_config_info{namespace="a",pod="p0",revision="old"}': "1x4 _x90", **revisions("new")}, "4m",
    ),
    fires(
        "a sidecar refuses", REFUSED, pods("seawall_config_last_reload_successful", "1x9", "0x9"), "6m", namespace="a"
    ),
    silent("none refuses", REFUSED, pods("seawall_config_last_reload_successful", "1x9", "1x9"), "6m"),
    silent("one did, for two minutes", REFUSED, pods("seawall_config_last_reload_successful", "0x2 1x9"), "2m"),
    fires(
        "redis is away", RESTS, pods("seawall_cache_resting", "1x20", labels=_REDIS), "11m", namespace="a",
        store="Redis",
    ),
    silent("it comes and goes", RESTS, pods("seawall_cache_resting", "1x5 0 1x20", labels=_REDIS), "11m"),
    fires("lines are lost", LOSES, pods("seawall_log_lines_dropped_total", "0+5x20"), "7m", namespace="a", pod="p0"),
    silent("some were, once", LOSES, pods("seawall_log_lines_dropped_total", "0 5x20"), "3m"),
    silent("none are", LOSES, pods("seawall_log_lines_dropped_total", "5x20"), "12m"),
    fires("both replicas wait", LEADERLESS, pods(LEADER, "0x20", "0x20", namespace="seawall"), "6m"),
    fires("there is no replica", LEADERLESS, {}, "6m"),
    silent("one leads", LEADERLESS, pods(LEADER, "1x20", "0x20", namespace="seawall"), "6m"),
    silent("one takes over", LEADERLESS, pods(LEADER, "1x3 0x20", "0x6 1x20", namespace="seawall"), "6m"),
    fires(
        "a change was missed", MISSES, pods(MISSED, "0x5 1x90", labels=_UPSTREAM), "25m", kind="Upstream",
    ),
    silent(
        "one was two hours ago", MISSES,
        pods(MISSED, "0x5 1x200", labels=_UPSTREAM), "130m",
    ),
    silent("one was just now", MISSES, pods(MISSED, "0x5 1x90", labels=_UPSTREAM), "15m"),
    silent("none was", MISSES, pods(MISSED, "0x90", labels=_UPSTREAM), "25m"),
    fires(
        "twelve calls a minute fail", CANNOT,
        pods("seawall_operator_api_failures_total", "0+12x90", labels='reason="Forbidden"'), "30m", reason="Forbidden",
    ),
    silent(
        "three a minute do", CANNOT, pods("seawall_operator_api_failures_total", "0+3x90", labels='reason="Conflict"'),
        "30m",
    ),
    silent(
        "they did for five minutes", CANNOT,
        pods("seawall_operator_api_failures_total", "0+60x5 300x90", labels='reason="Forbidden"'), "8m",
    ),
    fires(
        "one does not fit", LARGE, pods("seawall_operator_bundles_too_large_total", "0x5 1x90"), "15m", namespace="a",
        pod="p0",
    ),
    silent("one does not, since now", LARGE, pods("seawall_operator_bundles_too_large_total", "0x5 1x90"), "9m"),
    silent("all fit", LARGE, pods("seawall_operator_bundles_too_large_total", "0x90"), "15m"),
    silent("one did not this morning", LARGE, pods("seawall_operator_bundles_too_large_total", "0x5 1x200"), "90m"),
)  # fmt: skip


def promtool(*words: str) -> str:
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart's alerts as a rules file."""
    file = tmp_path_factory.mktemp("alerts") / "alerts.yaml"
    file.write_text(yaml.safe_dump(rules()))
    return file


def test_they_are_rules(written: Path) -> None:
    assert f"SUCCESS: {len(ALERTS)} rules found" in promtool("check", "rules", str(written))


def test_each_of_them_is_tried_both_ways() -> None:
    assert {case.alert for case in CASES if case.labels is not None} == {alert.name for alert in ALERTS}
    assert {case.alert for case in CASES if case.labels is None} == {alert.name for alert in ALERTS}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}-{case.about}".replace(" ", "_"))
def test_it_fires_when_it_must_and_only_then(written: Path, tmp_path: Path, case: Case) -> None:
    alert = next(one for one in alerts.ALERTS if one.name == case.alert)
    expected = [] if case.labels is None else [_expected(alert, case, case.labels)]
    trial = {
        "rule_files": [str(written)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected}],
            }
        ],
    }
    file = tmp_path / "trial.yaml"
    file.write_text(yaml.safe_dump(trial))
    promtool("test", "rules", str(file))


def _expected(alert: Alert, case: Case, labels: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
    """The alert as it is sent, with its words filled in."""

    def filled(words: str) -> str:
        for name, value in labels.items():
            words = words.replace(f"{{{{ $labels.{name} }}}}", value)
        words = words.replace("{{ $value | humanizePercentage }}", case.value)
        assert "{{" not in words, words
        return words

    (rule,) = (one for one in rules()["groups"][0]["rules"] if one["alert"] == alert.name)
    annotations = {name: filled(words) for name, words in rule["annotations"].items()}
    return {"exp_labels": {**labels, **rule["labels"]}, "exp_annotations": annotations}
