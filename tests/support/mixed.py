"""Rules that name upstreams of both dialects in one lab: what such a policy looks like, and what was asked of whom."""

from pathlib import Path

from harness import route, upstream

from seawall.lab import Lab

MODELS = {"OpenAI": "gpt-4o", "Anthropic": "claude-haiku-4-5"}
PATHS = {"OpenAI": "/v1", "Anthropic": ""}


def mixed(lab: Lab, folder: Path, first: str, backends: str, rule: str, extra: str = "") -> str:
    """Agents speak the dialect `first`; upstream `a` does as well, upstream `b` speaks the other one. `rule`: of the
    route, `extra`: of both upstreams."""
    key = folder / "key"
    key.write_text("sk-own")
    (second,) = set(MODELS) - {first}
    auth = f"auth: {{type: APIKey, keyFile: {key}}}\n"
    routes = route("models", PATHS[first] or "/", backends, f"dialect: {first}\n{rule}")
    for name in ("{name: b,", "{name: c,"):
        routes = routes.replace(name, f"{name} model: {MODELS[second]},")
    return (
        upstream("a", f"{lab.url}/u/a{PATHS[first]}", first, extra)
        + upstream("b", f"{lab.url}/u/b{PATHS[second]}", second, auth + extra)
        + routes
    )
