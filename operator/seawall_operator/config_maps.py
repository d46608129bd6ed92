"""The operator's ConfigMaps, which are all that it has to remember by: the bundles that new pods start from, what
sidecars trust the operator by, and the version of each document that was accepted last, which an operator that starts
beside a wrong document goes on with. Pure.
"""

import base64
import binascii
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from seawall.policy.bundle import Bundle, pack
from seawall.policy.documents import Identity
from seawall_operator.render import CLUSTER, INPUTS, Documents
from seawall_operator.resources import FIELD_MANAGER, Object, identity
from seawall_operator.sidecar_container import BUNDLE_FILE, CA_CONFIG_MAP, CA_FILE, bundle_name

MAX_BYTES = 1_000_000
"""Of what one ConfigMap holds: the API server takes 1 MiB."""
REVISION, SEQUENCE = "seawall.dev/revision", "seawall.dev/sequence"
LABELS = {"app.kubernetes.io/managed-by": "seawall-operator", "app.kubernetes.io/part-of": "seawall"}
ACCEPTED, ACCEPTED_CLUSTER = "seawall-accepted", "seawall-accepted-cluster"
"""The second is of documents that belong to no namespace, in the operator's own."""
ACCEPTED_FILE = "documents.json.gz"
MAX_UNPACKED = 64 * 2**20
CONTENT = "seawall.dev/content"

Place = tuple[str, str]
"""(namespace, name)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One that there is to be. `fill` makes its data, which costs more than to see that it is there already."""

    place: Place
    revision: str
    fill: Callable[[], Mapping[str, Any]]
    content: str
    sequence: int | None = None

    def body(self) -> dict[str, Any]:
        namespace, name = self.place
        annotations = {REVISION: self.revision, **({SEQUENCE: str(self.sequence)} if self.sequence is not None else {})}
        labels = {**LABELS, CONTENT: self.content}
        metadata = {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **self.fill()}


def bundles(namespace: str, made: Iterable[Bundle]) -> Iterator[Wanted]:
    """Of the namespace's routes; without any, none."""
    for one in made:
        if one.namespace == namespace and one.policy.routes:
            place = namespace, bundle_name(one.profile)
            yield Wanted(place, one.revision, partial(_bundle, one), "bundle", one.sequence)


def trust(namespace: str, authority: str) -> Iterator[Wanted]:
    """`authority`: PEM; "" where sidecars' trust is not the operator's business."""
    if authority:
        revision = _hash(authority.encode())
        yield Wanted((namespace, CA_CONFIG_MAP), revision, lambda: {"data": {CA_FILE: authority}}, "authority")


def accepted(namespace: str, home: str, documents: Documents, known: Mapping[Identity, Object]) -> Iterator[Wanted]:
    """`known`: the version of each document that was accepted last. `home`: the operator's own namespace."""
    found = [known[key] for obj in documents.of(namespace, *INPUTS) if (key := identity(obj)) in known]
    if found:
        place = (home, ACCEPTED_CLUSTER) if namespace == CLUSTER else (namespace, ACCEPTED)
        yield Wanted(place, _version(found), lambda: _binary(ACCEPTED_FILE, _packed(found)), "accepted")


def accepted_in(config_map: Object) -> list[Object]:
    """The documents. Raises ValueError where it was spoiled."""
    try:
        packed = base64.b64decode(config_map["binaryData"][ACCEPTED_FILE])
        unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        found: list[Object] = json.loads(unpacking.decompress(packed, MAX_UNPACKED))
        for one in found:
            identity(one)
    except (KeyError, TypeError, AttributeError, binascii.Error, zlib.error) as error:
        raise ValueError(f"no documents in it ({type(error).__name__})") from None
    return found


def revision_of(config_map: Object) -> str:
    """Of what is in it; "" where that is not what the operator wrote. Its content is not looked at, which would be much
    to read: who changes a field is its manager from then on, and who deletes it leaves none."""
    metadata = config_map["metadata"]
    for entry in metadata.get("managedFields") or ():
        fields = entry.get("fieldsV1") or {}
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
            annotations = (fields.get("f:metadata") or {}).get("f:annotations") or {}
            if ("f:data" in fields or "f:binaryData" in fields) and f"f:{REVISION}" in annotations:
                return str((metadata.get("annotations") or {}).get(REVISION, ""))
    return ""


def size(body: Mapping[str, Any]) -> int:
    """Bytes of its data, as the API server counts them."""
    return sum(len(text) * 3 // 4 for text in body.get("binaryData", {}).values())


def _version(objects: Iterable[Object]) -> str:
    """A spec's content goes by its generation; labels, which policies select by, do not."""
    seen = []
    for one in objects:
        metadata = one["metadata"]
        seen.append([*identity(one), metadata.get("uid"), metadata.get("generation"), metadata.get("labels")])
    return _hash(json.dumps(sorted(seen, key=str), sort_keys=True).encode())


def _packed(objects: Iterable[Object]) -> bytes:
    kept = ("name", "namespace", "uid", "generation", "labels", "creationTimestamp")
    plain = []
    for one in objects:
        metadata = {name: one["metadata"][name] for name in kept if name in one["metadata"]}
        plain.append(
            {**{name: one[name] for name in ("apiVersion", "kind", "spec") if name in one}, "metadata": metadata}
        )
    return gzip.compress(json.dumps(plain, sort_keys=True).encode(), mtime=0)


def _bundle(one: Bundle) -> Mapping[str, Any]:
    return _binary(BUNDLE_FILE, pack(one))


def _binary(file: str, content: bytes) -> Mapping[str, Any]:
    return {"binaryData": {file: base64.b64encode(content).decode()}}


def _hash(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()[:12]}"
