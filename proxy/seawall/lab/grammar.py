"""The grammar of fault texts: `503`, `429-retry-after-2`, `cut-5+gzip`, `503; message=…`. Pure parsing.

Words are joined by `+`, parameters follow after `;`. words.py holds the words.
"""

from dataclasses import replace
from typing import Any

from seawall.lab.plan import Flaky, Part, Scenario, Spec, Status
from seawall.lab.words import FaultSyntaxError, part_of

MODEL_PREFIX = "lab-"
PARAMETERS = {
    "p": "share of attempts, 0 to 1, that it applies to",
    "retry-after": "Retry-After of an error answer: seconds, or an HTTP date",
    "retry-after-ms": "retry-after-ms of an error answer",
    "code": "the error's code (Anthropic: type)",
    "message": "the error's message; takes the rest of the text",
    "body": "the error answer's whole body; takes the rest of the text",
    "args": "the JSON arguments of the tools that are called; takes the rest of the text",
    "text": "the very text of a healthy answer; takes the rest of the text",
}
_STATUS_FIELDS = {"retry-after": "retry_after", "retry-after-ms": "retry_after_ms", "code": "error_code"}


def parse(text: str) -> Spec:
    """Parse `word+word; parameter=value; …`. `message` and `body` take all that follows them.

    Raises FaultSyntaxError for unknown words or parameters, and for two words that set the same thing.
    """
    words, _, rest = text.partition(";")
    parts: list[Part] = []
    scenario = Scenario()
    taken: dict[str, str] = {}
    for name in (word.strip() for word in words.split("+")):
        part = part_of(name)
        if isinstance(chosen := part.fields.get("scenario"), Scenario):
            scenario = _merge(scenario, chosen)
            continue
        for key in part.fields:
            if key in taken:
                raise FaultSyntaxError(f"{taken[key]!r} and {name!r} contradict each other")
            taken[key] = name
        parts.append(part)
    if scenario != Scenario():
        parts.append(Part({"scenario": scenario}))
    return _with_parameters(Spec(text, tuple(parts)), _parameters(rest))


def parse_model(model: str) -> Spec | None:
    """The spec in a model's name: `lab-503`, `lab-flaky@east` (what follows the @ only tells models apart). None for
    names that do not begin with `lab-`. Raises FaultSyntaxError."""
    name = model.partition("@")[0]
    return parse(name.removeprefix(MODEL_PREFIX)) if name.startswith(MODEL_PREFIX) else None


def parse_steps(text: str) -> list[Spec]:
    """The specs of an `x-lab-fault` field, one per attempt, separated by `|`. Raises FaultSyntaxError."""
    return [parse(step.strip()) for step in text.split("|")]


def _merge(one: Scenario, other: Scenario) -> Scenario:
    blank = Scenario()
    changed = {
        name: getattr(other, name) for name in Scenario.__slots__ if getattr(other, name) != getattr(blank, name)
    }
    return replace(one, **changed)


def _parameters(text: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    while text.strip():
        name, equals, value = text.strip().partition("=")
        name = name.strip()
        if not equals or name not in PARAMETERS:
            raise FaultSyntaxError(f"unknown parameter {name!r}; known: {', '.join(PARAMETERS)}")
        if name in ("message", "body", "text", "args"):
            text = ""
        else:
            value, _, text = value.partition(";")
        parameters[name] = value.strip()
    return parameters


def _with_parameters(spec: Spec, parameters: dict[str, str]) -> Spec:
    for name, value in parameters.items():
        if name == "p":
            spec = replace(spec, gate=Flaky(_share(value)))
        elif name in ("text", "args"):
            said = [part.fields.get("scenario") for part in spec.parts]
            old = next((one for one in said if isinstance(one, Scenario)), Scenario())
            spec = replace(
                spec,
                parts=(
                    *spec.parts,
                    Part({"scenario": replace(old, text=value) if name == "text" else replace(old, args=value)}),
                ),
            )
        else:
            field = _STATUS_FIELDS.get(name, name)
            spec = replace(spec, parts=tuple(_with_status(part, field, value) for part in spec.parts))
            if not any(isinstance(part.fields.get("status"), Status) for part in spec.parts):
                raise FaultSyntaxError(f"parameter {name!r} needs an error status")
    return spec


def _share(value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise FaultSyntaxError(f"p must be a number from 0 to 1, not {value!r}")
    return share


def _with_status(part: Part, field: str, value: str) -> Part:
    status = part.fields.get("status")
    if not isinstance(status, Status):
        return part
    changes: dict[str, Any] = {field: value}
    return Part({**part.fields, "status": replace(status, **changes)}, part.gate)
