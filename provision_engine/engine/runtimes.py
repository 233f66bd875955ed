"""What can be done with serverless runtimes, on behalf of one caller: each reads as its steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.objects import Vm
from provision_engine.config import Configuration
from provision_engine.engine import kept, recovery, view
from provision_engine.engine.creation import Creation
from provision_engine.engine.document import RUNTIME_TYPE, Phase, Runtime
from provision_engine.engine.flavours import Cache, Flavours
from provision_engine.engine.locks import locked
from provision_engine.engine.specification import Specification
from provision_engine.engine.update import Update
from provision_engine.errors import Conflict, Locked, NotFound

MINE = -3

Json = dict[str, Any]


class Runtimes:
    """The caller's serverless runtimes."""

    def __init__(self, cloud: CloudClient, configuration: Configuration, cache: Cache) -> None:
        self._cloud = cloud
        self._configuration = configuration
        self._stale_seconds = configuration.lock.stale_seconds
        self._flavours = Flavours(cloud, cache, configuration.mapping)

    def create_runtime(self, specification: Specification, key: str = "") -> tuple[Json, bool]:
        """Make a runtime; it, and whether it is new. With a key it is made once, however often.

        When this raises, nothing of it is left, or it is marked for removal. The functions are
        PENDING: they were just born, and nobody has looked at them yet.
        """
        if key and (known := self._made_with(key, specification.digest)):
            return view.newborn(known), False
        creation = Creation(self._cloud, self._configuration, self._flavours)
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

    def find_runtime(self, runtime_id: int) -> Runtime:
        """A runtime as it is kept. Raises NotFound, Forbidden, Unauthorized."""
        runtime = Runtime.of(self._cloud.oned.document(runtime_id))
        if recovery.is_abandoned(runtime, self._stale_seconds):
            settled = recovery.settle(self._cloud, runtime_id, self._stale_seconds)
            if settled is None:
                raise NotFound(f"Serverless runtime {runtime_id} is gone")
            return settled
        if runtime.phase is Phase.DELETING:
            raise NotFound(f"Serverless runtime {runtime_id} is being deleted")
        return runtime

    def get_runtime(self, runtime_id: int) -> Json:
        """A runtime with the fresh states of its VMs."""
        return self._look(self.find_runtime(runtime_id))

    def update_runtime(self, runtime: Runtime, wanted: Specification) -> Json:
        """Change what is given and differs; all of it is checked before any of it is done."""
        with locked(self._cloud, runtime.id, self._stale_seconds):
            runtime = self._finished(self.find_runtime(runtime.id))
            update = Update(self._cloud, runtime, wanted)
            update.check()
            runtime = update.apply()
        return self._look(runtime)

    def delete_runtime(self, runtime: Runtime) -> None:
        """End a runtime: its service with the VMs, then its document."""
        with locked(self._cloud, runtime.id, self._stale_seconds):
            runtime = self._finished(self.find_runtime(runtime.id))
            if recovery.remove_services(self._cloud, runtime):
                self._cloud.oned.delete_document(runtime.id)
            else:
                kept.mark(self._cloud, runtime, Phase.DELETING)

    def check_login(self) -> None:
        """Raises Unauthorized where OpenNebula does not know the caller."""
        self._cloud.oned.version()

    def _made_with(self, key: str, digest: str, before: int | None = None) -> Runtime | None:
        """The runtime made with a key: of several the oldest. Waits until it is there.

        Raises Conflict where it was made from another body, Locked while somebody makes it.
        """
        for _ in self._cloud.deadline.polls():
            known = [r for r in self._own() if r.key == key and (before is None or r.id < before)]
            if not known:
                return None
            oldest = min(known, key=lambda runtime: runtime.id)
            if oldest.digest != digest:
                raise Conflict(f"Serverless runtime {oldest.id} was made with this key")
            oldest = self.find_runtime(oldest.id)
            if oldest.phase is Phase.READY:
                return oldest
        raise Locked("Another request with this key is still making the runtime")

    def _own(self) -> list[Runtime]:
        """The caller's runtimes that are not on their way out."""
        documents = self._cloud.oned.documents(RUNTIME_TYPE, MINE)
        return [r for r in map(Runtime.of, documents) if r.phase is not Phase.DELETING]

    def _finished(self, runtime: Runtime) -> Runtime:
        if runtime.phase is not Phase.READY:
            raise Locked(f"Serverless runtime {runtime.id} is still being made")
        return runtime

    def _look(self, runtime: Runtime) -> Json:
        vms = self._cloud.oned.vms(runtime.vm_ids)
        return view.render(runtime, vms, self._service_behind(runtime, vms))

    def _service_behind(self, runtime: Runtime, vms: Mapping[int, Vm]) -> Mapping[str, Any] | None:
        """The body of the service, asked for only where a function lacks its VM."""
        if len(vms) == len(runtime.functions) or runtime.service_id is None:
            return None
        try:
            return self._cloud.oned.document(runtime.service_id).body
        except NotFound:
            return None
