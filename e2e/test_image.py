"""The image as a cluster would run it: a number for a user, a root that cannot be written, and no shell."""

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from e2e.images import BASE, Image, run

SHELLS = ("sh", "bash", "dash")
MAX_BYTES = 120_000_000
READY_SECONDS = 3.0

# In name spaces of its own: the root read-only, /tmp writable, nothing where shells are, and the user a number.
_JAIL = """
root=$1; shift
mount --bind "$root" "$root"
for shell in $SHELLS; do [ ! -e "$root/bin/$shell" ] || mount --bind /dev/null "$root/bin/$shell"; done
mount -t tmpfs none "$root/tmp"; chmod 1777 "$root/tmp"
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs env -i $VARIABLES /usr/sbin/chroot --userspec=65532:65532 "$root" "$@"
"""


def _jailed(image: Image, *words: str) -> list[str]:
    variables = " ".join(image.configuration()["Env"])
    head = ["env", f"VARIABLES={variables}", f"SHELLS={' '.join(SHELLS)}", "unshare", "--mount", "--pid", "--fork"]
    return [*head, "bash", "-euc", _JAIL, "jail", str(image.root), *words]


@contextmanager
def _started(image: Image, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """All of its processes end with it: by their group, for who took another user does not hear of a parent's end."""
    process = subprocess.Popen(_jailed(image, *words), stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=20)


def test_it_runs_as_a_numeric_user_and_starts_no_shell(image: Image) -> None:
    configuration = image.configuration()
    assert configuration["User"] == "65532:65532"
    assert configuration["Entrypoint"] == ["seawall"]
    assert configuration["StopSignal"] == "SIGTERM"
    said = run(*_jailed(image, "seawall", "--version"))
    assert said.startswith("seawall ")


def test_the_jail_of_these_tests_holds(image: Image) -> None:
    code = "import os; print(os.getuid(), os.access('/opt/seawall', os.W_OK), os.access('/', os.W_OK))"
    assert run(*_jailed(image, "/opt/seawall/bin/python", "-c", code)).split() == ["65532", "False", "False"]
    assert subprocess.run(_jailed(image, "sh", "-c", "true"), capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("name", ["seawall-operator", "seawall", "kubectl-seawall"])
def test_its_commands_are_there(image: Image, name: str) -> None:
    assert f"usage: {name.replace('kubectl-', 'kubectl ')}" in run(*_jailed(image, name, "--help"))


def test_what_aws_needs_was_left_in(image: Image) -> None:
    services = ("sts", "sso", "sso-oidc", "bedrock-runtime")
    code = f"import boto3; [boto3.client(name, region_name='us-east-1') for name in {services}]"
    run(*_jailed(image, "/opt/seawall/bin/python", "-c", code))


def test_the_proxy_is_ready_in_seconds(image: Image) -> None:
    began = time.monotonic()
    options = ("--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--admin-socket=/tmp/admin.sock")
    with _started(image, "seawall", "serve", *options) as process:
        assert process.stderr is not None
        greeting = next(line for line in process.stderr if "listening" in line)
        address = greeting.split("admin on ")[1].split(",")[0]
        with urllib.request.urlopen(f"http://{address}/startupz", timeout=5) as answer:
            assert answer.status == 200
        took = time.monotonic() - began
    print(f"ready after {took:.2f} s")
    assert took <= READY_SECONDS


def test_its_size_is_bounded(image: Image, tmp_path: Path) -> None:
    """Compressed, with its base, as a registry would hold it."""
    sizes: dict[str, int] = {}
    for name in (image.name, BASE):
        target = tmp_path / str(len(sizes))
        run("buildah", "push", "--compression-format", "gzip", name, f"oci:{target}")
        sizes[name] = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    own = sizes[image.name] - sizes[BASE]
    print(f"compressed: {sizes[image.name] / 1e6:.1f} MB, of which {own / 1e6:.1f} MB are not its base's")
    assert sizes[image.name] <= MAX_BYTES


def test_everything_in_it_is_listed(image: Image) -> None:
    bill = json.loads(image.bill.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "seawall"
    listed = {one["purl"].split("@")[0] for one in bill["components"]}
    site = next(image.root.glob("opt/seawall/lib/python3*/site-packages"))
    installed = {one.name.rsplit("-", 2)[0] for one in site.glob("*.dist-info")} - {"seawall"}
    there = {line.split("-")[0].replace("_", "-").lower() for line in installed}
    assert there <= {purl.removeprefix("pkg:pypi/") for purl in listed}
    assert "pkg:deb/debian/libc6" in listed
    assert (image.root / "opt/seawall/sbom.cdx.json").read_bytes() == image.bill.read_bytes()
