"""What each action of `provision-engine runtime` does: a few calls of the client, and output."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from provision_engine.cli.options import Parser
from provision_engine.cli.runtime import arguments, exit_codes, show
from provision_engine.cli.runtime.progress import Progress
from provision_engine.client import (
    Busy,
    Client,
    ClientError,
    Function,
    NotFound,
    Runtime,
    RuntimeFailed,
    StillWaiting,
    Unreachable,
)
from provision_engine.errors import OperatorError

PROGRAM = "provision-engine runtime"
_CLEAR = "\x1b[H\x1b[2J"


class UsageError(Exception):
    """The options do not fit together; the text says why."""


class Action(NamedTuple):
    """What an action does, and which arguments it takes."""

    do: Callable[[Client, argparse.Namespace], int]
    help: str
    add_arguments: Callable[[Parser], None]


def runtime_id(api: Client, text: str) -> int:
    """The id of a runtime from its id or its name. Raises NotFound, OperatorError."""
    if text.isascii() and text.isdigit():
        return int(text)
    found = [runtime.id for runtime in api.list_runtimes(name=text)] if text else []
    if not found:
        raise NotFound(f"There is no serverless runtime named '{text}'", status=404)
    if len(found) > 1:
        listed = ", ".join(map(str, sorted(found)))
        raise OperatorError(f"several runtimes are named '{text}': use one of the ids {listed}")
    return found[0]


# ---- create ----------------------------------------------------------------------------


def _create(api: Client, options: argparse.Namespace) -> int:
    members = _members(options)
    members["faas"] = Function(options.flavour, options.cpu, options.memory, options.disk)
    sizes = options.data_cpu, options.data_memory, options.data_disk
    if options.data:
        members["daas"] = Function(options.data, *sizes)
    elif any(sizes):
        raise UsageError("--data-cpu, --data-memory and --data-disk need --data FLAVOUR")
    if options.dry_run:
        return _dry_run(api, members, options)
    created = _created(api, members, options)
    _warn(created.warnings, options)
    with _goes_on(created.id, options):
        if options.quiet:
            print(created.id, flush=True)
        elif options.wait is not None:
            show.note(options, f"created runtime {created.id} ({created.name})", created=created.id)
        return _show_when(api, created, "RUNNING", options)


def _dry_run(api: Client, members: dict[str, Any], options: argparse.Namespace) -> int:
    plan = api.dry_run(**members)
    _warn(tuple(str(warning["TEXT"]) for warning in plan.get("WARNINGS", ())), options)
    show.as_json(plan)
    return exit_codes.DONE


def _created(api: Client, members: dict[str, Any], options: argparse.Namespace) -> Runtime:
    """The new runtime. If its response never arrives, says how to find it."""
    key = options.key or str(uuid.uuid4())
    hint = (
        f"a runtime may have been created: the same command with --key {key} returns it, "
        f"and {PROGRAM} list shows it"
    )
    try:
        with Progress(f"creating a runtime of flavour {options.flavour}"):
            return api.create_runtime(key=key, **members)
    except KeyboardInterrupt:
        show.note(options, f"interrupted; {hint}", interrupted=True, key=key)
        raise
    except Unreachable:
        show.note(options, f"no response; {hint}", key=key)
        raise


def _warn(warnings: tuple[str, ...], options: argparse.Namespace) -> None:
    for warning in warnings:
        show.note(options, f"warning: {warning}", warning=warning)


# ---- list, show, flavours, timeline ----------------------------------------------------


def _list(api: Client, options: argparse.Namespace) -> int:
    if options.watch is not None:
        _watch(api, options)
    if text := _listed(api, options):
        print(text)
    return exit_codes.DONE


def _listed(api: Client, options: argparse.Namespace) -> str:
    filters = {"name": options.name, "flavour": options.flavour, "state": options.state}
    if options.newest is None:
        return show.runtimes(api.list_runtimes(**filters), options)
    page_size = min(options.newest, 100)
    found = api.list_runtimes(**filters, page_size=page_size, newest_first=True)
    return show.runtimes(islice(found, options.newest), options)


def _watch(api: Client, options: argparse.Namespace) -> None:
    """Show the list whenever it has changed, until Ctrl-C; an engine that is away may return."""
    is_terminal, last = sys.stdout.isatty(), ""
    while True:
        try:
            text = _listed(api, options)
        except (Busy, Unreachable) as error:
            text = f"{error}\n{last}"
        if is_terminal or text != last:
            print(f"{_CLEAR}{text}" if is_terminal else f"{text}\n", flush=True)
        last = text
        time.sleep(options.watch)


def _show(api: Client, options: argparse.Namespace) -> int:
    show.runtime(api.get_runtime(runtime_id(api, options.id)), options)
    return exit_codes.DONE


def _flavours(api: Client, options: argparse.Namespace) -> int:
    found = api.flavours()
    if options.json:
        show.as_json([flavour.body for flavour in found])
    elif options.quiet:
        print("\n".join(flavour.name for flavour in found if flavour.is_deployable))
    else:
        show.flavours(found)
    return exit_codes.DONE


def _timeline(api: Client, options: argparse.Namespace) -> int:
    steps = api.timeline(runtime_id(api, options.id))
    if options.json:
        show.as_json({"STEPS": [step.body for step in steps]})
    else:
        show.timeline(steps)
    return exit_codes.DONE


# ---- update, delete, wait, recover, suspend, resume ------------------------------------


def _update(api: Client, options: argparse.Namespace) -> int:
    members = _members(options) | {"lift_lease": options.no_lease}
    sizes = options.cpu, options.memory, options.disk
    data_sizes = options.data_cpu, options.data_memory, options.data_disk
    if any(sizes):
        members["faas"] = Function("", *sizes)
    if any(data_sizes):
        members["daas"] = Function("", *data_sizes)
    if not any(members.values()):
        raise UsageError("nothing to update: give what is to change")
    if options.lease and options.no_lease:
        raise UsageError("--lease and --no-lease exclude each other")
    number = runtime_id(api, options.id)
    updated = api.update_runtime(number, if_match=_quoted(options.if_match), **members)
    _warn(updated.warnings, options)
    with _goes_on(number, options):
        return _show_when(api, updated, "RUNNING", options)


def _delete(api: Client, options: argparse.Namespace) -> int:
    """Delete each; one that fails does not keep the others."""
    if options.if_match and len(options.ids) > 1:
        raise UsageError("--if-match is for one runtime")
    codes = [_delete_one(api, text, options) for text in options.ids]
    failed = [code for code in codes if code]
    if failed and len(codes) > 1:
        done = len(codes) - len(failed)
        show.note(
            options, f"{done} deleted, {len(failed)} failed", deleted=done, failed=len(failed)
        )
    return failed[0] if failed else exit_codes.DONE


def _delete_one(api: Client, text: str, options: argparse.Namespace) -> int:
    try:
        number = runtime_id(api, text)
        api.delete_runtime(number, if_match=_quoted(options.if_match))
    except ClientError as error:
        error.error = f"{text}: {error.error}"
        show.error(error, options)
        return exit_codes.of(error)
    except OperatorError as error:
        show.note(options, f"provision-engine: {error}", error=str(error))
        return exit_codes.FAILED
    if not options.json:
        print(f"deleted {number}", flush=True)
    return exit_codes.DONE


def _wait(api: Client, options: argparse.Namespace) -> int:
    number = runtime_id(api, options.id)
    with _goes_on(number, options):
        show.runtime(_awaited(api, number, options.state, options.timeout, options), options)
    return exit_codes.DONE


def _recover(api: Client, options: argparse.Namespace) -> int:
    number = runtime_id(api, options.id)
    with _goes_on(number, options):
        recovered = api.recover_runtime(number, replace=options.replace)
        return _show_when(api, recovered, "RUNNING", options)


def _suspend(api: Client, options: argparse.Namespace) -> int:
    number = runtime_id(api, options.id)
    with _goes_on(number, options):
        return _show_when(api, api.suspend_runtime(number), "SUSPENDED", options)


def _resume(api: Client, options: argparse.Namespace) -> int:
    number = runtime_id(api, options.id)
    with _goes_on(number, options):
        return _show_when(api, api.resume_runtime(number), "RUNNING", options)


ACTIONS = {
    "create": Action(_create, "create a runtime", arguments.add_create),
    "list": Action(_list, "list the user's runtimes (also: ls)", arguments.add_list),
    "show": Action(_show, "show one runtime", arguments.add_one),
    "update": Action(_update, "change a runtime", arguments.add_update),
    "delete": Action(_delete, "delete runtimes (also: rm)", arguments.add_delete),
    "wait": Action(_wait, "wait until a runtime is running", arguments.add_wait),
    "recover": Action(_recover, "recover a failed runtime", arguments.add_recover),
    "suspend": Action(_suspend, "suspend a runtime: no CPU, no memory", arguments.add_action),
    "resume": Action(_resume, "resume a suspended runtime", arguments.add_action),
    "flavours": Action(_flavours, "list what can be deployed", arguments.add_flavours),
    "timeline": Action(_timeline, "show the steps of a runtime's creation", arguments.add_one),
}
ALIASES = {"ls": "list", "rm": "delete"}


# ---- shared ----------------------------------------------------------------------------


def _members(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "name": options.name,
        "policy": options.policy,
        "requirements": options.requirements,
        "device_info": dict(options.device_info),
        "lease_seconds": options.lease,
    }


def _quoted(etag: str) -> str:
    """An entity tag as HTTP requires it; shells remove the quotes."""
    return etag if etag in ("", "*") or etag.startswith('"') else f'"{etag}"'


def _show_when(api: Client, runtime: Runtime, state: str, options: argparse.Namespace) -> int:
    """Show a runtime, with --wait once it has reached the state."""
    if options.wait is not None:
        runtime = _awaited(api, runtime.id, state, options.wait, options)
    show.runtime(runtime, options)
    return exit_codes.DONE


def _awaited(
    api: Client, number: int, state: str, seconds: float, options: argparse.Namespace
) -> Runtime:
    try:
        with Progress(f"runtime {number}") as progress:
            return api.wait_for_state(number, state, seconds, progress.show, progress.hold_seconds)
    except (RuntimeFailed, StillWaiting) as error:
        show.runtime(error.runtime, options)
        raise


@contextlib.contextmanager
def _goes_on(number: int, options: argparse.Namespace) -> Iterator[None]:
    """Ctrl-C ends the program, but not the runtime, and says so."""
    try:
        yield
    except KeyboardInterrupt:
        text = f"interrupted; runtime {number} goes on: delete it with {PROGRAM} delete {number}"
        show.note(options, text, interrupted=True, id=number)
        raise
