"""JSON bodies in one form for cache keys: the same meaning, the same bytes; another meaning, other bytes.

Much like RFC 8785 (members sorted, no blanks, one way to write each string), but for numbers: there they become
doubles, which would make one of two that differ in the last digits. Here `1`, `1.0` and `10e-1` are one, and nothing is
rounded. Strings keep their code points (no Unicode normalisation: a model reads them apart). A body that some parsers
read otherwise than others has no canonical form: members given twice, half characters, what is no strict JSON.
"""

from collections.abc import Container
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow

import msgspec

from seawall.dialects.base import Never
from seawall.types import Facts, Safety

# Exact, or an error: then the body has no canonical form.
_EXACT = Context(prec=10**6, Emin=-(10**9), Emax=10**9, traps=[InvalidOperation, Overflow, Inexact])
_LONGEST_INTEGER = 40

_ENCODER = msgspec.json.Encoder(order="sorted")


def _number(text: str) -> object:
    """One that has a point or an exponent, or more digits than a machine's integer."""
    value = Decimal(text).normalize(_EXACT)
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)  # JSON has no infinities
    if not value:
        return 0
    if exponent >= 0 and len(digits) + exponent <= _LONGEST_INTEGER:
        return msgspec.Raw(f"{int(value)}".encode())
    return msgspec.Raw(str(value).encode())


_DECODER = msgspec.json.Decoder(float_hook=_number)


def readable(
    facts: Facts, body: bytes, kept: Container[str], without: frozenset[str]
) -> tuple[dict[str, object], bytes] | Never:
    """The members and the canonical form of a request whose answer may be kept at all. kept: operations whose answers
    are."""
    if facts.operation not in kept:
        return Never("operation")
    if facts.pinned or facts.safety is not Safety.SAFE_BILLED:
        return Never("state or effects")
    read = canonical(body, without)
    return Never("body") if read is None or not facts.model else read


def canonical(body: bytes, without: frozenset[str]) -> tuple[dict[str, object], bytes] | None:
    """The members of a body that is one object, and its canonical form less those that change no answer; None where it
    has none."""
    try:
        found = _DECODER.decode(body)
        if not isinstance(found, dict):
            return None
        left = {name: value for name, value in found.items() if name not in without}
        form = _ENCODER.encode(left)
        rest = _ENCODER.encode({n: found[n] for n in without if n in found}) if len(left) < len(found) else b""
    except (ValueError, RecursionError, ArithmeticError):
        return None
    # A member that was given twice is in there once: the quotes of the other are missing.
    return (found, form) if _quotes(body) == _quotes(form) + _quotes(rest) else None


def _quotes(data: bytes) -> int:
    """How many quotes begin and end its strings."""
    if b'\\"' in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    return data.count(b'"')
