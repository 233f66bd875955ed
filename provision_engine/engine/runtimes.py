"""What can be done with serverless runtimes, on behalf of one caller: each reads as its steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.objects import Vm
from provision_engine.cloud.oned import MINE
from provision_engine.config import Configuration
from provision_engine.deadline import Deadline
from provision_engine.engine import kept, lease, recovery, states, view
from provision_engine.engine.creation import Creation
from provision_engine.engine.document import RUNTIME_TYPE, SERVICE_TYPE, Phase, Runtime
from provision_engine.engine.flavours import Cache, Flavours
from provision_engine.engine.listing import Wanted
from provision_engine.engine.locks import locked
from provision_engine.engine.specification import Specification
from provision_engine.engine.update import Update
from provision_engine.engine.waiting import Waiting
from provision_engine.errors import BadGateway, Conflict, Locked, NotFound, PreconditionFailed

Json = dict[str, Any]
PATIENCE_SHARE = 0.8
"""Of a request's time, for waiting until another request has made the same runtime."""


class Runtimes:
    """The caller's serverless runtimes."""

    def __init__(self, cloud: CloudClient, configuration: Configuration, cache: Cache) -> None:
        self._cloud = cloud
        self._configuration = configuration
        self._stale_seconds = configuration.lock.stale_seconds
        self._cache = cache
        self._flavours = Flavours(cloud, cache, configuration.mapping)

    def create_runtime(self, specification: Specification, key: str = "") -> tuple[Json, bool]:
        """Make a runtime; it, and whether it is new. With a key it is made once, however often.

        When this raises, nothing of it is left, or it is marked for removal. The functions are
        PENDING: they were just born, and nobody has looked at them yet.
        """
        if key and (known := self._made_with(key, specification.digest)):
            return view.newborn(known), False
        creation, specification = self._creation(specification)
        plan = creation.plan(specification)
        runtime = creation.write_intent(specification, plan, key)
        try:
            if key and (winner := self._made_with(key, specification.digest, before=runtime.id)):
                self._cloud.oned.delete_document(runtime.id)
                return view.newborn(winner), False
            return view.newborn(creation.start(runtime, plan)), True
        except BaseException as error:
            creation.undo(runtime, error)
            raise

    def find_runtime(self, runtime_id: int, *, is_wanted: bool = False) -> Runtime:
        """A runtime as it is kept. Raises NotFound, Forbidden, Unauthorized.

        One that a dead engine left unfinished is settled: finished for whom ``is_wanted``.
        """
        runtime = Runtime.of(self._cloud.oned.document(runtime_id))
        if recovery.is_abandoned(runtime, self._stale_seconds):
            settled = recovery.settle(
                self._cloud, runtime_id, self._stale_seconds, is_wanted=is_wanted
            )
            if settled is None:
                raise NotFound(f"Serverless runtime {runtime_id} is gone")
            return settled
        if runtime.phase is Phase.DELETING:
            raise NotFound(f"Serverless runtime {runtime_id} is being deleted")
        return runtime

    def get_runtime(self, runtime_id: int) -> Json:
        """A runtime with the fresh states of its VMs."""
        return self._look(self.find_runtime(runtime_id))

    def list_runtimes(self, wanted: Wanted) -> tuple[list[Json], int | None]:
        """A page of the caller's runtimes with fresh states, and where the next page begins.

        Takes three calls of oned at most, however many there are. What dead engines left and
        what OpenNebula has ended is not shown, and removed as far as a moment allows.
        """
        left, living = recovery.sort_out(self._kept(), self._stale_seconds)
        runtimes, after = wanted.candidates(living)
        vms = self._cloud.oned.vms([vm_id for runtime in runtimes for vm_id in runtime.vm_ids])
        ended = [r for r in runtimes if lease.is_over(r, _own_vms(r, vms))]
        gone = {runtime.id for runtime in ended}
        shown = [runtime for runtime in runtimes if runtime.id not in gone]
        incomplete = any(vm_id not in vms for r in shown for vm_id in r.vm_ids or [-1])
        bodies = self._service_bodies() if incomplete else {}
        seen = [
            view.render(r, _own_vms(r, vms), bodies.get(r.service_id, _service_to_come(r)))
            for r in shown
        ]
        recovery.settle_all(self._cloud, left, self._stale_seconds)
        recovery.bury_all(self._cloud, ended, self._stale_seconds)
        return wanted.page(seen, after)

    def wait_for_runtime(
        self, runtime_id: int, waiting: Waiting, seconds: float, is_gone: Callable[[], bool]
    ) -> Json:
        """A runtime once nothing of it is PENDING or UPDATING, or as it is after the seconds.

        Empty where nobody listens any more.
        """
        deadline = Deadline(seconds)
        patient = self._until(Deadline(seconds + self._configuration.timeout_seconds))
        whose = (self._cloud.credentials.session, runtime_id)
        return waiting.until_settled(
            whose, lambda: patient.get_runtime(runtime_id), deadline, is_gone
        )

    def update_runtime(self, runtime: Runtime, wanted: Specification, if_match: str = "") -> Json:
        """Change what is given and differs; all of it is checked before any of it is done."""
        with locked(self._cloud, runtime.id, self._stale_seconds):
            runtime = self._finished(self.find_runtime(runtime.id))
            self._check_match(runtime, if_match)
            runtime = self._linked(runtime)
            update = Update(self._cloud, runtime, wanted, self._configuration.lease)
            update.check()
            runtime = update.apply()
        return self._look(runtime)

    def delete_runtime(self, runtime: Runtime, if_match: str = "") -> None:
        """End a runtime: its service with the VMs, then its document."""
        with locked(self._cloud, runtime.id, self._stale_seconds):
            runtime = self._finished(self.find_runtime(runtime.id))
            self._check_match(runtime, if_match)
            recovery.remove(self._cloud, runtime)

    def recover_runtime(self, runtime: Runtime) -> Json:
        """Have oneflow try again what failed. Where nothing did, nothing is done.

        Raises ActionRefused where oneflow cannot recover the service, Locked while it moves.
        """
        with locked(self._cloud, runtime.id, self._stale_seconds):
            runtime = self._finished(self.find_runtime(runtime.id))
            recovery.recover(self._cloud, runtime, self._look(runtime))
        return self._look(self.find_runtime(runtime.id))

    def dry_run(self, specification: Specification) -> Json:
        """What a create would make, or the error that it would give; nothing is made."""
        creation, specification = self._creation(specification)
        return creation.rehearse(specification)

    def check_login(self) -> None:
        """Raises Unauthorized where OpenNebula does not know the caller."""
        self._cloud.oned.version()

    def _creation(self, specification: Specification) -> tuple[Creation, Specification]:
        """What makes a runtime, and the specification with the lease that it is granted."""
        ttl = lease.granted(specification.lease_seconds, self._configuration.lease)
        creation = Creation(self._cloud, self._configuration, self._flavours)
        return creation, dataclasses.replace(specification, lease_seconds=ttl)

    def _until(self, deadline: Deadline) -> Runtimes:
        return Runtimes(self._cloud.until(deadline), self._configuration, self._cache)

    def _check_match(self, runtime: Runtime, if_match: str) -> None:
        """Raises PreconditionFailed where the caller has seen another version."""
        if if_match and if_match != "*":
            known = [tag.strip().strip('"') for tag in if_match.split(",")]
            if view.etag(self._look(runtime)) not in known:
                raise PreconditionFailed(f"Serverless runtime {runtime.id} is not as it was seen")

    def _made_with(self, key: str, digest: str, before: int | None = None) -> Runtime | None:
        """The runtime made with a key: of several the oldest. Waits until it is there.

        Raises Conflict where it was made from another body, Locked while somebody makes it.
        """
        patience = Deadline(self._cloud.deadline.remaining_seconds * PATIENCE_SHARE)
        for _ in patience.polls():
            known = [r for r in self._own() if r.key == key and (before is None or r.id < before)]
            if not known:
                return None
            oldest = min(known, key=lambda runtime: runtime.id)
            if oldest.digest != digest:
                raise Conflict(f"Serverless runtime {oldest.id} was made with this key")
            if found := self._if_ready(oldest.id):
                return found
        raise Locked("Another request with this key is still making the runtime")

    def _if_ready(self, runtime_id: int) -> Runtime | None:
        """A runtime that is made; None while it is not, or when it has just gone."""
        with suppress(NotFound, Locked):
            runtime = self.find_runtime(runtime_id, is_wanted=True)
            return runtime if runtime.phase is Phase.READY else None
        return None

    def _own(self) -> list[Runtime]:
        """The caller's runtimes that are not on their way out."""
        return [runtime for runtime in self._kept() if runtime.phase is not Phase.DELETING]

    def _kept(self) -> list[Runtime]:
        return recovery.readable(self._cloud.oned.documents(RUNTIME_TYPE, MINE))

    def _finished(self, runtime: Runtime) -> Runtime:
        if runtime.phase is not Phase.READY:
            raise Locked(f"Serverless runtime {runtime.id} is still being made")
        return runtime

    def _look(self, runtime: Runtime) -> Json:
        vms = self._cloud.oned.vms(runtime.vm_ids)
        if len(vms) < len(runtime.functions) and runtime.service_id is not None:
            return self._look_behind(runtime, runtime.service_id, vms)
        return self._render(runtime, vms, _service_to_come(runtime))

    def _look_behind(self, runtime: Runtime, service_id: int, vms: Mapping[int, Vm]) -> Json:
        """A runtime that lacks VMs: its service tells why, or which VMs it has now."""
        try:
            service = self._cloud.oned.document(service_id).body
        except NotFound:
            return self._render(runtime, vms, None)
        linked = self._linked_to(runtime, service)
        if linked is not runtime:
            runtime, vms = linked, self._cloud.oned.vms(linked.vm_ids)
        return self._render(runtime, vms, service)

    def _linked(self, runtime: Runtime) -> Runtime:
        """The runtime with the VMs that its service got after the runtime was written down."""
        if len(runtime.vm_ids) == len(runtime.functions) or runtime.service_id is None:
            return runtime
        try:
            return self._linked_to(runtime, self._cloud.oned.document(runtime.service_id).body)
        except NotFound:
            return runtime

    def _linked_to(self, runtime: Runtime, service: Mapping[str, Any]) -> Runtime:
        linked = runtime.with_vms(recovery.assigned(runtime, states.vm_ids(service)))
        if linked.vm_ids == runtime.vm_ids or len(linked.vm_ids) < len(linked.functions):
            return runtime
        kept.write(self._cloud, linked)
        return linked

    def _render(
        self, runtime: Runtime, vms: Mapping[int, Vm], service: Mapping[str, Any] | None
    ) -> Json:
        if lease.is_over(runtime, vms):
            recovery.bury(self._cloud, runtime, self._stale_seconds)
            raise NotFound(f"The lease of serverless runtime {runtime.id} is over")
        return view.render(runtime, vms, service)

    def _service_bodies(self) -> dict[int | None, Mapping[str, Any]]:
        """By id, those that can be read; what is in one of them hides no other runtime."""
        bodies: dict[int | None, Mapping[str, Any]] = {}
        for service in self._cloud.oned.documents(SERVICE_TYPE, MINE):
            with suppress(BadGateway):
                bodies[service.id] = service.body
        return bodies


def _own_vms(runtime: Runtime, vms: Mapping[int, Vm]) -> dict[int, Vm]:
    return {vm_id: vms[vm_id] for vm_id in runtime.vm_ids if vm_id in vms}


def _service_to_come(runtime: Runtime) -> Mapping[str, Any] | None:
    """What is known of the service of a runtime that is still being made: nothing yet."""
    return {} if runtime.phase is Phase.CREATING else None
