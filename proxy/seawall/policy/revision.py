"""The name of a policy's content: equal revisions mean equal behaviour. It must never depend on where a document came
from."""

import hashlib
import json
from collections.abc import Sequence

from seawall.policy.attached import AnyPolicy, age
from seawall.policy.documents import AgentRoute
from seawall.policy.kinds import CONTROL_PLANE_KINDS
from seawall.policy.located import Located


def revision(documents: Sequence[Located]) -> str:
    """A hash of everything that decides the effective policy: identities, labels (selectors read them), specs, the
    order of routes and that of policies by age. Status and other metadata do not count, nor does the files' layout."""
    items: list[list[object]] = []
    policies: list[tuple[AnyPolicy, list[object]]] = []
    routes: list[list[object]] = []
    for document in (located.document for located in documents):
        if document.KIND in CONTROL_PLANE_KINDS:
            continue
        spec = document.model_dump(include={"spec"}, by_alias=True, exclude_none=True)["spec"]
        item: list[object] = [*document.identity, document.labels, spec]
        if isinstance(document, AnyPolicy):
            policies.append((document, item))
        else:
            (routes if isinstance(document, AgentRoute) else items).append(item)
    items.sort(key=lambda item: [str(part) for part in item[:3]])
    policies.sort(key=lambda pair: age(pair[0]))
    content = [items, [item for _, item in policies], routes]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"
