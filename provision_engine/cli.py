"""The command line: `provision-engine COMMAND`, and the same under its old name."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from provision_engine import __version__
from provision_engine.failures import OperatorError

_ENVIRONMENT_VARIABLE = "PROVISION_ENGINE_CONF"
_INTERRUPTED = 130


class Command(NamedTuple):
    """Where a command is done (imported only when it is called for), and what it does."""

    target: str
    help: str


COMMANDS = {
    "start": Command("provision_engine.control:start", "start the engine"),
    "stop": Command("provision_engine.control:stop", "end it when its requests are answered"),
    "restart": Command("provision_engine.control:restart", "stop it if it runs, and start it"),
    "status": Command("provision_engine.control:status", "tell whether it runs, and where"),
    "check": Command("provision_engine.commands.check:main", "tell whether all is in place"),
    "logs": Command("provision_engine.commands.logs:main", "show the logs in time order"),
    "reconcile": Command("provision_engine.commands.reconcile:main", "find what was left behind"),
    "runtime": Command("provision_engine.commands.runtime:main", "make and manage runtimes"),
    "completion": Command("provision_engine.commands.completion:main", "for bash and zsh"),
    "sandbox": Command("provision_engine.sandbox.command:main", "run an OpenNebula to try with"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Do one command; return 0 when it is done, 1 with a reason on stderr otherwise.

    Ends with SystemExit(2) when the command line itself is wrong.
    """
    options = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    if options.config:
        # So every command finds it, in this process and in those that it starts.
        os.environ[_ENVIRONMENT_VARIABLE] = str(options.config.absolute())
    try:
        return _function(COMMANDS[options.command])(options.arguments)
    except OperatorError as error:
        print(f"provision-engine: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _function(command: Command) -> Callable[[Sequence[str]], int]:
    module, _, name = command.target.partition(":")
    function: Callable[[Sequence[str]], int] = getattr(importlib.import_module(module), name)
    return function


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:<10} {command.help}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        "provision-engine",
        description="Gives devices serverless runtimes on an OpenNebula cloud.",
        epilog=f"commands:\n{listed}\n\n'provision-engine COMMAND --help' tells more of each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"the configuration; else the one that {_ENVIRONMENT_VARIABLE} names, "
        "else /etc/provision-engine/engine.conf",
    )
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help="see below")
    parser.add_argument("arguments", metavar="...", nargs=argparse.REMAINDER, help="its own")
    return parser


if __name__ == "__main__":
    sys.exit(main())
