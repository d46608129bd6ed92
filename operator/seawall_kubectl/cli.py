"""The command line of `kubectl seawall`.

Exit codes: 0 done; 1 it ran and the answer is no (an edit that would be refused, a sidecar that did not act); 2
unusable.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from seawall import __version__
from seawall_kubectl.kubectl import Kubectl, Refused

COMMANDS = ("status", "explain", "diff", "top", "isolate", "close")
_GLOBALS = ("--context", "--kubeconfig", "--cluster", "--user", "--as")
SIDECARS = 50


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    words = [word for name in _GLOBALS if (value := getattr(arguments, _named(name))) for word in (name, value)]
    kubectl = Kubectl(tuple(words), arguments.namespace or "")
    command: Callable[[Kubectl, argparse.Namespace], int] = arguments.run
    try:
        return command(kubectl, arguments)
    except Refused as error:
        print(f"kubectl-seawall: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-n", "--namespace", help="else the context's")
    common.add_argument("-o", "--output", choices=["text", "json"], default="text")
    for name in _GLOBALS:
        common.add_argument(name, dest=_named(name), help=f"as kubectl's {name}")
    found = argparse.ArgumentParser(
        prog="kubectl seawall", description="What seawall does in a cluster, and what an edit would do."
    )
    found.add_argument("--version", action="version", version=f"kubectl-seawall {__version__}")
    commands = found.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[Kubectl, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", parents=[common])
        made.set_defaults(run=run)
        return made

    for name, run, text in (
        ("status", _status, "routes, upstreams and sidecars, and what is wrong with them"),
        ("top", _top, "calls as they are, refreshed"),
    ):
        made = command(name, run, text)
        made.add_argument(
            "--sidecars", type=int, default=SIDECARS, metavar="N", help="ask at most so many (default 50)"
        )
        if name == "status":
            made.add_argument("-A", "--all-namespaces", action="store_true")
        else:
            made.add_argument("--once", action="store_true", help="look once")
            made.add_argument("--interval", type=float, default=2.0, metavar="SECONDS")
    explain = command("explain", _explain, "why a pod has a sidecar or none, or which fields hold for a route")
    explain.add_argument("name", metavar="POD|ROUTE", help="or pod/NAME, route/NAME")
    diff = command("diff", _diff, "what would hold if a file were applied, and for how many")
    diff.add_argument("-f", "--filename", action="append", required=True, metavar="FILE", help="file, folder, or -")
    for name, text in (
        ("isolate", "keep all calls from an upstream, until it is closed again"),
        ("close", "let calls go to an upstream again: its breakers are closed, and forget"),
    ):
        act = command(name, _act, text)
        act.set_defaults(action={"isolate": "isolate", "close": "reset"}[name])
        act.add_argument("upstream", metavar="UPSTREAM")
        act.add_argument("--model", help="only this model's breaker")
        act.add_argument("--pod", action="append", default=[], help="only this pod's sidecar; may be repeated")
        act.add_argument("--yes", action="store_true", help="do not ask")
        if name == "close":
            act.add_argument("--force", action="store_true", help="hold them closed, whatever happens")
    return found


def _show(arguments: argparse.Namespace, found: dict[str, Any], text: Callable[[dict[str, Any]], str]) -> None:
    print(json.dumps(found, indent=2, ensure_ascii=False) if arguments.output == "json" else text(found).rstrip("\n"))


def _status(kubectl: Kubectl, arguments: argparse.Namespace) -> int:
    from seawall_kubectl import status

    found = status.status(kubectl, arguments.sidecars, everywhere=arguments.all_namespaces)
    _show(arguments, found, status.text)
    return 0


def _explain(kubectl: Kubectl, arguments: argparse.Namespace) -> int:
    from seawall_kubectl import explain

    _show(arguments, explain.explain(kubectl, arguments.name), explain.text)
    return 0


def _diff(kubectl: Kubectl, arguments: argparse.Namespace) -> int:
    from seawall_kubectl import diff

    found = diff.diff(kubectl, arguments.filename)
    _show(arguments, found, diff.text)
    return 1 if found["errors"] else 0


def _top(kubectl: Kubectl, arguments: argparse.Namespace) -> int:
    from seawall_kubectl import top

    if arguments.once:
        _show(arguments, top.look(kubectl, arguments.sidecars), top.text)
        return 0
    for found in top.looks(kubectl, arguments.sidecars, max(0.5, arguments.interval)):
        if arguments.output == "text" and sys.stdout.isatty():
            print(top.CLEAR, end="")
        _show(arguments, found, top.text)
        sys.stdout.flush()
    return 0


def _act(kubectl: Kubectl, arguments: argparse.Namespace) -> int:
    from seawall_kubectl import act

    pods = act.targets(kubectl, arguments.pod)
    if not pods:
        raise Refused(f"no running sidecars in {kubectl.here()}")
    action = "force-close" if getattr(arguments, "force", False) else arguments.action
    if not arguments.yes and not _sure(f"{action} {arguments.upstream} in {len(pods)} sidecars of {kubectl.here()}?"):
        raise Refused("nothing was done; --yes does it without a question")
    upstream = act.sidecars_name(kubectl, arguments.upstream)
    found = act.act(kubectl, action, upstream, arguments.model, pods)
    _show(arguments, found, act.text)
    return 0 if all(one["done"] for one in found["sidecars"]) else 1


def _sure(question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _named(flag: str) -> str:
    return "global_" + flag.strip("-").replace("-", "_")


if __name__ == "__main__":
    sys.exit(main())
