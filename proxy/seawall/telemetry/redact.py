"""Takes credentials out of text that came from elsewhere (error details, paths, model names) before it is logged or
becomes a label. A second line of defence: callers must not put secrets there in the first place.
"""

import re

REDACTED = "[redacted]"

# The public prefixes of the providers' keys, bearer and basic credentials, JWTs, key-like query fields, URL userinfo.
_SECRET = re.compile(
    r"""
      \bsk-[\w-]{8,}                          # OpenAI, Anthropic, OpenRouter
    | \b(?:gsk_|csk-|hf_|r8_)[\w-]{16,}       # Groq, Cerebras, Hugging Face, Replicate
    | \b(?:pplx|xai|nvapi)-[\w-]{16,}         # Perplexity, xAI, NVIDIA
    | \bAIza[\w-]{20,} | \bya29\.[\w-]{16,}   # Google: keys, OAuth tokens
    | \bA(?:KI|SI)A[A-Z0-9]{12,}              # AWS
    | \bgh[pousr]_\w{16,} | \bgithub_pat_\w{16,}
    | \bxox[abprs]-[\w-]{8,}                  # Slack
    | \bdapi[0-9a-f]{16,}                     # Databricks
    | \beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?     # JWT
    | (?i:\b(?:bearer|basic))\s+[^\s"',;]{6,}
    | (?i:\b(?:\w{1,32}_)?(?:api-?key|key|token|secret|password|signature|sig))=[^\s&"',;]+
    | (?i:\b(?:api[_-]?key|authorization)["']?:\s*["']?(?:(?:bearer|basic)\s+)?)[^\s"',;]+
    | (?<=//)[^/\s:@]*:[^/\s@]+(?=@)
    """,
    re.VERBOSE,
)


def redact(text: str, limit: int = 512) -> str:
    """The text with everything that looks like a credential replaced by `[redacted]`, cut to `limit` characters.

    Only the first 2 * limit are looked at: agents choose these texts, and a search through megabytes would hold the
    event loop up. Twice, so that a credential that the cut goes through is not shown by its first half.
    """
    clean = _SECRET.sub(REDACTED, text[: 2 * limit])
    return clean if len(clean) <= limit and len(text) <= 2 * limit else clean[:limit] + "…"
