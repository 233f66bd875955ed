"""The ways in which the leak matrix ends a runtime, each while its VMs are in a certain state."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from tests.reliability.lanes import Lane, until_accepted
from tests.reliability.leak_states import (
    ACTIONS,
    Case,
    Outcome,
    Unreached,
    await_state,
    reach,
    vm_ids,
)
from tests.support.calls import Call
from tests.support.client import RUNTIMES, Response

NO_HOST = 'NAME = "no such host"'
INSTANTIATE = "POST service_template/action"
LEASE_SECONDS = {"PROLOG": 2, "BOOT": 5, "PENDING": 5, "BOOT_FAILURE": 10}
REAL_LEASE_SECONDS = {"PROLOG": 7, "BOOT": 18, "PENDING": 5, "BOOT_FAILURE": 35}
LONG_LEASE_SECONDS, REAL_LONG_LEASE_SECONDS = 12, 60
"""For the states that follow RUNNING."""


def _create(lane: Lane, case: Case, **members: Any) -> Response:
    if case.state == "PENDING":
        members["SCHEDULING"] = {"REQUIREMENTS": NO_HOST}
    return lane.request("POST", RUNTIMES, lane.members | members)


def _made(lane: Lane, case: Case, **members: Any) -> dict[str, Any]:
    runtime = until_accepted(partial(_create, lane, case, **members), (201,)).runtime
    lane.runtime_id = runtime["ID"]
    return runtime


def _delete(lane: Lane) -> Response:
    return until_accepted(lambda: lane.request("DELETE", lane.path), (204, 404))


def _is_end(call: Call) -> bool:
    """Whether a call may end a service or a VM."""
    return call.is_change and not call.name.startswith("document.") and call.name != INSTANTIATE


def _watch_end(lane: Lane, case: Case, outcome: Outcome) -> None:
    """See in which state the VMs are when the engine begins to end them."""

    def on_call(call: Call, moment: str) -> None:
        if moment == "before" and _is_end(call):
            lane.proxy.on_call = None
            outcome.is_reached = case.is_seen_in(lane.opennebula.vm_states(vm_ids(lane)))

    lane.proxy.on_call = on_call


def delete(lane: Lane, case: Case, outcome: Outcome) -> None:
    _made(lane, case)
    reach(lane, case.state)
    _watch_end(lane, case, outcome)
    _delete(lane)


def delete_twice(lane: Lane, case: Case, outcome: Outcome) -> None:
    _made(lane, case)
    reach(lane, case.state)
    _watch_end(lane, case, outcome)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(_delete, lane) for _ in range(2)]
    statuses = sorted(response.result().status for response in asked)
    if 204 not in statuses:
        outcome.wrong.append(f"the DELETEs were answered {statuses}")


def undo(lane: Lane, case: Case, outcome: Outcome) -> None:
    """The response of oneflow is lost when the VMs are in the state."""
    response = _disturbed_create(lane, case, outcome, is_fatal=False)
    if response is None or response.status < 500:
        outcome.wrong.append(f"the create was answered {response}")


def lease(lane: Lane, case: Case, outcome: Outcome) -> None:
    """The lease is over while the VMs are in the state; then the device asks for its runtimes."""
    seconds = _lease_seconds(lane, case.state)
    end = time.monotonic() + seconds
    _made(lane, case, LEASE={"TTL": seconds})
    numbers = vm_ids(lane)
    if case.state in ACTIONS:
        await_state(lane, numbers, "RUNNING")
        # Transient states last some seconds: the end has to come while they do.
        time.sleep(max(0.0, end - time.monotonic() - 1.5))
        for vm_id in numbers:
            ACTIONS[case.state](lane, vm_id)
    time.sleep(max(0.0, end - time.monotonic() - 0.5))
    outcome.is_reached = case.is_seen_in(lane.opennebula.vm_states(numbers))


def _lease_seconds(lane: Lane, state: str) -> int:
    if lane.is_real:
        return REAL_LEASE_SECONDS.get(state, REAL_LONG_LEASE_SECONDS)
    return LEASE_SECONDS.get(state, LONG_LEASE_SECONDS)


def reconcile_delete(lane: Lane, case: Case, outcome: Outcome) -> None:
    """The engine dies after the first call of a delete that ends something."""
    _made(lane, case)
    outcome.is_reached = reach(lane, case.state)

    def on_call(call: Call, moment: str) -> None:
        if moment == "after" and _is_end(call):
            _die(lane)
            raise ConnectionAbortedError("the engine is dead")

    lane.proxy.on_call = on_call
    with contextlib.suppress(OSError):
        lane.request("DELETE", lane.path)
    _die(lane)


def reconcile_create(lane: Lane, case: Case, outcome: Outcome) -> None:
    """The engine dies after it has started the service."""
    _disturbed_create(lane, case, outcome, is_fatal=True)


def _disturbed_create(lane: Lane, case: Case, outcome: Outcome, is_fatal: bool) -> Response | None:
    """Lose the response to instantiate, and with ``is_fatal`` the engine."""
    errors: list[Exception] = []

    def on_call(call: Call, moment: str) -> None:
        if (call.name, moment) != (INSTANTIATE, "after"):
            return
        lane.proxy.on_call = None
        try:
            outcome.is_reached = reach(lane, case.state)
        except (AssertionError, Unreached) as error:
            errors.append(error)
        if is_fatal:
            _die(lane)
        else:
            _watch_end(lane, case, outcome)
        raise ConnectionAbortedError("the response is lost")

    lane.proxy.on_call = on_call
    try:
        return _create(lane, case)
    finally:
        if errors:
            raise errors[0]


def _die(lane: Lane) -> None:
    """Nothing of the engine reaches OpenNebula any more."""

    def on_call(call: Call, moment: str) -> None:
        raise ConnectionAbortedError("the engine is dead")

    lane.proxy.on_call = on_call


ENDINGS: dict[str, Callable[[Lane, Case, Outcome], None]] = {
    "delete": delete,
    "delete-twice": delete_twice,
    "undo": undo,
    "lease": lease,
    "reconcile-delete": reconcile_delete,
    "reconcile-create": reconcile_create,
}
