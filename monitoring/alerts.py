"""Alerts: what somebody must do something about. Each says what, and docs/troubleshooting.md has a paragraph for it.

`page`: agents are not answered, and nothing mends that by itself. `ticket`: the rest.
"""

from dataclasses import dataclass
from typing import Any

TROUBLESHOOTING = "docs/troubleshooting.md"


@dataclass(frozen=True, slots=True)
class Alert:
    """`hold`: how long it must be so before anybody is told."""

    name: str
    expression: str
    hold: str
    severity: str
    summary: str
    description: str


def _burn(window: str) -> str:
    failed = f'sum by (namespace, route) (rate(seawall_requests_total{{outcome="error"}}[{window}]))'
    return f"{failed} / sum by (namespace, route) (rate(seawall_requests_total[{window}]))"


# The SRE workbook's: 99.9 % over 30 days; 14.4 times too fast spends 2 % of the budget in an hour, 6 times 5 % in six.
_FAST, _SLOW = 0.0144, 0.006

ALERTS = (
    Alert(
        "SeawallErrorBudgetBurnsFast",
        f"{_burn('1h')} > {_FAST} and {_burn('5m')} > {_FAST}",
        "2m", "page", "Calls of {{ $labels.namespace }}/{{ $labels.route }} fail",
        "{{ $value | humanizePercentage }} of the calls of this route failed in the last hour, after all retries and "
        "failovers.",
    ),
    Alert(
        "SeawallErrorBudgetBurns",
        f"{_burn('6h')} > {_SLOW} and {_burn('30m')} > {_SLOW}",
        "15m", "ticket", "Calls of {{ $labels.namespace }}/{{ $labels.route }} fail more often than they may",
        "{{ $value | humanizePercentage }} of the calls of this route failed in the last six hours.",
    ),
    Alert(
        "SeawallBreakerOpen",
        "count by (namespace, upstream, key) (seawall_breaker_state == 2) "
        "/ on (namespace) group_left () count by (namespace) (seawall_ready) > 0.5",
        "5m", "ticket", "Upstream {{ $labels.upstream }} is kept away from",
        "More than half of the sidecars of {{ $labels.namespace }} have an open breaker for {{ $labels.upstream }} "
        "({{ $labels.key }}). Calls go to the next upstream, where there is one.",
    ),
    Alert(
        "SeawallUpstreamIsolated",
        "max by (namespace, upstream, key) (seawall_breaker_state) == 3",
        "4h", "ticket", "Upstream {{ $labels.upstream }} is still isolated by hand",
        "Somebody isolated {{ $labels.upstream }} ({{ $labels.key }}) in {{ $labels.namespace }} hours ago.",
    ),
    Alert(
        "SeawallCredentialParked",
        "max by (namespace, upstream) (seawall_credentials_parked) > 0",
        "1m", "ticket", "A credential of {{ $labels.upstream }} is out of quota",
        "One call a minute tries it again. The others go elsewhere, or fail.",
    ),
    Alert(
        "SeawallCredentialUnreadable",
        "max by (namespace, upstream) (seawall_credential_unreadable) == 1",
        "5m", "ticket", "The key of {{ $labels.upstream }} cannot be read",
        "Calls go on with the last key that was read; a pod that starts now has none.",
    ),
    Alert(
        "SeawallSidecarsStale",
        "count by (namespace) (count by (namespace, revision) (seawall_config_info)) > 1",
        "10m", "ticket", "Sidecars of {{ $labels.namespace }} run different policies",
        "For ten minutes some of them have not taken what others run: kubectl seawall status says which.",
    ),
    Alert(
        "SeawallPolicyRefused",
        "count by (namespace) (seawall_config_last_reload_successful == 0) > 0",
        "5m", "ticket", "Sidecars of {{ $labels.namespace }} refuse the policy",
        "They run the last one that was good. The EffectivePolicy's condition Programmed says why.",
    ),
    Alert(
        "SeawallCacheStoreRests",
        "max by (namespace, store) (seawall_cache_resting) == 1",
        "10m", "ticket", "The cache's store {{ $labels.store }} is left alone since it fails",
        "Calls go on without it.",
    ),
    Alert(
        "SeawallLogLosesLines",
        "sum by (namespace, pod) (rate(seawall_log_lines_dropped_total[5m])) > 0",
        "5m", "ticket", "{{ $labels.pod }} loses log lines",
        "Its log's reader is slower than it writes.",
    ),
    Alert(
        "SeawallOperatorLeaderless",
        "absent(seawall_operator_leader == 1)",
        "5m", "ticket", "No replica of seawall's operator writes",
        "Sidecars run on with what they have; edits of policies do not arrive.",
    ),
    Alert(
        "SeawallOperatorMissesChanges",
        "sum by (kind) (increase(seawall_operator_missed_changes_total[1h])) > 0",
        "15m", "ticket", "The operator's watch of {{ $labels.kind }} misses changes",
        "They were found by reading everything anew, up to five minutes late.",
    ),
    Alert(
        "SeawallOperatorCannotWrite",
        "sum by (reason) (rate(seawall_operator_api_failures_total[10m])) > 0.1",
        "15m", "ticket", "The API server refuses the operator: {{ $labels.reason }}",
        "Statuses and new pods' bundles are out of date.",
    ),
    Alert(
        "SeawallBundleTooLarge",
        "increase(seawall_operator_bundles_too_large_total[1h]) > 0",
        "5m", "ticket", "A bundle does not fit into a ConfigMap",
        "Running sidecars have it; pods that start while the operator is away do not. Split the namespace's routes.",
    ),
)  # fmt: skip


def rules() -> dict[str, Any]:
    """The spec of a PrometheusRule, which is a rules file of Prometheus as well."""
    return {
        "groups": [
            {
                "name": "seawall",
                "rules": [
                    {
                        "alert": one.name,
                        "expr": one.expression,
                        "for": one.hold,
                        "labels": {"severity": one.severity},
                        "annotations": {
                            "summary": one.summary,
                            "description": one.description,
                            "runbook": f"{TROUBLESHOOTING}#{one.name.lower()}",
                        },
                    }
                    for one in ALERTS
                ],
            }
        ]
    }


def expressions() -> list[str]:
    return [one.expression for one in ALERTS]
