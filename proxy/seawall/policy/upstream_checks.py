"""Checks of one upstream: fields that contradict each other, or would do nothing, or are dangerous."""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from seawall.policy.documents import Auth, ClusterUpstream, Upstream
from seawall.policy.effective import SIGNED_SERVICES, WAREHOUSES, region_of, upstream_type
from seawall.policy.issues import Issue
from seawall.policy.located import Located

_SIGNING = ("region", "service", "credentials_file", "profile")


def upstream_issues(located: Located, document: Upstream | ClusterUpstream) -> Iterable[Issue]:
    """All issues of an upstream by itself."""
    yield from _type(located, document)
    yield from _deployment(located, document)
    yield from _transport(located, document)
    if document.spec.auth is not None:
        yield from _auth(located, document.spec.auth)
    yield from _signed(located, document)
    yield from _models(located, document)
    yield from _statements(located, document)


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


def _deployment(located: Located, document: Upstream | ClusterUpstream) -> Iterable[Issue]:
    """Azure's deployments are its models: one in the baseURL would be asked whatever a request, or a rule, names."""
    base, at = document.spec.base_url, ("spec", "baseURL")
    if document.spec.dialect == "AzureOpenAI" and "/deployments" in base and located.sure(at):
        yield located.error(at, "must not name a deployment", f"end it before: {base.partition('/deployments')[0]}")


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


def _signed(located: Located, document: Upstream | ClusterUpstream) -> Iterable[Issue]:
    """A signature covers Host, so that an agent's own, made for this proxy, would be refused (SEMANTICS §9)."""
    spec, at = document.spec, ("spec", "auth")
    auth = spec.auth or Auth(type="Passthrough")
    if not (located.sure((*at, "type")) and located.sure(("spec", "dialect")) and located.sure(at)):
        return
    if auth.type == "Passthrough" and spec.dialect in SIGNED_SERVICES:
        message = f"{spec.dialect} cannot take Passthrough: agents' signatures are made for this proxy's Host"
        yield located.error(at if spec.auth else ("spec", "dialect"), message, "use auth: {type: AWSSigV4}")
    own = {name for name in _SIGNING if getattr(auth, name) is not None}
    if auth.type != "AWSSigV4":
        if own:
            message = "region, service, credentialsFile and profile do nothing without type AWSSigV4"
            yield located.error(at, message, "use type: AWSSigV4")
        return
    if auth.key_file or auth.header or auth.scheme:
        message = "keyFile, header and scheme do nothing with type AWSSigV4"
        yield located.error(at, message, "use credentialsFile, or the environment's credentials")
    if auth.profile and not auth.credentials_file and located.sure((*at, "credentialsFile")):
        yield located.error(at, "profile does nothing without credentialsFile", "AWS_PROFILE chooses one elsewhere")
    if not auth.region and not region_of(spec.base_url) and located.sure((*at, "region")):
        yield located.error(at, "baseURL's host names no AWS region", "add region, such as us-east-1")
    if not auth.service and spec.dialect not in SIGNED_SERVICES and located.sure((*at, "service")):
        yield located.error(at, "which AWS service requests are signed for is not known", "add service")
    if auth.service == "s3":
        yield located.error((*at, "service"), "S3 has rules of its own for signatures, which nothing here follows")
    if spec.host_header == "Passthrough" and located.sure(("spec", "hostHeader")):
        message = "contradicts auth type AWSSigV4: the signature covers the upstream's own Host"
        yield located.error(("spec", "hostHeader"), message, "leave hostHeader out")


def _statements(located: Located, document: Upstream | ClusterUpstream) -> Iterable[Issue]:
    spec = document.spec
    if spec.statements == "ReadOnly" and spec.dialect not in WAREHOUSES and located.sure(("spec", "dialect")):
        message = f"what a request of dialect {spec.dialect} would do is not known"
        yield located.error(("spec", "statements"), message, f"only with {', '.join(sorted(WAREHOUSES))}")


def _models(located: Located, document: Upstream | ClusterUpstream) -> Iterable[Issue]:
    seen: set[str] = set()
    for index, model in enumerate(document.spec.models or ()):
        own = (model.name,) if located.sure(("spec", "models", index, "name")) else ()
        for name in (*own, *(model.aliases or ())):
            if name in seen:
                yield located.error(("spec", "models", index), f"the name {name} is there twice")
            seen.add(name)
