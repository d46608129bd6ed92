"""How a process is told on the command line which operator to follow."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from seawall.arguments import Option
from seawall.terminal import Unusable

if TYPE_CHECKING:
    from seawall.follow import Following


def following(arguments: argparse.Namespace) -> "Following | None":
    """None: policies come from files. Raises Unusable for half of it."""
    from seawall.follow import Following

    # The demo has no such options.
    if not getattr(arguments, "operator", None):
        return None
    if arguments.profile is None:
        raise Unusable("--operator needs --profile NAMESPACE/NAME")
    namespace, name = arguments.profile
    return Following(
        url=arguments.operator,
        namespace=namespace,
        profile=name,
        token_file=Path(arguments.operator_token),
        ca_file=Path(arguments.operator_ca) if arguments.operator_ca else None,
        state=Path(arguments.state) if arguments.state else None,
        bundle_file=Path(arguments.bundle) if arguments.bundle else None,
    )


def _url(text: str) -> str:
    """Of an operator's bundle service, without a slash at its end; "" for none."""
    from urllib.parse import urlsplit

    url = urlsplit(text)
    loopback = url.hostname in ("127.0.0.1", "::1", "localhost")
    if text and ((url.scheme != "https" and not (url.scheme == "http" and loopback)) or not url.hostname):
        raise ValueError("is no https URL, such as https://seawall-operator.seawall.svc:8443")
    return text.rstrip("/")


def _profile(text: str) -> tuple[str, str] | None:
    """NAMESPACE/NAME of a SidecarProfile; None for none."""
    namespace, slash, name = text.partition("/")
    if text and not (slash and namespace and name and "/" not in name):
        raise ValueError("is not NAMESPACE/NAME, such as team-a/default")
    return (namespace, name) if text else None


OPTIONS = (
    Option("--operator", _url, "", "where policies come from; --policy then holds where it has none", "URL"),
    Option("--profile", _profile, "", "the SidecarProfile whose policies these are", "NAMESPACE/NAME"),
    Option("--operator-token", str, "/var/run/seawall/token", "a file with the token for the operator", "FILE"),
    Option("--operator-ca", str, "", "certificates (PEM) that the operator is trusted by", "FILE"),
    Option("--state", str, "", "where the last good policy is kept for the next start", "FOLDER"),
    Option("--bundle", str, "", "the operator's policy for a start without it", "FILE"),
)
