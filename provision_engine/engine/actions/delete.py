"""Deleting a runtime: intent first, then its service and VMs for certain, then its document."""

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
    context: Context, runtime_id: int, matches: Precondition | None = None
) -> Deleted:
    """End a runtime: each of its VMs is gone or carries an order to end.

    Raises NotFound; PreconditionFailed where it does not match; Locked where it has to be
    repeated.
    """
    with locked(context, runtime_id) as lock:
        runtime = read.to_end(context, lock)
        if matches:
            read.check_match(read.observe(context, runtime, lock.vms), matches)
        return Deleted(runtime.owner_id, intents.remove(context, runtime, lock))


def wait_until_gone(
    context: Context, deleted: Deleted, seconds: float, is_gone: Callable[[], bool]
) -> None:
    """Wait until no VM is alive, the seconds are over or nobody listens any more."""
    deadline = Deadline(seconds)
    waiting = context.with_deadline(Deadline(seconds + context.configuration.timeout_seconds))
    holdings = waiting.holdings_of(deleted.owner_id)
    for _ in deadline.polls():
        if is_gone() or not ending.alive(holdings, deleted.vm_ids):
            return
