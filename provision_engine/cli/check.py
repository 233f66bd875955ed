"""`provision-engine check`: checks configuration, OpenNebula and flavours, a line each."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

import click

from provision_engine.cli import credentials
from provision_engine.cli.options import Command, config_option, configuration
from provision_engine.cloud.client import Backends
from provision_engine.cloud.probe import Probe
from provision_engine.config import Configuration, ConfigurationError
from provision_engine.engine.context import for_user
from provision_engine.engine.memory import Memory
from provision_engine.engine.preflight import Inspector, Preflight
from provision_engine.engine.runtime import sizes
from provision_engine.errors import EngineError, OperatorError, Unauthorized
from provision_engine.text import one_line


class Mark(StrEnum):
    """The result of a line."""

    OK = "ok"
    NOTE = "note"
    FAILED = "FAILED"


COLOURS = {Mark.OK: "green", Mark.NOTE: "yellow", Mark.FAILED: "red"}


class Line(NamedTuple):
    mark: Mark
    text: str
    hint: str = ""


@click.command(
    cls=Command,
    epilog="""\b
Exit code: 0 all is well; 1 something failed; 2 the command line is wrong.
Notes (a VM template without a NIC, for instance) are not failures.""",
)
@config_option
@click.option(
    "--user",
    metavar="NAME",
    help="Log in as this user, with a password from a prompt or the first line of the input "
    f"(default: the credentials in the file that {credentials.VARIABLE} names or in "
    f"{credentials.DEFAULT_FILE}, or a prompt).",
)
@click.option("--color", type=click.Choice(("auto", "always", "never")), default="auto")
@click.argument("flavours", nargs=-1, metavar="[FLAVOUR]...")
def check(user: str | None, color: str, flavours: tuple[str, ...]) -> int:
    """Check configuration, OpenNebula and flavours, a line each; change nothing.

    Reads engine.conf, connects to oned and oneflow, logs in, and examines each FLAVOUR (all, if
    none is given) as that user would get it. Each line that failed ends with a remedy.
    """
    is_terminal = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    has_colours = is_terminal if color == "auto" else color == "always"
    has_failed = False
    for mark, text, hint in _check(user, flavours):
        word = click.style(f"{mark:<6}", fg=COLOURS[mark]) if has_colours else f"{mark:<6}"
        print(f"{word}  {text}{f' -- {hint}' if hint else ''}", flush=True)
        has_failed = has_failed or mark is Mark.FAILED
    return int(has_failed)


def _check(user: str | None, flavours: Sequence[str]) -> Iterator[Line]:
    """The lines, one by one. The first failure that everything else depends on is the last."""
    try:
        settings = configuration()
    except ConfigurationError as error:
        yield Line(Mark.FAILED, f"configuration: {error}", "every key: docs/configuration.md")
        return
    yield Line(Mark.OK, f"configuration: {settings.path or 'the defaults, without a file'}")
    backends = Backends(settings)
    reached = list(_reach(settings, backends))
    yield from reached
    if reached[0].mark is Mark.FAILED:
        return
    try:
        inspector = _log_in(settings, backends, user)
    except (EngineError, OperatorError) as error:
        yield Line(Mark.FAILED, f"log in: {one_line(str(error))}", _hint_of_login(error))
        return
    dialect = inspector.dialect.name
    yield Line(
        Mark.OK, f"log in: {inspector.user}, OpenNebula {inspector.version}, dialect of {dialect}"
    )
    notes = (Line(Mark.NOTE, f"oned: {one.text}", one.hint) for one in inspector.inspect_oned())
    yield from _step("oned", notes)
    yield from _step("flavours", _flavours(inspector, flavours))
    yield from _step("standby", _standbys(inspector, settings))


# ---- steps -----------------------------------------------------------------------------


def _reach(settings: Configuration, backends: Backends) -> Iterator[Line]:
    reasons = Probe(backends).reasons()
    addresses = {
        "oned": ("one_xmlrpc", settings.one_xmlrpc, "opennebula"),
        "oneflow": ("oneflow_server", settings.oneflow_server, "opennebula-flow"),
    }
    for name, (key, url, service) in addresses.items():
        if name in reasons:
            hint = f"is {service} running, and {key} in engine.conf right?"
            yield Line(Mark.FAILED, f"{name}: {url}: {one_line(reasons[name])}", hint)
        else:
            yield Line(Mark.OK, f"{name}: {url} responds")


def _log_in(settings: Configuration, backends: Backends, user: str | None) -> Inspector:
    login = credentials.typed(user) if user else credentials.stored_or_typed()
    return Inspector(for_user(*login, backends, settings, Memory(settings.cache.seconds)))


def _hint_of_login(error: Exception) -> str:
    if isinstance(error, Unauthorized):
        return "is the password right? try it with: oneuser show --user USER --password PASSWORD"
    if isinstance(error, OperatorError):
        file, variable = credentials.DEFAULT_FILE, credentials.VARIABLE
        return f"write USER:PASSWORD to {file}, or name the file in {variable}"
    return "see the log of oned"


def _step(name: str, lines: Iterator[Line]) -> Iterator[Line]:
    """The lines of a step; a failure of OpenNebula is its last one."""
    try:
        yield from lines
    except EngineError as error:
        yield Line(Mark.FAILED, f"{name}: {one_line(str(error))}", "see oned's log")


def _flavours(inspector: Inspector, wanted: Sequence[str]) -> Iterator[Line]:
    surveys = inspector.inspect()
    if not surveys:
        hint = "create a flow template with a role FAAS, and allow this user to use it"
        yield Line(Mark.FAILED, "flavours: this user may use no flow template", hint)
    known = {survey.flavours for survey in surveys}
    for name in wanted:
        if name not in known:
            hint = "give a flow template this name, or add it to mapping in engine.conf"
            yield Line(Mark.FAILED, f"flavour {name}: no flow template has it", hint)
    for survey in surveys:
        if not wanted or survey.flavours in wanted:
            yield from _of_survey(survey)
    for finding in inspector.inspect_strangers():
        yield Line(Mark.NOTE, one_line(finding.text), one_line(finding.hint))


def _standbys(inspector: Inspector, settings: Configuration) -> Iterator[Line]:
    """Can the flavours with standby runtimes be deployed?"""
    kept = settings.standby.flavours
    surveys = inspector.inspect() if kept else []
    deployable = {survey.flavours for survey in surveys if survey.is_deployable}
    for flavours, count in kept.items():
        if flavours in deployable:
            lives = f"unused ones end after {settings.standby.seconds} s"
            yield Line(Mark.OK, f"standby {flavours}: {count} for each user; {lives}")
        else:
            hint = "correct standby.flavours in engine.conf, or the flavour above"
            yield Line(Mark.FAILED, f"standby {flavours}: it cannot be deployed", hint)


def _of_survey(survey: Preflight) -> Iterator[Line]:
    how = "of the mapping" if survey.is_mapped else "of that name"
    owner = f"owned by {one_line(survey.owner)}"
    place = f"flavour {survey.flavours}: flow template {survey.template_id} {how}, {owner}"
    if survey.is_deployable:
        yield Line(Mark.OK, f"{place}: {_sizes(survey)}")
    for finding in survey.findings:
        mark = Mark.FAILED if finding.is_fatal else Mark.NOTE
        text = f"flavour {survey.flavours}: {one_line(finding.text)}"
        yield Line(mark, text, finding.hint)


def _sizes(survey: Preflight) -> str:
    return ", ".join(
        f"{role} {sizes.shown(function.sizes)}" for role, function in survey.functions.items()
    )
