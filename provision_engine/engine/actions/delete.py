"""Delete a runtime: intent first, then its service and VMs with certainty, then its document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from provision_engine.deadline import Deadline
from provision_engine.engine.actions import read
from provision_engine.engine.context import Context
from provision_engine.engine.runtime.snapshot import Precondition
from provision_engine.engine.safety import ending, intents
from provision_engine.engine.safety.locks import locked


@dataclass(frozen=True)
class Deleted:
    """The VMs of a runtime that was deleted."""

    owner_id: int
    vm_ids: frozenset[int]


def delete_runtime(
    context: Context, runtime_id: int, precondition: Precondition | None = None
) -> Deleted:
    """End a runtime: each of its VMs is gone or has a scheduled termination.

    Raises NotFound, PreconditionFailed, and Locked where it has to be repeated.
    """
    with locked(context, runtime_id) as lock:
        runtime = read.load_endable(context, lock)
        if precondition:
            read.check(precondition, read.observe(context, runtime, lock.vms))
        return Deleted(runtime.owner_id, intents.remove(context, runtime, lock))


def wait_until_gone(
    context: Context, deleted: Deleted, seconds: float, is_gone: Callable[[], bool]
) -> None:
    """Wait until no VM is alive, the seconds are over or the client has gone."""
    deadline = Deadline(seconds)
    waiting = context.with_deadline(Deadline(seconds + context.configuration.timeout_seconds))
    holdings = waiting.holdings_of(deleted.owner_id)
    for _ in deadline.polls():
        if is_gone() or not ending.alive(holdings, deleted.vm_ids):
            return
