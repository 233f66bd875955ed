"""Creating a runtime: planned whole, written down first, and undone where it fails."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from functools import partial

from provision_engine import log, metrics
from provision_engine.engine import quota
from provision_engine.engine.context import Context
from provision_engine.engine.runtime import services
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.runtime.plan import Plan, plan
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.specification import Specification
from provision_engine.engine.safety import intents, keys, leases, starting
from provision_engine.engine.safety.keys import OtherCreateIsFirst, Slot
from provision_engine.engine.standby import candidates, handover
from provision_engine.errors import EngineError


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
    creates it. ``version`` is as in ``plan``. When this raises, nothing of it is left, or it is
    marked for removal. The functions are PENDING: nobody has looked at them yet.
    """
    while True:
        if key and (existing := keys.find(context, key, specification.digest, wait_slot)):
            return Snapshot.unseen(existing), False
        try:
            with change_slot():
                return _create(context, specification, key, version), True
        except OtherCreateIsFirst:
            continue


def _create(context: Context, specification: Specification, key: str, version: str) -> Snapshot:
    """Create a runtime. Raises OtherCreateIsFirst where another request with the key was faster."""
    specification = _with_lease(context, specification)
    planned = plan(context, specification, version)
    intent = _intent(context, specification, planned, key)
    if taken := handover.take(context, specification, planned, intent):
        return taken
    runtime = intents.write_intent(context, intent)
    check = partial(keys.check_first, context, runtime)
    return Snapshot.unseen(starting.start(context, runtime, planned, check=check))


def replenish_later(context: Context, flavours: str) -> None:
    """Create the missing standbys beside other work, with as much time as a request has."""
    if candidates.is_kept(context, flavours):
        context.cloud.submit_in_background(
            lambda cloud: replenish(context.with_client(cloud), flavours),
            context.configuration.timeout_seconds,
        )


def replenish(context: Context, flavours: str) -> None:
    """Create the standbys of a flavour tuple that the caller lacks. Raises no Exception."""
    try:
        for _ in range(candidates.missing(context, flavours)):
            _create_standby(context, flavours)
    except EngineError as error:
        log.engine.warning("No standby of %s is created: %s", flavours, error)
    except Exception:  # nobody waits for it who could tell
        log.engine.exception("No standby of %s is created", flavours)


def _create_standby(context: Context, flavours: str) -> None:
    seconds = context.configuration.standby.seconds
    role_names = context.flavours.for_tuple(flavours, {}).role_names
    specification = dataclasses.replace(
        Specification.from_flavours(flavours, role_names), lease_seconds=seconds
    )
    planned = plan(context, specification)
    quota.check_new(context.cloud, list(planned.functions.values()))
    intent = _intent(context, specification, planned, candidates.KEY + flavours)
    blueprint = candidates.blueprint(context, planned, flavours)
    runtime = intents.write_intent(context, dataclasses.replace(intent, blueprint=blueprint))
    if candidates.is_surplus(context, runtime):
        context.runtimes.remove(runtime.id)
        return
    starting.start(context, runtime, planned, Phase.STANDBY)
    context.memory.standbys.add(runtime.id, runtime.owner_id, seconds)
    metrics.standbys_ready(context.memory.standbys.count())


def rehearse(context: Context, specification: Specification, version: str = "") -> Plan:
    """What would be made; raises what making it would. ``version`` is as in ``plan``."""
    specification = _with_lease(context, specification)
    planned = plan(context, specification, version)
    quota.check_new(context.cloud, list(planned.functions.values()))
    return planned


def _with_lease(context: Context, specification: Specification) -> Specification:
    seconds = leases.granted(specification.lease_seconds, context.configuration.lease)
    return dataclasses.replace(specification, lease_seconds=seconds)


def _intent(context: Context, specification: Specification, planned: Plan, key: str) -> Runtime:
    """The document of a create, before anything is started."""
    now, seconds = int(context.now()), specification.lease_seconds
    service_name = services.new_name(specification.flavour_tuple)
    return Runtime(
        id=-1,
        name=specification.name or service_name,
        functions=planned.functions,
        owner_id=context.user().id,
        service_name=service_name,
        phase=Phase.CREATING,
        scheduling=specification.scheduling,
        device_info=specification.device_info,
        created_at=now,
        intended_at=now,
        lease_seconds=seconds,
        lease_ends_at=None if seconds is None else now + seconds,
        key=key,
        digest=specification.digest if key else "",
    )
