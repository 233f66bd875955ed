"""`provision-engine sandbox`, which reads its own command line."""

from __future__ import annotations

import contextlib
import io
import re

import click
from click.shell_completion import CompletionItem

from provision_engine.sandbox import command


class _Sandbox(click.Command):
    """Completes the options that the help of the sandbox mentions."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            command.main(["--help"])
        found = sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", shown.getvalue())))
        return [CompletionItem(name) for name in found if name.startswith(incomplete)]


@click.command(
    cls=_Sandbox,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: tuple[str, ...]) -> int:
    return command.main(list(arguments))
