"""The command line. It parses, calls one function per command and turns what goes wrong into one line and an exit code;
heavy imports happen in the command that needs them.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from seawall import __version__
from seawall.arguments import Option, add, address, one_of, policies, seconds, shipped, size_or_share, take, whole
from seawall.cache_options import OPTIONS as CACHE
from seawall.follow_options import OPTIONS as OPERATOR
from seawall.terminal import Unusable, default_socket

EXIT_CODES = """exit codes:
  0  done, or stopped as asked
  1  the command ran, and its answer is no (an admin action that the proxy refused)
  2  unusable: a policy with errors, an address in use, an unreadable file, bad arguments
"""

_SERVE_EXAMPLES = """examples:
  seawall serve --policy config/policy.yaml
  seawall serve --policy base.yaml --policy team.yaml --listen 0.0.0.0:4100
  SEAWALL_POLICY=/etc/seawall/policy seawall serve
  seawall serve --operator https://seawall-operator.seawall.svc:8443 --profile team-a/default --state /var/lib/seawall
"""
_DEMO_EXAMPLES = """examples:
  seawall demo
  seawall demo --listen 127.0.0.1:5100 --admin 127.0.0.1:5101 --lab 127.0.0.1:5110
"""
_CHECK_EXAMPLES = """examples:
  seawall check config/policy.yaml
  seawall check config/           every *.yaml in a folder
"""
_EXPLAIN_EXAMPLES = """examples:
  seawall explain --policy config/policy.yaml --request POST http://127.0.0.1:4100/openai/v1/chat/completions
  seawall explain --policy config/policy.yaml --request request.http
                                  a file with a request line, header lines, an empty line and a body
"""
_LAB_EXAMPLES = """examples:
  seawall lab --listen 127.0.0.1:4110
  curl 127.0.0.1:4110/v1/chat/completions -d '{"model":"lab-503","messages":[]}'
"""
_ADMIN_EXAMPLES = """examples:
  seawall admin health
  seawall admin isolate openai --model gpt-4o
  seawall admin reset openai
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The `seawall` command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.run
    try:
        take(arguments, os.environ)
        return command(arguments)
    except Unusable as error:
        print(f"seawall: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); Python would complain once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


# -- commands ----------------------------------------------------------------------------------------------------------


def _serve(arguments: argparse.Namespace) -> int:
    from seawall.serve import serve_command

    return serve_command(arguments, policies(arguments.policy, os.environ))


def _demo(arguments: argparse.Namespace) -> int:
    from seawall.serve import demo_command

    return demo_command(arguments, (shipped("demo.yaml"),))


def _lab(arguments: argparse.Namespace) -> int:
    from seawall.serve import lab_command

    return lab_command(arguments)


def _check(arguments: argparse.Namespace) -> int:
    from seawall.policy import changes, load_policy

    if "" in arguments.files:
        raise Unusable("'' is no file or folder")
    loaded = load_policy([Path(p) for p in arguments.files])
    for issue in loaded.issues:
        print(issue)
    errors = sum(issue.severity == "error" for issue in loaded.issues)
    if errors:
        print(f"{errors} error{'s' * (errors > 1)}", file=sys.stderr)
        return 2
    assert loaded.policy is not None
    rules = sum(len(route.rules) for route in loaded.policy.routes)
    print(f"ok: {len(loaded.policy.upstreams)} upstreams, {rules} rules, revision {loaded.policy.revision}")
    for change in changes(loaded.documents, loaded.policy):
        print(f"shadow: {change}")
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from seawall.explain import explain

    return explain(policies(arguments.policy, os.environ), arguments.request)


def _admin(arguments: argparse.Namespace) -> int:
    import json

    from seawall.server import admin_client

    action = arguments.action
    path = Path(arguments.socket or default_socket(str(_ADMIN.value(None, os.environ))))
    whole_proxy = {name: getattr(admin_client, name) for name in ("health", "state", "cache", "drain")}
    if action != "purge" and (arguments.key or arguments.purge_upstream):
        raise Unusable(f"{action} takes no --key and no --upstream: purge does")
    try:
        if action in whole_proxy:
            if arguments.upstream or arguments.model is not None:
                # Who drains one upstream by mistake should not have drained them all.
                raise Unusable(f"{action} is of the whole proxy: it takes no upstream and no model")
            answer = whole_proxy[action](path)
        elif action == "purge":
            by = {"route": arguments.upstream, "upstream": arguments.purge_upstream}
            by |= {"model": arguments.model, "key": arguments.key}
            answer = admin_client.purge(path, {name: value for name, value in by.items() if value})
        elif action in ("offline", "online"):
            if arguments.model is not None:
                raise Unusable(f"{action} takes a route, and no model")
            answer = admin_client.set_offline(path, action, arguments.upstream)
        elif arguments.upstream:
            answer = admin_client.breaker(path, action, arguments.upstream, arguments.model)
        else:
            raise Unusable(f"{action} needs an upstream: seawall admin {action} NAME [--model MODEL]")
    except admin_client.AdminError as error:
        print(f"seawall: {error}", file=sys.stderr)
        return 1
    print(json.dumps(answer, indent=2))
    return 0


# -- arguments ---------------------------------------------------------------------------------------------------------


_LISTEN = Option("--listen", address, "127.0.0.1:4100", "for agents", "HOST:PORT")
_ADMIN = Option("--admin", address, "127.0.0.1:4101", "for probes, metrics and reports", "HOST:PORT")
_ADMIN_SOCKET = Option(
    "--admin-socket", str, "", "Unix socket for actions; else one per admin port in the user's runtime folder", "PATH"
)
_DRAIN = Option("--drain", seconds, "25", "for calls to finish at the end", "SECONDS")
_BUFFER_BUDGET = Option(
    "--buffer-budget", size_or_share(64 * 2**20, 4), "auto",
    "memory for bodies and answers that are kept for another attempt; auto: 64Mi, at most a quarter of the container's "
    "limit", "SIZE",
)  # fmt: skip
_TRACES = Option(
    "--traces", one_of("off", "otlp"), "off", "otlp: sent by OTLP/HTTP as the OTEL_* variables say", "{off,otlp}"
)
_LAB = Option("--lab", address, "127.0.0.1:4110", "for the lab", "HOST:PORT", variable="LAB_LISTEN")
_LAB_LISTEN = Option("--listen", address, "127.0.0.1:4110", "for agents", "HOST:PORT", variable="LAB_LISTEN")
_SEED = Option("--seed", whole, "0", "of its random faults", "NUMBER")
_SOCKET = Option(
    "--socket", str, "", "of the proxy; else that of SEAWALL_ADMIN's port", "PATH", variable="ADMIN_SOCKET"
)


def _log_format(default: str) -> Option:
    return Option("--log-format", one_of("json", "text"), default, "of the log", "{json,text}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="seawall",
        description="A proxy that keeps LLM and warehouse calls working while their providers fail.",
        epilog="Options are also variables, which each command's help names; what is typed beats them.\n\n"
        + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"seawall {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], int], text: str, examples: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=examples + "\n" + EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run, options=())
        return sub

    serve = command("serve", _serve, "run the proxy under a policy", _SERVE_EXAMPLES)
    _policy_option(serve)
    add(serve, _LISTEN, _ADMIN, _ADMIN_SOCKET, _log_format("json"), _TRACES, _DRAIN, _BUFFER_BUDGET, *CACHE, *OPERATOR)
    demo = command("demo", _demo, "run the proxy before a lab whose upstreams fail, to see it work", _DEMO_EXAMPLES)
    add(demo, _LISTEN, _ADMIN, _ADMIN_SOCKET, _log_format("text"), _DRAIN, _BUFFER_BUDGET, _LAB, *CACHE)
    check = command("check", _check, "print every error of policy files", _CHECK_EXAMPLES)
    check.add_argument("files", nargs="+", metavar="FILE", help="a policy file, or a folder of them")
    explain = command("explain", _explain, "tell what would happen to a request, and why", _EXPLAIN_EXAMPLES)
    _policy_option(explain)
    explain.add_argument(
        "--request", nargs="+", required=True, metavar=("FILE|METHOD", "URL"), help="a request file, or method and URL"
    )
    lab = command("lab", _lab, "emulate providers that fail on demand", _LAB_EXAMPLES)
    add(lab, _LAB_LISTEN, _SEED)
    admin = command("admin", _admin, "look at a running proxy, or act on it", _ADMIN_EXAMPLES)
    admin.add_argument(
        "action",
        choices=["health", "state", "cache", "isolate", "force-close", "reset", "offline", "online", "purge", "drain"],
    )
    admin.add_argument(
        "upstream",
        nargs="?",
        metavar="NAME",
        help="of an upstream: isolate, force-close, reset; of a route: offline, online, purge (none: all)",
    )
    admin.add_argument("--model", help="only this model's breaker, or kept answers")
    admin.add_argument("--upstream", dest="purge_upstream", metavar="NAME", help="purge: only this upstream's answers")
    admin.add_argument("--key", metavar="HEX", help="purge: only answers whose key begins so (`cache_key` in the log)")
    add(admin, _SOCKET)
    return parser


def _policy_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy",
        action="append",
        metavar="FILE",
        help="a policy file or folder; may be repeated (default: SEAWALL_POLICY, several separated by ':', "
        "else the built-in pass-through to the public providers)",
    )


if __name__ == "__main__":
    sys.exit(main())
