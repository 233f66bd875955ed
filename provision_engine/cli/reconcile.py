"""`provision-engine reconcile`: finds what was left behind, and removes or repairs it."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from provision_engine import credentials
from provision_engine.cli import show
from provision_engine.cli.options import (
    common,
    config_option,
    configuration,
    duration_seconds,
    json_option,
)
from provision_engine.cloud.client import Backends
from provision_engine.engine.context import Context, for_user
from provision_engine.engine.memory import Memory
from provision_engine.engine.safety.reconcile import Leftover, Reconciler, Result
from provision_engine.errors import EngineError, OperatorError
from provision_engine.text import one_line

COLUMNS = ("KIND", "DOCUMENT", "SERVICE", "OWNER", "AGE", "REMEDY", "RESULT", "NAME")


@click.command(
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
    help="Only what is older: seconds, or 10m, 2h, 1d; lost VMs as soon as they are older than "
    "lock.stale_seconds of engine.conf, and nothing younger than that.",
)
def reconcile(apply: bool, older_than_seconds: float) -> int:
    """Find what was left behind, and remove or repair it.

    It uses the credentials in the file that ONE_AUTH names, or in ~/.one/one_auth, and covers what
    that user owns; with an administrator's, it covers all users.
    """
    settings = configuration()
    backends, memory = Backends(settings), Memory(settings.cache_seconds)
    login = credentials.stored()
    context = for_user(*login, backends, settings, memory)
    reconciler = Reconciler(context, older_than_seconds)
    try:
        leftovers = reconciler.find()
        names = _names(context, login[0]) if leftovers else {}
    except EngineError as error:
        raise OperatorError(one_line(str(error))) from error
    if apply:
        leftovers = [reconciler.apply(leftover) for leftover in leftovers]
    if common().json:
        print(json.dumps([_members(leftover, names) for leftover in leftovers], indent=2))
    elif not leftovers:
        print("Nothing is wrong.")
    else:
        print(show.table(COLUMNS, *(_row(leftover, names) for leftover in leftovers)))
        for leftover in leftovers:
            if leftover.reason:
                kind, number = "document", leftover.document_id
                if number is None:
                    kind, number = "service", leftover.service_id
                print(f"  {kind} {number}: {one_line(leftover.reason)}")
        counts = {result: sum(o.result is result for o in leftovers) for result in Result}
        done = ", ".join(f"{count} {result}" for result, count in counts.items() if count)
        found = f"{len(leftovers)} found. Nothing was changed: --apply does it."
        print(f"{done}." if apply else found)
    return int(any(leftover.result is Result.FAILED for leftover in leftovers))


# ---- output --------------------------------------------------------------------------------


def _names(context: Context, user_name: str) -> dict[int, str]:
    """Return the names of the users whose leftovers the caller sees, by id. Raises EngineError."""
    user = context.user()
    return context.cloud.oned.user_names() if user.is_administrator else {user.id: user_name}


def _members(leftover: Leftover, names: dict[int, str]) -> dict[str, Any]:
    age = None if math.isinf(leftover.age_seconds) else round(leftover.age_seconds)
    return {
        "kind": leftover.case.kind,
        "document": leftover.document_id,
        "service": leftover.service_id,
        "owner": leftover.owner_id,
        "owner_name": names.get(leftover.owner_id),
        "name": leftover.name,
        "age_seconds": age,
        "detail": leftover.detail,
        "remedy": leftover.case.remedy,
        "result": leftover.result,
        "reason": leftover.reason,
    }


def _row(leftover: Leftover, names: dict[int, str]) -> tuple[str, ...]:
    case = leftover.case
    kind = f"{case.kind} ({leftover.detail})" if leftover.detail else case.kind
    ids = ["-" if n is None else str(n) for n in (leftover.document_id, leftover.service_id)]
    age = "-" if math.isinf(leftover.age_seconds) else show.duration(leftover.age_seconds)
    owner = names.get(leftover.owner_id, str(leftover.owner_id))  # a user may have been removed
    result = str(leftover.result)
    return (kind, *ids, owner, age, case.remedy, result, leftover.name)
