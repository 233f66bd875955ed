"""Update a runtime: find what differs, check that all of it is available, and then do it."""

from __future__ import annotations

import dataclasses

from provision_engine import log
from provision_engine.cloud import template
from provision_engine.cloud.enums import VmState
from provision_engine.cloud.objects import Vm
from provision_engine.engine.actions import read, recover, suspend
from provision_engine.engine.context import Context
from provision_engine.engine.plan import operators_requirements
from provision_engine.engine.runtime import attributes
from provision_engine.engine.runtime.model import Runtime
from provision_engine.engine.runtime.snapshot import Precondition, Snapshot
from provision_engine.engine.runtime.specification import Specification, check_length
from provision_engine.engine.runtime.states import Reason, State
from provision_engine.engine.safety import leases, resize
from provision_engine.engine.safety.locks import locked
from provision_engine.errors import EngineError, Forbidden, Locked, Unprocessable, UpdateFailed

WAITING_FOR_HOST = frozenset({Reason.WAITING, Reason.NO_MATCHING_HOST, Reason.NO_CAPACITY})


def update_runtime(
    context: Context,
    runtime_id: int,
    changes: Specification,
    precondition: Precondition | None = None,
) -> Snapshot:
    """Change what is given and differs; all of it is checked before any of it is done.

    Raises PreconditionFailed, Unprocessable, CapacityRefused, Locked, and UpdateFailed where a
    function is in ERROR; a recovery has then been tried.
    """
    with locked(context, runtime_id) as lock:
        snapshot = read.observe(context, read.load_changeable(context, lock), lock.vms)
        if precondition:
            read.check(precondition, snapshot)
        if not changes.is_about_lease:
            suspend.check_awake(snapshot)
        if State.ERROR in snapshot.states:
            raise UpdateFailed(_recovery(context, snapshot))
        update = _Update(context, snapshot, changes)
        update.check()
        runtime = update.apply()
        return read.observe(context, runtime, lock.release_and_read(runtime))


def _recovery(context: Context, snapshot: Snapshot) -> dict[str, str | EngineError]:
    """Try to recover a runtime in ERROR. Returns its errors by role, and the outcome."""
    outcome: str | EngineError = "Started; read the runtime again in a while"
    try:
        recover.apply(context, snapshot)
    except EngineError as error:
        outcome = error
    conditions = snapshot.conditions.items()
    errors = {role: c.text for role, c in conditions if c.state is State.ERROR}
    return {**errors, "RECOVERY": outcome}


class _Update:
    """The steps of one update of one runtime, for the holder of its lock."""

    def __init__(self, context: Context, snapshot: Snapshot, changes: Specification) -> None:
        self._context, self._snapshot, self._changes = context, snapshot, changes
        self._before, self._vms = snapshot.runtime, snapshot.vms
        self._resizes = resize.between(snapshot, changes.functions)
        self._after = self._with_changes()

    # ---- checking: changes nothing -----------------------------------------------------------

    def check(self) -> None:
        """Raise Unprocessable, CapacityRefused, Locked or BadRequest where it cannot be done."""
        after, changes = self._after, self._changes
        # What is sent is short enough, but what it leads to may not be.
        check_length(after.name, after.scheduling, after.device_info)
        self._check_flavours()
        self._check_states()
        functions = self._before.functions
        resize.check(self._context.cloud, self._resizes, changes.functions, functions)
        policy = self._context.configuration.lease
        if changes.lease_seconds is not None:
            leases.granted(changes.lease_seconds, policy)
        if changes.lifts_lease:
            leases.check_lifting(policy)

    def _check_flavours(self) -> None:
        for role, function in self._changes.functions.items():
            known = self._before.functions.get(role)
            if function.flavour and (known is None or function.flavour != known.flavour):
                now = known.flavour if known else "none"
                raise Unprocessable(
                    f"{role}.FLAVOUR cannot change from {now} to {function.flavour}"
                )

    def _check_states(self) -> None:
        if self._changes.is_about_lease:
            self._check_ends()
            return
        for role, condition in self._snapshot.conditions.items():
            is_waiting = condition.reason in WAITING_FOR_HOST
            if is_waiting and self._changes.is_about_scheduling:
                continue  # the change may be what lets it be scheduled
            if condition.state is not State.RUNNING:
                raise Locked(f"{role} is {condition.state}")

    def _check_ends(self) -> None:
        """Raise Locked where the end of a VM cannot be changed; its time runs in every state."""
        for role, condition in self._snapshot.conditions.items():
            if condition.reason is Reason.ENDING or role not in self._vms:
                raise Locked(f"{role} is {condition.state}: {condition.text or 'it is ending'}")

    # ---- doing -----------------------------------------------------------------------------

    def apply(self) -> Runtime:
        """Do it. Returns the runtime as it is stored afterwards."""
        before, after, runtimes = self._before, self._after, self._context.runtimes
        if after == before:
            return before
        runtimes.claim(before)
        stored = before
        try:
            resize.apply(self._context.cloud, self._resizes)
            # From here on the VMs have the new sizes, whatever fails.
            stored = dataclasses.replace(before, functions=after.functions)
            self._tell_vms()
            self._schedule_end()
        except EngineError:
            try:
                runtimes.settle(stored)
            except EngineError as error:
                log.engine.warning("Runtime %s stays claimed: %s", stored.id, error)
            raise
        after = runtimes.settle(after)
        runtimes.rename(before, after)
        return after

    def _tell_vms(self) -> None:
        """Bring SCHEDULING and DEVICE_INFO into the VMs' user templates."""
        before, after = self._before, self._after
        is_moved = before.scheduling != after.scheduling
        if not is_moved and before.device_info == after.device_info:
            return
        operators = operators_requirements(self._context, before) if is_moved else {}
        scheduling = after.scheduling if is_moved else {}
        for role, vm in self._vms.items():
            required = (
                attributes.without_sent(vm.requirements, before.scheduling)
                if operators is None
                else operators.get(role, "")
            )
            values = attributes.user_attributes(scheduling, after.device_info, required)
            self._context.cloud.oned.update_vm(vm.id, template.render(values))
            if is_moved and vm.state == VmState.ACTIVE:
                self._reschedule(vm)

    def _reschedule(self, vm: Vm) -> None:
        try:
            self._context.cloud.oned.act_on_vm(vm.id, "resched")
        except EngineError as error:
            # Ordinary owners may not, and their runtime is updated all the same.
            level = log.engine.info if isinstance(error, Forbidden) else log.engine.warning
            level("VM %s is not flagged for rescheduling: %s", vm.id, error)

    def _schedule_end(self) -> None:
        if self._changes.lease_seconds is None and not self._changes.lifts_lease:
            return
        for vm in self._vms.values():
            leases.schedule_end(self._context.cloud, vm.id, self._after.lease_ends_at)

    # ---- the runtime as it is to be stored ---------------------------------------------------

    def _with_changes(self) -> Runtime:
        before, changes = self._before, self._changes
        seconds = changes.lease_seconds
        resized = {r.role: r.resized(before.functions[r.role]) for r in self._resizes}
        after = dataclasses.replace(
            before,
            name=changes.name or before.name,
            functions={**before.functions, **resized},
            scheduling={**before.scheduling, **changes.scheduling},
            device_info={**before.device_info, **changes.device_info},
        )
        if seconds is None and not changes.lifts_lease:
            return after
        return dataclasses.replace(
            after,
            lease_seconds=seconds,
            lease_ends_at=None if seconds is None else int(self._context.now()) + seconds,
            is_lease_renewed=seconds is not None,
        )
