"""Calls as questions to the cache: which answers they may get, and whose they are, drawn from their plan.

What an upstream would be asked is part of the question (SEMANTICS §6), so that answers of yesterday's models, places or
rules are never found. Nothing here looks anything up.
"""

from seawall.core import cache_key
from seawall.core.cache import CacheSettings
from seawall.core.cache_key import Keys, Question, Rule, Target, Tenants
from seawall.dialects.base import Material
from seawall.runtime import Candidate, Plan
from seawall.types import Facts, Head

# Agents choose the names of models; so many are remembered with what is common to their keys.
_MODELS = 256


class Questions:
    """Of one rule, made once for its plan. secret, identity: see `cache_key.Tenants`."""

    def __init__(self, plan: Plan, settings: CacheSettings, secret: bytes, identity: str) -> None:
        self._plan = plan
        self.settings = settings
        self._candidates: list[Candidate] = [candidate for group in plan.groups for candidate in group]
        targets = [candidate.target for candidate in self._candidates]
        self._fields = frozenset(plan.dialect.cache_fields)
        if any(target.keep_host for target in targets):
            # The upstream answers for the host that it is called by.
            self._fields |= {b"host"}
        parameters = plan.dialect.credential_parameters()
        # An agent's own credential counts as soon as one upstream would get it.
        replaced = [frozenset() if t.credential is None else t.credential.replaces for t in targets]
        self._tenants = Tenants(
            secret,
            settings,
            namespace=plan.route.rpartition("/")[0],
            identity=identity,
            named=frozenset().union(*(target.dialect.credential_fields() for target in targets)),
            replaced=frozenset.intersection(*replaced) if replaced else frozenset(),
            parameters=parameters if any(t.credential is None for t in targets) else frozenset(),
        )
        self._keys: dict[str, Keys] = {}

    def key(self, head: Head, facts: Facts, rest: str, material: Material, caller: str = "") -> bytes:
        """The key of a call. rest: its path below the route's prefix, and query, as in `Call`. caller: an identity that
        was verified."""
        path, _, query = rest.partition("?")
        tenant = self._tenants.tenant(head.headers, query, caller=caller)
        present = {name.lower() for name, _ in head.headers} & self._fields
        fields = [cache_key.field(head.headers, name) for name in sorted(present)] if present else []
        known = tuple(field for field in fields if field is not None)
        asked = Question(head.method, path, query, material.body, known, material.without)
        return self._of(facts.model).key(tenant, asked)

    def _of(self, model: str) -> Keys:
        known = self._keys.get(model)
        if known is None:
            if len(self._keys) >= _MODELS:
                self._keys.clear()
            plan, targets = self._plan, tuple(_target(candidate, model) for candidate in self._candidates)
            dialect = plan.dialect
            rule = Rule(plan.route, plan.rule, dialect.name, targets, dialect.credential_parameters())
            known = self._keys[model] = Keys(rule, self.settings)
        return known


def _target(candidate: Candidate, model: str) -> Target:
    target = candidate.target
    place = target.endpoint.origin + target.base_path
    return Target(candidate.group, candidate.upstream.key, target.dialect.name, place, candidate.model_for(model))
