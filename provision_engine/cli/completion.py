"""`provision-engine completion SHELL`: prints a script that completes the command line.

The scripts of all shells are short: they ask the hidden command `complete`, which knows the same
parsers as the commands themselves and, where an id or a flavour is expected, asks the engine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from provision_engine.cli import credentials, program, runtime
from provision_engine.cli.options import Parser, parse
from provision_engine.cli.runtime import connection
from provision_engine.client import Client, ClientError
from provision_engine.errors import OperatorError

SHELLS = ("bash", "zsh", "fish")
FILES = "@files"
"""Instead of candidates: the shell completes names of files."""
ENGINE_SECONDS = 3.0

BASH = """\
# bash completion for provision-engine; in ~/.bashrc: eval "$(provision-engine completion bash)"
_provision_engine() {
    local IFS=$'\\n' found
    found=$(provision-engine complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" </dev/null 2>/dev/null)
    if [[ $found == @files ]]; then
        COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
    else
        COMPREPLY=($found)
    fi
}
complete -F _provision_engine provision-engine provision-engine-server
"""
ZSH = """\
# zsh completion for provision-engine; in ~/.zshrc: eval "$(provision-engine completion zsh)"
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_provision_engine() {
    local -a found
    found=("${(@f)$(provision-engine complete -- "${(@)words[2,CURRENT]}" </dev/null 2>/dev/null)}")
    if [[ $found[1] == @files ]]; then
        _files
    elif [[ -n $found[1] ]]; then
        compadd -a found
    fi
}
compdef _provision_engine provision-engine provision-engine-server
"""
FISH = """\
# fish completion for provision-engine; in ~/.config/fish/config.fish:
#     provision-engine completion fish | source
function __provision_engine
    set -l words (commandline -opc) (commandline -ct)
    set -l found (provision-engine complete -- $words[2..-1] </dev/null 2>/dev/null)
    if test "$found[1]" = @files
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $found
    end
end
complete -c provision-engine -f -a '(__provision_engine)'
complete -c provision-engine-server -f -a '(__provision_engine)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def parser() -> Parser:
    made = Parser(
        "provision-engine completion",
        description="Print a script that completes the command line of provision-engine.",
        epilog='In ~/.bashrc: eval "$(provision-engine completion bash)"\n'
        'In ~/.zshrc: eval "$(provision-engine completion zsh)"\n'
        "In ~/.config/fish/config.fish: provision-engine completion fish | source",
    )
    made.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
    return made


def main(arguments: Sequence[str]) -> int:
    """Print the script for a shell; return 0."""
    print(SCRIPTS[parse(parser(), arguments).shell], end="")
    return 0


def complete(arguments: Sequence[str]) -> int:
    """`complete -- WORD…`: print the candidates for the last word, one per line."""
    words = list(arguments[1:] if arguments[:1] == ["--"] else arguments) or [""]
    found = candidates(words[:-1], words[-1])
    print("\n".join(found), end="\n" if found else "")
    return 0


def candidates(before: Sequence[str], current: str) -> list[str]:
    """The candidates for the current word, given the words before it."""
    names, rest = _split(before, program.parser())
    if not names:
        return _in(program.parser(), rest, current, list(program.COMMANDS))
    command = program.COMMANDS.get(names[0])
    if command is None:
        return []
    if names[0] == "runtime":
        return _of_runtime(before, rest, current)
    made = command.make_parser()
    if made is None:
        return _starting(_options_of_help(command.run), current)
    return _in(made, rest, current, [])


def _of_runtime(before: Sequence[str], rest: Sequence[str], current: str) -> list[str]:
    names, own = _split(rest, runtime.parser())
    if not names:
        return _in(runtime.parser(), own, current, [*runtime.ACTIONS, *runtime.ALIASES])
    action = runtime.ALIASES.get(names[0], names[0])
    if action not in runtime.ACTIONS:
        return []
    made = runtime.action_parser(action)
    metavar = _expected(made, own)
    if not current.startswith("-") and metavar in ("ID", "FLAVOUR"):
        return _starting(_of_engine(metavar, _context(before)), current)
    return _in(made, own, current, [])


def _split(words: Sequence[str], parser: Parser) -> tuple[list[str], list[str]]:
    """The first word that is not an option of this parser, if any, and the words after it (or,
    without one, all words)."""
    position = 0
    while position < len(words):
        action = _option(parser, words[position])
        if action is not None:
            position += 2 if _takes_value(action, words[position]) else 1
        elif words[position].startswith("-"):
            position += 1
        else:
            return [words[position]], list(words[position + 1 :])
    return [], list(words)


def _in(parser: Parser, before: Sequence[str], current: str, names: Sequence[str]) -> list[str]:
    """Candidates after these words of one parser: a value, an option, or one of the names."""
    waiting = _option(parser, before[-1]) if before else None
    if waiting is not None and _takes_value(waiting, before[-1]) and not current.startswith("-"):
        return [FILES] if waiting.metavar == "FILE" else _starting(waiting.choices or (), current)
    if current.startswith("-"):
        return _starting(_options(parser), current)
    positionals = [a for a in parser.described if not a.option_strings and a.choices]
    choices = [str(choice) for action in positionals for choice in action.choices or ()]
    return _starting([*names, *choices], current) or ([] if current else _options(parser))


def _expected(parser: Parser, before: Sequence[str]) -> str:
    """The metavar of the value that the next word is: of an option, else of a positional."""
    waiting = _option(parser, before[-1]) if before else None
    if waiting is not None and _takes_value(waiting, before[-1]):
        return str(waiting.metavar or waiting.dest)
    given = _count_positionals(parser, before)
    positionals = [action for action in parser.described if not action.option_strings]
    if positionals and (given < len(positionals) or positionals[-1].nargs in ("+", "*")):
        return str(positionals[min(given, len(positionals) - 1)].metavar)
    return ""


def _count_positionals(parser: Parser, words: Sequence[str]) -> int:
    found, rest = 0, list(words)
    while True:
        names, rest = _split(rest, parser)
        if not names:
            return found
        found += 1


def _option(parser: Parser, word: str) -> argparse.Action | None:
    name = word.partition("=")[0]
    return next((a for a in parser.described if name in a.option_strings), None)


def _takes_value(action: argparse.Action, word: str) -> bool:
    """Whether the next word is the option's value; one that is optional may be."""
    return action.nargs != 0 and "=" not in word


def _options(parser: Parser) -> list[str]:
    return sorted(o for a in parser.described for o in a.option_strings if o.startswith("--"))


def _options_of_help(run: Callable[[Sequence[str]], int]) -> list[str]:
    """The options of a command with its own kind of parser, from its --help."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        run(["--help"])
    return sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", shown.getvalue())))


def _starting(found: Iterable[object], current: str) -> list[str]:
    return [str(candidate) for candidate in found if str(candidate).startswith(current)]


# ---- from the engine -------------------------------------------------------------------


def _context(before: Sequence[str]) -> argparse.Namespace:
    """The address options among the words."""
    reader = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    for name in ("--config", "--url", "--ca-file"):
        reader.add_argument(name, nargs="?")
    return reader.parse_known_args(list(before))[0]


def _of_engine(metavar: str, context: argparse.Namespace) -> Iterator[str]:
    """Ids and names of runtimes, or flavours; nothing if the engine or the login fails."""
    context.config = Path(context.config) if context.config else None
    with contextlib.suppress(ClientError, OperatorError):
        user, password = credentials.stored()
        url = connection.address(context).url
        verify = context.ca_file or True
        api = Client(url, user, password, tries=1, timeout_seconds=ENGINE_SECONDS, verify=verify)
        with api:
            if metavar == "FLAVOUR":
                yield from (flavour.name for flavour in api.flavours() if flavour.is_deployable)
            else:
                yield from (str(runtime.id) for runtime in api.list_runtimes())
