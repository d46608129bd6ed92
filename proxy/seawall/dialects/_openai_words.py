"""How a whole answer of OpenAI's protocol ended, and the tokens that it counts."""

import re

import msgspec

from seawall.dialects._classify import fault_of, is_something, said
from seawall.dialects._json import Count, read
from seawall.dialects._openai_providers import FAILED, FILTERED, WORDS
from seawall.faults import Code, Fault
from seawall.types import Usage

_NOTHING = msgspec.Raw(b"")
# Quotes within a JSON string are escaped, so that text can not look like it.
_ODD_END = re.compile(rb'"(?:finish_)?reason"\s*:\s*"(?:%b)"' % "|".join([FILTERED, *FAILED]).encode())


class Reason(msgspec.Struct, gc=False):
    reason: object = None


class _Choice(msgspec.Struct, gc=False):
    finish_reason: object = None
    error: msgspec.Raw = _NOTHING


class _Ended(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    incomplete_details: Reason | None = None


_ENDED = msgspec.json.Decoder(_Ended)


def odd_end(body: bytes, status: int) -> Fault | None:
    """Why a whole plain answer is no good one, though nothing says so but its ends: all of its choices were withheld by
    the provider's content filter, or one failed on the way."""
    if _ODD_END.search(body) is None:
        return None
    ended = read(_ENDED, body) or _Ended()
    for choice in ended.choices or ():
        reason = choice.finish_reason
        if isinstance(reason, str) and reason in FAILED:
            # OpenRouter says more beside it.
            error = said(choice.error) if is_something(choice.error) else None
            code = FAILED[reason] if error is None else fault_of(WORDS, error).code
            return Fault(code, f"{status} with finish_reason {reason}", status)
    why = ended.incomplete_details
    reasons: list[object] = [choice.finish_reason for choice in ended.choices or ()] or [why and why.reason]
    if all(reason == FILTERED for reason in reasons):
        return Fault(Code.CONTENT_POLICY, f"{status} with {FILTERED}", status)
    return None


class _TokenDetails(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None
    reasoning_tokens: Count | None = None


class _Usage(msgspec.Struct, gc=False):
    """Both spellings: chat completions' and responses'."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    prompt_cache_hit_tokens: Count | None = None
    prompt_tokens_details: _TokenDetails | None = None
    completion_tokens_details: _TokenDetails | None = None
    input_tokens_details: _TokenDetails | None = None
    output_tokens_details: _TokenDetails | None = None


_USAGE = msgspec.json.Decoder(_Usage)
_NO_DETAILS = _TokenDetails()


def usage_of(raw: msgspec.Raw) -> Usage | None:
    """The tokens of a `usage` object; None when it is absent, null, of an unknown form or not about tokens."""
    if len(raw) <= 4:
        return None
    usage = read(_USAGE, raw)
    # Transcriptions may be counted in seconds.
    if usage is None or (usage.prompt_tokens is None and usage.input_tokens is None):
        return None
    given = usage.prompt_tokens_details or usage.input_tokens_details or _NO_DETAILS
    written = usage.completion_tokens_details or usage.output_tokens_details or _NO_DETAILS
    return Usage(
        input=usage.prompt_tokens or usage.input_tokens or 0,
        output=usage.completion_tokens or usage.output_tokens or 0,
        # DeepSeek counts its cache's hits beside the details.
        cached=given.cached_tokens or usage.prompt_cache_hit_tokens or 0,
        reasoning=written.reasoning_tokens or 0,
    )
