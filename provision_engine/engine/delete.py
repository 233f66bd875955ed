"""Deleting a runtime: intent first, then its service and VMs for certain, then its document."""

from __future__ import annotations

from collections.abc import Callable

from provision_engine.deadline import Deadline
from provision_engine.engine import abandoned, ending, read
from provision_engine.engine.context import Context
from provision_engine.engine.locks import locked
from provision_engine.engine.model import Phase
from provision_engine.engine.snapshot import Matches
from provision_engine.errors import Locked


def delete_runtime(
    context: Context, runtime_id: int, matches: Matches | None = None
) -> frozenset[int]:
    """End a runtime; the ids of its VMs, each of which is gone or carries an order to end.

    Raises NotFound; PreconditionFailed where it does not match; Locked where it has to be
    repeated.
    """
    with locked(context.cloud, runtime_id, context.stale_seconds):
        runtime = read.find_runtime(context, runtime_id, is_ending=True)
        if runtime.phase in (Phase.CREATING, Phase.TAKEN):
            raise Locked(f"Serverless runtime {runtime.id} is still being created")
        if matches:
            read.check_match(read.observe(context, runtime), matches)
        return abandoned.remove(context, runtime)


def wait_until_gone(
    context: Context, vm_ids: frozenset[int], seconds: float, is_gone: Callable[[], bool]
) -> None:
    """Wait until no VM is alive, the seconds are over or nobody listens any more."""
    deadline = Deadline(seconds)
    patient = context.until(Deadline(seconds + context.configuration.timeout_seconds))
    for _ in deadline.polls():
        if is_gone() or not ending.alive(patient.cloud, vm_ids):
            return
