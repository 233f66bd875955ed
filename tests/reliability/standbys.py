"""A create that takes a standby, and the order of the next one: what the matrices ask for, and
what has to hold afterwards.

The engines keep standbys for flavours that no other operation asks for.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Collection, Sequence
from typing import Any

from tests.reliability.lanes import NOTHING, PATIENCE_SECONDS, Lane, until_accepted, until_count
from tests.support.calls import Call
from tests.support.client import RUNTIMES, Response
from tests.support.opennebula import LOCKED, SERVICE_RUNS, OpenNebula
from tests.support.waiting import wait_until

FLAVOURS = {"FAAS": "warm", "DAAS": "store"}
FLOW_TEMPLATES = {"warm": "nature", "warm-store": "nature-s3"}
"""Of each flavour tuple."""
KEPT = 1
"""So many standbys does the engine keep of each."""
SIZES = {"CPU": 2, "MEMORY": 200, "DISK_SIZE": 1100}
"""More than a standby has, within what a live resize reaches."""
LEASE_SECONDS = 5000
FURTHER = {"NAME": "lamp", "SCHEDULING": {"POLICY": "energy"}, "LEASE": {"TTL": LEASE_SECONDS}}
LAST_CALL_OF_TAKING = "document.unlock"
IDLE_SECONDS = 1.0
"""Longer than the engine pauses between two calls; it pauses longer the longer it waits."""
RECONCILE_INTERVAL_SECONDS = 5.0


def settings(opennebula: OpenNebula) -> dict[str, Any]:
    """The members of engine.conf that keep the standbys."""
    mapping = {
        flavours: opennebula.flow_template_id(name) for flavours, name in FLOW_TEMPLATES.items()
    }
    return {"mapping": mapping, "standby": {"flavours": dict.fromkeys(mapping, KEPT)}}


def what_differs(
    lane: Lane, runtime: dict[str, Any], sizes: dict[str, int], texts: dict[str, Any]
) -> list[str]:
    """What of a running runtime and its VMs is not as requested: with the policy ``energy``."""
    wrong = []
    for role in lane.members:
        function = runtime.get(role, {})
        if not sizes.items() | {("STATE", "RUNNING")} <= function.items():
            wrong.append(f"{role} is {function}")
            continue
        vm = lane.opennebula.vm(function["VM_ID"])
        if vm["USER_TEMPLATE"].get("SCHED_RANK") != "ENERGY":
            wrong.append(f"SCHED_RANK of {role} is {vm['USER_TEMPLATE'].get('SCHED_RANK')}")
        if not isinstance(vm["TEMPLATE"].get("SCHED_ACTION"), dict):
            wrong.append(f"the orders to {role} are {vm['TEMPLATE'].get('SCHED_ACTION')}")
    seen = {name: runtime.get(name, {}) for name in texts}
    if seen | {"LEASE": {"TTL": seen["LEASE"].get("TTL")}} != texts:
        wrong.append(f"it is not as requested: {seen}")
    return wrong


# ---- what is asked for -----------------------------------------------------------------------


def plain(lane: Lane) -> Response:
    """A create that asks for nothing that a standby lacks."""
    functions = {role: {"FLAVOUR": FLAVOURS[role]} for role in lane.members}
    return lane.request("POST", RUNTIMES, functions, headers={"Idempotency-Key": lane.key})


def take(lane: Lane) -> Response:
    """A create with a key, which changes all that can be changed of the standby that it takes."""
    functions = {role: {"FLAVOUR": FLAVOURS[role], **SIZES} for role in lane.members}
    return lane.request(
        "POST", RUNTIMES, functions | FURTHER, headers={"Idempotency-Key": lane.key}
    )


def taking(calls: Sequence[Call]) -> range:
    """Of the calls of a create those until its response."""
    names = [call.name for call in calls]
    assert LAST_CALL_OF_TAKING in names, f"no standby was taken: {names}"
    return range(names.index(LAST_CALL_OF_TAKING) + 1)


def ordering(calls: Sequence[Call]) -> range:
    """Those after it, which order the next standby."""
    return range(taking(calls).stop, len(calls))


# ---- what has to be there before -------------------------------------------------------------


def ready(lane: Lane) -> None:
    """One standby that runs, and nothing else."""
    key = lane.key
    wait_until(lambda: _is_ordered(lane), PATIENCE_SECONDS)
    wrong = until_sound(lane, set(), {KEPT})
    assert not wrong, wrong
    wait_until(lambda: _is_running(lane), PATIENCE_SECONDS, 0.1)
    lane.key, lane.is_unsure = key, False


def _is_ordered(lane: Lane) -> bool:
    """Whether a create that is deleted at once leaves a standby. An order that an overloaded
    OpenNebula fails is not repeated before the next create.
    """
    lane.key = uuid.uuid4().hex
    lane.runtime_id = until_accepted(lambda: plain(lane), (200, 201)).runtime["ID"]
    until_idle(lane)
    until_accepted(lambda: lane.request("DELETE", lane.path), (204, 404))
    return [runtime.phase for runtime in lane.opennebula.runtimes()] == ["STANDBY"]


def _is_running(lane: Lane) -> bool:
    (standby,) = lane.opennebula.runtimes()
    are_vms = lane.opennebula.vm_states(sorted(standby.vm_ids)) == {"RUNNING"}
    return are_vms and lane.opennebula.service_state(standby.service_id or -1) == SERVICE_RUNS


# ---- what has to hold afterwards -------------------------------------------------------------


def until_idle(lane: Lane) -> None:
    """Wait until the engine orders nothing any more."""
    wait_until(lambda: is_idle(lane), PATIENCE_SECONDS, 0.05)


def is_idle(lane: Lane) -> bool:
    return lane.proxy.is_idle(IDLE_SECONDS)


def are_complete(lane: Lane) -> bool:
    """Whether there are as many standbys as the engine keeps."""
    return [runtime.phase for runtime in lane.opennebula.runtimes()].count("STANDBY") == KEPT


def until_sound(lane: Lane, runtime_ids: set[int], standbys: Collection[int]) -> list[str]:
    """Wait until there are these runtimes and so many standbys, all of them whole. What is wrong
    in the end.

    A list removes what a dead engine left; only a standby that it left locked is reconciled,
    since no list reads the lock.
    """
    next_reconcile = time.monotonic() + RECONCILE_INTERVAL_SECONDS
    told = ""

    def is_sound() -> bool:
        nonlocal next_reconcile, told
        wrong = _what_is_unsound(lane, runtime_ids, standbys)
        if not wrong:
            return True
        list_standbys(lane)
        if any(LOCKED in text for text in wrong) and time.monotonic() > next_reconcile:
            told = lane.reconcile()
            next_reconcile = time.monotonic() + RECONCILE_INTERVAL_SECONDS
        return False

    with contextlib.suppress(AssertionError):
        wait_until(is_sound, PATIENCE_SECONDS, 0.25)
        return []
    return [*_what_is_unsound(lane, runtime_ids, standbys), told, lane.warnings()]


def _what_is_unsound(lane: Lane, runtime_ids: set[int], standbys: Collection[int]) -> list[str]:
    phases = {runtime.id: runtime.phase for runtime in lane.opennebula.runtimes()}
    ready_ids = {number for number, phase in phases.items() if phase == "READY"}
    waiting = sum(phase == "STANDBY" for phase in phases.values())
    wrong = [] if ready_ids == runtime_ids else [f"{ready_ids} are ready, not {runtime_ids}"]
    if waiting not in standbys:
        wrong.append(f"there are {waiting} standbys, not {standbys}")
    return wrong + lane.opennebula.unsound()


def list_standbys(lane: Lane) -> list[int]:
    """The ids of the standbys, as the engine lists them."""
    listed = lane.request("GET", f"{RUNTIMES}?standby=true").json
    runtimes = [entry["SERVERLESS_RUNTIME"] for entry in listed]
    return [runtime["ID"] for runtime in runtimes if runtime.get("PHASE") == "STANDBY"]


def what_is_wrong(lane: Lane, response: Response, standbys: Collection[int]) -> list[str]:
    """Whether the create made one runtime, as it was asked for, beside so many standbys, and
    whether nothing is left when all of them are deleted.
    """
    lane.runtime_id = response.runtime["ID"]
    until_idle(lane)
    wrong = until_sound(lane, {lane.runtime_id}, standbys) or _what_is_not_as_asked(lane)
    again = until_accepted(lambda: take(lane), (200, 201))
    if (again.status, again.runtime["ID"]) != (200, lane.runtime_id):
        wrong.append(f"the key is answered {again.status} with {again.runtime['ID']}")
    return wrong or _what_stays(lane)


def _what_is_not_as_asked(lane: Lane) -> list[str]:
    path = f"{lane.path}?wait=60"
    runtime = until_accepted(lambda: lane.request("GET", path), (200,)).runtime
    return what_differs(lane, runtime, SIZES, FURTHER)


def _what_stays(lane: Lane) -> list[str]:
    """Delete the runtime and the standbys, as their user would."""
    until_accepted(lambda: lane.request("DELETE", lane.path), (204, 404))
    for runtime_id in list_standbys(lane):
        path = f"{RUNTIMES}/{runtime_id}"
        until_accepted(lambda path=path: lane.request("DELETE", path), (204, 404))  # type: ignore[misc]
    left = until_count(lane, NOTHING)
    return [f"left: {left}"] if left else []
