"""What every use case needs: OpenNebula on behalf of one caller, the configuration, the memory."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from provision_engine import log
from provision_engine.cloud.client import Backends, CloudClient, Credentials
from provision_engine.cloud.objects import User
from provision_engine.config import Configuration
from provision_engine.deadline import Deadline
from provision_engine.engine.flavours import Flavours
from provision_engine.engine.memory import Memory, UserMemory
from provision_engine.engine.repository import Repository
from provision_engine.engine.runtime.model import Runtime
from provision_engine.engine.safety.ownership import Holdings


@dataclass(frozen=True)
class Context:
    """One caller's request, as the engine sees it."""

    cloud: CloudClient
    configuration: Configuration
    memory: Memory
    is_reconciling: bool = False
    """Whether an administrator settles what others have left."""

    @property
    def runtimes(self) -> Repository:
        """Return the runtimes that the caller may see."""
        return Repository(self.cloud, self.memory.vms, self._login)

    @property
    def flavours(self) -> Flavours:
        """Return the flow templates that the caller may use."""
        mapping, allowed = self.configuration.mapping, self.configuration.publishers
        return Flavours(self.cloud, self.remembered, mapping, allowed, self.memory.publishers)

    @property
    def stale_seconds(self) -> float:
        """Return the age from which on an intent or a lock was left by a dead engine."""
        return self.configuration.stale_lock_seconds

    def now(self) -> float:
        """Return the time of OpenNebula's clock (Unix time): all times in documents are its."""
        return self.cloud.now()

    @property
    def _login(self) -> bytes:
        """Return a digest of user and password, under which the caller is remembered."""
        return self.memory.login(self.cloud.credentials)

    @property
    def remembered(self) -> UserMemory:
        """Return the memory of this user and password."""
        return self.memory.for_login(self._login)

    def user(self) -> User:
        """Return the caller as OpenNebula knows it; read once for each login in a process.

        Raises Unauthorized.
        """
        return self.remembered.user(lambda: self.cloud.oned.user())

    def check_login(self) -> str:
        """Return OpenNebula's version, which it tells only its users. Raises Unauthorized."""
        return self.cloud.oned.version()

    def may_settle(self, runtime: Runtime) -> bool:
        """Return whether this caller, its owner for one, finishes or removes a runtime."""
        return self.is_reconciling or runtime.owner_id == self.user().id

    def holdings(self, runtime: Runtime) -> Holdings:
        """Return the VMs and services of a runtime's owner."""
        return self.holdings_of(runtime.owner_id)

    def holdings_of(self, owner_id: int) -> Holdings:
        """Return the VMs and services of a user."""
        return Holdings(self.cloud, owner_id, lambda: self.user().id)

    def with_deadline(self, deadline: Deadline) -> Context:
        """Return the same caller with another deadline."""
        return self.with_client(self.cloud.with_deadline(deadline))

    def at_least(self, seconds: float) -> Context:
        """Return the same caller with so much time, even if the request's own is over."""
        return self.with_deadline(self.cloud.deadline.at_least(seconds))

    def at_most(self, seconds: float) -> Context:
        """Return the same caller with no more time than that."""
        return self.with_deadline(self.cloud.deadline.at_most(seconds))

    def with_client(self, cloud: CloudClient) -> Context:
        """Return the same caller with another client."""
        return dataclasses.replace(self, cloud=cloud)


def for_user(
    user: str, password: str, backends: Backends, configuration: Configuration, memory: Memory
) -> Context:
    """Return the context of a request, which has `timeout` seconds. The log hides its password."""
    credentials = Credentials(user, password)
    log.secret(*credentials.secrets)
    cloud = CloudClient(backends, credentials, Deadline(configuration.timeout_seconds))
    return Context(cloud, configuration, memory)
