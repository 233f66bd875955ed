"""The command line: ``provision-engine sandbox``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

from provision_engine.sandbox import faults, latency, seeds
from provision_engine.sandbox.releases import release
from provision_engine.sandbox.sandbox import Sandbox
from provision_engine.sandbox.timings import Timings

DEFAULT_RELEASE = "7.4.0"
DEFAULT_ONED_PORT, DEFAULT_ONEFLOW_PORT = 2633, 2474
_DURATIONS = [field.name for field in dataclasses.fields(Timings)]


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"sandbox: {message}\n")
        raise SystemExit(2)


def main(argv: list[str]) -> int:
    """Runs the sandbox until SIGTERM or SIGINT. Returns the exit code: 0, 1 or 2."""
    try:
        options = _parser().parse_args(argv)
        sandbox = _sandbox(options)
    except SystemExit as error:
        return int(error.code or 0)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 2
    try:
        return _run(sandbox)
    except OSError as error:
        sys.stderr.write(f"sandbox: {error.strerror or error}\n")
        return 1


def _parser() -> _Parser:
    parser = _Parser(
        prog="provision-engine sandbox",
        description="Runs a simulated OpenNebula on 127.0.0.1 until it is interrupted.",
        epilog=f"Faults. {faults.__doc__}".replace("``", ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    any_port = "0 for any free one"
    parser.add_argument(
        "--release", default=DEFAULT_RELEASE, type=_release, help="6.x.y or 7.x.y (%(default)s)"
    )
    parser.add_argument(
        "--oned-port", default=DEFAULT_ONED_PORT, type=_port, help=f"%(default)s; {any_port}"
    )
    parser.add_argument(
        "--oneflow-port", default=DEFAULT_ONEFLOW_PORT, type=_port, help=f"%(default)s; {any_port}"
    )
    parser.add_argument("--latency", choices=latency.PROFILES, help="delays of a real OpenNebula")
    parser.add_argument(
        "--timings",
        choices=("quick", "measured"),
        default="quick",
        help="durations of the steps of VMs and services (%(default)s)",
    )
    parser.add_argument("--fault", action="append", default=[], metavar="SPEC", help="see below")
    parser.add_argument("--hosts", type=_count, default=100, help="number of hosts")
    for name in _DURATIONS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=_seconds, metavar="SECONDS")
    return parser


def _release(text: str) -> str:
    try:
        return release(text).version
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be one of 6.x.y and 7.x.y") from None


def _port(text: str) -> int:
    return _between(text, 0, 65_535)


def _count(text: str) -> int:
    return _between(text, 0, 100_000)


def _between(text: str, least: int, most: int) -> int:
    if not text.isdigit() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number from {least} to {most}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds, 0 or more")
    return value


def _sandbox(options: argparse.Namespace) -> Sandbox:
    base = Timings.measured(options.release) if options.timings == "measured" else Timings()
    given = {n: getattr(options, n) for n in _DURATIONS if getattr(options, n) is not None}
    sandbox = Sandbox(
        release=options.release,
        oned_port=options.oned_port,
        oneflow_port=options.oneflow_port,
        timings=dataclasses.replace(base, **given),
        latency=options.latency,
        hosts=options.hosts,
    )
    for text in options.fault:
        try:
            sandbox.faults.set_text(text)
        except ValueError as error:
            raise ValueError(f"argument --fault: {error}") from None
    return sandbox


def _run(sandbox: Sandbox) -> int:
    with _termination() as ended, sandbox:
        _announce(sandbox)
        ended.wait()
    return 0


@contextlib.contextmanager
def _termination() -> Iterator[threading.Event]:
    """An event set by SIGTERM and SIGINT; restores the previous signal handlers at the end."""
    ended = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield ended
        return
    previous = {
        number: signal.signal(number, lambda *_: ended.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield ended
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _announce(sandbox: Sandbox) -> None:
    lines = [
        f"OpenNebula {sandbox.world.store.release.version} (sandbox)",
        f"oned     {sandbox.oned_url}",
        f"oneflow  {sandbox.oneflow_url}",
    ]
    lines += [f"user     {name} {password}" for name, password, *_ in seeds.USERS if password]
    templates = sandbox.store.flow_templates().items()
    lines += [f"flow template {number} {name}" for name, number in templates]
    for line in [*lines, "ready"]:
        print(line, flush=True)
