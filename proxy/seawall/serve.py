"""The commands that run: `serve`, `demo` and `lab`. What cannot be used ends in one line that says what and where."""

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from seawall.cache_options import places
from seawall.follow_options import following
from seawall.policy import EffectivePolicy
from seawall.reload import read
from seawall.service import Address, Options, Service
from seawall.terminal import Unusable, default_socket

if TYPE_CHECKING:
    from seawall.policy.bundle import Bundle


def serve_command(arguments: argparse.Namespace, policies: tuple[Path, ...]) -> int:
    return _run(_serve(_options(arguments, policies), _usable(policies)))


def demo_command(arguments: argparse.Namespace, policies: tuple[Path, ...]) -> int:
    return _run(_demo(_options(arguments, policies), _usable(policies), arguments.lab))


def lab_command(arguments: argparse.Namespace) -> int:
    return _run(_lab(arguments.listen, arguments.seed))


async def _serve(options: Options, policy: EffectivePolicy) -> int:
    service, bundles = Service(options), list["Bundle"]()
    if options.following is not None:
        from seawall.follow import kept_bundles

        bundles, passed_over = kept_bundles(options.following)
        for reason in passed_over:
            print(f"seawall: not used: {reason}", file=sys.stderr)
    await _start(service, policy, bundles)
    listen, admin = options.listen.with_port(service.port), options.admin.with_port(service.admin_port)
    print(f"seawall: listening on {listen}, admin on {admin}, actions on {options.admin_socket}", file=sys.stderr)
    await service.run()
    return 0


async def _demo(options: Options, policy: EffectivePolicy, lab: Address) -> int:
    from seawall.demo import run_demo

    return await run_demo(options, policy, lab)


async def _lab(address: Address, seed: int) -> int:
    from seawall.lab import start_lab

    lab = await start_lab(address.host, address.port, seed=seed)
    print(f"seawall lab: {lab.url}/v1 (OpenAI), {lab.url} (Anthropic), {lab.url}/warehouse", file=sys.stderr)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await lab.close()
    return 0


async def _start(service: Service, policy: EffectivePolicy, bundles: "Sequence[Bundle]" = ()) -> None:
    try:
        await service.start(policy, bundles)
    except OSError:
        await service.close()
        raise
    # What is there now stays to the end. Not looking at it again keeps full garbage collections, which stop every call,
    # from taking 15 ms: that was the 99th percentile of latency under load.
    gc.collect()
    gc.freeze()


def _run(main: Coroutine[Any, Any, int]) -> int:
    try:
        return uvloop.run(main)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise Unusable(f"{where}{error.strerror or error}") from None


def _usable(paths: tuple[Path, ...]) -> EffectivePolicy:
    """The policy, or its errors on the terminal and Unusable."""
    policy, issues = read(paths)
    errors = [issue for issue in issues if issue.severity == "error"]
    for issue in issues:
        if errors != [issue]:
            print(issue, file=sys.stderr)
    if len(errors) == 1:
        raise Unusable(str(errors[0]))
    if policy is None:
        raise Unusable("the policy has errors; nothing was started")
    return policy


def _options(arguments: argparse.Namespace, policies: tuple[Path, ...]) -> Options:
    return Options(
        policies=policies,
        listen=arguments.listen,
        admin=arguments.admin,
        admin_socket=Path(arguments.admin_socket or default_socket(str(arguments.admin))),
        log_format=arguments.log_format,
        drain_seconds=arguments.drain,
        buffer_budget=arguments.buffer_budget,
        cache=places(arguments),
        # The demo has no such option.
        traces=getattr(arguments, "traces", "off") == "otlp",
        following=following(arguments),
    )
