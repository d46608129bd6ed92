"""Which values may become metric labels. Routes and upstreams come from the policy; model names come from agents as
well, so only a bounded number of them is let in. Nothing that an agent sends may grow the label sets without end.
"""

import re
from dataclasses import dataclass, field

from seawall.telemetry.redact import redact

OTHER = "other"

# What providers' model names, ARNs and deployment names are made of.
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")


@dataclass(frozen=True, slots=True)
class PolicyNames:
    """The names that the present policy gives: every value is a label as it stands."""

    routes: frozenset[str] = field(default=frozenset())
    upstreams: frozenset[str] = field(default=frozenset())
    models: frozenset[str] = field(default=frozenset())
    origins: frozenset[str] = field(default=frozenset())
    """Breaker keys for transport faults: `https://api.openai.com:443`."""


class Labels:
    """Maps values to labels. The empty string stays empty (Prometheus takes it as "no such label")."""

    __slots__ = ("_known", "_met", "_others", "names")

    def __init__(self, names: PolicyNames | None = None, others: int = 100) -> None:
        """`others`: how many model names beyond the policy's may become labels in this process's life."""
        self._others = others
        self._met: set[str] = set()
        self.apply(names or PolicyNames())

    def apply(self, names: PolicyNames) -> None:
        """Take a new policy's names. Models met before stay labels."""
        self.names = names
        known = {"", OTHER} | names.models | self._met
        self._known = {model: model for model in known}

    def route(self, name: str) -> str:
        return name if not name or name in self.names.routes else OTHER

    def upstream(self, name: str) -> str:
        return name if not name or name in self.names.upstreams else OTHER

    def model(self, name: str) -> str:
        found = self._known.get(name)
        return found if found is not None else self._meet(name)

    def key(self, key: str) -> str:
        """A breaker's key: an origin of the policy, a model, or `*` for all of an upstream's."""
        return key if key in self.names.origins or key == "*" else self.model(key)

    def current(self, *, route: str = "", upstream: str = "", key: str = "") -> bool:
        """Whether a series with these labels still belongs to the present policy."""
        return (
            self.route(route) == route
            and self.upstream(upstream) == upstream
            and (key in self._known or key in self.names.origins or key == "*")
        )

    def _meet(self, name: str) -> str:
        if len(self._met) >= self._others or not _MODEL.fullmatch(name) or redact(name) != name:
            return OTHER
        self._met.add(name)
        self._known[name] = name
        return name
