"""Flavour tuple → flow template and its roles. What rarely changes is remembered per user."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from provision_engine.cloud.client import CloudClient, Credentials
from provision_engine.cloud.objects import Document
from provision_engine.engine.document import FLOW_TEMPLATE_TYPE
from provision_engine.engine.roles import FlowRole, assign_roles
from provision_engine.engine.specification import Specification
from provision_engine.errors import BadGateway, Forbidden, NoFlowTemplate, NotFound

T = TypeVar("T")


@dataclass(frozen=True)
class FlowTemplate:
    """A service template of oneflow."""

    id: int
    roles: tuple[FlowRole, ...]

    @classmethod
    def of(cls, document: Document) -> FlowTemplate:
        """Raises NotFound where the document is no flow template."""
        if document.type != FLOW_TEMPLATE_TYPE:
            raise NotFound(f"Document {document.id} is no flow template")
        return cls(document.id, tuple(map(_role, document.body.get("roles", []))))

    def assign(self, specification: Specification) -> dict[str, FlowRole]:
        """Which role plays FAAS, and which DAAS. Raises NoFlowTemplate where one is missing."""
        flavours = {role: function.flavour for role, function in specification.functions.items()}
        names = [role.name for role in self.roles]
        places = assign_roles(flavours, names)
        for role in flavours:
            if role not in places:
                raise NoFlowTemplate(
                    f"Flow template {self.id} has no role for {role}; its roles are {names}"
                )
        return {role: self.roles[places[role]] for role in flavours}


def _role(body: Mapping[str, Any]) -> FlowRole:
    """A role in either dialect. Raises BadGateway where it names no VM template."""
    template_id = body.get("template_id", body.get("vm_template"))
    if not isinstance(template_id, int | str) or not str(template_id).isdigit():
        raise BadGateway(f"Role {body.get('name')} of a flow template names no VM template")
    return FlowRole(str(body.get("name")), int(template_id))


class Cache:
    """What one process remembers of OpenNebula, for each user apart, for a limited time."""

    def __init__(
        self,
        seconds: float,
        on_look: Callable[[bool], None] = lambda is_hit: None,
        max_entries: int = 4096,
    ) -> None:
        self._seconds, self._max_entries = seconds, max_entries
        self._on_look = on_look
        self._salt = secrets.token_bytes(16)
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[bytes, str], tuple[float, Any]] = OrderedDict()

    def get(self, credentials: Credentials, key: str, load: Callable[[], T]) -> T:
        """What is remembered under the key for this very user and password, else what loads."""
        whose = (self._owner(credentials), key)
        with self._lock:
            expires, value = self._entries.get(whose, (0.0, None))
        is_hit = expires > time.monotonic()
        self._on_look(is_hit)
        if is_hit:
            return value  # type: ignore[no-any-return]
        loaded = load()
        with self._lock:
            self._entries[whose] = (time.monotonic() + self._seconds, loaded)
            self._entries.move_to_end(whose)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)
        return loaded

    def forget(self, credentials: Credentials) -> None:
        """Drop all that is remembered for a user, because some of it proved to be stale."""
        owner = self._owner(credentials)
        with self._lock:
            for whose in [whose for whose in self._entries if whose[0] == owner]:
                del self._entries[whose]

    def _owner(self, credentials: Credentials) -> bytes:
        return hashlib.blake2b(credentials.session.encode(), key=self._salt).digest()


class Flavours:
    """Finds flow templates on behalf of one caller."""

    def __init__(self, cloud: CloudClient, cache: Cache, mapping: Mapping[str, int]) -> None:
        self._cloud, self._cache, self._mapping = cloud, cache, mapping

    def flow_template(self, specification: Specification) -> FlowTemplate:
        """The template for a tuple: the mapped one, else the one of that name.

        Raises NoFlowTemplate; Forbidden where the caller may use the mapped one, or any, not.
        """
        flavours = specification.flavour_tuple
        if flavours in self._mapping:
            return self._mapped(self._mapping[flavours], specification)
        usable = self._remember("flow templates", self._usable)
        if not usable:
            raise Forbidden("This user may use no flow template at all")
        if flavours not in usable:
            raise NoFlowTemplate(dict(specification.sent))
        return FlowTemplate.of(usable[flavours])

    def vm_template(self, template_id: int) -> dict[str, Any]:
        """The attributes of a VM template. Raises Forbidden.

        Nothing where it does not exist: then the service fails to deploy and tells why.
        """

        def load() -> dict[str, Any]:
            try:
                return self._cloud.oned.vm_template(template_id).attributes
            except NotFound:
                return {}

        return self._remember(f"VM template {template_id}", load)

    def forget(self) -> None:
        self._cache.forget(self._cloud.credentials)

    def _mapped(self, template_id: int, specification: Specification) -> FlowTemplate:
        try:
            return self._remember(
                f"flow template {template_id}",
                lambda: FlowTemplate.of(self._cloud.oned.document(template_id)),
            )
        except NotFound as error:
            raise NoFlowTemplate(dict(specification.sent)) from error

    def _usable(self) -> dict[str, Document]:
        """Usable templates by name; of several with one name the oldest."""
        documents = self._cloud.oned.documents(FLOW_TEMPLATE_TYPE)
        return {d.name: d for d in sorted(documents, key=lambda d: d.id, reverse=True)}

    def _remember(self, key: str, load: Callable[[], T]) -> T:
        return self._cache.get(self._cloud.credentials, key, load)
