"""`provision-engine check`: checks configuration, OpenNebula and flavours, a line each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import click

from provision_engine import credentials
from provision_engine.cli.options import config_option, configuration
from provision_engine.cloud.client import Backends
from provision_engine.cloud.probe import Probe
from provision_engine.config import Configuration, ConfigurationError
from provision_engine.engine.context import for_user
from provision_engine.engine.memory import Memory
from provision_engine.engine.preflight import Finding, Inspector, Preflight
from provision_engine.engine.runtime import sizes
from provision_engine.errors import EngineError, OperatorError, Unauthorized
from provision_engine.text import one_line

OK, NOTE, FAILED = "ok", "note", "FAILED"
COLOURS = {OK: "green", NOTE: "yellow", FAILED: "red"}


class Line(NamedTuple):
    mark: str
    text: str
    hint: str = ""


@click.command(
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
    # By default, colours are for terminals.
    keeps_colours = {"auto": False if os.environ.get("NO_COLOR") else None, "always": True}
    has_failed = False
    for mark, text, hint in _check(user, flavours):
        word = click.style(f"{mark:<6}", fg=COLOURS[mark])
        line = f"{word}  {text}{f' -- {hint}' if hint else ''}"
        click.echo(line, color=keeps_colours.get(color, False))
        has_failed = has_failed or mark == FAILED
    return int(has_failed)


def _check(user: str | None, flavours: Sequence[str]) -> Iterator[Line]:
    """Yield the lines. The first failure that everything else depends on is the last."""
    try:
        settings = configuration()
    except ConfigurationError as error:
        for line in error.args:
            yield Line(FAILED, f"configuration: {line}", "every key: docs/configuration.md")
        return
    yield Line(OK, f"configuration: {settings.path or 'the defaults, without a file'}")
    backends = Backends(settings)
    reasons = Probe(backends).reasons()
    yield from _reached(settings, reasons)
    if "oned" in reasons:
        return
    try:
        login = credentials.typed(user) if user else credentials.stored_or_typed()
        memory = Memory(settings.cache_seconds)
        inspector = Inspector(for_user(*login, backends, settings, memory))
    except (EngineError, OperatorError) as error:
        yield Line(FAILED, f"log in: {one_line(str(error))}", _hint_of_login(error))
        return
    release = f"OpenNebula {inspector.version}, dialect of {inspector.dialect.name}"
    yield Line(OK, f"log in: {inspector.user}, {release}")
    yield from _step("oned", (_line(one, "oned: ") for one in inspector.inspect_oned()))
    yield from _step("flavours", _flavours(inspector, flavours))
    yield from _step("standby", _standbys(inspector, settings))


# ---- steps -----------------------------------------------------------------------------


def _reached(settings: Configuration, reasons: Mapping[str, str]) -> Iterator[Line]:
    for name, key, url, service in (
        ("oned", "one_xmlrpc", settings.one_xmlrpc, "opennebula"),
        ("oneflow", "oneflow_server", settings.oneflow_server, "opennebula-flow"),
    ):
        if name in reasons:
            hint = f"is {service} running, and {key} in engine.conf right?"
            yield Line(FAILED, f"{name}: {url}: {one_line(reasons[name])}", hint)
        else:
            yield Line(OK, f"{name}: {url} responds")


def _hint_of_login(error: Exception) -> str:
    if isinstance(error, Unauthorized):
        return "is the password right? try it with: oneuser show --user USER --password PASSWORD"
    # That there are no credentials, or none that can be read, comes with its remedy.
    return "" if isinstance(error, OperatorError) else "see the log of oned"


def _step(name: str, lines: Iterator[Line]) -> Iterator[Line]:
    """Yield the lines of a step; a failure of OpenNebula is its last one."""
    try:
        yield from lines
    except EngineError as error:
        yield Line(FAILED, f"{name}: {one_line(str(error))}", "see oned's log")


def _flavours(inspector: Inspector, names: Sequence[str]) -> Iterator[Line]:
    preflights = inspector.inspect()
    if not preflights:
        hint = "create a flow template with a role FAAS, and allow this user to use it"
        yield Line(FAILED, "flavours: this user may use no flow template", hint)
    known = {preflight.flavours for preflight in preflights}
    for name in names:
        if name not in known:
            hint = "give a flow template this name, or add it to mapping in engine.conf"
            yield Line(FAILED, f"flavour {name}: no flow template has it", hint)
    for preflight in preflights:
        if not names or preflight.flavours in names:
            yield from _flavour(preflight)
    for finding in inspector.inspect_strangers():
        yield _line(finding)


def _flavour(preflight: Preflight) -> Iterator[Line]:
    name = f"flavour {preflight.flavours}: "
    if preflight.is_deployable:
        how = "of the mapping" if preflight.is_mapped else "of that name"
        place = f"flow template {preflight.template_id} {how}, owned by {one_line(preflight.owner)}"
        functions = preflight.functions.items()
        defaults = ", ".join(f"{role} {sizes.shown(one.sizes)}" for role, one in functions)
        yield Line(OK, f"{name}{place}: {defaults}")
    for finding in preflight.findings:
        yield _line(finding, name)


def _standbys(inspector: Inspector, settings: Configuration) -> Iterator[Line]:
    """Yield whether the flavours with standby runtimes can be deployed."""
    counts = settings.standby.flavours
    preflights = inspector.inspect() if counts else []
    deployable = {preflight.flavours for preflight in preflights if preflight.is_deployable}
    for flavours, count in counts.items():
        if flavours in deployable:
            lives = f"unused ones end after {settings.standby.seconds} s"
            yield Line(OK, f"standby {flavours}: {count} for each user; {lives}")
        else:
            hint = "correct standby.flavours in engine.conf, or the flavour above"
            yield Line(FAILED, f"standby {flavours}: it cannot be deployed", hint)


def _line(finding: Finding, prefix: str = "") -> Line:
    mark = FAILED if finding.is_fatal else NOTE
    return Line(mark, f"{prefix}{one_line(finding.text)}", one_line(finding.hint))
