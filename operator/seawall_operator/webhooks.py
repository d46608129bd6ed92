"""Tells the API server by which authority it knows the webhooks: the `caBundle` of their configurations, which somebody
else makes. Nothing else of them is touched, and those that cert-manager looks after (`cert-manager.io/inject-ca-from`)
not at all.
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping
from typing import Any

from seawall_operator.kube import ApiError, Kube
from seawall_operator.resources import Object

KINDS = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
LOOK = 10.0
"""Seconds after which it is looked at again, whatever was written: a configuration may come later, or be replaced."""
RETRY = 2.0

log = logging.getLogger(__name__)


def patched(configuration: Object, kind: str, authority: str) -> Mapping[str, Any] | None:
    """What to apply; None where nothing is to be changed. Pure."""
    metadata = configuration["metadata"]
    if any(name.startswith("cert-manager.io/inject-ca-from") for name in metadata.get("annotations") or {}):
        return None
    bundle = base64.b64encode(authority.encode()).decode()
    webhooks = configuration.get("webhooks") or []
    if all((one.get("clientConfig") or {}).get("caBundle") == bundle for one in webhooks):
        return None
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": metadata["name"]},
        # A list by name: what is not mentioned of each stays.
        "webhooks": [{"name": one["name"], "clientConfig": {"caBundle": bundle}} for one in webhooks],
    }


class Webhooks:
    """Both configurations, of one name."""

    def __init__(self, kube: Kube, name: str, leads: Callable[[], bool]) -> None:
        self._kube = kube
        self._name = name
        self._leads = leads
        self._authority = ""
        self._news = asyncio.Event()

    def trust(self, authority: str) -> None:
        """PEM; "" is not known yet."""
        if authority != self._authority:
            self._authority = authority
            self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._news.clear()
            wait = LOOK
            if self._authority and self._leads():
                try:
                    for kind in KINDS:
                        await self._tell(kind, self._authority)
                except ApiError as error:
                    log.warning("the webhooks' caBundle could not be written: %s", error)
                    wait = RETRY
            try:
                async with asyncio.timeout(wait):
                    await self._news.wait()
            except TimeoutError:
                pass

    async def _tell(self, kind: str, authority: str) -> None:
        try:
            there = await self._kube.get(kind, "", self._name)
            if (body := patched(there, kind, authority)) is not None:
                await self._kube.apply(body)
                log.info("the caBundle of %s %s was written", kind, self._name)
        except ApiError as error:
            if not error.gone:
                raise
