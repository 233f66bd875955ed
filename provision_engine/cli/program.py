"""The main program: finds the command, runs it, and converts its outcome into an exit code."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from provision_engine import __version__
from provision_engine.cli import options
from provision_engine.errors import OperatorError

DONE, FAILED, INTERRUPTED, CLOSED_PIPE = 0, 1, 130, 141
"""Exit codes; 2 is argparse's own, and `runtime` has more."""

EXIT_CODES = """\
exit codes of every command:
  0    done
  1    it failed; standard error says why
  2    the command line is wrong
  130  interrupted (Ctrl-C)
  141  the reader of the output closed it, as head does
"""


class Command(NamedTuple):
    """What a command does, and where: both modules are imported only when it is used."""

    help: str
    function: str
    parser: str = ""
    """Empty if the command has its own kind of parser."""
    takes_config: bool = True

    def run(self, arguments: Sequence[str]) -> int:
        code: int = _imported(self.function)(arguments)
        return code

    def make_parser(self) -> options.Parser | None:
        parser: options.Parser | None = _imported(self.parser)() if self.parser else None
        return parser


def _command(help: str, module: str, *, takes_config: bool = True) -> Command:
    where = f"provision_engine.cli.{module}"
    return Command(help, f"{where}:main", f"{where}:parser", takes_config)


def _service(help: str, name: str) -> Command:
    where = "provision_engine.cli.service"
    return Command(help, f"{where}:{name}", f"{where}:{name}_parser")


COMMANDS = {
    "start": _service("start the engine", "start"),
    "stop": _service("stop it once its requests are finished", "stop"),
    "restart": _service("stop it if it is running, then start it", "restart"),
    "status": _service("show whether it is running, and where", "status"),
    "check": _command("check configuration, OpenNebula and flavours", "check"),
    "logs": _command("show the logs in time order", "logs"),
    "reconcile": _command("find and remove what was left behind", "reconcile"),
    "runtime": _command("create and manage runtimes", "runtime"),
    "completion": _command(
        "print completion for bash, zsh or fish", "completion", takes_config=False
    ),
    "sandbox": Command(
        "run a simulated OpenNebula to try it with",
        "provision_engine.sandbox.command:main",
        takes_config=False,
    ),
}
# What the completion scripts call; not for people.
_HIDDEN = {"complete": Command("", "provision_engine.cli.completion:complete", takes_config=False)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, 1 with a reason on stderr if it failed.

    Ends with SystemExit(2) if the command line itself is wrong.
    """
    try:
        try:
            return _run(sys.argv[1:] if argv is None else argv)
        finally:
            sys.stdout.flush()
    except OperatorError as error:
        print(f"provision-engine: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        _discard_output()
        return CLOSED_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED


def parser() -> options.Parser:
    listed = "\n".join(f"  {name:<11} {command.help}" for name, command in COMMANDS.items())
    made = options.Parser(
        "provision-engine",
        description="Provides devices with serverless runtimes on an OpenNebula cloud.",
        epilog=f"commands:\n{listed}\n\n{EXIT_CODES}\n"
        "'provision-engine COMMAND --help' describes each command.",
    )
    made.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    options.add_config(made)
    made.add_rest("COMMAND")
    return made


def _run(arguments: Sequence[str]) -> int:
    whole = parser()
    if not arguments:
        whole.print_help()
        return DONE
    given = options.parse(whole, arguments)
    command = (
        _HIDDEN.get(given.command)
        or COMMANDS[options.chosen(whole, given.command, COMMANDS, "command")]
    )
    rest: list[str] = given.arguments
    if given.config and command.takes_config:
        rest = ["--config", str(given.config), *rest]
    return command.run(rest)


def _imported(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def _discard_output() -> None:
    """Let the interpreter flush what is left to nowhere when it ends."""
    with contextlib.suppress(OSError):  # tests have no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
