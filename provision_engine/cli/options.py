"""What all commands share to parse their command lines."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from provision_engine import config, durations
from provision_engine.config import Configuration

MB_OF_UNITS = {"": 1, "M": 1, "G": 1024, "T": 1024 * 1024}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and which knows its arguments for completion."""

    def __init__(self, program: str, *, description: str, epilog: str = "") -> None:
        self.described: list[argparse.Action] = []
        super().__init__(
            program,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        action = super().add_argument(*names, **settings)
        self.described.append(action)
        return action

    def add_rest(self, metavar: str) -> None:
        """A name that decides how the rest of the command line is parsed: two attributes,
        ``command`` and ``arguments``."""
        super().add_argument("command", metavar=metavar, help="see below")
        super().add_argument("arguments", metavar="...", nargs=argparse.REMAINDER)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see '{self.prog} --help')\n")


def parse(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments as attributes. SystemExit(2) with one line if they are wrong."""
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [name for action in parser.described for name in action.option_strings]
        what = "option" if unknown[0].startswith("-") else "argument"
        parser.error(f"unknown {what} '{unknown[0]}'{_suggestion(unknown[0], known)}")
    return options


def chosen(parser: Parser, name: str, names: Iterable[str], what: str) -> str:
    """A name if it is one of these. SystemExit(2) with a suggestion if it is not."""
    names = list(names)
    if name not in names:
        hint = _suggestion(name, names) or f"; choose from {', '.join(names)}"
        parser.error(f"unknown {what} '{name}'{hint}")
    return name


def _suggestion(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.partition("=")[0], list(names), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


# ---- the configuration -----------------------------------------------------------------


def add_config(parser: Parser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"the configuration (default: the file that {config.ENVIRONMENT_VARIABLE} names, "
        f"or {config.DEFAULT_PATH})",
    )


def configuration(options: argparse.Namespace) -> Configuration:
    """The configuration that the command line names. Raises OperatorError."""
    path: Path | None = options.config
    # Absolute, because the engine changes its directory and reads the file again on SIGHUP.
    return config.load(path.absolute() if path else None)


# ---- values ----------------------------------------------------------------------------


def duration_seconds(text: str) -> float:
    """Seconds from 90, 90s, 15m, 1.5h or 7d. Raises ArgumentTypeError."""
    try:
        return durations.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def whole_seconds(text: str) -> int:
    """The same where the API takes whole seconds only."""
    seconds = duration_seconds(text)
    if not seconds.is_integer() or seconds < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of seconds from 1")
    return int(seconds)


def count(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 1")
    return int(text)


def size_mb(text: str) -> int:
    """MB from 512, 512M, 1G, 1.5G or 1GiB. Raises ArgumentTypeError."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([MGT]?)(?:i?B)?", text, re.IGNORECASE)
    megabytes = float(found[1]) * MB_OF_UNITS[found[2].upper()] if found else 0.0
    if megabytes < 1 or not megabytes.is_integer():
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 512, 512M or 1G")
    return int(megabytes)
