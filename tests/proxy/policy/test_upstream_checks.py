"""What an upstream must not say, and the files that it names."""

from pathlib import Path
from typing import Any

import pytest
from policy_documents import issues, load, one, route, rule, upstream

from seawall.policy import unreadable_files


@pytest.mark.parametrize(
    ("spec", "severity", "path"),
    [
        ({"type": "Warehouse"}, "error", "spec.type"),
        ({"tls": {"verification": "None"}}, "warning", "spec.tls.verification"),
        ({"baseURL": "http://a", "tls": {"caFile": "/x"}}, "warning", "spec.tls"),
        ({"baseURL": "http://a", "auth": {"type": "APIKey", "keyFile": "/x"}}, "warning", "spec.baseURL"),
        ({"models": [{"name": "m"}, {"name": "n", "aliases": ["m"]}]}, "error", "spec.models[1]"),
        ({"auth": {"type": "APIKey"}}, "error", "spec.auth"),
        ({"auth": {"type": "Passthrough", "keyFile": "/x"}}, "error", "spec.auth"),
        ({"auth": {"type": "APIKey", "keyFile": "/x", "scheme": "Bearer"}}, "error", "spec.auth"),
        (
            {"baseURL": "http://localhost.example", "auth": {"type": "APIKey", "keyFile": "/x"}},
            "warning",
            "spec.baseURL",
        ),
    ],
)
def test_what_an_upstream_must_not_say(spec: dict[str, Any], severity: str, path: str) -> None:
    assert one(upstream(**spec), route(rule()))[:2] == (severity, path)


@pytest.mark.parametrize("host", ["127.0.0.1:80", "localhost", "[::1]:8080"])
def test_a_key_may_go_unencrypted_to_this_machine(host: str) -> None:
    assert issues(upstream(baseURL=f"http://{host}", auth={"type": "APIKey", "keyFile": "/x"}), route(rule())) == []


@pytest.mark.parametrize("content", [None, "", " \n", "a key\n"])
def test_key_files_are_looked_at_when_asked(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    loaded = load(upstream(auth={"type": "APIKey", "keyFile": str(file)}, tls={"caFile": str(tmp_path)}), route(rule()))
    assert loaded.policy is not None
    key = {None: "cannot be read: No such file or directory", "": "holds no key", " \n": "holds no key"}.get(content)
    expected = [f"{file}: error: Upstream default/a spec.auth.keyFile: {key}"] if key else []
    expected.append(f"{tmp_path}: error: Upstream default/a spec.tls.caFile: cannot be read: Is a directory")
    assert [str(issue) for issue in unreadable_files(loaded.policy)] == expected
