"""`provision-engine reconcile`: finds what was left behind, and removes or repairs it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import click

from provision_engine import durations
from provision_engine.cli import credentials, output
from provision_engine.cli.options import (
    Command,
    common,
    config_option,
    configuration,
    duration_seconds,
    json_option,
)
from provision_engine.cloud.client import Backends
from provision_engine.config import Configuration
from provision_engine.engine.context import for_user
from provision_engine.engine.memory import Memory
from provision_engine.engine.safety.reconcile import Finding, Outcome, Reconciler, Result
from provision_engine.errors import EngineError, OperatorError
from provision_engine.text import one_line

COLUMNS = ("KIND", "DOCUMENT", "SERVICE", "OWNER", "AGE", "REMEDY", "RESULT", "NAME")


@click.command(
    cls=Command,
    epilog="""\b
Exit code: 0 nothing is wrong, or all of it is done, or --apply was not given;
1 something could not be done; 2 the command line is wrong.""",
)
@config_option
@json_option
@click.option("--apply", is_flag=True, help="Make the changes, instead of only listing them.")
@click.option(
    "--older-than",
    "older_than_seconds",
    type=duration_seconds,
    default="10m",
    show_default=True,
    metavar="TIME",
    help="Only what is older: seconds, or 10m, 2h, 1d; what is younger than lock.stale_seconds "
    "of engine.conf is never touched.",
)
def reconcile(apply: bool, older_than_seconds: float) -> int:
    """Find what was left behind, and remove or repair it.

    It uses the credentials in the file that ONE_AUTH names, or in ~/.one/one_auth, and covers what
    that user owns; with an administrator's, it covers all users.
    """
    reconciler = _reconciler(configuration(), older_than_seconds)
    try:
        findings = reconciler.find()
    except EngineError as error:
        raise OperatorError(one_line(str(error))) from error
    outcomes = [
        reconciler.apply(finding) if apply else Outcome(finding, Result.FOUND)
        for finding in findings
    ]
    if common().json:
        print(json.dumps([_members(outcome) for outcome in outcomes], indent=2))
    else:
        print(_as_table(outcomes, apply))
    return int(any(outcome.result is Result.FAILED for outcome in outcomes))


def _reconciler(settings: Configuration, older_than_seconds: float) -> Reconciler:
    backends, memory = Backends(settings), Memory(settings.cache.seconds)
    context = for_user(*credentials.stored(), backends, settings, memory)
    return Reconciler(context, older_than_seconds)


# ---- output --------------------------------------------------------------------------------


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
    shown = output.table(COLUMNS, *map(_row, outcomes))
    reasons = [f"  {_shown_id(o.finding)}: {one_line(o.reason)}" for o in outcomes if o.reason]
    return "\n".join([shown, *reasons, _sum(outcomes, is_applied)])


def _row(outcome: Outcome) -> tuple[str, ...]:
    finding = outcome.finding
    kind = f"{finding.kind} ({finding.detail})" if finding.detail else str(finding.kind)
    ids = ["-" if n is None else str(n) for n in (finding.document_id, finding.service_id)]
    age = "-" if math.isinf(finding.age_seconds) else durations.shown(finding.age_seconds)
    owner, result = str(finding.owner_id), str(outcome.result)
    return (kind, *ids, owner, age, finding.remedy, result, finding.name)


def _shown_id(finding: Finding) -> str:
    if finding.document_id is not None:
        return f"document {finding.document_id}"
    return f"service {finding.service_id}"


def _sum(outcomes: Sequence[Outcome], is_applied: bool) -> str:
    if not is_applied:
        return f"{len(outcomes)} found. Nothing was changed: --apply does it."
    counts = {result: sum(o.result is result for o in outcomes) for result in Result}
    return ", ".join(f"{count} {result}" for result, count in counts.items() if count) + "."
