"""Creating a runtime: planned whole, written down first, and undone where it fails."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext, suppress

from provision_engine import log, metrics
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.objects import Service
from provision_engine.engine import preflight, quota
from provision_engine.engine.context import Context
from provision_engine.engine.runtime import services
from provision_engine.engine.runtime.model import Phase, Runtime
from provision_engine.engine.runtime.plan import Plan, plan
from provision_engine.engine.runtime.snapshot import Snapshot
from provision_engine.engine.runtime.specification import Specification
from provision_engine.engine.safety import ending, keys, leases, unfinished
from provision_engine.engine.safety.keys import OtherCreateIsFirst, Slot
from provision_engine.engine.standby import candidates, handover
from provision_engine.errors import EngineError

UNDO_SHARE = 0.25
UNDO_SECONDS = 6.0
"""Of a request's time, kept for undoing what fails; oneflow takes 0.2 s for each call."""
UNDO_LEAST_SECONDS = 0.6
"""What undoing may take when the request's own time is over."""
GONE_SECONDS = 2.0
"""How long the end of a service that failed is waited for; it comes in any case."""


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
    runtime = unfinished.write_intent(context, intent)
    creation = _Creation(context, runtime, planned)
    try:
        keys.check_first(context, runtime)
        return Snapshot.unseen(creation.start())
    except BaseException as error:
        creation.undo(error)
        raise


def replenish_later(context: Context, flavours: str) -> None:
    """Create the missing standbys beside other work, with as much time as a request has."""
    if candidates.is_kept(context, flavours):
        context.cloud.submit_in_background(
            lambda cloud: replenish(context.through(cloud), flavours),
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
    roles = context.flavours.of_tuple(flavours, {}).roles
    specification = dataclasses.replace(preflight.specified(flavours, roles), lease_seconds=seconds)
    planned = plan(context, specification)
    quota.check_new(context.cloud, list(planned.functions.values()))
    service_name = services.new_name(flavours)
    runtime = unfinished.write_intent(
        context, candidates.intent(context, planned, flavours, service_name)
    )
    if candidates.is_surplus(context, runtime):
        context.runtimes.remove(runtime.id)
        return
    creation = _Creation(context, runtime, planned)
    try:
        creation.start(Phase.STANDBY)
        context.memory.standbys.add(runtime.id, runtime.owner_id, seconds)
        metrics.standbys_ready(context.memory.standbys.count())
    except BaseException as error:
        creation.undo(error)
        raise


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


class _Creation:
    """One service that is being started for one document."""

    def __init__(self, context: Context, runtime: Runtime, planned: Plan) -> None:
        self._context, self._runtime, self._plan = context, runtime, planned
        self._may_have_started = False

    def start(self, phase: Phase = Phase.READY) -> Runtime:
        """Instantiate the service, wait for its VMs and complete the document."""
        cloud = self._working()
        self._may_have_started = True
        service_id = self._plan.start(cloud, self._runtime.service_name)
        vm_ids = self._plan.wait_for_vms(cloud, service_id)
        return self._context.runtimes.complete(self._runtime, service_id, vm_ids, phase)

    def _working(self) -> CloudClient:
        """Within the part of the request's time that is not kept for undoing."""
        deadline = self._context.cloud.deadline
        kept = min(UNDO_SECONDS, deadline.remaining_seconds * UNDO_SHARE)
        return self._context.cloud.until(deadline.at_most(deadline.remaining_seconds - kept))

    def undo(self, error: BaseException) -> None:
        """Leave nothing behind. What cannot be removed now is marked for a later request."""
        self._context.flavours.forget()
        context = self._context.until(self._context.cloud.deadline.at_least(UNDO_LEAST_SECONDS))
        try:
            found = self._started(context, error)
            if found is None:
                context.runtimes.mark(self._runtime, Phase.DELETING)
                return
            if found:  # written first: oneflow may end it long after its response was given up
                context.runtimes.mark(self._runtime, Phase.DELETING)
            ending.end(context.holdings(self._runtime), [service.id for service in found])
            context.runtimes.remove(self._runtime.id)
            if found:
                self._wait_until_gone(context)
        except EngineError as failure:
            log.engine.error("Runtime %s is not undone yet: %s", self._runtime.id, failure)
            unfinished.mark_for_removal(context, self._runtime)

    def _started(self, context: Context, error: BaseException) -> list[Service] | None:
        """The services that were started; None where one may still appear."""
        if not self._may_have_started:
            return []
        is_unsure = services.is_unsure(error)
        holdings = context.holdings(self._runtime)
        return services.find_started(holdings, self._runtime, is_unsure=is_unsure)

    def _wait_until_gone(self, context: Context) -> None:
        """oneflow removes its service a moment after the VMs; the response may wait for that."""
        with suppress(EngineError):
            for _ in context.cloud.deadline.at_most(GONE_SECONDS).polls():
                if not self._find(context):
                    return

    def _find(self, context: Context) -> list[Service]:
        name, newer_than = self._runtime.service_name, self._runtime.id
        return services.find(context.holdings(self._runtime), name, newer_than=newer_than)
