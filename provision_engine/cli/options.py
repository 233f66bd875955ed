"""What all commands share to read their command lines: click, with one line for each error."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from provision_engine import config
from provision_engine.config import Configuration
from provision_engine.text import one_line

MB_OF_UNITS = {"": 1, "M": 1, "G": 1024, "T": 1024 * 1024}
SECONDS_OF_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_EXTRA_ARGUMENT = re.compile(r"Got unexpected extra arguments? \((\S+?)(?: .*)?\)")
"""click does not say it in the words of its other errors."""

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def all_of(*decorators: Decorator) -> Decorator:
    """Return one decorator that adds all these options, in this order."""
    return lambda do: functools.reduce(lambda done, add: add(done), reversed(decorators), do)


def explained(error: click.UsageError) -> str:
    """Return what is wrong with a command line, in one line."""
    path = error.ctx.command_path if error.ctx else "provision-engine"
    text = " ".join(error.format_message().split())
    text = _EXTRA_ARGUMENT.sub(r"unknown argument '\1'", text)
    if isinstance(error, click.NoSuchOption):
        text = f"unknown option '{error.option_name}'{_suggestion(error.possibilities)}"
    elif isinstance(error, click.exceptions.NoSuchCommand) and error.ctx:
        group = error.ctx.command
        assert isinstance(group, click.Group)
        what = group.subcommand_metavar.split()[0].lower()
        names = f"; choose from {', '.join(group.list_commands(error.ctx))}"
        text = f"unknown {what} '{error.command_name}'{_suggestion(error.possibilities) or names}"
    return one_line(f"{path}: {text} (see '{path} --help')")


def _suggestion(near: list[str] | None) -> str:
    return f"; did you mean '{near[0]}'?" if near else ""


# ---- options that may precede the command ----------------------------------------------


@dataclass
class Common:
    """Options that may stand before a command as well as behind it."""

    config: Path | None = None
    url: str = ""
    json: bool = False
    ca_file: str = ""
    quiet: bool = False


def common() -> Common:
    """Return the common options of the command that runs, or is completed."""
    return click.get_current_context().ensure_object(Common)


def common_option(*names: str, **settings: Any) -> Decorator:
    """Return an option whose value goes to Common. The innermost one counts."""

    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value:
            setattr(context.ensure_object(Common), str(parameter.name), value)

    return click.option(*names, expose_value=False, callback=keep, **settings)


config_option = common_option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"The configuration (default: the file that {config.ENVIRONMENT_VARIABLE} names, or "
    f"{config.DEFAULT_PATH}).",
)
json_option = common_option("--json", is_flag=True, help="Print JSON, for programs.")


def configuration() -> Configuration:
    """Return the configuration that the command line names. Raises OperatorError."""
    path = common().config
    # Absolute, because the engine changes its directory and reads the file again on SIGHUP.
    return config.load(path.absolute() if path else None)


# ---- values ----------------------------------------------------------------------------


def duration_seconds(text: str) -> float:
    """Return seconds from 90, 90s, 15m, 1.5h or 7d. Raises BadParameter."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", text, re.ASCII)
    if found is None:
        raise click.BadParameter(f"{text!r} is not a duration such as 90, 90s, 10m, 2h or 1d")
    return float(found[1]) * SECONDS_OF_UNITS[found[2]]


def whole_seconds(text: str) -> int:
    """Return the same where the API takes whole seconds only. Raises BadParameter."""
    seconds = duration_seconds(text)
    if not seconds.is_integer() or seconds < 1:
        raise click.BadParameter(f"{text!r} is not a whole number of seconds from 1")
    return int(seconds)


def moment(text: str) -> float:
    """Return the Unix time of a duration ago, or of a date and time here. Raises BadParameter."""
    with suppress(click.BadParameter):
        return time.time() - duration_seconds(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        allowed = "a time such as 90s, 10m, 2h, 1d or 2026-11-24T04:00"
        raise click.BadParameter(f"{text!r} is not {allowed}") from error


def count(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < 1:
        raise click.BadParameter(f"{text!r} is not an integer from 1")
    return int(text)


def size_mb(text: str) -> int:
    """Return MB from 512, 512M, 1G, 1.5G or 1GiB. Raises BadParameter."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([MGT]?)(?:i?B)?", text, re.IGNORECASE)
    megabytes = float(found[1]) * MB_OF_UNITS[found[2].upper()] if found else 0.0
    if megabytes < 1 or not megabytes.is_integer():
        raise click.BadParameter(f"{text!r} is not a size such as 512, 512M or 1G")
    return int(megabytes)
