"""AWS's keys and signatures in tests. Signatures are computed a second time, from the documentation alone."""

import hashlib
import hmac
import re
from pathlib import Path
from urllib.parse import quote

KEY_ID = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<signed>[a-z0-9;-]+), Signature=(?P<signature>[0-9a-f]{64})"
)
_OWN = re.compile(rb"(?:Authorization|X-Amz-Date|X-Amz-Security-Token): [^\r\n]*\r\n")


def access_keys(folder: Path, key_id: str = KEY_ID, secret: str = SECRET, token: str = "") -> Path:
    """A credentials file as AWS's command line writes it."""
    path = folder / "credentials"
    lines = ["[default]", f"aws_access_key_id = {key_id}", f"aws_secret_access_key = {secret}"]
    path.write_text("\n".join([*lines, *([f"aws_session_token = {token}"] if token else [])]) + "\n")
    return path


def unsigned(head: bytes) -> bytes:
    """A request's head without the fields of a signature."""
    return _OWN.sub(b"", head)


def signature(head: bytes, body: bytes, secret: str = SECRET) -> dict[str, str]:
    """What a request's Authorization says. Fails unless it is right, as AWS documents Signature Version 4 ("Create a
    signed AWS API request")."""
    request, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = request.split(" ")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    said = _AUTHORIZATION.fullmatch(fields["authorization"])
    assert said is not None, fields["authorization"]
    path, _, query = target.partition("?")
    signed = said["signed"].split(";")
    assert {"host", "x-amz-date"} <= set(signed) and signed == sorted(signed)
    canonical = "\n".join(
        [method, quote(path, safe="/-_.~"), "&".join(sorted(query.split("&")))]
        + [f"{name}:{' '.join(fields[name].split())}" for name in signed]
        + ["", said["signed"], hashlib.sha256(body).hexdigest()]
    )
    scope = f"{said['day']}/{said['region']}/{said['service']}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", fields["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    assert hmac.new(key, text.encode(), "sha256").hexdigest() == said["signature"]
    return said.groupdict()
