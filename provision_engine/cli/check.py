"""``provision-engine check``: checks configuration, OpenNebula and flavours, a line each.

Reads engine.conf, connects to oned and oneflow, logs in, and examines each flavour as that user
would get it. Each line that failed ends with a remedy. Changes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple, TextIO

from provision_engine import log, one_auth
from provision_engine.cli import credentials
from provision_engine.cli.options import Parser, add_config, configuration, parse
from provision_engine.cli.output import is_coloured
from provision_engine.cloud.client import Backends, CloudClient, Credentials
from provision_engine.cloud.probe import Probe
from provision_engine.config import Configuration, ConfigurationError
from provision_engine.deadline import Deadline
from provision_engine.engine.cache import Cache
from provision_engine.engine.context import Context, Memory
from provision_engine.engine.preflight import Inspector, Preflight
from provision_engine.engine.runtime import sizes
from provision_engine.errors import EngineError, OperatorError, Unauthorized
from provision_engine.text import one_line


class Mark(Enum):
    """The result of a line: its word, and its colour on a terminal."""

    OK = ("ok", "32")
    NOTE = ("note", "33")
    FAILED = ("FAILED", "31")


class Line(NamedTuple):
    mark: Mark
    text: str
    hint: str = ""


def main(arguments: Sequence[str]) -> int:
    """Return 0 if all is well, 1 if a line failed."""
    options = parse(parser(), arguments)
    has_failed = False
    for line in check(options):
        _print(line, sys.stdout, is_coloured(options.color, sys.stdout))
        has_failed = has_failed or line.mark is Mark.FAILED
    return int(has_failed)


def check(options: argparse.Namespace) -> Iterator[Line]:
    """The lines, one by one. The first failure that everything else depends on is the last."""
    try:
        settings = configuration(options)
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
        inspector = _log_in(settings, backends, options.user)
    except (EngineError, OperatorError) as error:
        yield Line(Mark.FAILED, f"log in: {one_line(str(error))}", _hint_of_login(error))
        return
    dialect = inspector.dialect.name
    yield Line(
        Mark.OK, f"log in: {inspector.user}, OpenNebula {inspector.version}, dialect of {dialect}"
    )
    yield from _of_oned(inspector)
    yield from _flavours(inspector, options.flavours)
    yield from _standbys(inspector, settings)


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
    caller = Credentials(*(credentials.typed(user) if user else credentials.stored_or_typed()))
    log.secret(*caller.secrets)
    deadline = Deadline(settings.timeout_seconds)
    memory = Memory.empty(Cache(settings.cache.seconds))
    return Inspector(Context(CloudClient(backends, caller, deadline), settings, memory))


def _hint_of_login(error: Exception) -> str:
    if isinstance(error, Unauthorized):
        return "is the password right? try it with: oneuser show --user USER --password PASSWORD"
    if isinstance(error, OperatorError):
        file, variable = one_auth.DEFAULT_FILE, one_auth.VARIABLE
        return f"write USER:PASSWORD to {file}, or name the file in {variable}"
    return "see the log of oned"


def _of_oned(inspector: Inspector) -> Iterator[Line]:
    try:
        for finding in inspector.of_oned():
            yield Line(Mark.NOTE, f"oned: {finding.text}", finding.hint)
    except EngineError as error:
        yield Line(Mark.FAILED, f"oned: {one_line(str(error))}", "see oned's log")


def _flavours(inspector: Inspector, wanted: Sequence[str]) -> Iterator[Line]:
    try:
        surveys = inspector.inspect()
    except EngineError as error:
        yield Line(Mark.FAILED, f"flavours: {one_line(str(error))}", "see oned's log")
        return
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
    for finding in inspector.of_strangers():
        yield Line(Mark.NOTE, one_line(finding.text), one_line(finding.hint))


def _standbys(inspector: Inspector, settings: Configuration) -> Iterator[Line]:
    """Can the flavours with standby runtimes be deployed?"""
    kept = settings.standby.flavours
    if not kept:
        return
    deployable = {found.flavours for found in inspector.inspect() if found.is_deployable}
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


# ---- the terminal ----------------------------------------------------------------------


def parser() -> Parser:
    made = Parser(
        "provision-engine check",
        description=__doc__ or "",
        epilog="Exit code: 0 all is well; 1 something failed; 2 the command line is wrong.\n"
        "Notes (a VM template without a NIC, for instance) are not failures.",
    )
    add_config(made)
    made.add_argument(
        "--user",
        metavar="NAME",
        help="log in as this user, with a password from a prompt or the first line of the input "
        f"(default: the credentials in the file that {one_auth.VARIABLE} names or in "
        f"{one_auth.DEFAULT_FILE}, or a prompt)",
    )
    made.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="whether to use colours (default: on a terminal)",
    )
    made.add_argument(
        "flavours",
        nargs="*",
        metavar="FLAVOUR",
        help="check only these flavours, such as nature or nature-s3",
    )
    return made


def _print(line: Line, stream: TextIO, has_colours: bool) -> None:
    word, colour = line.mark.value
    mark = f"{word:<6}"
    if has_colours:
        mark = f"\x1b[{colour}m{mark}\x1b[0m"
    hint = f" -- {line.hint}" if line.hint else ""
    print(f"{mark}  {line.text}{hint}", file=stream, flush=True)
