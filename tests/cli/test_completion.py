"""Completion: the candidates, and that each shell accepts its script."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from provision_engine.cli import program
from provision_engine.client import Client, Flavour, Function, Runtime
from tests.support.programs import program as installed

from .cli_engine import call

SHELLS = ("bash", "zsh", "fish")
FILES = "a file"


class Engine:
    """Replaces a client of an engine."""

    calls: tuple[str, ...] = ()

    def __init__(self, url: str, *_credentials: str, **_settings: object) -> None:
        type(self).calls += (url,)

    def list_runtimes(self) -> list[Runtime]:
        names = ((12, "lamp"), (17, "two words"), (170, ""))
        return [Runtime(number, name, Function()) for number, name in names]

    def flavours(self) -> list[Flavour]:
        return [Flavour(name, 1, name != "broken", {}) for name in ("nature", "s3", "broken")]


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Engine]:
    auth = tmp_path / "one_auth"
    auth.write_text("devuser:devpass")
    monkeypatch.setenv("ONE_AUTH", str(auth))
    monkeypatch.setenv("PROVISION_ENGINE_URL", "http://engine.test")
    monkeypatch.setattr("provision_engine.cli.runtime.arguments.Client", Engine)
    monkeypatch.setattr(Engine, "calls", ())
    return Engine


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("st", {"start", "stop", "status"}),
        ("start --f", {"--foreground"}),
        ("--config x sta", {"start", "status"}),
        ("--config ", {FILES}),
        ("status --config ", {FILES}),
        ("check --color ", {"auto", "always", "never"}),
        ("logs --r", {"--request", "--rotated", "--runtime"}),
        ("reconcile --o", {"--older-than"}),
        ("sandbox --rel", {"--release"}),
        ("runtime re", {"recover", "resume"}),
        ("--config x runtime de", {"delete"}),
        ("runtime --url http://x de", {"delete"}),
        ("runtime create x --data-", {"--data-cpu", "--data-memory", "--data-disk"}),
        ("runtime list --state RUN", {"running"}),
        ("runtime wait --ti", {"--timeout"}),
        ("runtime recover 12 --rep", {"--replace"}),
        ("runtime ls --n", {"--name", "--newest"}),
        ("completion ", {"bash", "zsh", "fish"}),
        # What the engine knows.
        ("runtime show 1", {"12", "17", "170"}),
        ("runtime rm 12 17", {"17", "170"}),
        ("runtime show la", {"lamp"}),
        ("runtime show two", set()),
        ("runtime update --name x ", {"12", "lamp", "17", "170"}),
        ("runtime create ", {"nature", "s3"}),
        ("runtime create nature --data ", {"nature", "s3"}),
        ("runtime create nature --data s", {"s3"}),
        ("runtime create nature --name na", set()),
        ("runtime list --flavour n", {"nature"}),
        ("runtime show 12 ", set()),
        ("runtime show 12 --", {"--help", "--config", "--url", "--json", "--ca-file"}),
    ],
)  # fmt: skip
def test_candidates(words: str, offered: set[str]) -> None:
    assert candidates(*words.split(" ")) == offered


def candidates(*words: str) -> set[str]:
    """What click offers for the last of these words."""
    completer = BashComplete(program.program, {}, program.NAME, program.COMPLETE_VARIABLE)
    found = completer.get_completions(list(words[:-1]), words[-1])
    return {FILES if item.type == "file" else item.value for item in found}


def test_the_named_engine_is_queried(engine: type[Engine]) -> None:
    candidates("runtime", "show", "")
    candidates("runtime", "--url", "http://other.test", "show", "")
    candidates("runtime", "show", "--url", "http://third.test", "")
    assert engine.calls == ("http://engine.test", "http://other.test", "http://third.test")


def test_without_a_login_nothing_is_offered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ONE_AUTH", str(tmp_path / "missing"))
    assert candidates("runtime", "show", "") == set()


def test_an_unreachable_engine_offers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provision_engine.cli.runtime.arguments.Client", Client)
    monkeypatch.setenv("PROVISION_ENGINE_URL", "http://127.0.0.1:1")
    assert candidates("runtime", "show", "") == set()


ASKED = {
    "bash": """{script}
COMP_WORDS=(provision-engine {words})
COMP_CWORD={last}
compopt() {{ COMPREPLY=(files); }}
_provision_engine_completion provision-engine
printf '%s\\n' "${{COMPREPLY[@]}}"
""",
    "zsh": """compdef() {{ : }}
compadd() {{ print -rl -- $completions }}
_describe() {{ print -rl -- ${{completions_with_descriptions%%:*}} }}
_path_files() {{ print -r -- files }}
{script}
words=(provision-engine {words})
CURRENT={position}
_provision_engine_completion
""",
    "fish": """{script}
complete -C 'provision-engine {line}'
""",
}


def shell(name: str, *words: str, directory: Path) -> list[str]:
    """What a real shell completes the last of these words to."""
    path = installed(name)
    command = directory / "provision-engine"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m provision_engine "$@"\n')
    command.chmod(0o755)
    text = ASKED[name].format(
        script=call("completion", name).stdout,
        words=" ".join(f"'{word}'" for word in words),
        line=" ".join(words),
        last=len(words),
        position=len(words) + 1,
    )
    options = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[name]
    ran = subprocess.run(
        [path, *options, "-c", text],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        env={
            **os.environ,
            "PATH": f"{directory}:{os.environ['PATH']}",
            "HOME": str(directory),
            "PYTHONPATH": str(Path(program.__file__).parents[2]),
        },
        timeout=60,
    )
    assert ran.stderr == "", shlex.quote(text)
    return [line.partition("\t")[0] for line in ran.stdout.splitlines()]


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_takes_its_script(name: str, tmp_path: Path) -> None:
    assert shell(name, "runtime", "sus", directory=tmp_path) == ["suspend"]
    assert shell(name, "runtime", "create", "x", "--data-m", directory=tmp_path) == [
        "--data-memory"
    ]


@pytest.mark.parametrize("name", SHELLS)
def test_files_are_completed_by_the_shell(name: str, tmp_path: Path) -> None:
    (tmp_path / "engine.conf").write_text("")
    completed = "engine.conf" if name == "fish" else "files"
    assert shell(name, "--config", "eng", directory=tmp_path) == [completed]
