"""What each action of `provision-engine runtime` does: a few calls of the client, and output."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import click

from provision_engine import client, credentials
from provision_engine.cli import show
from provision_engine.cli.options import Decorator, all_of, common, duration_seconds
from provision_engine.cli.runtime import arguments, exit_codes
from provision_engine.cli.runtime.arguments import ID, IF_MATCH, SPECIFICATION, WAIT
from provision_engine.client import Client, ClientError, Function, Runtime, Unreachable
from provision_engine.errors import OperatorError

PROGRAM = "provision-engine runtime"
Wait = float | None
"""The longest time in seconds to wait for the outcome; None is not to wait."""
SIZES = ("cpu", "memory", "disk")
ALIASES = {"ls": "list", "rm": "delete"}


class Actions(click.Group):
    """Knows aliases, which its help and completion do not repeat."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, ALIASES.get(cmd_name, cmd_name))


class Action(click.Command):
    """Leaves the options of every action to the help of the group."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        shared = {option.name for option in runtime.params}
        own = [one for one in self.params if isinstance(one, click.Option)]
        records = [option.get_help_record(ctx) for option in own if option.name not in shared]
        if rows := [row for row in records if row]:
            with formatter.section("Options"):
                formatter.write_dl(rows)


@click.group(cls=Actions, subcommand_metavar="ACTION [ARGS]...", epilog=arguments.EPILOG)
@arguments.CONNECTION
def runtime() -> None:
    """Serverless runtimes of an OpenNebula user."""


def _action(*options: Decorator) -> Callable[[Callable[..., int | None]], None]:
    """Make an action of a function that takes a client and the values of these options."""

    def add(do: Callable[..., int | None]) -> None:
        @functools.wraps(do)
        def run(**values: Any) -> int | None:
            try:
                with arguments.connect(credentials.stored_or_typed()) as api:
                    if "id" in values:
                        values["number"] = runtime_id(api, values.pop("id"))
                    return do(api, **values)
            except ClientError as error:
                if isinstance(error, Unreachable | client.Unusable):
                    if error.message == os.strerror(errno.ECONNREFUSED):
                        error.message = "connection refused: is the engine running?"
                    error.error = f"{error.error} (address from {arguments.address().source})"
                return show.error(error)

        name = do.__name__.strip("_")
        command = click.command(name, cls=Action, epilog=arguments.ACTION_EPILOG)
        runtime.add_command(command(all_of(*options, arguments.CONNECTION)(run)))

    return add


def runtime_id(api: Client, text: str) -> int:
    """Return the id of a runtime from its id or its name. Raises NotFound, OperatorError."""
    if text.isascii() and text.isdigit():
        return int(text)
    found = [runtime.id for runtime in api.list_runtimes(name=text)] if text else []
    if not found:
        raise client.NotFound(f"There is no serverless runtime named '{text}'", status=404)
    if len(found) > 1:
        listed = ", ".join(map(str, sorted(found)))
        raise OperatorError(f"several runtimes are named '{text}': use one of the ids {listed}")
    return found[0]


# ---- create ----------------------------------------------------------------------------


@_action(arguments.CREATE)
def create(
    api: Client,
    flavour: str,
    data: str,
    dry_run: bool,
    key: str,
    wait_seconds: Wait,
    **members: Any,
) -> None:
    """Create a runtime."""
    members["faas"] = _function(members, flavour)
    members["daas"] = _function(members, data, "data_") if data else None
    if any(members.pop(f"data_{size}", None) for size in SIZES):
        raise click.UsageError("--data-cpu, --data-memory and --data-disk need --data FLAVOUR")
    if dry_run:
        plan = api.dry_run(**members)
        _warn(tuple(str(warning["TEXT"]) for warning in plan.get("WARNINGS", ())))
        show.plan(plan)
        return
    created = _created(api, key or str(uuid.uuid4()), members)
    _warn(created.warnings)
    with _goes_on(created.id):
        if common().quiet:
            print(created.id, flush=True)
        elif wait_seconds is not None:
            show.note(f"created runtime {created.id} ({created.name})", created=created.id)
        _show_when(api, created, "RUNNING", wait_seconds)
    if wait_seconds is None:
        show.hint(f"{PROGRAM} wait {created.id} returns once it is running")


def _function(members: dict[str, Any], flavour: str, prefix: str = "") -> Function:
    """Return the function that has these sizes, which are taken out of the members."""
    return Function(flavour, *(members.pop(f"{prefix}{size}") for size in SIZES))


def _created(api: Client, key: str, members: dict[str, Any]) -> Runtime:
    """Return the new runtime. If its response never arrives, says how to find it."""
    hint = (
        f"a runtime may have been created: the same command with --key {key} returns it, "
        f"and {PROGRAM} list shows it"
    )
    try:
        with show.Progress(f"creating a runtime of flavour {members['faas'].flavour}"):
            return api.create_runtime(key=key, **members)
    except KeyboardInterrupt:
        show.note(f"interrupted; {hint}", interrupted=True, key=key)
        raise
    except Unreachable:
        show.note(f"no response; {hint}", key=key)
        raise


# ---- list, show, flavours, timeline ----------------------------------------------------


@_action(arguments.LIST)
def _list(api: Client, newest: int | None, watch_seconds: float | None, **filters: Any) -> None:
    """List the user's runtimes (also: ls)."""

    def listed() -> str:
        if newest is None:
            return show.runtimes(api.list_runtimes(**filters))
        found = api.list_runtimes(**filters, page_size=min(newest, 100), newest_first=True)
        return show.runtimes(islice(found, newest))

    if watch_seconds is not None:
        _watch(listed, watch_seconds)
    if text := listed():
        print(text)


def _watch(listed: Callable[[], str], seconds: float) -> None:
    """Show the list whenever it has changed, until Ctrl-C; an engine that is away may return."""
    text = last = ""
    while True:
        problem = ""
        try:
            text = listed()
        except (client.Busy, Unreachable) as error:
            problem = f"{error}\n"
        timeless = problem + re.sub(r"\b\d+[smhd]\b", "", text)  # ages change all the time
        if sys.stdout.isatty() or timeless != last:
            click.clear()  # on a terminal only
            print(f"{problem}{text}\n", flush=True)
        last = timeless
        time.sleep(seconds)


@_action(ID)
def _show(api: Client, number: int) -> None:
    """Show one runtime."""
    show.runtime(api.get_runtime(number))


@_action(arguments.NAMES_ONLY)
def flavours(api: Client) -> None:
    """List what can be deployed."""
    found = api.flavours()
    if common().json:
        show.as_json([flavour.body for flavour in found])
    elif common().quiet:
        print("\n".join(flavour.name for flavour in found if flavour.is_deployable))
    else:
        show.flavours(found)


@_action(ID)
def timeline(api: Client, number: int) -> None:
    """Show the steps of a runtime's creation."""
    steps = api.timeline(number)
    if common().json:
        show.as_json({"STEPS": [step.body for step in steps]})
    else:
        show.timeline(steps)


@_action()
def quota(api: Client) -> None:
    """Show the user's quota, and how much of it is used."""
    show.quota(api.quota())


# ---- update, delete, wait, recover, suspend, resume ------------------------------------


@_action(
    ID,
    SPECIFICATION,
    click.option("--no-lease", "lift_lease", is_flag=True, help="Remove its lease."),
    IF_MATCH,
    WAIT,
)
def update(api: Client, number: int, if_match: str, wait_seconds: Wait, **members: Any) -> None:
    """Change a runtime."""
    functions = {"faas": _function(members, ""), "daas": _function(members, "", "data_")}
    members |= {role: one for role, one in functions.items() if one != Function()}
    if not any(members.values()):
        raise click.UsageError("nothing to update: give what is to change")
    if members["lease_seconds"] and members["lift_lease"]:
        raise click.UsageError("--lease and --no-lease exclude each other")
    with _goes_on(number):
        updated = api.update_runtime(number, if_match=_quoted(if_match), **members)
        _warn(updated.warnings)
        _show_when(api, updated, "RUNNING", wait_seconds)


@_action(arguments.IDS, IF_MATCH, arguments.WAIT_GONE)
def delete(api: Client, ids: tuple[str, ...], if_match: str, wait_seconds: Wait) -> int:
    """Delete one runtime or several (also: rm)."""
    if if_match and len(ids) > 1:
        raise click.UsageError("--if-match is for one runtime")
    codes = [_delete_one(api, text, if_match, wait_seconds or 0.0) for text in ids]
    failed = [code for code in codes if code]
    if failed and len(codes) > 1:
        done = len(codes) - len(failed)
        show.note(f"{done} deleted, {len(failed)} failed", deleted=done, failed=len(failed))
    return failed[0] if failed else exit_codes.DONE


def _delete_one(api: Client, text: str, if_match: str, wait_seconds: float) -> int:
    try:
        number = runtime_id(api, text)
        with show.Progress(f"deleting runtime {number}"):
            api.delete_runtime(number, if_match=_quoted(if_match), wait_seconds=wait_seconds)
    except ClientError as error:
        error.error = f"{text}: {error.error}"
        return show.error(error)
    except OperatorError as error:
        show.note(f"provision-engine: {error}", error=str(error))
        return exit_codes.FAILED
    if not common().json:
        print(f"deleted {number}", flush=True)
    return exit_codes.DONE


@_action(
    ID,
    click.option(
        "--for",
        "state",
        default="RUNNING",
        type=click.Choice(("RUNNING", "SUSPENDED"), case_sensitive=False),
        help="The state to wait for.",
    ),
    click.option(
        "--timeout",
        "timeout_seconds",
        default=str(arguments.WAIT_SECONDS),
        type=duration_seconds,
        metavar="TIME",
        help="The maximum time, in seconds if it has no unit.",
        show_default=True,
    ),
)
def wait(api: Client, number: int, state: str, timeout_seconds: float) -> None:
    """Wait until a runtime is running."""
    with _goes_on(number):
        show.runtime(_awaited(api, number, state, timeout_seconds))


@_action(ID, WAIT, arguments.REPLACE)
def recover(api: Client, number: int, wait_seconds: Wait, replace: bool) -> None:
    """Recover a failed runtime."""
    with _goes_on(number):
        recovered = api.recover_runtime(number, replace=replace)
        _show_when(api, recovered, "RUNNING", wait_seconds)


@_action(ID, WAIT)
def suspend(api: Client, number: int, wait_seconds: Wait) -> None:
    """Suspend a runtime: no CPU, no memory."""
    with _goes_on(number):
        _show_when(api, api.suspend_runtime(number), "SUSPENDED", wait_seconds)


@_action(ID, WAIT)
def resume(api: Client, number: int, wait_seconds: Wait) -> None:
    """Resume a suspended runtime."""
    with _goes_on(number):
        _show_when(api, api.resume_runtime(number), "RUNNING", wait_seconds)


# ---- shared ----------------------------------------------------------------------------


def _warn(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        show.note(f"warning: {warning}", warning=warning)


def _quoted(etag: str) -> str:
    """Return an entity tag as HTTP requires it; shells remove the quotes."""
    return etag if etag in ("", "*") or etag.startswith('"') else f'"{etag}"'


def _show_when(api: Client, runtime: Runtime, state: str, seconds: float | None) -> None:
    """Show a runtime, with --wait once it has reached the state."""
    if seconds is not None:
        runtime = _awaited(api, runtime.id, state, seconds)
    show.runtime(runtime)


def _awaited(api: Client, number: int, state: str, seconds: float) -> Runtime:
    try:
        with show.Progress(f"runtime {number}") as progress:
            return api.wait_for_state(number, state, seconds, progress.show, progress.hold_seconds)
    except (client.RuntimeFailed, client.StillWaiting) as error:
        show.runtime(error.runtime)
        raise


@contextlib.contextmanager
def _goes_on(number: int) -> Iterator[None]:
    """Ctrl-C ends the program, but not the runtime, and says so."""
    try:
        yield
    except KeyboardInterrupt:
        text = f"interrupted; runtime {number} goes on: delete it with {PROGRAM} delete {number}"
        show.note(text, interrupted=True, id=number)
        raise
