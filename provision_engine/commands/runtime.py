"""`provision-engine runtime …`: serverless runtimes from the command line, over the API."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from provision_engine import client
from provision_engine.client import Client, ClientError, Function, Runtime
from provision_engine.failures import OperatorError

URL_VARIABLE = "PROVISION_ENGINE_URL"
AUTH_VARIABLE = "ONE_AUTH"
AUTH_FILE = Path(".one/one_auth")
"""Below the home directory: where OpenNebula's own tools look as well."""
WAIT_SECONDS = 300
STATES = ("PENDING", "RUNNING", "UPDATING", "ERROR")

FAILED, NOT_FOUND, RUNTIME_FAILED, STILL_WAITING, REFUSED, UNFULFILLABLE, LATER = (
    1,
    3,
    4,
    5,
    6,
    7,
    8,
)
"""Exit codes; 2 is argparse's own."""
CODES: tuple[tuple[type[ClientError], int], ...] = (
    (client.NotFound, NOT_FOUND),
    (client.RuntimeFailed, RUNTIME_FAILED),
    (client.StillWaiting, STILL_WAITING),
    (client.Unauthorized, REFUSED),
    (client.Forbidden, REFUSED),
    (client.Conflict, UNFULFILLABLE),
    (client.Changed, UNFULFILLABLE),
    (client.Unprocessable, UNFULFILLABLE),
    (client.Locked, LATER),
    (client.Busy, LATER),
    (client.Unreachable, LATER),
)
EPILOG = f"""\
credentials:
  The file that {AUTH_VARIABLE} names, else ~/{AUTH_FILE}, holds USER:PASSWORD of OpenNebula;
  where there is neither, a terminal is asked. They are never taken from the command line.

exit codes:
  0  done
  1  the engine or OpenNebula failed, or the request does not fit
  2  the command line is wrong
  3  there is no such runtime
  4  the runtime failed: a function is in ERROR
  5  the time to wait was over before the runtime ran
  6  the user is unknown, or may not do this
  7  it cannot be had: flavour, capacity or quota; or the runtime has changed meanwhile
  8  not now: it is changing, the engine is busy, or it does not answer; try again later

Sizes are cores and MB; times are seconds, or written as 90s, 15m, 12h or 7d.
"""
UNITS_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Action(NamedTuple):
    """What an action is called for, and what it takes."""

    do: Callable[[Client, argparse.Namespace], int]
    help: str
    options: Callable[[argparse.ArgumentParser], None]


def main(arguments: Sequence[str]) -> int:
    """Do one action; the exit codes stand in EPILOG."""
    whole, _ = parsers()
    options = whole.parse_args(arguments)
    try:
        with _client(options) as api:
            return ACTIONS[options.action].do(api, options)
    except ClientError as error:
        _complain(error, options.json)
        return next((code for kind, code in CODES if isinstance(error, kind)), FAILED)


# ---- the command line ------------------------------------------------------------------


def parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The whole command line, and the parts of it by action."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--url",
        default=os.environ.get(URL_VARIABLE) or client.DEFAULT_URL,
        help=f"of the engine; else the one in {URL_VARIABLE}, else {client.DEFAULT_URL}",
    )
    common.add_argument("--json", action="store_true", help="print JSON, for programs")
    common.add_argument(
        "--ca-file", metavar="FILE", help="authorities that vouch for the engine's certificate"
    )
    whole = argparse.ArgumentParser(
        "provision-engine runtime",
        description="Serverless runtimes of an OpenNebula user.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = whole.add_subparsers(dest="action", metavar="ACTION", required=True)
    parts = {}
    for name, action in ACTIONS.items():
        parts[name] = actions.add_parser(
            name,
            parents=[common],
            help=action.help,
            description=f"{action.help[0].upper()}{action.help[1:]}.",
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        action.options(parts[name])
    return whole, parts


def seconds(text: str) -> int:
    """A time as people write it."""
    found = re.fullmatch(r"(\d{1,9})([smhd]?)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90, 15m, 12h or 7d")
    return int(found[1]) * UNITS_SECONDS[found[2]]


def size(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def fact(text: str) -> tuple[str, str | int | float]:
    """A member of DEVICE_INFO; a value that looks like a number is one."""
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE, in upper case")
    if re.fullmatch(r"-?\d{1,15}", value):
        return name, int(value)
    return name, float(value) if re.fullmatch(r"-?\d{1,15}\.\d{1,15}", value) else value


def _of_specification(one: argparse.ArgumentParser) -> None:
    one.add_argument("--name", default="", help="of the runtime")
    for role, words in (("", "the function"), ("data-", "the data VM")):
        one.add_argument(f"--{role}cpu", type=size, metavar="CORES", help=f"of {words}")
        one.add_argument(f"--{role}memory", type=size, metavar="MB", help=f"of {words}")
        one.add_argument(f"--{role}disk", type=size, metavar="MB", help=f"of {words}")
    one.add_argument("--policy", default="", help="how hosts are ranked")
    one.add_argument("--requirements", default="", help="what a host must fulfil")
    one.add_argument(
        "--device-info",
        type=fact,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what the device tells of itself; may be given several times",
    )
    one.add_argument(
        "--lease", type=seconds, metavar="TIME", help="OpenNebula ends the runtime after that"
    )


def _of_waiting(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--wait",
        type=seconds,
        nargs="?",
        const=WAIT_SECONDS,
        metavar="TIME",
        help=f"until it runs, at most so long ({WAIT_SECONDS} seconds if no time is given)",
    )


def _of_one(one: argparse.ArgumentParser) -> None:
    one.add_argument("id", type=_id, metavar="ID")


def _of_match(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--if-match", default="", metavar="ETAG", help="only if it is as it was seen (see show)"
    )


def _id(text: str) -> int:
    if not re.fullmatch(r"\d{1,10}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no id of a runtime")
    return int(text)


def _of_create(one: argparse.ArgumentParser) -> None:
    one.add_argument("flavour", metavar="FLAVOUR", help="of the function")
    one.add_argument("--data", default="", metavar="FLAVOUR", help="of a data VM beside it")
    _of_specification(one)
    _of_waiting(one)
    one.add_argument("--dry-run", action="store_true", help="tell what would be made; make nothing")
    one.add_argument("--key", default="", help="idempotency key: the same key, the same runtime")


def _of_list(one: argparse.ArgumentParser) -> None:
    one.add_argument("--name", default="")
    one.add_argument("--flavour", default="", help="of a function, or of both as in nature-s3")
    one.add_argument("--state", default="", choices=STATES, type=str.upper)


def _of_update(one: argparse.ArgumentParser) -> None:
    _of_one(one)
    _of_specification(one)
    _of_match(one)
    _of_waiting(one)


def _of_delete(one: argparse.ArgumentParser) -> None:
    one.add_argument("ids", type=_id, nargs="+", metavar="ID")
    _of_match(one)


def _of_wait(one: argparse.ArgumentParser) -> None:
    _of_one(one)
    one.add_argument("--timeout", type=seconds, default=WAIT_SECONDS, metavar="TIME")


def _of_recover(one: argparse.ArgumentParser) -> None:
    _of_one(one)
    _of_waiting(one)


# ---- credentials -----------------------------------------------------------------------


def _client(options: argparse.Namespace) -> Client:
    user, password = credentials()
    return Client(options.url, user, password, verify=options.ca_file or True)


def credentials() -> tuple[str, str]:
    """User and password, from a file or from who sits at the terminal. Raises OperatorError."""
    named = os.environ.get(AUTH_VARIABLE)
    path = Path(named).expanduser() if named else Path.home() / AUTH_FILE
    try:
        return _parsed(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError as error:
        if named:
            raise OperatorError(f"{AUTH_VARIABLE} names {path}, which does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"{path} cannot be read: {error}") from error
    if not sys.stdin.isatty():
        raise OperatorError(
            f"no credentials: write USER:PASSWORD into ~/{AUTH_FILE}, "
            f"or into the file that {AUTH_VARIABLE} names"
        )
    print("OpenNebula user: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip(), getpass.getpass("Password: ")


def _parsed(text: str, path: Path) -> tuple[str, str]:
    user, colon, password = text.strip().partition(":")
    if not (user and colon and password):
        raise OperatorError(f"{path} does not hold USER:PASSWORD")
    return user, password


# ---- actions ---------------------------------------------------------------------------


def _create(api: Client, options: argparse.Namespace) -> int:
    members = _members(options)
    members["faas"] = Function(options.flavour, options.cpu, options.memory, options.disk)
    sizes = options.data_cpu, options.data_memory, options.data_disk
    if options.data:
        members["daas"] = Function(options.data, *sizes)
    elif any(sizes):
        raise OperatorError("--data-cpu, --data-memory and --data-disk need --data FLAVOUR")
    if options.dry_run:
        print(json.dumps(api.dry_run(**members), indent=2, ensure_ascii=False))
        return 0
    made = api.create_runtime(key=options.key, **members)
    return _shown_after_wait(api, made, options)


def _list(api: Client, options: argparse.Namespace) -> int:
    found = api.list_runtimes(name=options.name, flavour=options.flavour, state=options.state)
    if options.json:
        _print_json([{"SERVERLESS_RUNTIME": runtime.body} for runtime in found])
        return 0
    rows = [_row(runtime) for runtime in found]
    print(table(("ID", "NAME", "FLAVOUR", "STATE", "ENDPOINT", "EXPIRES", "REASON"), rows))
    return 0


def _show(api: Client, options: argparse.Namespace) -> int:
    _show_one(api.get_runtime(options.id), options.json)
    return 0


def _update(api: Client, options: argparse.Namespace) -> int:
    members = _members(options)
    sizes = options.cpu, options.memory, options.disk
    data_sizes = options.data_cpu, options.data_memory, options.data_disk
    if any(sizes):
        members["faas"] = Function("", *sizes)
    if any(data_sizes):
        members["daas"] = Function("", *data_sizes)
    if not any(members.values()):
        raise OperatorError("nothing to update: give what shall change (see --help)")
    updated = api.update_runtime(options.id, if_match=_quoted(options.if_match), **members)
    return _shown_after_wait(api, updated, options)


def _delete(api: Client, options: argparse.Namespace) -> int:
    if options.if_match and len(options.ids) > 1:
        raise OperatorError("--if-match is for one runtime")
    for runtime_id in options.ids:
        api.delete_runtime(runtime_id, if_match=_quoted(options.if_match))
        if not options.json:
            print(f"deleted {runtime_id}")
    return 0


def _wait(api: Client, options: argparse.Namespace) -> int:
    with Progress() as progress:
        runtime = api.wait_until_running(options.id, options.timeout, progress.tell)
    _show_one(runtime, options.json)
    return 0


def _recover(api: Client, options: argparse.Namespace) -> int:
    return _shown_after_wait(api, api.recover_runtime(options.id), options)


ACTIONS = {
    "create": Action(_create, "make a runtime", _of_create),
    "list": Action(_list, "list the user's runtimes", _of_list),
    "show": Action(_show, "show one runtime", _of_one),
    "update": Action(_update, "change what is given of a runtime", _of_update),
    "delete": Action(_delete, "delete runtimes", _of_delete),
    "wait": Action(_wait, "wait until a runtime runs", _of_wait),
    "recover": Action(_recover, "retry what failed of a runtime", _of_recover),
}


def _members(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "name": options.name,
        "policy": options.policy,
        "requirements": options.requirements,
        "device_info": dict(options.device_info),
        "lease_seconds": options.lease,
    }


def _quoted(etag: str) -> str:
    """An entity tag as HTTP wants it; shells eat the quotes."""
    return etag if etag in ("", "*") or etag.startswith('"') else f'"{etag}"'


def _shown_after_wait(api: Client, runtime: Runtime, options: argparse.Namespace) -> int:
    """Show a runtime, where it is wanted once it runs."""
    if options.wait is None:
        _show_one(runtime, options.json)
        return 0
    try:
        with Progress() as progress:
            runtime = api.wait_until_running(runtime.id, options.wait, progress.tell)
    except (client.RuntimeFailed, client.StillWaiting) as error:
        # What was made has an id, and whoever made it needs that to go on.
        _show_one(error.runtime, options.json)
        raise
    _show_one(runtime, options.json)
    return 0


# ---- showing ---------------------------------------------------------------------------


class Progress:
    """One line on a terminal's standard error that tells what is waited for."""

    def __init__(self) -> None:
        self._is_on = sys.stderr.isatty()
        self._start = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_error: object) -> None:
        self._write("")

    def tell(self, runtime: Runtime) -> None:
        waited = time.monotonic() - self._start
        told = f"{waited:4.0f} s  {runtime.id}  {runtime.state}  {runtime.reason}"
        self._write(clean(told)[: _columns() - 1])

    def _write(self, line: str) -> None:
        if self._is_on:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as what stands in them; the last one as wide as it is."""
    lines = [tuple(names), *(tuple(map(clean, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def clean(text: str) -> str:
    """A text that does nothing to a terminal: names are chosen by whoever makes a runtime."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80


def _row(runtime: Runtime) -> tuple[str, ...]:
    return (
        str(runtime.id),
        runtime.name,
        "-".join(function.flavour for function in runtime.functions.values()),
        runtime.state,
        runtime.faas.endpoint or "-",
        _left(runtime.expires),
        runtime.reason,
    )


def _show_one(runtime: Runtime, as_json: bool) -> None:
    if as_json:
        _print_json({"SERVERLESS_RUNTIME": runtime.body})
        return
    facts = [
        ("ID", str(runtime.id)),
        ("NAME", runtime.name),
        ("STATE", runtime.state),
        ("SERVICE_ID", "-" if runtime.service_id is None else str(runtime.service_id)),
    ]
    for role, function in runtime.functions.items():
        facts += [(f"{role}.{name}", text) for name, text in _function_facts(function)]
    facts += [(f"SCHEDULING.{name}", text) for name, text in runtime.scheduling.items()]
    facts += [(f"DEVICE_INFO.{name}", str(value)) for name, value in runtime.device_info.items()]
    if runtime.lease_seconds is not None:
        facts += [("LEASE.TTL", f"{runtime.lease_seconds} s"), ("EXPIRES", _left(runtime.expires))]
    facts += [("ETAG", runtime.etag)] if runtime.etag else []
    width = max(len(name) for name, _ in facts)
    print("\n".join(f"{name:<{width}}  {clean(text)}".rstrip() for name, text in facts))


def _function_facts(function: Function) -> list[tuple[str, str]]:
    facts = [
        ("FLAVOUR", function.flavour),
        ("STATE", function.state),
        ("REASON", function.reason),
        ("SINCE", function.since.isoformat() if function.since else ""),
        ("ENDPOINT", function.endpoint or "-"),
        ("VM_ID", "-" if function.vm_id is None else str(function.vm_id)),
        ("CPU", str(function.cpu)),
        ("MEMORY", f"{function.memory_mb} MB"),
        ("DISK_SIZE", f"{function.disk_size_mb} MB"),
    ]
    return [(name, text) for name, text in facts if text]


def _left(expires: datetime | None) -> str:
    """When a lease is over, and how long that is from now."""
    if expires is None:
        return "-"
    left = int((expires - datetime.now(UTC)).total_seconds())
    if left <= 0:
        return "over"
    parts = [
        (left // 86400, "d"),
        (left // 3600 % 24, "h"),
        (left // 60 % 60, "m"),
        (left % 60, "s"),
    ]
    told = [f"{count}{unit}" for count, unit in parts if count]
    return f"in {''.join(told[:2])}"


def _print_json(body: Any) -> None:
    print(json.dumps(body, indent=2, ensure_ascii=False))


def _complain(error: ClientError, as_json: bool) -> None:
    if as_json:
        told = {
            "error": error.error,
            "message": error.message,
            "status": error.status,
            "request_id": error.request_id,
        }
        print(json.dumps(told, ensure_ascii=False), file=sys.stderr)
        return
    message = error.message
    text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    where = f" (request {error.request_id})" if error.request_id else ""
    print(clean(f"provision-engine: {error.error}: {text}{where}"), file=sys.stderr)
