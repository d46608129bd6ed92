"""Who may ask a shared store: passwords, TLS, and what is never shown of them."""

import asyncio
from pathlib import Path
from urllib.parse import quote

import pytest
from redis_server import needs_redis, redis_server
from secure import authority
from sharing import shared, until_idle
from stored import entry

from seawall.clock import SystemClock
from seawall.store.base import Unavailable
from seawall.store.guarded import Guarded
from seawall.store.redis import SharedStore, address

pytestmark = needs_redis
SECRET = "s3cret/with:odd@signs"


@pytest.mark.parametrize("user", ["", "seawall"])
async def test_passwords_come_from_the_url_or_a_file_and_are_read_anew(user: str, tmp_path: Path) -> None:
    users = ["--user", "seawall", "on", f">{SECRET}", "~*", "+@all"] if user else ["--requirepass", SECRET]
    async with redis_server(*users) as server:
        place = f"127.0.0.1:{server.port}/0"
        async with shared(address(f"redis://{user}:{quote(SECRET, safe='')}@{place}")) as store:
            await store.put(b"k", entry())
        file = tmp_path / "password"
        file.write_text("wrong")
        async with shared(address(f"redis://{user + '@' if user else ''}{place}", password_file=file)) as store:
            with pytest.raises(Unavailable):
                await store.get(b"k")
            file.write_text(SECRET + "\n")
            assert await store.get(b"k") == entry()
            file.unlink()
            assert await store.get(b"k") == entry()  # its connection is there already


async def test_a_wrong_password_is_unavailable_and_secrets_are_in_no_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    async with redis_server("--requirepass", "right") as server:
        where = address(f"redis://:{quote(SECRET, safe='')}@127.0.0.1:{server.port}")
        store = SharedStore(where, SystemClock())
        guarded = Guarded(store, SystemClock())
        with pytest.raises(Unavailable, match="AuthenticationError") as caught:
            await store.get(b"k")
        await guarded.get(b"k")
        guarded.put(b"k", entry())
        await until_idle(guarded)
        texts = [repr(x) for x in (where, store, guarded, guarded.stats(), caught.value)]
        texts += [str(where), str(caught.value), caplog.text, guarded.stats().last_error]
        texts += [str(error) for error in (caught.value.__cause__,)]
        assert guarded.stats().last_error and not any("s3cret" in text for text in texts)
        await guarded.close()


async def test_what_a_server_repeats_of_a_password_is_hidden() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(f"-ERR no such user {SECRET}\r\n".encode())
        await writer.drain()
        writer.close()

    echo = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"redis://:{quote(SECRET, safe='')}@127.0.0.1:{echo.sockets[0].getsockname()[1]}"
    async with echo, shared(address(url)) as store:
        with pytest.raises(Unavailable) as caught:
            await store.get(b"k")
    assert "s3cret" not in str(caught.value) and "no such user ***" in str(caught.value)


async def test_tls_trusts_its_own_authority_and_checks_the_name(tmp_path: Path) -> None:
    ours, others = authority(tmp_path, "ours"), authority(tmp_path, "others")
    issued = ours.ca.issue_cert("localhost")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    files = ["--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-key-file", str(tmp_path / "key.pem")]
    files += ["--tls-ca-cert-file", str(ours.file), "--tls-auth-clients", "no", "--requirepass", "pass"]
    async with redis_server(*files, tls=True) as server:
        url = f"rediss://:pass@localhost:{server.port}/0"
        async with shared(address(url, ca_file=ours.file)) as store:
            await store.put(b"k", entry())
            assert await store.get(b"k") == entry()
        for where in (
            address(url, ca_file=others.file),
            address(url),
            address(f"rediss://:pass@127.0.0.1:{server.port}", ca_file=ours.file),
            address(f"redis://:pass@localhost:{server.port}"),
            address(url, ca_file=tmp_path / "none.pem"),
        ):
            async with shared(where) as store:
                with pytest.raises(Unavailable):
                    await store.get(b"k")
