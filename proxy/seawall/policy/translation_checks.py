"""Checks of what a rule asks its upstreams for: models' names, and dialects that its agents do not speak.

An agent's credential is for the provider that it believes to call. It must never reach another one.
"""

from collections.abc import Iterable

from seawall.policy.documents import BackendRef, Rule
from seawall.policy.effective import EffectiveBackend, EffectiveRule
from seawall.policy.issues import FieldPath, Issue, did_you_mean
from seawall.policy.located import Located

AGENTS = frozenset({"OpenAI", "AzureOpenAI", "Anthropic", "Gemini"})
"""What agents may speak where another dialect is asked in its place."""
PROVIDERS = AGENTS | {"Bedrock"}
"""What may be asked."""
_KEY = {"": "use auth: {type: APIKey, keyFile: ...}", "Bedrock": "use auth: {type: AWSSigV4}"}
"""Credentials of one's own, by dialect."""


def rule_dialect(rule: Rule, effective: EffectiveRule, located: Located, at: FieldPath) -> Iterable[Issue]:
    """The dialect that a rule names must be one that some upstream speaks, or that is translated."""
    if rule.dialect is None or not effective.backends:
        return
    theirs = {backend.upstream.spec.dialect for backend in effective.backends}
    if rule.dialect not in theirs | AGENTS and located.whole((*at, "backendRefs")):
        message = f"{rule.dialect} is what none of the rule's upstreams speaks"
        yield located.error((*at, "dialect"), message, f"leave it out for {', '.join(sorted(theirs))}")


def foreign(
    rule: EffectiveRule, backend: EffectiveBackend, target: Located, located: Located, at: FieldPath
) -> Iterable[Issue]:
    """What is needed to ask an upstream in another dialect than the rule's agents speak."""
    upstream = backend.upstream
    there = upstream.spec.dialect
    if there == rule.dialect:
        return
    if rule.dialect not in AGENTS or there not in PROVIDERS:
        message = f"the rule's agents speak {rule.dialect}, {upstream.kind} {upstream.key} speaks {there}"
        known = f"translation is from {_listed(AGENTS)} to {_listed(PROVIDERS)}"
        yield located.error((*at, "name"), message, f"{known}; else use one dialect per rule")
        return
    if upstream.auth.type == "Passthrough" and target.whole(("spec", "auth")):
        message = f"{upstream.kind} {upstream.key} speaks {there} and needs a key of its own: the agents' are for "
        yield located.error((*at, "name"), f"{message}{rule.dialect}", _KEY.get(there, _KEY[""]))
    ref = backend.ref
    renamed = ref.model or ref.model_map or any(model.aliases for model in upstream.models)
    if not renamed and not upstream.models and target.whole(("spec", "models")):
        message = f"{rule.dialect} agents' names for models are sent to a provider of {there} as they are"
        yield located.warning(at, message, "add model, or modelMap: [{from: gpt-5*, to: ...}]")


def _listed(dialects: frozenset[str]) -> str:
    *first, last = sorted(dialects)
    return f"{', '.join(first)} and {last}"


def model_names(
    backend: EffectiveBackend, ref: BackendRef, target: Located, located: Located, at: FieldPath
) -> Iterable[Issue]:
    """Names of models that replace the agents'."""
    upstream = backend.upstream
    given = [(ref.model, (*at, "model"))] if ref.model else []
    given += [(one.to, (*at, "modelMap", index, "to")) for index, one in enumerate(ref.model_map or ())]
    if given and upstream.spec.dialect == "Generic":
        yield located.error(given[0][1], "requests of dialect Generic have no model to replace")
    names = [one.name for one in upstream.models]
    for model, where in given:
        if names and model not in names and target.whole(("spec", "models")):
            # Aliases are for what agents ask for; an override is sent as it is.
            real = next((one.name for one in upstream.models if model in (one.aliases or ())), None)
            hint = f"it is an alias: write {real}" if real else did_you_mean(model, names)
            yield located.warning(where, f"{upstream.kind} {upstream.key} does not list the model {model}", hint)
    yield from _repeated(ref, located, at)


def _repeated(ref: BackendRef, located: Located, at: FieldPath) -> Iterable[Issue]:
    seen: set[str] = set()
    for index, one in enumerate(ref.model_map or ()):
        if one.from_ in seen:
            yield located.error((*at, "modelMap", index, "from"), f"the name {one.from_} is there twice")
        seen.add(one.from_)
    if ref.model and "*" in seen and located.sure((*at, "model")):
        yield located.warning((*at, "model"), "does nothing: modelMap's * takes every name")
