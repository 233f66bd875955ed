"""Create a runtime: planned whole, written down first, and undone where it fails."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from functools import partial

from provision_engine.engine import quota
from provision_engine.engine.context import Context
from provision_engine.engine.plan import Plan, plan
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.specification import Specification
from provision_engine.engine.safety import intents, keys, leases
from provision_engine.engine.safety.keys import OtherCreateIsFirst, Slot
from provision_engine.engine.standby import handover
from provision_engine.engine.time_limits import AGAIN_SHARE
from provision_engine.errors import DeployedAnew


def create_runtime(
    context: Context,
    specification: Specification,
    key: str = "",
    version: str = "",
    *,
    change_slot: Slot = nullcontext,
    wait_slot: Slot = nullcontext,
) -> tuple[Snapshot, bool]:
    """Create a runtime. Returns (snapshot, is_new): with a key it is created once, however often.

    ``change_slot`` is held while it is created, ``wait_slot`` while another request with the key
    creates it. ``version`` is as in ``plan``. Where a restarted oneflow made the VMs its own, it is
    started once more, if there is time. When this raises, nothing of it is left, or it is
    marked for removal. The functions are PENDING: their VMs have not been read yet.
    """
    while True:
        if key and (existing := keys.find(context, key, specification.digest, wait_slot)):
            return Snapshot.pending(existing), False
        try:
            with change_slot():
                return _create(context, specification, key, version), True
        except OtherCreateIsFirst:
            continue
        except DeployedAnew:  # and undone
            least_seconds = context.configuration.timeout_seconds * AGAIN_SHARE
            if context.cloud.deadline.remaining_seconds < least_seconds:
                raise


def _create(context: Context, specification: Specification, key: str, version: str) -> Snapshot:
    """Create a runtime. Raises OtherCreateIsFirst where another request with the key was faster."""
    specification = _with_lease(context, specification)
    planned = plan(context, specification, version)
    planned.check_disks()
    intent = planned.intent(context, specification, key)
    if taken := handover.take(context, specification, planned, intent):
        return taken
    runtime = intents.write_intent(context, intent)
    check = partial(keys.check_first, context, runtime)
    return Snapshot.pending(intents.start(context, runtime, planned, check=check))


def rehearse(context: Context, specification: Specification, version: str = "") -> Plan:
    """Return the plan of a create without executing it. Raises as ``create_runtime`` does."""
    specification = _with_lease(context, specification)
    planned = plan(context, specification, version)
    planned.check_disks()
    quota.check_new(context.cloud, list(planned.functions.values()))
    return planned


def _with_lease(context: Context, specification: Specification) -> Specification:
    seconds = leases.granted(specification.lease_seconds, context.configuration.lease)
    return dataclasses.replace(specification, lease_seconds=seconds)
