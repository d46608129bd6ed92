"""Checks of one upstream: fields that contradict each other, or would do nothing, or are dangerous."""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from seawall.policy.documents import Auth, ClusterUpstream, Upstream
from seawall.policy.effective import WAREHOUSES, upstream_type
from seawall.policy.issues import Issue
from seawall.policy.located import Located


def upstream_issues(located: Located, document: Upstream | ClusterUpstream) -> Iterable[Issue]:
    """All issues of an upstream by itself."""
    yield from _type(located, document)
    yield from _transport(located, document)
    if document.spec.auth is not None:
        yield from _auth(located, document.spec.auth)
    yield from _models(located, document)


def _type(located: Located, document: Upstream | ClusterUpstream) -> Iterable[Issue]:
    spec = document.spec
    if spec.type is None or not located.sure(("spec", "type")) or not located.sure(("spec", "dialect")):
        return
    if spec.dialect != "Generic" and spec.type != upstream_type(spec.dialect):
        kind = "a warehouse's" if spec.dialect in WAREHOUSES else "a model provider's"
        yield located.error(
            ("spec", "type"),
            f"{spec.type} contradicts dialect {spec.dialect}, which is {kind}",
            f"use {upstream_type(spec.dialect)}, or leave type out",
        )


def _transport(located: Located, document: Upstream | ClusterUpstream) -> Iterable[Issue]:
    spec = document.spec
    if spec.tls is not None and spec.tls.verification == "None":
        message = "the upstream's certificate is not verified: anyone in between can read keys and answers"
        yield located.warning(("spec", "tls", "verification"), message, "use caFile for a private CA")
    url = urlsplit(spec.base_url)
    if url.scheme != "http" or not located.sure(("spec", "baseURL")):
        return
    if spec.tls is not None:
        yield located.warning(("spec", "tls"), "does nothing for an http baseURL", "use https")
    sends_key = spec.auth is not None and spec.auth.type == "APIKey" and located.sure(("spec", "auth", "type"))
    if sends_key and not _is_loopback(url.hostname or ""):
        yield located.warning(("spec", "baseURL"), "the API key is sent unencrypted", "use https")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _auth(located: Located, auth: Auth) -> Iterable[Issue]:
    at = ("spec", "auth")
    sure_of_type = located.sure((*at, "type"))
    if sure_of_type and auth.type == "APIKey" and auth.key_file is None and located.sure((*at, "keyFile")):
        yield located.error(at, "type APIKey needs keyFile", "the path of a file that holds the key")
    if sure_of_type and auth.type == "Passthrough" and (auth.key_file or auth.header or auth.scheme):
        message = "keyFile, header and scheme do nothing with type Passthrough"
        yield located.error(at, message, "use type: APIKey")
    elif auth.scheme is not None and auth.header is None and located.sure((*at, "header")):
        hint = "such as header: Authorization, scheme: Bearer"
        yield located.error(at, "scheme does nothing without header", hint)


def _models(located: Located, document: Upstream | ClusterUpstream) -> Iterable[Issue]:
    seen: set[str] = set()
    for index, model in enumerate(document.spec.models or ()):
        own = (model.name,) if located.sure(("spec", "models", index, "name")) else ()
        for name in (*own, *(model.aliases or ())):
            if name in seen:
                yield located.error(("spec", "models", index), f"the name {name} is there twice")
            seen.add(name)
