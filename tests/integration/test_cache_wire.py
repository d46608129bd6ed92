"""Recorded provider traffic, stored and replayed event for event: every recorded request is asked twice over sockets.
What is kept comes again as it was; what is not is so for a reason that docs/caching.md names."""

import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from asked_twice import REASONS, RULE, UNFINISHED, Twice, name, reason, twice
from processes import ROOT
from recorded import ABSENT, WIRE, Recording
from replay_server import Message, replay
from wired import ANTHROPIC, HOSTS, RECORDED, SPEAKS_OPENAI, dialect_of, wired

pytestmark = pytest.mark.skipif(not WIRE.is_dir(), reason=ABSENT)

GROUPS = {
    "openai": [h for h in HOSTS if h == "api.openai.com"],
    "compatible": [h for h in HOSTS if h in SPEAKS_OPENAI and h != "api.openai.com"],
    "anthropic": [ANTHROPIC],
    "google": [h for h in HOSTS if h.endswith("googleapis.com")],
    "rest": [h for h in HOSTS if dialect_of(h) in ("Bedrock", "Generic")],
}
# So many recordings of a group are kept, and so many of those as streams, at the least.
NOTHING = Message(b"")
KEPT = {"openai": (60, 7), "compatible": (35, 5), "anthropic": (24, 3), "google": (30, 4), "rest": (7, 0)}


@pytest.fixture(scope="module")
def plain_replay() -> Iterator[int]:
    with replay() as port:
        yield port


@pytest.fixture(scope="module")
def gzip_replay() -> Iterator[int]:
    with replay(gzip=True) as port:
        yield port


def of_group(group: str) -> list[Recording]:
    return [recording for recording in RECORDED if recording.host in GROUPS[group]]


def check(recording: Recording, found: Twice) -> bool:
    """Whether its answer was kept."""
    first, second, why = found.first, found.second, reason(recording, found.first)
    assert first.clean and second.clean and first.status == second.status == recording.status
    assert second.header(b"content-type") == first.header(b"content-type")
    begun, said = first.header(b"cache-status") or b"", second.header(b"cache-status") or b""
    if why is None:
        assert begun == b"seawall; fwd=uri-miss"
        assert not found.asked and said.startswith(b"seawall; hit; ttl=")
        assert second.header(b"x-seawall-attempts") == b"0" and second.header(b"age") is not None
        assert [told.why for told in found.told] == [""]
        return True
    assert found.asked, why
    assert second.body == first.body
    if not why.whys:
        assert begun == said and begun in (b"seawall; fwd=bypass", b"seawall; fwd=method")
        assert found.told == []
    else:
        assert said == b"seawall; fwd=uri-miss"
        [told] = found.told
        assert told.why in why.whys
        assert told.detail == UNFINISHED.get(name(recording), "")
    return False


@pytest.mark.parametrize("group", GROUPS)
async def test_what_is_kept_comes_again_event_for_event(group: str, plain_replay: int, tmp_path: Path) -> None:
    kept = streams = 0
    async with wired(plain_replay, tmp_path, RULE) as (running, between):
        for recording in of_group(group):
            found = await twice(running, between, recording)
            try:
                if check(recording, found):
                    kept, streams = kept + 1, streams + recording.stream
                    assert found.second.body == found.first.body
                    # In the same pieces as well: an agent sees no difference.
                    assert not recording.stream or found.second.pieces == found.first.pieces
            except AssertionError as error:
                error.add_note(f"{recording.host}: {name(recording)}")
                raise
    assert kept >= KEPT[group][0] and streams >= KEPT[group][1], (kept, streams)


@pytest.mark.parametrize("group", ["compatible", "anthropic", "google"])
async def test_what_came_compressed_comes_again_as_the_same_bytes(group: str, gzip_replay: int, tmp_path: Path) -> None:
    kept = 0
    async with wired(gzip_replay, tmp_path, RULE) as (running, between):
        for recording in of_group(group):
            found = await twice(running, between, recording, "gzip")
            if check(recording, found):
                kept += 1
                assert found.first.header(b"content-encoding") == b"gzip"
                assert found.second.header(b"content-encoding") is None
                assert found.second.body == zlib.decompress(found.first.body, zlib.MAX_WBITS | 16)
    assert kept >= KEPT[group][0]


def test_every_reason_is_named_in_the_docs_and_met_in_the_recordings() -> None:
    text = " ".join((ROOT / "docs" / "caching.md").read_text().split())
    missing = [one.named for one in REASONS if one.named not in text]
    assert missing == []
    met = Counter(
        one.named for recording in RECORDED for one in REASONS if not one.whys and one.holds(recording, NOTHING)
    )
    assert met.keys() == {one.named for one in REASONS if not one.whys}
    assert set(UNFINISHED) <= {name(recording) for recording in RECORDED}
