"""The main program: finds the command, runs it, and converts its outcome into an exit code."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import sys
from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem, get_completion_class, shell_complete

from provision_engine import __version__
from provision_engine.cli import options
from provision_engine.cli.options import config_option
from provision_engine.errors import OperatorError

NAME, OLD_NAME = "provision-engine", "provision-engine-server"
COMPLETE_VARIABLE = "_PROVISION_ENGINE_COMPLETE"
"""With it, a shell asks for its script, or for candidates."""

DONE, FAILED, USAGE, INTERRUPTED, CLOSED_PIPE = 0, 1, 2, 130, 141
"""Exit codes; `runtime` has more."""

COMMANDS = {
    "start": ("service", "Start the engine."),
    "stop": ("service", "Stop it once its requests are finished."),
    "restart": ("service", "Stop it if it is running, then start it."),
    "status": ("service", "Show whether it is running, and where."),
    "check": ("check", "Check configuration, OpenNebula and flavours."),
    "logs": ("logs", "Show the logs in time order."),
    "reconcile": ("reconcile", "Find and remove what was left behind."),
    "runtime": ("runtime.actions", "Create and manage runtimes."),
    "completion": ("program", "Print completion for bash, zsh or fish."),
    "sandbox": ("program", "Run a simulated OpenNebula to try it with."),
}
"""By name: the module with a command of this name, and what it does."""


class Program(click.Group):
    """Lists the commands, and imports the module of the one that is used."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if name:
            module = importlib.import_module(f"provision_engine.cli.{COMMANDS[name][0]}")
            command = getattr(module, name)
        return name, command, rest


@click.group(
    NAME,
    cls=Program,
    commands={name: click.Command(name, help=help) for name, (_, help) in COMMANDS.items()},
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
exit codes of every command:
  0    done
  1    it failed; standard error says why
  2    the command line is wrong
  130  interrupted (Ctrl-C)
  141  the reader of the output closed it, as head does""",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@config_option
def program() -> None:
    """Provides devices with serverless runtimes on an OpenNebula cloud."""


@click.command(
    epilog="""\b
In ~/.bashrc: eval "$(provision-engine completion bash)"
In ~/.zshrc: eval "$(provision-engine completion zsh)"
In ~/.config/fish/config.fish: provision-engine completion fish | source""",
)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print a script that completes the command line of provision-engine."""
    if shell == "zsh":  # click's script takes for granted that this was done
        print("(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }")
    kind = get_completion_class(shell)
    assert kind is not None
    for name in (NAME, OLD_NAME):
        print(kind(program, {}, name, COMPLETE_VARIABLE).source())


class Sandbox(click.Command):
    """A program of its own, which reads its own command line."""

    def run(self, arguments: Sequence[str]) -> int:
        from provision_engine.sandbox import command

        return command.main(list(arguments))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Return the options that its help mentions."""
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            self.run(["--help"])
        names = sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", shown.getvalue())))
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command(
    cls=Sandbox, add_help_option=False, context_settings={"ignore_unknown_options": True}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: tuple[str, ...]) -> int:
    return sandbox.run(arguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a failure is one line on standard error."""
    try:
        try:
            return _run(sys.argv[1:] if argv is None else argv)
        finally:
            sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        print(options.explained(error), file=sys.stderr)
        return USAGE
    except OperatorError as error:
        print(*(f"{NAME}: {line}" for line in error.args), sep="\n", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # The interpreter flushes what is left to nowhere when it ends.
        with contextlib.suppress(OSError):  # tests have no descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED


def _run(arguments: Sequence[str]) -> int:
    if instruction := os.environ.get(COMPLETE_VARIABLE):
        return shell_complete(program, {}, NAME, COMPLETE_VARIABLE, instruction)
    try:
        with program.make_context(NAME, list(arguments)) as context:
            return int(program.invoke(context) or DONE)
    except click.exceptions.NoArgsIsHelpError as help:
        print(help.format_message())
        return DONE
