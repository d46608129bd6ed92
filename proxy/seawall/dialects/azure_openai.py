"""The Azure OpenAI dialect: OpenAI's operations below Azure's paths. The model is a deployment, which older paths name
(`/openai/deployments/NAME/chat/completions?api-version=…`) and newer ones leave in the body (`/openai/v1/…`,
`/openai/responses?api-version=…`).

Bodies, streams and errors are OpenAI's, with Azure's own words among `_openai_words`. `api-version` is part of the
query, and so of what is sent and of every cache key, as it came.
"""

import re
from urllib.parse import quote, unquote

from msgspec.structs import replace

from seawall.dialects import _openai_facts as facts_of
from seawall.dialects._json import model_name
from seawall.dialects.base import Material, Never
from seawall.dialects.openai import OpenAI
from seawall.dialects.splice import with_model
from seawall.types import Facts, Head, header

_DEPLOYMENT = re.compile(r"[^?]*?/deployments/(?P<name>[^/?]+)(?P<operation>/[^?]*)")
# Retrieval that Azure does for a chat completion ("On Your Data"); an answer depends on what is found at the time.
_DATA = re.compile(rb'"(?:data_sources|dataSources)"\s*:\s*\[')


class AzureOpenAI(OpenAI):
    """See `seawall.dialects.base.Dialect`."""

    name = "AzureOpenAI"
    version_prefix = "/openai"

    def claims(self, head: Head) -> bool:
        """`/openai/v1/…` alone may be meant for anybody: then Azure's own header or parameter must tell."""
        path = head.path
        if not path.startswith("/openai/"):
            return False
        if path.startswith("/openai/deployments/"):
            return True
        return "api-version=" in head.target.partition("?")[2] or header(head.headers, b"api-key") is not None

    def read(self, head: Head, path: str, body: bytes) -> Facts:
        """A deployment in the path is the model, whatever the body says, and however large it is."""
        deployed = _deployment(path)
        if deployed is None:
            resource = path.partition("?")[0].removeprefix(self.version_prefix)
            return super().read(head, resource, body)
        facts = facts_of.read(head, deployed["operation"], body)
        return replace(facts, model=model_name(unquote(deployed["name"])))

    def cache_material(self, facts: Facts, body: bytes) -> Material | Never:
        if _DATA.search(body) is not None:
            return Never("data sources")
        return super().cache_material(facts, body)

    def credential(self, key: bytes) -> tuple[bytes, bytes]:
        """An API key. An Entra token is put in by `auth.header: Authorization` and `scheme: Bearer`."""
        return b"api-key", key

    def credential_fields(self) -> frozenset[bytes]:
        """Those of API Management, which often stands before it, as well."""
        return super().credential_fields() | {b"ocp-apim-subscription-key"}

    def credential_parameters(self) -> frozenset[str]:
        """Browsers can set no field of a WebSocket's request."""
        return frozenset({"api-key", "subscription-key"})

    def with_model(self, path: str, body: bytes, model: str) -> tuple[str, bytes] | None:
        """Another deployment: in the path, where that names one, and in a body that names it once more. The path
        decides there, so that a body without a place for it stays as it came."""
        deployed = _deployment(path)
        if deployed is None:
            return super().with_model(path, body, model)
        name = quote(model, safe="")
        if name in (".", ".."):
            return None
        there = path[: deployed.start("name")] + name + path[deployed.end("name") :]
        spliced = with_model(body, model)
        return there, body if spliced is None else spliced


def _deployment(path: str) -> re.Match[str] | None:
    """Where a path names a deployment to be asked; None also for the list of them."""
    return _DEPLOYMENT.match(path)
