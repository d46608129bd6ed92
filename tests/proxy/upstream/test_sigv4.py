"""Requests signed for AWS, and where the keys come from: files, the environment, a token service of the test's own."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aws import KEY_ID, SECRET, access_keys, signature
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import ClientError
from harness import until
from peers import answer, serving

from seawall.clock import SystemClock
from seawall.upstream import sigv4
from seawall.upstream.credential import Unsigned
from seawall.upstream.sigv4 import AccessKeys, Signature, Source

REGION = "us-east-1"
HEADERS = [
    (b"Host", b"bedrock-runtime.us-east-1.amazonaws.com"),
    (b"Content-Type", b"application/json"),
    (b"X-Amzn-Bedrock-Trace", b"ENABLED"),
    (b"x-amz-odd", b" two  blanks "),
    (b"User-Agent", b"anything"),
]


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    sigv4.require()


def keys_of(file: Path | None, clock: Clock | None = None, profile: str = "default") -> AccessKeys:
    return AccessKeys(Source(file, profile, REGION), clock or Clock())


def signing(keys: AccessKeys) -> Signature:
    return Signature(keys, REGION, "bedrock", frozenset())


def request(body: bytes | None = b'{"a": 1}', target: str = "/model/us.amazon.nova-micro-v1%3A0/converse") -> Unsigned:
    return Unsigned("POST", target, HEADERS, body)


def head_of(unsigned: Unsigned, fields: list[tuple[bytes, bytes]]) -> bytes:
    lines = b"".join(b"%b: %b\r\n" % field for field in [*unsigned.headers, *fields])
    return f"{unsigned.method} {unsigned.target} HTTP/1.1\r\n".encode() + lines + b"\r\n"


# -- signatures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b'{"a": 1}', bytes(range(256)) * 100])
@pytest.mark.parametrize(
    "target",
    [
        "/model/us.amazon.nova-micro-v1%3A0/converse",
        "/model/us.amazon.nova-micro-v1:0/converse",
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aprofile%2Fa/invoke?b=2&a=1&a=",
    ],
)
def test_a_signature_covers_host_path_and_body(tmp_path: Path, target: str, body: bytes) -> None:
    unsigned = request(body, target)
    fields = signing(keys_of(access_keys(tmp_path, token="a-token"))).fields(unsigned)
    assert fields is not None
    assert [name for name, _ in fields] == [b"Authorization", b"X-Amz-Date", b"X-Amz-Security-Token"]
    said = signature(head_of(unsigned, fields), body)
    assert (said["id"], said["region"], said["service"]) == (KEY_ID, REGION, "bedrock")
    assert said["signed"] == "content-type;host;x-amz-date;x-amz-odd;x-amz-security-token"


def test_a_body_that_nobody_has_seen_is_not_signed(tmp_path: Path) -> None:
    assert signing(keys_of(access_keys(tmp_path))).fields(request(None)) is None


def test_no_secret_is_in_a_repr(tmp_path: Path) -> None:
    made = signing(keys_of(access_keys(tmp_path, token="a-token")))
    assert made.usable
    shown = repr(made) + repr(made.keys) + repr(request())
    assert SECRET not in shown and "a-token" not in shown and KEY_ID not in shown


# -- a file ------------------------------------------------------------------------------------------------------------


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    clock = Clock()
    keys = keys_of(access_keys(tmp_path), clock)
    assert keys.current().secret_key == SECRET
    access_keys(tmp_path, secret="another")
    assert keys.current().secret_key == SECRET
    clock.time += 1
    assert keys.current().secret_key == "another"


@pytest.mark.parametrize("content", [None, "", "[other]\naws_access_key_id = a\n", "[default\n", "[default]\nx = y\n"])
def test_a_file_that_is_no_longer_usable_leaves_its_last_keys_in_use(tmp_path: Path, content: str | None) -> None:
    clock = Clock()
    path = access_keys(tmp_path)
    made = signing(keys_of(path, clock))
    assert made.usable and made.problem() == ""
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    clock.time += 1
    assert made.problem().startswith(f"{path}: ")
    assert made.usable and SECRET not in made.problem()
    access_keys(tmp_path)
    clock.time += 1
    assert made.problem() == ""


def test_a_file_that_never_held_keys_gives_none(tmp_path: Path) -> None:
    made = signing(keys_of(tmp_path / "missing"))
    assert not made.usable and made.fields(request()) is None
    assert made.error == f"{tmp_path / 'missing'}: No such file or directory"


def test_another_profile(tmp_path: Path) -> None:
    path = access_keys(tmp_path)
    path.write_text(path.read_text() + "[other]\naws_access_key_id = other\naws_secret_access_key = s\n")
    assert keys_of(path, profile="other").current().access_key == "other"


# -- the environment, and what is fetched ------------------------------------------------------------------------------


async def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    made = signing(keys_of(None))
    assert not made.usable, "looked for off the loop"
    await made.prepare(5)
    assert made.usable and made.keys.current().access_key == KEY_ID


async def test_no_keys_anywhere_is_told_and_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    made = signing(keys_of(None, clock))
    await made.prepare(5)
    assert not made.usable
    assert made.error.startswith("no AWS credentials")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    await made.prepare(5)
    assert not made.usable, "not at once"
    clock.time += 10
    await made.prepare(5)
    assert made.usable and made.error == ""


def refreshable(seconds: float, refresh: Callable[[], dict[str, str]]) -> RefreshableCredentials:
    return RefreshableCredentials(
        "first", "s", "t", datetime.now(UTC) + timedelta(seconds=seconds), refresh_using=refresh, method="test"
    )


def renewed() -> dict[str, str]:
    expiry = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    return {"access_key": "second", "secret_key": "s", "token": "t", "expiry_time": expiry}


class Fetching:
    """Gives keys that expire, and holds their refreshes back until it is told."""

    def __init__(self, seconds: float, refresh: Callable[[], dict[str, str]] = renewed) -> None:
        self.found = refreshable(seconds, self._refresh)
        self._then = refresh
        self.go = threading.Event()
        self.refreshes = 0
        self.threads: set[str] = set()

    def __call__(self, source: Source, found: Any) -> Any:
        self.threads.add(threading.current_thread().name)
        if found is None:
            return self.found, self.found._frozen_credentials
        return found, found.get_frozen_credentials()

    def _refresh(self) -> dict[str, str]:
        self.refreshes += 1
        assert self.go.wait(5)
        return self._then()


async def test_keys_are_refreshed_before_they_expire_while_calls_go_on() -> None:
    clock, fetching = Clock(), Fetching(12 * 60)
    keys = AccessKeys(Source(None, "default", REGION), clock, fetching)
    await keys.arrival(5)
    assert keys.current().access_key == "first"
    clock.time += 60
    assert keys.current().access_key == "first"
    await until(lambda: fetching.refreshes)
    for _ in range(5):
        clock.time += 1
        assert keys.current().access_key == "first", "nobody waits"
    fetching.go.set()
    await until(lambda: keys.current().access_key == "second")
    assert fetching.refreshes == 1
    assert fetching.threads == {"aws-credentials"}


async def test_keys_that_live_shorter_than_the_time_of_refreshing_are_not_fetched_again_and_again() -> None:
    def short() -> dict[str, str]:
        return {**renewed(), "expiry_time": (datetime.now(UTC) + timedelta(minutes=14)).isoformat()}

    clock, fetching = Clock(), Fetching(14 * 60, short)
    fetching.go.set()
    keys = AccessKeys(Source(None, "default", REGION), clock, fetching)
    await keys.arrival(5)
    for second in range(1, 125):
        clock.time += 1
        assert keys.current() is not None
        if keys._fetching is not None:
            await asyncio.wait({keys._fetching})
            assert second in (60, 120)
    assert fetching.refreshes == 2


async def test_expired_keys_are_not_used_and_calls_wait_for_the_next() -> None:
    clock, fetching = Clock(), Fetching(-1)
    keys = AccessKeys(Source(None, "default", REGION), clock, fetching)
    await keys.arrival(5)
    clock.time += 1
    assert keys.current() is None
    await keys.arrival(0.01)
    assert keys.current() is None, "the wait has a limit"
    waiting = [asyncio.create_task(keys.arrival(5)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    fetching.go.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert keys.current().access_key == "second"


async def test_a_refresh_that_fails_is_tried_again_and_told() -> None:
    def denied() -> dict[str, str]:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "secret words"}}, "AssumeRoleWithWebIdentity")

    clock, fetching = Clock(), Fetching(-1, denied)
    fetching.go.set()
    made = signing(AccessKeys(Source(None, "default", REGION), clock, fetching))
    await made.prepare(5)
    clock.time += 1
    await made.prepare(5)
    assert made.error == "AssumeRoleWithWebIdentity: AccessDenied"
    assert not made.usable and fetching.refreshes == 1
    clock.time += 5
    await made.prepare(5)
    assert fetching.refreshes == 1, "not at once"
    fetching._then = renewed
    clock.time += 10
    await made.prepare(5)
    assert made.usable and made.error == ""


async def test_keys_for_good_are_never_looked_for_again() -> None:
    clock, asked = Clock(), []

    def fetch(source: Source, found: Any) -> Any:
        asked.append(source)
        return Credentials("a", "b"), Credentials("a", "b").get_frozen_credentials()

    keys = AccessKeys(Source(None, "default", REGION), clock, fetch)
    await keys.arrival(5)
    for _ in range(5):
        clock.time += 3600
        assert keys.current().access_key == "a"
    assert len(asked) == 1


@asynccontextmanager
async def token_service(seen: list[bytes]) -> AsyncIterator[int]:
    """Answers AssumeRoleWithWebIdentity."""
    expiry = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = (
        '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        "<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>"
        f"<SecretAccessKey>role-secret</SecretAccessKey><SessionToken>role-token</SessionToken>"
        f"<Expiration>{expiry}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
        "</AssumeRoleWithWebIdentityResponse>"
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        seen.append(await reader.readexactly(length))
        writer.write(answer(body.encode(), "text/xml"))
        await writer.drain()

    async with serving(serve) as port:
        yield port


async def test_a_web_identity_is_exchanged_for_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("the.web.token")
    seen: list[bytes] = []
    async with token_service(seen) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/agents")
        made = signing(AccessKeys(Source(None, "default", REGION), SystemClock()))
        await made.prepare(20)
    assert b"WebIdentityToken=the.web.token" in seen[0]
    unsigned = request()
    fields = made.fields(unsigned)
    assert fields is not None, made.error
    assert dict(fields)[b"X-Amz-Security-Token"] == b"role-token"
    assert signature(head_of(unsigned, fields), b'{"a": 1}', "role-secret")["id"] == "ASIAROLE"


def test_without_the_library_it_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(OSError, match=r"needs seawall\[bedrock\] to be installed"):
        sigv4.require()
