"""What every use case needs: OpenNebula on behalf of one caller, the configuration, the memory."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from provision_engine.cloud.client import CloudClient
from provision_engine.config import Configuration
from provision_engine.deadline import Deadline
from provision_engine.engine.cache import Cache
from provision_engine.engine.flavours import Flavours
from provision_engine.engine.gaps import GapsOfUsers
from provision_engine.engine.keys import KeyIndex
from provision_engine.engine.ledger import Ledger
from provision_engine.engine.repository import Repository
from provision_engine.engine.seen import SeenVms
from provision_engine.engine.shared_reads import SharedReads


@dataclass(frozen=True)
class Memory:
    """What a process remembers between requests; any of it may be lost at any time."""

    cache: Cache
    keys: KeyIndex
    standbys: Ledger
    vms: SeenVms
    gaps: GapsOfUsers
    reads: SharedReads

    @classmethod
    def empty(cls, cache: Cache) -> Memory:
        return cls(cache, KeyIndex(), Ledger(), SeenVms(), GapsOfUsers(), SharedReads())


@dataclass(frozen=True)
class Context:
    """One caller's request, as the engine sees it."""

    cloud: CloudClient
    configuration: Configuration
    memory: Memory

    @property
    def runtimes(self) -> Repository:
        return Repository(self.cloud)

    @property
    def flavours(self) -> Flavours:
        return Flavours(self.cloud, self.memory.cache, self.configuration.mapping)

    @property
    def stale_seconds(self) -> float:
        """From which age on an intent or a lock was left by an engine that died."""
        return self.configuration.lock.stale_seconds

    @property
    def owner(self) -> bytes:
        """Tells callers apart in the memory, password included."""
        return self.memory.cache.owner(self.cloud.credentials)

    def until(self, deadline: Deadline) -> Context:
        """The same caller with another deadline."""
        return self.through(self.cloud.until(deadline))

    def through(self, cloud: CloudClient) -> Context:
        """The same caller with another client."""
        return dataclasses.replace(self, cloud=cloud)
