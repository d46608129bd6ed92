"""Every semantic check over all documents: references, contradictions, fields that would do nothing. The same code
decides for `seawall check`, for a reload and for the operator.

It must find everything in one run, and say where: each issue is at the field that has to change.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from seawall.policy.attachments import ClusterTargetRef, TargetRef, TargetSelector
from seawall.policy.blocks import PolicyFields, RouteFields, UpstreamFields
from seawall.policy.documents import AgentRoute, ClusterUpstream, Identity, Upstream
from seawall.policy.effective import WAREHOUSES, Built, EffectivePolicy, upstream_type
from seawall.policy.issues import FieldPath, Issue, Located, did_you_mean
from seawall.policy.kinds import CONTROL_PLANE_KINDS
from seawall.policy.load import Documents
from seawall.policy.merge import AnyPolicy
from seawall.policy.merged_checks import merged_values
from seawall.policy.route_checks import routes
from seawall.policy.unimplemented import not_implemented


def check(documents: Documents, built: Built) -> list[Issue]:
    """All issues of readable documents; identical ones (a policy that does the same to many routes) once."""
    issues: list[Issue] = []
    known = documents.identities
    for located in documents.readable:
        issues += not_implemented(located)
        match located.document:
            case Upstream() | ClusterUpstream() as upstream:
                issues += _upstream(located, upstream)
            case document if isinstance(document, AnyPolicy):
                issues += _policy(located, document, documents, known)
            case document if document.KIND in CONTROL_PLANE_KINDS:
                note = "only the operator acts on this kind; the proxy ignores it"
                issues.append(located.warning(("kind",), note))
    issues += routes(built, known)
    issues += merged_values(built)
    return list(dict.fromkeys(issues))


def unreadable_files(policy: EffectivePolicy) -> list[Issue]:
    """An error for each mounted file (keys, CAs) that cannot be read now. For the start: later on a key that is gone
    is a fault of the calls that need it, not a reason to refuse a policy."""
    issues: list[Issue] = []
    for upstream in policy.upstreams.values():
        where = f"{upstream.kind} {upstream.key}"
        if upstream.auth.key_file is not None:
            issues += _unreadable(upstream.auth.key_file, f"{where} spec.auth.keyFile", "key")
        if upstream.tls.ca_file is not None:
            issues += _unreadable(upstream.tls.ca_file, f"{where} spec.tls.caFile", "certificate")
    return issues


def _unreadable(name: str, field: str, content: str) -> list[Issue]:
    try:
        with Path(name).open("rb") as file:
            found = file.read(64 * 1024).strip()
    except OSError as error:
        return [Issue("error", name, 0, field, f"cannot be read: {error.strerror}")]
    if not found:
        return [Issue("error", name, 0, field, f"holds no {content}")]
    if content == "key" and (b"\n" in found or b"\r" in found):
        return [Issue("error", name, 0, field, "holds more than one line")]
    return []


def _upstream(located: Located, document: Upstream | ClusterUpstream) -> Iterable[Issue]:
    spec = document.spec
    if spec.type is not None and spec.dialect != "Generic" and spec.type != upstream_type(spec.dialect):
        kind = "a warehouse's" if spec.dialect in WAREHOUSES else "a model provider's"
        yield located.error(
            ("spec", "type"),
            f"{spec.type} contradicts dialect {spec.dialect}, which is {kind}",
            f"use {upstream_type(spec.dialect)}, or leave type out",
        )
    url = urlsplit(spec.base_url)
    if url.scheme == "http" and spec.tls is not None:
        yield located.warning(("spec", "tls"), "does nothing for an http baseURL", "use https")
    if spec.tls is not None and spec.tls.verification == "None":
        message = "the upstream's certificate is not verified: anyone in between can read keys and answers"
        yield located.warning(("spec", "tls", "verification"), message, "use caFile for a private CA")
    if (
        url.scheme == "http"
        and not _is_loopback(url.hostname or "")
        and spec.auth is not None
        and spec.auth.type == "APIKey"
    ):
        yield located.warning(("spec", "baseURL"), "the API key is sent unencrypted", "use https")
    seen: set[str] = set()
    for index, model in enumerate(spec.models or ()):
        for name in (model.name, *(model.aliases or ())):
            if name in seen:
                yield located.error(("spec", "models", index), f"the name {name} is there twice")
            seen.add(name)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _policy(located: Located, policy: AnyPolicy, documents: Documents, known: set[Identity]) -> Iterable[Issue]:
    spec = policy.spec
    kinds: set[str] = set()
    for index, ref in enumerate(spec.target_refs or ()):
        kinds.add(ref.kind)
        at: FieldPath = ("spec", "targetRefs", index)
        if ref.kind == "ClusterUpstream" and not policy.CLUSTER_SCOPED:
            yield _needs_cluster_policy(located, at)
        else:
            yield from _target(located, policy, ref, at, documents, known)
    for index, selector in enumerate(spec.target_selectors or ()):
        kinds.add(selector.kind)
        at = ("spec", "targetSelectors", index)
        if selector.kind == "ClusterUpstream" and not policy.CLUSTER_SCOPED:
            yield _needs_cluster_policy(located, at)
        elif not _selects(policy, selector, documents):
            yield located.warning(at, f"selects no {selector.kind}")
    if not kinds:
        yield located.warning(("spec",), "targets nothing")
        return
    fields = spec.overrides or spec.defaults
    if fields is not None:
        yield from _inert_fields(located, spec.level, fields, kinds)


def _needs_cluster_policy(located: Located, at: FieldPath) -> Issue:
    # A namespace must not decide for others.
    return located.error(
        (*at, "kind"), "a ClusterUpstream belongs to no namespace", "target it with a ClusterResiliencePolicy"
    )


def _target(
    located: Located, policy: AnyPolicy, ref: TargetRef, at: FieldPath, documents: Documents, known: set[Identity]
) -> Iterable[Issue]:
    wanted = ref.namespace if isinstance(ref, ClusterTargetRef) else policy.namespace
    if ref.section_name is None and (ref.kind, wanted, ref.name) in known:
        return  # the common case, without a look at every document
    candidates = [one for one in known if one[0] == ref.kind and (not wanted or one[1] == wanted)]
    if not any(name == ref.name for _, _, name in candidates):
        where = f" in namespace {wanted}" if wanted and ref.kind != "ClusterUpstream" else ""
        hint = did_you_mean(ref.name, [name for _, _, name in candidates])
        yield located.warning((*at, "name"), f"targets nothing: there is no {ref.kind} {ref.name}{where}", hint)
    elif ref.section_name is not None:
        sections = _sections(documents.readable, ref.name, wanted)
        broken = any(one in documents.broken for one in candidates if one[2] == ref.name)
        if ref.section_name not in sections and not broken:
            hint = did_you_mean(ref.section_name, sections)
            message = f"targets nothing: AgentRoute {ref.name} has no rule of that name"
            yield located.warning((*at, "sectionName"), message, hint)


def _sections(documents: Sequence[Located], name: str, namespace: str | None) -> list[str]:
    return [
        rule.name
        for document in (located.document for located in documents)
        if isinstance(document, AgentRoute) and document.name == name and namespace in (None, document.namespace)
        for rule in document.spec.rules
        if rule.name
    ]


def _selects(policy: AnyPolicy, selector: TargetSelector, documents: Documents) -> bool:
    wanted = None if policy.CLUSTER_SCOPED else policy.namespace
    if any(kind == selector.kind and wanted in (None, namespace) for kind, namespace, _ in documents.broken):
        return True  # its labels are not known, so nothing can be said
    return any(
        selector.kind == document.KIND
        and wanted in (None, document.namespace)
        and selector.match_labels.items() <= document.labels.items()
        for document in (located.document for located in documents.readable)
    )


def _inert_fields(located: Located, level: str, fields: PolicyFields, kinds: set[str]) -> Iterable[Issue]:
    """Fields that no target of the policy takes: a breaker belongs to an upstream, retries to a route."""
    takes: set[str] = set(RouteFields.model_fields) if "AgentRoute" in kinds else set()
    if kinds & {"Upstream", "ClusterUpstream"}:
        takes |= set(UpstreamFields.model_fields)
    given = [name for name in PolicyFields.model_fields if getattr(fields, name) is not None]
    for name in given:
        if name not in takes:
            owner = "an AgentRoute" if name in RouteFields.model_fields else "an Upstream or ClusterUpstream"
            alias = PolicyFields.model_fields[name].alias or name
            message = f"belongs to {owner}; this policy targets only {' and '.join(sorted(kinds))}"
            yield located.error(("spec", level, alias), message)
    if not given:
        yield located.warning(("spec", level), "sets nothing")
