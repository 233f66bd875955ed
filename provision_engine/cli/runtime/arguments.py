"""The command line of `provision-engine runtime`: the engine that it names, and its options."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import click

from provision_engine import config, credentials
from provision_engine.cli import options
from provision_engine.cli.options import Decorator, all_of, common, common_option, count, size_mb
from provision_engine.cli.runtime import exit_codes
from provision_engine.client import DEFAULT_URL, Client, ClientError
from provision_engine.client.models import STATES
from provision_engine.errors import OperatorError

URL_VARIABLE = "PROVISION_ENGINE_URL"
COMPLETION_SECONDS = 3.0
REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""An address that means every interface cannot be connected to."""
WAIT_SECONDS = 300
GONE_SECONDS = 60
EPILOG = f"""\b
address of the engine:
  The first of: --url, the file in --config, the variable {URL_VARIABLE},
  the installed engine.conf.
\b
credentials:
  USER:PASSWORD of OpenNebula, in the file that {credentials.VARIABLE} names or in
  {credentials.DEFAULT_FILE}; without either, a prompt on a terminal. Never from the
  command line.
\b
{exit_codes.explained()}

CPU counts cores; memory and disk are MB, or written as 512M or 1G; times are seconds, or written
as 90s, 15m, 12h or 7d. Where an ID is expected, the name of a runtime will do.
"""
ACTION_EPILOG = """Options of every action (--url, --json, ...), credentials, exit codes and units:
provision-engine runtime --help"""

Completion = Callable[[click.Context, click.Parameter, str], list[str]]


# ---- the engine ------------------------------------------------------------------------


class Address(NamedTuple):
    url: str
    source: str
    """Where the URL was given, to show to the user."""


def connect(login: credentials.Login, **settings: Any) -> Client:
    """Return a client for the engine that the command line or the environment names."""
    return Client(address().url, *login, verify=common().ca_file or True, **settings)


def address() -> Address:
    """Return the first of --url, --config, the environment and the installed engine.conf."""
    given, named = common(), os.environ.get(URL_VARIABLE)
    if given.url:
        return Address(given.url, "--url")
    if named and not given.config:
        return Address(named, URL_VARIABLE)
    installed = Path(os.environ.get(config.ENVIRONMENT_VARIABLE) or config.DEFAULT_PATH)
    path = (given.config or installed).absolute()
    if given.config or os.access(path, os.R_OK):
        settings = config.load(path)
        return Address(settings.url(REACHED_AT.get(settings.host, "")), str(path))
    return Address(DEFAULT_URL, "the default")


def _completion(find: Callable[[Client], Iterable[str]]) -> Completion:
    """Return a completion that asks the engine; nothing is offered if that or the login fails."""

    def complete(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
        with contextlib.suppress(ClientError, OperatorError), context:
            api = connect(credentials.stored(), tries=1, timeout_seconds=COMPLETION_SECONDS)
            return [text for text in find(api) if text.startswith(begun)]
        return []

    return complete


# Names as well, unless a shell would need quotes for them.
complete_ids = _completion(
    lambda api: (
        text
        for runtime in api.list_runtimes()
        for text in (str(runtime.id), *re.findall(r"\A[\w.:@+-]+\Z", runtime.name))
    )
)
complete_flavours = _completion(
    lambda api: (flavour.name for flavour in api.flavours() if flavour.is_deployable)
)


# ---- options ---------------------------------------------------------------------------


def text(name: str, help: str, **settings: object) -> Decorator:
    return click.option(name, default="", help=help, **settings)  # type: ignore[arg-type]


def seconds(name: str, help: str, bare: int) -> Decorator:
    """Return an option with a duration, or without one for so many seconds."""
    return click.option(
        name,
        f"{name[2:]}_seconds",
        type=options.duration_seconds,
        is_flag=False,
        flag_value=str(bare),
        metavar="[TIME]",
        help=f"{help}, {bare} seconds if no time is given.",
    )


def _device_info(
    _context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]
) -> dict[str, str | int | float]:
    """Return members of DEVICE_INFO; a value that looks like a number is one."""
    members: dict[str, str | int | float] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            raise click.BadParameter(f"{text!r} is not of the form NAME=VALUE")
        is_number = re.fullmatch(r"-?\d{1,15}(\.\d{1,15})?", value)
        members[name.upper()] = (float if "." in value else int)(value) if is_number else value
    return members


def _sizes(prefix: str, vm: str) -> Decorator:
    return all_of(
        click.option(f"--{prefix}cpu", type=count, metavar="CORES", help=f"Cores of {vm}."),
        click.option(f"--{prefix}memory", type=size_mb, metavar="SIZE", help=f"Memory of {vm}."),
        click.option(f"--{prefix}disk", type=size_mb, metavar="SIZE", help=f"Disk of {vm}."),
    )


def _flavour(name: str, help: str) -> Decorator:
    return text(name, help, metavar="FLAVOUR", shell_complete=complete_flavours)


CONNECTION = all_of(
    options.config_option,
    common_option("--url", help="The address of the engine."),
    options.json_option,
    common_option("--ca-file", type=click.Path(), help="Who signs the engine's certificate."),
)
ID = click.argument("id", metavar="ID", shell_complete=complete_ids)
IDS = click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_ids)
SPECIFICATION = all_of(
    text("--name", "Name of the runtime."),
    _sizes("", "the function"),
    _sizes("data-", "the data VM"),
    text("--policy", "Rank of hosts, such as FREE_CPU."),
    text("--requirements", "Condition for hosts, such as 'FREE_CPU > 10'."),
    click.option(
        "--device-info",
        multiple=True,
        callback=_device_info,
        metavar="NAME=VALUE",
        help="Information about the device, such as room=hall; may be given several times.",
    ),
    click.option(
        "--lease",
        "lease_seconds",
        type=options.whole_seconds,
        metavar="TIME",
        help="OpenNebula ends the runtime after this time.",
    ),
)
WAIT_GONE = seconds("--wait", "Wait until the VMs are gone, but not longer than this", GONE_SECONDS)
WAIT = seconds("--wait", "Wait until it is done, but not longer than this", WAIT_SECONDS)
IF_MATCH = text("--if-match", "Only if the runtime still has this entity tag.", metavar="ETAG")
CREATE = all_of(
    click.argument("flavour", shell_complete=complete_flavours),
    _flavour("--data", "Flavour of a data VM to create beside it."),
    SPECIFICATION,
    WAIT,
    click.option("--dry-run", is_flag=True, help="Show what would be created."),
    text("--key", "Idempotency key: the same key returns the same runtime."),
    common_option("-q", "--quiet", is_flag=True, help="Print the id only."),
)
LIST = all_of(
    text("--name", "Only runtimes with this name."),
    _flavour("--flavour", "Only runtimes with this flavour, or tuple such as nature-s3."),
    click.option(
        "--state",
        type=click.Choice(STATES, case_sensitive=False),
        metavar="STATE",
        help=f"Only runtimes with a function in this state: {', '.join(STATES).lower()}.",
    ),
    click.option(
        "--all",
        "all_users",
        is_flag=True,
        help="The runtimes of all users, with their owners, for administrators.",
    ),
    click.option("--newest", type=count, metavar="COUNT", help="Only so many, the newest first."),
    seconds("--watch", "Refresh the list after each of these times", 2),
    common_option("-q", "--quiet", is_flag=True, help="Print ids only."),
)
REPLACE = click.option("--replace", is_flag=True, help="Also if a data VM loses its disk.")
NAMES_ONLY = common_option(
    "-q", "--quiet", is_flag=True, help="Print the names of those that can be deployed."
)
