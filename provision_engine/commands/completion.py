"""`provision-engine completion SHELL`: prints what makes a shell complete the command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence

from provision_engine.commands import runtime

BASH = """\
# bash completion for provision-engine; in ~/.bashrc: eval "$(provision-engine completion bash)"
_provision_engine() {{
    local word command='' action='' words=''
    local current="${{COMP_WORDS[COMP_CWORD]}}"
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        if [[ -z $command && ' {commands} ' == *" $word "* ]]; then
            command=$word
        elif [[ $command == runtime && -z $action && ' {actions} ' == *" $word "* ]]; then
            action=$word
        fi
    done
    case "$command $action" in
        ' ') words='{commands} --config --help --version' ;;
        'runtime ') words='{actions} --help' ;;
        'completion ') words='{shells}' ;;
{cases}
    esac
    case "${{COMP_WORDS[COMP_CWORD-1]}}" in
        --state) words='{states}' ;;
        --config|--ca-file) COMPREPLY=($(compgen -f -- "$current")); return ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -F _provision_engine provision-engine
"""
ZSH = """\
# zsh completion for provision-engine; in ~/.zshrc: eval "$(provision-engine completion zsh)"
autoload -U +X compinit && compinit
autoload -U +X bashcompinit && bashcompinit
"""
SHELLS = ("bash", "zsh")


def main(arguments: Sequence[str]) -> int:
    """Print the script for a shell; return 0."""
    parser = argparse.ArgumentParser(
        "provision-engine completion",
        description="Print what makes a shell complete the command line of provision-engine.",
        epilog='In ~/.bashrc: eval "$(provision-engine completion bash)"',
    )
    parser.add_argument("shell", choices=SHELLS)
    print(script(parser.parse_args(arguments).shell), end="")
    return 0


def script(shell: str) -> str:
    from provision_engine.cli import COMMANDS  # it imports the commands only when it calls them

    options = _options_of_actions()
    cases = [f"        'runtime {n}') words='{' '.join(o)}' ;;" for n, o in options.items()]
    bash = BASH.format(
        commands=" ".join(COMMANDS),
        actions=" ".join(options),
        shells=" ".join(SHELLS),
        states=" ".join(runtime.STATES),
        cases="\n".join(cases),
    )
    return bash if shell == "bash" else ZSH + bash.partition("\n")[2]


def _options_of_actions() -> Mapping[str, list[str]]:
    _, actions = runtime.parsers()
    return {
        name: sorted({"--help", *re.findall(r"--[a-z-]+", parser.format_usage())})
        for name, parser in actions.items()
    }
