"""Entries made of answers, and answers made of entries: in the form that an agent wants, with what it is told of them
(SEMANTICS §6). It decides nothing and looks nothing up.
"""

from msgspec.structs import replace

from seawall.asking import Asking
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
# RFC 9110 §15.4.5: what a 304 must bring of the 200's fields, and no more.
_NOT_MODIFIED = frozenset(
    {b"cache-control", b"content-location", b"date", b"etag", b"expires", b"last-modified", b"vary"}
)


def form_of(entry: Entry) -> Form:
    """In which form its answer was recorded."""
    return Form(entry.more.get("form", Form.STREAM.value if entry.stream else Form.PLAIN.value))


def in_form(entry: Entry, asking: Asking) -> Entry | None:
    """The entry in the form that the agent wants; None where that would lose anything."""
    have, want = form_of(entry), asking.form
    if have is want or asking.http is not None:
        return entry
    call = asking.call
    body = call.plan.dialect.replayed(call.facts, b"".join(entry.pieces), have, want)
    if body is None:
        return None
    stream = want is not Form.PLAIN
    kind = call.plan.dialect.stream_type(call.facts) if stream else b"application/json"
    fields = [field for field in entry.headers if field[0].lower() not in _OF_THE_FORM]
    more = {**entry.more, "form": want.value}
    return replace(entry, headers=[*fields, (b"content-type", kind)], pieces=(body,), stream=stream, more=more)


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
        requested_at=flight.asked_at,
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


def renewed(entry: Entry, updated: Updated, requested_at: float, responded_at: float) -> Entry:
    """An entry that still holds, with what the upstream says of it now. Where it must not be kept so, it is of no use
    after this once."""
    keep = updated.keep
    return replace(
        entry,
        headers=updated.headers if keep is None else keep.headers,
        requested_at=requested_at,
        responded_at=responded_at,
        fresh_seconds=0.0 if keep is None else keep.fresh_seconds,
        keep_seconds=0.0 if keep is None else keep.keep_seconds,
        must_revalidate=keep is None or keep.must_revalidate,
    )


def give(run: Run, entry: Entry, hit: Hit, outcome: Outcome, note: tuple[bytes, bytes], now: float) -> None:
    """Begin an agent's answer and write all of it; to end it is the caller's. note: its Cache-Status; now: on the
    monotonic clock."""
    call, ledger = run.call, run.ledger
    level = ServiceLevel(entry.more.get("level", "full"))
    ledger.outcome = outcome
    ledger.service_level = ServiceLevel.DEGRADED if outcome is Outcome.STALE else level
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
    run.begin(entry.status, _head(entry) + told(call, ledger))
    for piece in entry.pieces:
        run.agent.write(piece)


def _head(entry: Entry) -> Headers:
    """A plain answer has a length, whatever it came with; the fields that a cache writes itself are not those of the
    upstream."""
    fields = [field for field in entry.headers if field[0].lower() != b"age"]
    if entry.stream or entry.status == 204:
        return fields
    if header(fields, b"content-length") is None:
        fields.append((b"content-length", b"%d" % sum(map(len, entry.pieces))))
    return fields
