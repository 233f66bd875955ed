"""Suspend and resume all functions of a runtime, by OpenNebula's own actions."""

from __future__ import annotations

import dataclasses

from provision_engine.cloud.enums import VmState
from provision_engine.engine.actions import read
from provision_engine.engine.context import Context
from provision_engine.engine.runtime.model import Runtime
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.states import State
from provision_engine.engine.safety.locks import locked
from provision_engine.engine.time_limits import AWAKE_SECONDS
from provision_engine.errors import ActionRefused, Locked


def suspend_runtime(context: Context, runtime_id: int) -> Snapshot:
    """Suspend the VMs of a runtime: they keep disks and address, and use no CPU and memory.

    Suspending a suspended runtime changes nothing. Raises Locked while a function is on its way
    to another state, ActionRefused where one is in ERROR.
    """
    with locked(context, runtime_id) as lock:
        snapshot = read.observe(context, read.load_changeable(context, lock), lock.vms)
        _check(snapshot, "suspended")
        runtime = _write(context, snapshot.runtime, is_suspended=True)
        _act(context, snapshot, State.RUNNING, "suspend")
        return read.observe(context, runtime, lock.release_and_read(runtime))


def resume_runtime(context: Context, runtime_id: int) -> Snapshot:
    """Let the VMs of a suspended runtime run again, whoever suspended them.

    Resuming a running runtime changes nothing. Raises as ``suspend_runtime`` does.
    """
    with locked(context, runtime_id) as lock:
        runtime = dataclasses.replace(read.load_changeable(context, lock), is_suspended=True)
        snapshot = read.observe(context, runtime, lock.vms)
        _check(snapshot, "resumed")
        _act(context, snapshot, State.SUSPENDED, "resume")
        # Until OpenNebula begins with the resume, the VMs are suspended as their user requested,
        # and not in ERROR.
        vm_ids = [vm.id for vm in snapshot.vms.values()]
        for _ in context.cloud.deadline.at_most(AWAKE_SECONDS).polls():
            vms = context.cloud.oned.vms(vm_ids).values()
            if not any(vm.state == VmState.SUSPENDED for vm in vms):
                break
        runtime = _write(context, snapshot.runtime, is_suspended=False)
        return read.observe(context, runtime, lock.release_and_read(runtime))


def _check(snapshot: Snapshot, action: str) -> None:
    for role, condition in snapshot.conditions.items():
        if condition.is_moving:
            raise Locked(f"{role} is {condition.state}")
        if condition.state not in (State.RUNNING, State.SUSPENDED):
            raise ActionRefused(
                f"{role} cannot be {action}: {condition.text or condition.state}", remedy="recover"
            )


def _act(context: Context, snapshot: Snapshot, state: State, action: str) -> None:
    for role, vm in snapshot.vms.items():
        if snapshot.conditions[role].state is state:
            context.cloud.oned.act_on_vm(vm.id, action)


def _write(context: Context, runtime: Runtime, *, is_suspended: bool) -> Runtime:
    return context.runtimes.settle(dataclasses.replace(runtime, is_suspended=is_suspended))


def check_awake(snapshot: Snapshot) -> None:
    """Raise ActionRefused where a runtime was suspended at its user's request."""
    if State.SUSPENDED in snapshot.states:
        raise ActionRefused(f"Serverless runtime {snapshot.id} is suspended", remedy="resume")
