"""kubectl, as a user has it."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SECONDS = 30.0
Object = dict[str, Any]


class Refused(Exception):
    """kubectl's own words for why not."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """`globals`: options for each command, such as --context. `namespace` "": the context's."""

    globals: tuple[str, ...] = ()
    namespace: str = ""

    def run(self, *words: str, seconds: float = SECONDS) -> str:
        """Its output. Raises Refused."""
        command = ["kubectl", *self.globals, *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        except FileNotFoundError:
            raise Refused("there is no kubectl on the PATH") from None
        except subprocess.TimeoutExpired:
            raise Refused(f"kubectl {words[0]}: no answer within {seconds:.0f} s") from None
        if done.returncode:
            raise Refused(done.stderr.strip() or f"kubectl {words[0]} ended with {done.returncode}")
        return done.stdout

    def here(self) -> str:
        """The namespace that commands are about."""
        if self.namespace:
            return self.namespace
        return self.run("config", "view", "--minify", "-o", "jsonpath={..namespace}").strip() or "default"

    def list(self, kinds: Sequence[str], *, everywhere: bool = False) -> list[Object]:
        """All objects of some kinds."""
        where = ("-A",) if everywhere else ("-n", self.here())
        found: Mapping[str, Any] = json.loads(self.run("get", ",".join(kinds), *where, "-o", "json"))
        return list(found["items"])

    def get(self, kind: str, name: str) -> Object:
        found: Object = json.loads(self.run("get", kind, name, "-n", self.here(), "-o", "json"))
        return found

    def raw(self, path: str) -> Any:
        return json.loads(self.run("get", "--raw", path, seconds=10.0))
