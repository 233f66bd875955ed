"""``provision-engine reconcile``: what was left behind, as a table, and put in order.

Whose things it finds follows from whose credentials these are: those in the file that ONE_AUTH
names, else in ~/.one/one_auth, as OpenNebula's own tools read them. An administrator's find
everybody's.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from provision_engine import config, log
from provision_engine.cloud.client import Backends, CloudClient, Credentials
from provision_engine.config import Configuration
from provision_engine.deadline import Deadline
from provision_engine.engine.cache import Cache
from provision_engine.engine.context import Context, Memory
from provision_engine.engine.reconcile import Finding, Outcome, Reconciler, Result
from provision_engine.errors import EngineError
from provision_engine.failures import OperatorError

DEFAULT_OLDER_THAN = "10m"
UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
AUTH_VARIABLE = "ONE_AUTH"
AUTH_FILE = Path("~/.one/one_auth")
COLUMNS = ("KIND", "DOCUMENT", "SERVICE", "OWNER", "AGE", "REMEDY", "RESULT", "NAME")


def main(arguments: Sequence[str]) -> int:
    """Return 0 when nothing is wrong or all is done, 1 when something could not be done.

    A wrong command line ends with SystemExit(2).
    """
    options = _parser().parse_args(arguments)
    configuration = config.load(options.config.absolute() if options.config else None)
    reconciler = _reconciler(configuration, options.older_than)
    try:
        findings = reconciler.find()
    except EngineError as error:
        raise OperatorError(log.one_line(str(error))) from error
    outcomes = [
        reconciler.apply(finding) if options.apply else Outcome(finding, Result.FOUND)
        for finding in findings
    ]
    print(_as_json(outcomes) if options.json else _as_table(outcomes, options.apply))
    return int(any(outcome.result is Result.FAILED for outcome in outcomes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "provision-engine reconcile",
        description=__doc__,
        epilog="Exit code: 0 nothing is wrong, or all of it is done, or --apply was not given; "
        "1 something could not be done; 2 the command line is wrong.",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"instead of {config.DEFAULT_PATH}"
    )
    parser.add_argument("--apply", action="store_true", help="do it; else nothing is changed")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--older-than",
        type=duration_seconds,
        default=DEFAULT_OLDER_THAN,
        metavar="TIME",
        help="only what is older: seconds, or 10m, 2h, 1d (default %(default)s); what is younger "
        "than lock.stale_seconds of engine.conf is never touched",
    )
    return parser


def duration_seconds(text: str) -> float:
    """Seconds from 600, 600s, 10m, 2h or 1d. Raises ArgumentTypeError."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: 600, 10m, 2h and 1d are")
    return float(found[1]) * UNIT_SECONDS[found[2]]


def _reconciler(configuration: Configuration, older_than_seconds: float) -> Reconciler:
    credentials = read_credentials()
    log.secret(credentials.password, credentials.token)
    deadline = Deadline(configuration.timeout_seconds)
    cloud = CloudClient(Backends(configuration), credentials, deadline)
    memory = Memory.empty(Cache(configuration.cache.seconds))
    return Reconciler(Context(cloud, configuration, memory), older_than_seconds)


def read_credentials() -> Credentials:
    """From the file that ONE_AUTH names, or the usual one. Raises OperatorError.

    They are never taken from an argument, which every process of the machine could read.
    """
    path = Path(os.environ.get(AUTH_VARIABLE) or AUTH_FILE.expanduser())
    try:
        lines = path.read_text(encoding="utf-8").strip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise OperatorError(
            f"{path}: OpenNebula's user and password cannot be read: {reason} "
            f"({AUTH_VARIABLE} names another file)"
        ) from error
    user, _, password = (lines or [""])[0].partition(":")
    if not (user and password):
        raise OperatorError(f"{path}: does not hold user:password in its first line")
    return Credentials(user, password)


# ---- telling -------------------------------------------------------------------------------


def _as_json(outcomes: Sequence[Outcome]) -> str:
    return json.dumps([_members(outcome) for outcome in outcomes], indent=2)


def _members(outcome: Outcome) -> dict[str, Any]:
    finding = outcome.finding
    age = None if math.isinf(finding.age_seconds) else round(finding.age_seconds)
    return {
        "kind": finding.kind,
        "document": finding.document_id,
        "service": finding.service_id,
        "owner": finding.owner_id,
        "name": finding.name,
        "age_seconds": age,
        "detail": finding.detail,
        "remedy": finding.remedy,
        "result": outcome.result,
        "reason": outcome.reason,
    }


def _as_table(outcomes: Sequence[Outcome], is_applied: bool) -> str:
    if not outcomes:
        return "Nothing is wrong."
    rows = [COLUMNS, *(_row(outcome) for outcome in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines += [f"  {_shown_id(o.finding)}: {log.one_line(o.reason)}" for o in outcomes if o.reason]
    return "\n".join([*lines, _sum(outcomes, is_applied)])


def _row(outcome: Outcome) -> tuple[str, ...]:
    finding = outcome.finding
    kind = f"{finding.kind} ({finding.detail})" if finding.detail else str(finding.kind)
    ids = ["-" if n is None else str(n) for n in (finding.document_id, finding.service_id)]
    age, name = shown_age(finding.age_seconds), log.one_line(finding.name)
    owner = str(finding.owner_id)
    return (kind, *ids, owner, age, finding.remedy, str(outcome.result), name)


def _shown_id(finding: Finding) -> str:
    if finding.document_id is not None:
        return f"document {finding.document_id}"
    return f"service {finding.service_id}"


def _sum(outcomes: Sequence[Outcome], is_applied: bool) -> str:
    if not is_applied:
        return f"{len(outcomes)} found. Nothing was changed: --apply does it."
    counts = {result: sum(o.result is result for o in outcomes) for result in Result}
    return ", ".join(f"{count} {result}" for result, count in counts.items() if count) + "."


def shown_age(seconds: float) -> str:
    """For example 45s, 12m, 3h, 9d; a dash where it is not known."""
    if seconds > 10_000 * UNIT_SECONDS["d"]:
        return "-"
    unit = next((u for u in ("d", "h", "m") if seconds >= 2 * UNIT_SECONDS[u]), "s")
    return f"{int(seconds // UNIT_SECONDS[unit])}{unit}"
