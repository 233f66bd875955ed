"""Wait for a runtime, until the outcome of a change is known."""

from __future__ import annotations

from collections.abc import Callable

from provision_engine.deadline import Deadline
from provision_engine.engine.actions import read
from provision_engine.engine.context import Context
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.states import State

IsDone = Callable[[Snapshot], bool]


def is_suspended(snapshot: Snapshot) -> bool:
    """Return whether a suspension has ended: VMs still run for a moment after it was accepted."""
    return snapshot.states <= {State.SUSPENDED, State.ERROR}


def is_resumed(snapshot: Snapshot) -> bool:
    """Return whether a resume has an outcome."""
    return snapshot.states <= {State.RUNNING, State.ERROR}


class IsRecovered:
    """Whether a recovery has an outcome: all runs again, or something failed once more."""

    def __init__(self) -> None:
        self._was_moving = False

    def __call__(self, snapshot: Snapshot) -> bool:
        has_failed_again = self._was_moving and State.ERROR in snapshot.states
        self._was_moving |= not snapshot.is_settled()
        return snapshot.states == {State.RUNNING} or has_failed_again


def wait_until(
    is_done: IsDone,
    context: Context,
    runtime_id: int,
    seconds: float,
    is_gone: Callable[[], bool] = lambda: False,
) -> Snapshot:
    """Read a runtime at growing intervals until ``is_done``, the client ``is_gone`` or the seconds
    are over. Returns the last snapshot. Raises what reading a runtime raises.
    """
    long_lived = context.with_deadline(Deadline(seconds + context.configuration.timeout_seconds))
    for _ in Deadline(seconds).polls():
        snapshot = read.get_runtime(long_lived, runtime_id)
        if is_done(snapshot) or is_gone():
            break
    return snapshot
