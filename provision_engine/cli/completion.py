"""`provision-engine completion SHELL`: prints click's script, which completes the command line."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from provision_engine.cli import program
from provision_engine.cli.options import Command

NAMES = (program.NAME, "provision-engine-server")
BEFORE = {"zsh": "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }\n"}
"""What a script needs that click takes for granted."""


@click.command(
    cls=Command,
    epilog="""\b
In ~/.bashrc: eval "$(provision-engine completion bash)"
In ~/.zshrc: eval "$(provision-engine completion zsh)"
In ~/.config/fish/config.fish: provision-engine completion fish | source""",
)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print a script that completes the command line of provision-engine."""
    kind = get_completion_class(shell)
    assert kind is not None
    print(BEFORE.get(shell, ""), end="")
    for name in NAMES:
        print(kind(program.program, {}, name, program.COMPLETE_VARIABLE).source())
