"""Entries made of answers, and answers made of entries: in the form that an agent wants, with what it is told of them
(SEMANTICS §6). It decides nothing and looks nothing up.
"""

from msgspec.structs import replace

from seawall.asking import Asking
from seawall.core import cache_fields
from seawall.core import cache_status as status_fields
from seawall.core.cache import Hit, Keep
from seawall.core.cache_key import varied
from seawall.core.cache_validation import Updated
from seawall.decode import decoder_for
from seawall.dialects.base import Form
from seawall.flight import Flight
from seawall.reply import told
from seawall.run import Run
from seawall.store.entry import Entry
from seawall.types import Headers, Outcome, ServiceLevel, header

_OF_THE_FORM = frozenset({b"content-type", b"content-length", b"transfer-encoding"})
_CODED = frozenset({b"content-encoding", b"content-length"})
_PLAIN, _STREAM = Form.PLAIN.value, Form.STREAM.value
# RFC 9110 §15.4.5: what a 304 must bring of the 200's fields, and no more.
_NOT_MODIFIED = frozenset(
    {b"cache-control", b"content-location", b"date", b"etag", b"expires", b"last-modified", b"vary"}
)


def form_of(entry: Entry) -> Form:
    """In which form its answer was recorded."""
    return Form(entry.more.get("form", _STREAM if entry.stream else _PLAIN))


def in_form(entry: Entry, asking: Asking) -> Entry | None:
    """The entry in the form that the agent wants; None where that would lose anything."""
    want = asking.form
    if asking.http is not None or entry.status >= 400:
        # Refusals are plain, whatever was asked for.
        return entry
    if entry.more.get("form", _STREAM if entry.stream else _PLAIN) == want.value:
        return entry
    call, have = asking.call, form_of(entry)
    body = call.plan.dialect.replayed(call.facts, b"".join(entry.pieces), have, want)
    if body is None:
        return None
    stream = want is not Form.PLAIN
    kind = call.plan.dialect.stream_type(call.facts) if stream else b"application/json"
    fields = [field for field in entry.headers if field[0].lower() not in _OF_THE_FORM]
    more = {**entry.more, "form": want.value}
    fields = _with_length([*fields, (b"content-type", kind)], entry.status, None if stream else (body,))
    return replace(entry, headers=fields, pieces=(body,), stream=stream, more=more)


def decoded(flight: Flight) -> tuple[bytes, ...] | None:
    """The pieces of a flight's answer without its coding, so that it will do for agents that take another; None where
    that cannot be undone."""
    answer = flight.answer
    if answer is None or answer.decoder is None:
        return tuple(flight.pieces)
    decoder = decoder_for(answer.exchange.headers)
    assert decoder is not None
    parts = []
    for piece in flight.pieces:
        part = decoder.feed(piece)
        if part is None:
            return None
        parts.append(part)
    return tuple(filter(None, parts))


def entry_of(flight: Flight, keep: Keep, pieces: tuple[bytes, ...]) -> Entry:
    """A flight's answer as it is kept."""
    asking, answer, ledger = flight.asking, flight.answer, flight.run.ledger
    assert answer is not None
    call, headers = asking.call, keep.headers
    form = Form.PLAIN
    if answer.stream and asking.http is None:
        form = asking.form
    if asking.http is None:
        headers = [field for field in headers if field[0].lower() not in _CODED]
    headers = _with_length(headers, answer.exchange.status, None if answer.stream else pieces)
    headers, requested_at = _without_age(headers, flight.asked_at)
    more = {}
    if form is Form.STREAM_WITH_USAGE:
        more["form"] = form.value
    if ledger.service_level is not ServiceLevel.FULL:
        more["level"] = ledger.service_level.value
    return Entry(
        status=answer.exchange.status,
        headers=headers,
        pieces=pieces,
        stream=answer.stream,
        requested_at=requested_at,
        responded_at=flight.began_at,
        fresh_seconds=keep.fresh_seconds,
        keep_seconds=keep.keep_seconds,
        must_revalidate=keep.must_revalidate,
        vary=varied(asking.key, keep.vary, call.head.headers),
        route=call.plan.route,
        upstream=ledger.upstream,
        model=ledger.answered or ledger.model,
        dialect=call.plan.dialect.name,
        usage=ledger.usage,
        more=more,
    )


def renewed(asking: Asking, entry: Entry, updated: Updated, requested_at: float, responded_at: float) -> Entry:
    """An entry that still holds, with what the upstream says of it now to the one who asks. Where it must not be kept
    so, it is of no use after this once."""
    keep = updated.keep
    headers, requested_at = _without_age(updated.headers if keep is None else keep.headers, requested_at)
    return replace(
        entry,
        headers=headers,
        requested_at=requested_at,
        responded_at=responded_at,
        fresh_seconds=0.0 if keep is None else keep.fresh_seconds,
        keep_seconds=0.0 if keep is None else keep.keep_seconds,
        must_revalidate=keep is None or keep.must_revalidate,
        vary=() if keep is None else varied(asking.key, keep.vary, asking.call.head.headers),
    )


def give(run: Run, entry: Entry, hit: Hit, outcome: Outcome, note: tuple[bytes, bytes], now: float) -> None:
    """Begin an agent's answer and write all of it; to end it is the caller's. note: its Cache-Status; now: on the
    monotonic clock."""
    call, ledger = run.call, run.ledger
    degraded = outcome is Outcome.STALE or "level" in entry.more
    ledger.outcome = outcome
    ledger.service_level = ServiceLevel.DEGRADED if degraded else ServiceLevel.FULL
    ledger.upstream, ledger.model, ledger.answered = entry.upstream, entry.model, entry.model
    ledger.saved, ledger.stream = entry.usage, entry.stream and not hit.not_modified
    ledger.committed = now
    if ledger.first_content is None:
        ledger.first_content = now
    ledger.notes = [status_fields.age_field(hit.age), note, *status_fields.usage_fields(entry.usage)]
    if hit.not_modified:
        ledger.status = 304
        run.begin(304, [field for field in entry.headers if field[0].lower() in _NOT_MODIFIED] + told(call, ledger))
        return
    ledger.status = entry.status
    run.begin(entry.status, entry.headers + told(call, ledger))
    for piece in entry.pieces:
        run.agent.write(piece)


def _without_age(headers: Headers, requested_at: float) -> tuple[Headers, float]:
    """An answer that came with an Age is as old as one that was so long under way (RFC 9111 §4.2.3 adds both): kept so,
    the field need not be taken out of each answer that is given."""
    age = cache_fields.age(headers)
    return [field for field in headers if field[0].lower() != b"age"], requested_at - age


def _with_length(headers: Headers, status: int, pieces: tuple[bytes, ...] | None) -> Headers:
    """A plain answer has a length, whatever it came with. pieces: None for a stream."""
    if pieces is None or status == 204 or header(headers, b"content-length") is not None:
        return headers
    return [*headers, (b"content-length", b"%d" % sum(map(len, pieces)))]
