"""The command line of each action of `provision-engine runtime`."""

from __future__ import annotations

import argparse
import re

from provision_engine import one_auth
from provision_engine.cli.options import (
    Parser,
    add_config,
    count,
    duration_seconds,
    size_mb,
    whole_seconds,
)
from provision_engine.cli.runtime import exit_codes
from provision_engine.cli.runtime.connection import URL_VARIABLE
from provision_engine.client.models import STATES

WAIT_SECONDS = 300
WATCH_SECONDS = 2.0
EPILOG = f"""\
address of the engine:
  The first of: --url, the file in --config, the variable {URL_VARIABLE},
  the installed engine.conf.

credentials:
  USER:PASSWORD of OpenNebula, in the file that {one_auth.VARIABLE} names or in
  {one_auth.DEFAULT_FILE}; without either, a prompt on a terminal. Never from the
  command line.

{exit_codes.explained()}

CPU counts cores; memory and disk are MB, or written as 512M or 1G; times are seconds, or written
as 90s, 15m, 12h or 7d. Where an ID is expected, the name of a runtime will do.
"""


def add_common(one: Parser) -> None:
    add_config(one)
    one.add_argument("--url", default="", help="the address of the engine")
    one.add_argument("--json", action="store_true", help="print JSON, for programs")
    one.add_argument(
        "--ca-file", metavar="FILE", help="the authorities that signed the engine's certificate"
    )


def add_create(one: Parser) -> None:
    one.add_argument("flavour", metavar="FLAVOUR", help="flavour of the function")
    one.add_argument(
        "--data", default="", metavar="FLAVOUR", help="flavour of a data VM to create beside it"
    )
    _add_specification(one)
    _add_waiting(one)
    one.add_argument("--dry-run", action="store_true", help="show what would be created")
    one.add_argument(
        "--key", default="", help="idempotency key: the same key returns the same runtime"
    )
    _add_quiet(one, "print the id only")


def add_list(one: Parser) -> None:
    one.add_argument("--name", default="", help="only runtimes with this name")
    one.add_argument(
        "--flavour",
        default="",
        metavar="FLAVOUR",
        help="only runtimes with this flavour, or flavour tuple such as nature-s3",
    )
    one.add_argument(
        "--state",
        default="",
        choices=STATES,
        type=str.upper,
        help="only runtimes with a function in this state",
    )
    one.add_argument(
        "--newest", type=count, metavar="COUNT", help="only this many, the newest first"
    )
    one.add_argument(
        "--watch",
        type=duration_seconds,
        nargs="?",
        const=WATCH_SECONDS,
        metavar="TIME",
        help=f"refresh the list, every {WATCH_SECONDS:g} seconds if no time is given",
    )
    _add_quiet(one, "print ids only")


def add_update(one: Parser) -> None:
    add_one(one)
    _add_specification(one)
    one.add_argument("--no-lease", action="store_true", help="remove its lease")
    _add_match(one)
    _add_waiting(one)


def add_delete(one: Parser) -> None:
    one.add_argument("ids", nargs="+", metavar="ID")
    _add_match(one)


def add_one(one: Parser) -> None:
    one.add_argument("id", metavar="ID")


def add_wait(one: Parser) -> None:
    add_one(one)
    one.add_argument(
        "--for",
        dest="state",
        default="RUNNING",
        choices=("RUNNING", "SUSPENDED"),
        type=str.upper,
        help="the state to wait for",
    )
    one.add_argument(
        "--timeout",
        type=duration_seconds,
        default=WAIT_SECONDS,
        metavar="TIME",
        help=f"the maximum time ({WAIT_SECONDS} seconds by default)",
    )


def add_action(one: Parser) -> None:
    """Suspend and resume."""
    add_one(one)
    _add_waiting(one)


def add_recover(one: Parser) -> None:
    add_action(one)
    one.add_argument(
        "--replace",
        action="store_true",
        help="allow a new VM in place of a failed one, even if a data VM loses its disk",
    )


def add_flavours(one: Parser) -> None:
    _add_quiet(one, "print the names of those that can be deployed")


# ---- parts ------------------------------------------------------------------------------


def _add_specification(one: Parser) -> None:
    one.add_argument("--name", default="", help="name of the runtime")
    for role, vm in (("", "the function"), ("data-", "the data VM")):
        one.add_argument(f"--{role}cpu", type=count, metavar="CORES", help=f"cores of {vm}")
        one.add_argument(f"--{role}memory", type=size_mb, metavar="SIZE", help=f"memory of {vm}")
        one.add_argument(f"--{role}disk", type=size_mb, metavar="SIZE", help=f"disk of {vm}")
    one.add_argument("--policy", default="", help="rank of hosts, such as FREE_CPU")
    one.add_argument(
        "--requirements", default="", help="condition for hosts, such as 'FREE_CPU > 10'"
    )
    one.add_argument(
        "--device-info",
        type=_device_info,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="information about the device; may be given several times",
    )
    one.add_argument(
        "--lease",
        type=whole_seconds,
        metavar="TIME",
        help="OpenNebula ends the runtime after this time",
    )


def _add_waiting(one: Parser) -> None:
    one.add_argument(
        "--wait",
        type=duration_seconds,
        nargs="?",
        const=WAIT_SECONDS,
        metavar="TIME",
        help=f"wait until it is done, {WAIT_SECONDS} seconds at most if no time is given",
    )


def _add_match(one: Parser) -> None:
    one.add_argument(
        "--if-match",
        default="",
        metavar="ETAG",
        help="only if the runtime still has this entity tag (see show)",
    )


def _add_quiet(one: Parser, help: str) -> None:
    one.add_argument("-q", "--quiet", action="store_true", help=help)


def _device_info(text: str) -> tuple[str, str | int | float]:
    """A member of DEVICE_INFO; a value that looks like a number is one."""
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE, in upper case")
    if re.fullmatch(r"-?\d{1,15}", value):
        return name, int(value)
    return name, float(value) if re.fullmatch(r"-?\d{1,15}\.\d{1,15}", value) else value
