"""The webhooks' view of what the operator knows at this moment."""

from collections import Counter
from collections.abc import Callable
from functools import partial

from seawall_operator.control import Control
from seawall_operator.inject import Patch, inject, profile_for
from seawall_operator.resources import Object, identity
from seawall_operator.review import Opinion, farewell, review
from seawall_operator.sidecar_container import Injection


class Knowledge:
    """A Reviewer."""

    def __init__(self, control: Control, image: str, operator_url: str) -> None:
        self._control = control
        self._image = image
        self._url = operator_url

    @property
    def ready(self) -> bool:
        return self._control.shelf.ready.is_set()

    def opinion(self, obj: Object) -> Callable[[], Opinion]:
        documents, rendered = self._control.snapshot()
        sidecars = Counter(namespace for (namespace, _), _, _ in self._control.sidecars.all())
        return partial(review, obj, documents, rendered, sidecars)

    def farewell(self, obj: Object) -> Callable[[], Opinion]:
        documents, _ = self._control.snapshot()
        return partial(farewell, identity(obj), documents)

    def patch(self, pod: Object, namespace: str) -> Patch:
        documents, rendered = self._control.snapshot()
        profiles = documents.of(namespace, "SidecarProfile")
        name = profile_for(pod, profiles)
        if name is None:
            return Patch()
        profile = next((one for one in profiles if one["metadata"]["name"] == name), None)
        scope = rendered.scopes.get(namespace)
        routes = scope.policy.routes if scope is not None else ()
        paths = frozenset(match.path for route in routes for rule in route.rules for match in rule.matches)
        injection = Injection(self._image, self._url, paths or None)
        return inject(pod, namespace, name, profile, injection)
