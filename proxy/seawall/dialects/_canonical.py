"""JSON bodies in one form for cache keys: the same meaning, the same bytes; another meaning, other bytes.

Much like RFC 8785 (members sorted, no blanks, one way to write each string), but for numbers: there they become
doubles, which would make one of two that differ in the last digits. Here `1`, `1.0` and `10e-1` are one, and nothing is
rounded. Strings keep their code points (no Unicode normalisation: a model reads them apart). A body that some parsers
read otherwise than others has no canonical form: members given twice, half characters, what is no strict JSON.
"""

from collections.abc import Collection
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow

import msgspec

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


def members(body: bytes) -> dict[str, object] | None:
    """The members of a body that is one object, with numbers as `canonical` writes them; None where it has no
    canonical form."""
    try:
        found = _DECODER.decode(body)
        again = _ENCODER.encode(found)
    except (ValueError, RecursionError, ArithmeticError):
        return None
    # A member that was given twice is in there once: it lacks the quotes of the other.
    if not isinstance(found, dict) or _quotes(body) != _quotes(again):
        return None
    return found


def canonical(found: dict[str, object], without: Collection[str]) -> bytes:
    """The canonical form of a body's members, less those that change no answer."""
    return _ENCODER.encode({name: value for name, value in found.items() if name not in without})


def _quotes(data: bytes) -> int:
    """How many quotes begin and end its strings."""
    if b'\\"' in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    return data.count(b'"')
