"""What the dashboard shows, in the order in which somebody who was woken up looks: are calls answered, how fast; what
is wrong upstream; what the cache does; what sidecars need, and whether they run the policy that holds; the operator."""

from dataclasses import dataclass

WHERE = 'namespace=~"$namespace",pod=~"$pod"'


@dataclass(frozen=True, slots=True)
class Panel:
    """`queries`: legend and expression; `$where` in one selects the pods. `about`: what it means for an agent."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    about: str = ""
    kind: str = "timeseries"


def _rate(name: str, by: str, more: str = "") -> str:
    return f"sum by ({by}) (rate({name}{{$where{more}}}[$__rate_interval]))"


def _quantile(quantile: str, name: str, by: str) -> str:
    return f"histogram_quantile({quantile}, sum by (le, {by}) (rate({name}_bucket{{$where}}[$__rate_interval])))"


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Calls",
        (
            Panel(
                "Answered",
                (
                    (
                        "{{route}}",
                        '1 - sum by (route) (rate(seawall_requests_total{$where,outcome="error"}[$__rate_interval])) '
                        "/ sum by (route) (rate(seawall_requests_total{$where}[$__rate_interval]))",
                    ),
                ),
                "percentunit",
                "What agents get. A route without failures has no line.",
                "timeseries",
            ),
            Panel("Calls", (("{{route}}", _rate("seawall_requests_total", "route")),), "reqps"),
            Panel(
                "How they were answered",
                (("{{outcome}}", _rate("seawall_requests_total", "outcome")),),
                "reqps",
                "primary, retry, hedge, failover, cache, stale, static, error.",
            ),
            Panel("Why they failed", (("{{fault}}", _rate("seawall_requests_total", "fault", ',fault!=""')),), "reqps"),
            Panel(
                "Until the first content",
                (
                    ("p50 {{route}}", _quantile("0.5", "seawall_first_content_seconds", "route")),
                    ("p99 {{route}}", _quantile("0.99", "seawall_first_content_seconds", "route")),
                ),
                "s",
            ),
            Panel(
                "Until the end",
                (("p99 {{route}}", _quantile("0.99", "seawall_request_duration_seconds", "route")),),
                "s",
            ),
            Panel(
                "seawall's own share", (("p99 {{route}}", _quantile("0.99", "seawall_overhead_seconds", "route")),), "s"
            ),
            Panel("Tokens", (("{{kind}} {{model}}", _rate("seawall_tokens_total", "kind, model")),)),
        ),
    ),
    (
        "Upstreams",
        (
            Panel(
                "Breakers",
                (("{{upstream}} {{key}}", "max by (upstream, key) (seawall_breaker_state{$where})"),),
                about="0 closed, 1 half-open, 2 open, 3 isolated by hand; -1 forced closed. The worst of all sidecars.",
            ),
            Panel(
                "Sidecars that keep away",
                (
                    (
                        "{{upstream}} {{key}}",
                        "count by (upstream, key) (seawall_breaker_state{$where} >= 2)",
                    ),
                ),
            ),
            Panel(
                "Service level",
                (("{{upstream}}", "min by (upstream) (seawall_upstream_service_level{$where})"),),
                "percentunit",
                "1 full, 0.5 degraded, 0 offline.",
            ),
            Panel(
                "Attempts that failed",
                (("{{upstream}} {{result}}", _rate("seawall_attempts_total", "upstream, result", ',result!="ok"')),),
                "reqps",
                "What seawall absorbs: look here for why, not for whether.",
            ),
            Panel(
                "Retries, hedges, races won",
                (
                    ("retries", _rate("seawall_retries_total", "route")),
                    ("hedges {{route}}", _rate("seawall_hedges_total", "route")),
                    ("won by {{winner}}", _rate("seawall_races_total", "winner")),
                ),
                "reqps",
            ),
            Panel(
                "Paid for, not used",
                (("{{upstream}} {{kind}}", _rate("seawall_wasted_tokens_total", "upstream, kind")),),
            ),
            Panel(
                "Credentials without quota",
                (("{{upstream}}", "max by (upstream) (seawall_credentials_parked{$where})"),),
            ),
            Panel(
                "Keys that cannot be read",
                (("{{upstream}}", "sum by (upstream) (seawall_credential_unreadable{$where})"),),
            ),
            Panel(
                "Models that rest after a 429",
                (("{{upstream}}", "sum by (upstream) (seawall_cooldowns_active{$where})"),),
            ),
            Panel(
                "Attempts under way and calls that wait",
                (
                    ("{{upstream}}", "sum by (upstream) (seawall_upstream_requests_in_flight{$where})"),
                    ("{{upstream}} waiting", "sum by (upstream) (seawall_upstream_queue_depth{$where})"),
                ),
            ),
        ),
    ),
    (
        "Cache",
        (
            Panel(
                "What it did",
                (("{{result}}", _rate("seawall_cache_requests_total", "result")),),
                "reqps",
                "Nothing here: no policy has a cache.",
            ),
            Panel("Tokens not billed again", (("{{kind}}", _rate("seawall_cache_saved_tokens_total", "kind")),)),
            Panel(
                "Stores",
                (
                    ("{{store}}", "sum by (store) (seawall_cache_bytes{$where})"),
                    ("{{store}} limit", "sum by (store) (seawall_cache_bytes_limit{$where})"),
                ),
                "bytes",
            ),
            Panel("Stores that rest", (("{{store}}", "sum by (store) (seawall_cache_resting{$where})"),)),
        ),
    ),
    (
        "Sidecars",
        (
            Panel(
                "Takes calls",
                (("ready", "sum(seawall_ready{$where})"), ("not ready", "count(seawall_ready{$where} == 0)")),
            ),
            Panel(
                "Policies that run",
                (("{{revision}}", "count by (revision) (seawall_config_info{$where})"),),
                about="One line for each revision. Namespaces differ; within one there should be one.",
            ),
            Panel(
                "Policies refused",
                (("{{pod}}", "count by (pod) (seawall_config_last_reload_successful{$where} == 0)"),),
            ),
            Panel(
                "Calls and streams under way",
                (
                    ("calls", "sum(seawall_requests_in_flight{$where})"),
                    ("streams", "sum(seawall_streams_open{$where})"),
                ),
            ),
            Panel(
                "Memory of the largest",
                (
                    (
                        "{{pod}}",
                        'topk(10, max by (namespace, pod) (process_resident_memory_bytes{$where,container="seawall"}))',
                    ),
                ),
                "bytes",
            ),
            Panel(
                "CPU of the busiest",
                (
                    (
                        "{{pod}}",
                        'topk(10, max by (namespace, pod) (rate(process_cpu_seconds_total{$where,container="seawall"}'
                        "[$__rate_interval])))",
                    ),
                ),
                "short",
            ),
            Panel("Log lines lost", (("{{log}}", _rate("seawall_log_lines_dropped_total", "log")),)),
        ),
    ),
    (
        "Operator",
        (
            Panel(
                "Sidecars seen",
                (("{{state}}", "max by (state) (seawall_operator_sidecars)"),),
                about="Whether they run what is served. The replica that leads knows of all.",
            ),
            Panel("Who writes", (("{{pod}}", "max by (pod) (seawall_operator_leader)"),), about="One of them, always."),
            Panel(
                "Calls to the API server that failed",
                (("{{reason}}", "sum by (reason) (rate(seawall_operator_api_failures_total[$__rate_interval]))"),),
                "reqps",
            ),
            Panel(
                "Changes missed by watches",
                (("{{kind}}", "sum by (kind) (increase(seawall_operator_missed_changes_total[$__rate_interval]))"),),
            ),
            Panel(
                "Time to compile",
                (
                    (
                        "p99",
                        "histogram_quantile(0.99, sum by (le) "
                        "(rate(seawall_operator_render_seconds_bucket[$__rate_interval])))",
                    ),
                ),
                "s",
            ),
        ),
    ),
)
