"""`provision-engine runtime …`: serverless runtimes from the command line, over the API."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from provision_engine.cli import options
from provision_engine.cli.options import Parser
from provision_engine.cli.runtime import arguments, connection, exit_codes, show
from provision_engine.cli.runtime.actions import ACTIONS, ALIASES, UsageError
from provision_engine.client import ClientError, Unreachable, Unusable

__all__ = ["ACTIONS", "ALIASES", "action_parser", "main", "parser"]


def main(given: Sequence[str]) -> int:
    """Do one action; `exit_codes` has the codes."""
    whole = parser()
    if not given:
        whole.print_help()
        return exit_codes.DONE
    before = options.parse(whole, given)
    known = [*ACTIONS, *ALIASES]
    name = options.chosen(whole, before.command, known, "action")
    action, own = ACTIONS[ALIASES.get(name, name)], action_parser(ALIASES.get(name, name))
    chosen = options.parse(own, before.arguments)
    for common in ("config", "url", "json", "ca_file"):
        setattr(chosen, common, getattr(chosen, common) or getattr(before, common))
    try:
        with connection.connect(chosen) as api:
            return action.do(api, chosen)
    except UsageError as error:
        own.error(str(error))
    except ClientError as error:
        return _failed(error, chosen)


def parser() -> Parser:
    """The command line up to the action."""
    listed = "\n".join(f"  {name:<9} {action.help}" for name, action in ACTIONS.items())
    made = Parser(
        "provision-engine runtime",
        description="Serverless runtimes of an OpenNebula user.",
        epilog=f"actions:\n{listed}\n\n{arguments.EPILOG}\n"
        "'provision-engine runtime ACTION --help' describes each action.",
    )
    arguments.add_common(made)
    made.add_rest("ACTION")
    return made


def action_parser(name: str) -> Parser:
    """The command line of one action."""
    help = ACTIONS[name].help
    made = Parser(
        f"provision-engine runtime {name}",
        description=f"{help[0].upper()}{help[1:]}.",
        epilog=arguments.EPILOG,
    )
    ACTIONS[name].add_arguments(made)
    arguments.add_common(made)
    return made


def _failed(error: ClientError, chosen: argparse.Namespace) -> int:
    if isinstance(error, Unreachable | Unusable):
        error.error = f"{error.error} (address from {connection.address(chosen).source})"
    show.error(error, chosen)
    return exit_codes.of(error)
