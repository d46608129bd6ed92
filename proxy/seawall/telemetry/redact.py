"""Takes credentials out of text that came from elsewhere (error details, paths, model names) before it is logged or
becomes a label. A second line of defence: callers must not put secrets there in the first place.
"""

import re

REDACTED = "[redacted]"

# The public prefixes of the providers' keys, bearer and basic credentials, JWTs, key-like query fields, URL userinfo.
_SECRET = re.compile(
    r"""
      \bsk-[\w-]{8,}                          # OpenAI, Anthropic
    | \bAIza[\w-]{20,}                        # Google
    | \bA(?:KI|SI)A[A-Z0-9]{12,}              # AWS
    | \bgh[pousr]_\w{16,}                     # GitHub
    | \bxox[abprs]-[\w-]{8,}                  # Slack
    | \bdapi[0-9a-f]{16,}                     # Databricks
    | \beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?     # JWT
    | (?i:\b(?:bearer|basic))\s+[^\s"',;]{6,}
    | (?i:\b(?:api[_-]?key|key|token|secret|password))=[^\s&"',;]+
    | (?<=//)[^/\s:@]*:[^/\s@]+(?=@)
    """,
    re.VERBOSE,
)


def redact(text: str) -> str:
    """The text with everything that looks like a credential replaced by `[redacted]`."""
    return _SECRET.sub(REDACTED, text)
