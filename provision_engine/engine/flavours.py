"""Flavour tuple → flow template and its roles, cached for each user.

A flow template runs its script with the caller's SR_AUTH, so that a template of just any user must
not count. Those of publishers are read with OpenNebula's filter for their owner: what other users
publish costs nothing then. Neither a name nor group 0 is such a filter. So the templates that a
caller may use are read, the oldest first and as far as a moment allows, and it is remembered
which users they belong to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from provision_engine import log
from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.objects import Document
from provision_engine.cloud.oned import MINE
from provision_engine.deadline import Deadline
from provision_engine.engine.memory import UserMemory
from provision_engine.engine.runtime.flow_template import FlowRole, FlowTemplate
from provision_engine.engine.runtime.specification import Specification
from provision_engine.engine.time_limits import SEARCH_CALL_SECONDS, SEARCH_SECONDS
from provision_engine.errors import (
    BackendTimeout,
    BadGateway,
    DeployFailed,
    Forbidden,
    NotFound,
    UnknownFlavours,
)

TEMPLATE = DocumentType.FLOW_TEMPLATE

ADMINISTRATORS = 0
"""OpenNebula's first user, oneadmin, and its group."""
FIRST_IDS, GROWTH = 256, 4
"""The width of the first range of ids that is read; each next one is wider."""
MAX_CHARACTERS = 2**20
"""A range whose documents are longer together is followed by a narrower one."""
PUBLISHED = "flow templates"


class Flavours:
    """Finds flow templates on behalf of one caller."""

    def __init__(
        self,
        cloud: CloudClient,
        remembered: UserMemory,
        mapping: Mapping[str, int],
        publishers: Sequence[str | int],
        known: dict[int, str],
    ) -> None:
        """Remember the publishers that are found in ``known``: their names by id."""
        self._cloud, self._remembered, self._mapping = cloud, remembered, mapping
        self._known = known
        self._ids = {ADMINISTRATORS, *(who for who in publishers if isinstance(who, int))}
        self._names = {who for who in publishers if isinstance(who, str)}

    def flow_template(self, specification: Specification) -> FlowTemplate:
        """Return the template for a tuple: the mapped one, else the one of that name.

        Raises NoFlowTemplate; Forbidden where the caller may not use it, or may use none at all.
        """
        return self.for_tuple(specification.flavour_tuple, specification.flavours)

    def for_tuple(self, flavours: str, by_role: Mapping[str, str]) -> FlowTemplate:
        """Return the same for a tuple; an error shows the flavours ``by_role``."""
        if flavours in self._mapping:
            return self._mapped(self._mapping[flavours], by_role)
        named = self._named(flavours)
        if named is None:
            raise UnknownFlavours.from_roles(by_role)
        return FlowTemplate.from_document(named)

    def by_name(self) -> dict[str, Document]:
        """Return the templates that count, by name: those of publishers before the caller's own.

        Of several with one name the oldest counts.
        """
        self.usable()
        return _oldest(self._own()) | _oldest(self._published())

    def vm_template(self, role: FlowRole) -> dict[str, Any]:
        """Return the attributes of a role's VM template.

        Raises Forbidden; DeployFailed where it does not exist, since some releases of oneflow
        would neither deploy such a service nor give up.
        """
        name = f"VM template {role.vm_template_id}"
        try:
            return self._remembered.cached(
                name, lambda: self._cloud.oned.vm_template(role.vm_template_id).attributes
            )
        except NotFound as error:
            raise DeployFailed(f"Role {role.name}: {name} does not exist") from error

    def forget(self) -> None:
        """Drop the templates that are cached."""
        self._remembered.forget_cached()

    def usable(self) -> tuple[list[Document], list[Document]]:
        """Return the templates that the caller may use: those of publishers, and all others.

        The publishers among their owners are remembered.
        """
        published: list[Document] = []
        others: list[Document] = []
        for template in self._from_the_oldest():
            if self._is_published(template):
                published.append(template)
                self._known[template.user_id] = template.user_name
            else:
                others.append(template)
        return published, others

    def _mapped(self, template_id: int, by_role: Mapping[str, str]) -> FlowTemplate:
        try:
            return self._remembered.cached(
                f"flow template {template_id}",
                lambda: FlowTemplate.from_document(self._cloud.oned.document(template_id)),
            )
        except NotFound as error:
            raise UnknownFlavours.from_roles(by_role) from error

    def _named(self, name: str) -> Document | None:
        """Return the template of a name. One that the cache lacks may be new."""
        was_cached = self._remembered.has_cached(PUBLISHED)
        found = self._looked_up(name)
        if found is None and was_cached:
            self.forget()
            found = self._looked_up(name)
        return found or self._searched(name)

    def _looked_up(self, name: str) -> Document | None:
        published = self._remembered.cached(PUBLISHED, lambda: _oldest(self._published()))
        if name in published:
            return published[name]
        return self._remembered.cached("own flow templates", lambda: _oldest(self._own())).get(name)

    def _searched(self, name: str) -> Document | None:
        """Search all templates. Raises Forbidden where the caller may use none at all."""
        published, others = self.usable()
        if not published and not others:
            raise Forbidden("This user may use no flow template at all")
        if found := _oldest(published).get(name):
            return found
        if other := _oldest(others).get(name):
            log.engine.warning(
                "Flow template %s is named %s, but its owner %s is not one of flavours.publishers",
                other.id,
                other.name,
                other.user_name,
            )
        return None

    def _own(self) -> list[Document]:
        return self._cloud.oned.documents(TEMPLATE, MINE)

    # ---- whose templates count ---------------------------------------------------------------

    def _is_published(self, template: Document) -> bool:
        """Return whether a template belongs to a publisher, as OpenNebula says itself."""
        return (
            template.user_id in self._ids
            or template.user_name in self._names
            or template.group_id == ADMINISTRATORS
        )

    def _published(self) -> list[Document]:
        """Return the templates of publishers that the caller may use."""
        if self._names - set(self._known.values()):
            self.usable()
        owners = sorted(self._ids.union(self._known))
        found = [d for owner in owners for d in self._cloud.oned.documents(TEMPLATE, owner)]
        return [template for template in found if self._is_published(template)]

    def _from_the_oldest(self) -> Iterator[Document]:
        """Read the templates that the caller may use. What takes too long is left out."""
        deadline = self._cloud.deadline.at_most(SEARCH_SECONDS)
        newest = self._read(deadline)
        first, ids, end = 0, FIRST_IDS, newest[0].id if newest else -1
        while first <= end and not deadline.is_over:
            last = first + ids - 1
            found = self._read(deadline, (first, last))
            yield from found or ()
            is_large = found is None or sum(len(d.body_text) for d in found) > MAX_CHARACTERS
            first, ids = last + 1, max(1, ids // GROWTH) if is_large else ids * GROWTH

    def _read(
        self, deadline: Deadline, ids: tuple[int, int] | None = None
    ) -> list[Document] | None:
        """Read those in a range of ids, or the newest one; None where it takes too long."""
        oned = self._cloud.with_deadline(deadline.at_most(SEARCH_CALL_SECONDS)).oned
        try:
            if ids is None:
                return oned.newest_documents(TEMPLATE, 1)
            return oned.documents(TEMPLATE, first_id=ids[0], last_id=ids[1])
        except (BackendTimeout, BadGateway):
            return None


def _oldest(documents: Iterable[Document]) -> dict[str, Document]:
    """Return the documents by name; of several with one name the oldest."""
    return {d.name: d for d in sorted(documents, key=lambda d: d.id, reverse=True)}
