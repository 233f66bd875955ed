"""Updating a runtime: what differs, whether all of it is available, and then doing it."""

from __future__ import annotations

import dataclasses
import json

from provision_engine import log
from provision_engine.cloud import template
from provision_engine.cloud.enums import VmState
from provision_engine.cloud.objects import Vm
from provision_engine.config import Lease
from provision_engine.engine.actions import read, recover, resize, suspend
from provision_engine.engine.actions.resize import Resize
from provision_engine.engine.context import Context
from provision_engine.engine.runtime import attributes
from provision_engine.engine.runtime.model import DeviceInfo, Runtime
from provision_engine.engine.runtime.snapshot import Matches, Snapshot
from provision_engine.engine.runtime.specification import RequestedFunction, Specification
from provision_engine.engine.runtime.states import Reason, State
from provision_engine.engine.safety import leases
from provision_engine.engine.safety.locks import locked
from provision_engine.errors import (
    BadRequest,
    EngineError,
    Forbidden,
    Locked,
    Unprocessable,
    UpdateFailed,
)

SENT_BYTES = 20_000
"""Of what a device sends for one runtime: a small one reads a response into 30,000 bytes."""
WAITING_FOR_HOST = frozenset({Reason.WAITING, Reason.NO_MATCHING_HOST, Reason.NO_CAPACITY})


def update_runtime(
    context: Context, runtime_id: int, wanted: Specification, matches: Matches | None = None
) -> Snapshot:
    """Change what is given and differs; all of it is checked before any of it is done.

    Raises PreconditionFailed, Unprocessable, CapacityRefused, Locked, and UpdateFailed where a
    function is in ERROR; what helps against that has then been tried.
    """
    with locked(context, runtime_id):
        seen = read.observe(context, read.ready_runtime(context, runtime_id))
        if matches:
            read.check_match(seen, matches)
        suspend.check_awake(seen)
        if State.ERROR in seen.states:
            raise UpdateFailed(_recovery(context, seen))
        update = _Update(context, seen, wanted)
        update.check()
        runtime = update.apply()
    return read.observe(context, runtime)


def check_length(name: str, scheduling: object, device_info: DeviceInfo) -> None:
    """Raises BadRequest where a small device could not read the runtime any more."""
    told = json.dumps([name, scheduling, dict(device_info)], ensure_ascii=False)
    size_bytes = len(told.encode(errors="replace"))
    if size_bytes > SENT_BYTES:
        raise BadRequest(
            f"SERVERLESS_RUNTIME: NAME, SCHEDULING and DEVICE_INFO hold {size_bytes} bytes, "
            f"more than {SENT_BYTES} together"
        )


def _recovery(context: Context, seen: Snapshot) -> dict[str, str]:
    """Try what helps a runtime in ERROR; why it has to be, and what came of it."""
    told = {
        role: condition.text
        for role, condition in seen.conditions.items()
        if condition.state is State.ERROR
    }
    try:
        recover.apply(context, seen)
    except EngineError as error:
        return told | {"RECOVERY": str(error.message)}
    return told | {"RECOVERY": "Started; read the runtime again in a while"}


class _Update:
    """The steps of one update of one runtime, for the holder of its lock."""

    def __init__(self, context: Context, seen: Snapshot, wanted: Specification) -> None:
        self._context, self._seen, self._wanted = context, seen, wanted
        self._policy: Lease = context.configuration.lease
        self._resizes = [
            Resize.between(role, vm, wanted.functions.get(role, RequestedFunction()).sizes)
            for role, vm in seen.vms.items()
        ]

    # ---- checking: changes nothing -----------------------------------------------------------

    def check(self) -> None:
        """Raises Unprocessable, CapacityRefused, Locked or BadRequest."""
        changed = self._changed()
        # What is sent is short enough, but what it leads to may not be.
        check_length(changed.name, dict(changed.scheduling), changed.device_info)
        self._check_flavours()
        self._check_states()
        runtime = self._seen.runtime
        resize.check(self._context.cloud, self._resizes, self._wanted.functions, runtime.functions)
        self._check_lease()

    def _check_flavours(self) -> None:
        for role, function in self._wanted.functions.items():
            known = self._seen.runtime.functions.get(role)
            if function.flavour and (known is None or function.flavour != known.flavour):
                now = known.flavour if known else "none"
                raise Unprocessable(
                    f"{role}.FLAVOUR cannot change from {now} to {function.flavour}"
                )

    def _check_states(self) -> None:
        for role, condition in self._seen.conditions.items():
            is_waiting = condition.reason in WAITING_FOR_HOST
            if is_waiting and self._wanted.is_about_scheduling:
                continue  # what keeps it waiting may be what is to be changed
            if condition.state is not State.RUNNING:
                raise Locked(f"{role} is {condition.state}")

    def _check_lease(self) -> None:
        if self._wanted.lease_seconds is not None:
            leases.granted(self._wanted.lease_seconds, self._policy)
        if self._wanted.lifts_lease:
            leases.check_lifting(self._policy)

    # ---- doing -----------------------------------------------------------------------------

    def apply(self) -> Runtime:
        """Do it; the runtime as it is stored afterwards."""
        before, after = self._seen.runtime, self._changed()
        if after == before:
            return before
        self._context.runtimes.claim(before)
        try:
            resize.apply(self._context.cloud, self._resizes)
            # From here on the VMs have the new sizes, whatever fails.
            before = dataclasses.replace(before, functions=after.functions)
            self._tell_vms(after)
            self._order_end(after)
        except EngineError:
            self._release(before)
            raise
        after = self._context.runtimes.ready(after)
        self._context.runtimes.rename(before, after)
        return after

    def _release(self, before: Runtime) -> None:
        try:
            self._context.runtimes.ready(before)
        except EngineError as error:
            log.engine.warning("Runtime %s stays claimed: %s", before.id, error)

    def _tell_vms(self, after: Runtime) -> None:
        """Bring SCHEDULING and DEVICE_INFO into the VMs' user templates."""
        before = self._seen.runtime
        moved = before.scheduling != after.scheduling
        if not moved and before.device_info == after.device_info:
            return
        values = attributes.user_attributes(after.scheduling, after.device_info)
        for vm in self._seen.vms.values():
            self._context.cloud.oned.update_vm(vm.id, template.render(values))
            if moved and vm.state == VmState.ACTIVE:
                self._reschedule(vm)

    def _reschedule(self, vm: Vm) -> None:
        try:
            self._context.cloud.oned.act_on_vm(vm.id, "resched")
        except EngineError as error:
            # Ordinary owners may not, and their runtime is updated all the same.
            level = log.engine.info if isinstance(error, Forbidden) else log.engine.warning
            level("VM %s is not flagged for rescheduling: %s", vm.id, error)

    def _order_end(self, after: Runtime) -> None:
        for vm in self._seen.vms.values():
            if self._wanted.lifts_lease:
                leases.lift(self._context.cloud, vm.id)
            elif self._wanted.lease_seconds is not None and after.lease_ends_at is not None:
                leases.renew(self._context.cloud, vm.id, after.lease_ends_at)

    def _changed(self) -> Runtime:
        """The runtime as it is to be stored."""
        before, wanted = self._seen.runtime, self._wanted
        sizes = {resize.role: resize for resize in self._resizes}
        functions = {}
        for role, function in before.functions.items():
            resized = sizes.get(role)
            functions[role] = resized.applied(function) if resized else function
        changed = dataclasses.replace(
            before,
            name=wanted.name or before.name,
            functions=functions,
            scheduling={**before.scheduling, **wanted.scheduling},
            device_info={**before.device_info, **wanted.device_info},
        )
        return self._with_lease(changed)

    def _with_lease(self, runtime: Runtime) -> Runtime:
        if self._wanted.lifts_lease:
            return dataclasses.replace(
                runtime, lease_seconds=None, lease_ends_at=None, is_lease_renewed=False
            )
        if (seconds := self._wanted.lease_seconds) is None:
            return runtime
        return dataclasses.replace(
            runtime,
            lease_seconds=seconds,
            lease_ends_at=int(self._context.now()) + seconds,
            is_lease_renewed=True,
        )
