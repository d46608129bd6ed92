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
        ({"dialect": "AzureOpenAI", "baseURL": "https://a/openai/deployments/gpt"}, "error", "spec.baseURL"),
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


BEDROCK = {"dialect": "Bedrock", "baseURL": "https://bedrock-runtime.us-east-1.amazonaws.com"}
SIGNED = {"type": "AWSSigV4"}


@pytest.mark.parametrize(
    ("spec", "path", "words"),
    [
        ({"auth": None}, "spec.dialect", "Bedrock cannot take Passthrough"),
        ({"auth": {"type": "Passthrough"}}, "spec.auth", "Bedrock cannot take Passthrough"),
        ({"auth": {**SIGNED, "keyFile": "/x"}}, "spec.auth", "keyFile, header and scheme do nothing"),
        ({"auth": {**SIGNED, "profile": "p"}}, "spec.auth", "profile does nothing without credentialsFile"),
        ({"auth": SIGNED, "baseURL": "https://gateway.example.com"}, "spec.auth", "names no AWS region"),
        ({"auth": SIGNED, "hostHeader": "Passthrough"}, "spec.hostHeader", "contradicts auth type AWSSigV4"),
        ({"auth": SIGNED, "dialect": "Generic"}, "spec.auth", "which AWS service"),
        ({"auth": {**SIGNED, "service": "s3"}, "dialect": "Generic"}, "spec.auth.service", "S3 has rules of its own"),
        ({"auth": {"type": "APIKey", "keyFile": "/x", "region": "us-east-1"}}, "spec.auth", "do nothing without type"),
    ],
)
def test_what_must_not_be_said_about_signatures(spec: dict[str, Any], path: str, words: str) -> None:
    found = one(upstream(**{**BEDROCK, **spec}), route(rule()))
    assert found[:2] == ("error", path) and words in found[2]


@pytest.mark.parametrize(
    "auth",
    [SIGNED, {**SIGNED, "region": "eu-west-1", "service": "bedrock", "credentialsFile": "/x", "profile": "p"},
     {"type": "APIKey", "keyFile": "/x"}],
)  # fmt: skip
def test_a_provider_that_wants_signatures_gets_them_or_a_key(auth: dict[str, Any]) -> None:
    assert issues(upstream(**BEDROCK, auth=auth), route(rule())) == []


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.us-east-1.amazonaws.com", "us-east-1"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("vpce-0abc-xyz.bedrock-runtime.ap-southeast-2.vpce.amazonaws.com", "ap-southeast-2"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("bedrock-runtime.eu-central-1.api.aws", "eu-central-1"),
        ("us-east-1.example.com", ""),
        ("127.0.0.1", ""),
    ],
)
def test_the_region_in_a_hosts_name(host: str, region: str) -> None:
    loaded = load(upstream(dialect="Bedrock", baseURL=f"https://{host}", auth=SIGNED), route(rule()))
    assert (loaded.policy is None) == (region == "")
    if loaded.policy is not None:
        [found] = loaded.policy.upstreams.values()
        assert (found.region, found.service) == (region, "bedrock")


def test_a_credentials_file_is_looked_at_when_asked(tmp_path: Path) -> None:
    auth = {**SIGNED, "credentialsFile": str(tmp_path / "keys")}
    loaded = load(upstream(**BEDROCK, auth=auth), route(rule()))
    assert loaded.policy is not None
    [found] = unreadable_files(loaded.policy)
    assert (found.path, found.message) == (
        "Upstream default/a spec.auth.credentialsFile", "cannot be read: No such file or directory",
    )  # fmt: skip
    (tmp_path / "keys").write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    assert unreadable_files(loaded.policy) == []


def test_only_warehouses_can_be_kept_to_reads() -> None:
    for dialect in ("Trino", "ClickHouse"):
        assert issues(upstream(dialect=dialect, statements="ReadOnly"), route(rule())) == []
    for dialect in ("Generic", "OpenAI"):
        found = one(upstream(dialect=dialect, statements="ReadOnly"), route(rule()))
        assert found[:2] == ("error", "spec.statements") and "is not known" in found[2]
        assert issues(upstream(dialect=dialect, statements="Any"), route(rule())) == []
