"""Certificates of the tests' own authorities, for upstreams that speak TLS."""

import json
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme
from harness import Running
from peers import chat, wire


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority, and what trusts it."""

    ca: trustme.CA
    file: Path

    def server(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names).configure_cert(context)
        return context


def authority(folder: Path, name: str) -> Authority:
    """A new one; `folder` takes its certificate."""
    ca, file = trustme.CA(), folder / f"{name}.pem"
    ca.cert_pem.write_to_path(str(file))
    return Authority(ca, file)


async def code(running: Running) -> tuple[int, str]:
    """Status and seawall's code for one call; "" for a good one."""
    got = await wire(running, chat())
    return got.status, json.loads(got.body).get("seawall", {}).get("code", "")
