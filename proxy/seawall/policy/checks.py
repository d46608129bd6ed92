"""Every semantic check over all documents: references, contradictions, fields that would do nothing. The same code
decides for `seawall check`, for a reload and for the operator.

It must find everything in one run, and say where: each issue is at the field that has to change. It looks at what is
left of documents that are partly wrong too, and must never report what only follows from another error.
"""

from collections.abc import Iterable
from pathlib import Path

from seawall.policy.attached import AnyPolicy
from seawall.policy.documents import AgentRoute, ClusterUpstream, Upstream
from seawall.policy.effective import Built, EffectivePolicy
from seawall.policy.fallback_checks import fallback_issues
from seawall.policy.inventory import Documents, Inventory
from seawall.policy.issues import Issue
from seawall.policy.kinds import CONTROL_PLANE_KINDS
from seawall.policy.located import Located
from seawall.policy.merged_checks import merged_values
from seawall.policy.policy_checks import policies
from seawall.policy.route_checks import routes
from seawall.policy.shadow_checks import shadow_issues
from seawall.policy.unimplemented import not_implemented
from seawall.policy.upstream_checks import upstream_issues


def check(documents: Documents, built: Built) -> list[Issue]:
    """All issues of what was read, in no particular order; a policy that does the same to many routes repeats it."""
    inventory = Inventory(documents)
    issues: list[Issue] = []
    for located in documents.readable:
        issues += _scope(located)
        issues += not_implemented(located)
        issues += fallback_issues(located)
        match located.document:
            case Upstream() | ClusterUpstream() as document:
                issues += upstream_issues(located, document)
            case document if document.KIND in CONTROL_PLANE_KINDS:
                note = "only the operator acts on this kind; the proxy ignores it"
                issues.append(located.warning(("kind",), note))
    issues += policies([one for one in documents.readable if isinstance(one.document, AnyPolicy)], documents, inventory)
    issues += routes(built, inventory)
    enforced = list(merged_values(built))
    issues += enforced
    issues += shadow_issues(documents, built, enforced)
    if documents.readable and not inventory.has_kind(AgentRoute.KIND):
        issues.append(Issue("warning", "policy", 0, "", "there is no AgentRoute: every request will be answered 404"))
    return issues


def _scope(located: Located) -> Iterable[Issue]:
    document = located.document
    if document.CLUSTER_SCOPED and document.metadata.namespace is not None and located.sure(("kind",)):
        message = f"a {document.KIND} is cluster-scoped: remove metadata.namespace"
        yield located.error(("metadata", "namespace"), message)


def unreadable_files(policy: EffectivePolicy) -> list[Issue]:
    """An error for each mounted file (keys, CAs) that cannot be read now. For the start: later on a key that is gone
    is a fault of the calls that need it, not a reason to refuse a policy."""
    issues: list[Issue] = []
    for upstream in policy.upstreams.values():
        where = f"{upstream.kind} {upstream.key}"
        if upstream.auth.key_file is not None:
            issues += _unreadable(upstream.auth.key_file, f"{where} spec.auth.keyFile", "key")
        if upstream.auth.credentials_file is not None:
            issues += _unreadable(upstream.auth.credentials_file, f"{where} spec.auth.credentialsFile", "credentials")
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
