"""Whose flow templates are everybody's flavours.

A flow template runs its script with the caller's SR_AUTH, so that a template of just any user must
not count. Those of publishers are read with OpenNebula's filter for their owner: what other users
publish costs nothing then. Neither a name nor group 0 is such a filter. So the templates that a
caller may use are read, the oldest first and as far as a moment allows, and it is remembered
which users they belong to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.objects import Document
from provision_engine.deadline import Deadline
from provision_engine.engine.time_limits import SEARCH_CALL_SECONDS, SEARCH_SECONDS
from provision_engine.errors import BackendTimeout, BadGateway

TEMPLATE = DocumentType.FLOW_TEMPLATE

ADMINISTRATORS = 0
"""OpenNebula's first user, oneadmin, and its group."""
FIRST_IDS, GROWTH = 256, 4
"""The width of the first range of ids that is read; each next one is wider."""
MAX_CHARACTERS = 2**20
"""A range whose documents are longer together is followed by a narrower one."""


class Publishers:
    """The publishers that engine.conf allows, as one caller finds them."""

    def __init__(
        self, cloud: CloudClient, allowed: Sequence[str | int], known: dict[int, str]
    ) -> None:
        """Remember the publishers that are found in ``known``: their names by id."""
        self._cloud, self._known = cloud, known
        self._ids = {ADMINISTRATORS, *(who for who in allowed if isinstance(who, int))}
        self._names = {who for who in allowed if isinstance(who, str)}

    def own(self, template: Document) -> bool:
        """Return whether a template belongs to a publisher, as OpenNebula says itself."""
        return (
            template.user_id in self._ids
            or template.user_name in self._names
            or template.group_id == ADMINISTRATORS
        )

    def templates(self) -> list[Document]:
        """Return the templates of publishers that the caller may use."""
        if self._names - set(self._known.values()):
            self.usable()
        owners = sorted(self._ids.union(self._known))
        found = [d for owner in owners for d in self._cloud.oned.documents(TEMPLATE, owner)]
        return [template for template in found if self.own(template)]

    def usable(self) -> tuple[list[Document], list[Document]]:
        """Return the templates that the caller may use: those of publishers, and all others.

        The publishers among their owners are remembered.
        """
        published: list[Document] = []
        others: list[Document] = []
        for template in self._from_the_oldest():
            if self.own(template):
                published.append(template)
                self._known[template.user_id] = template.user_name
            else:
                others.append(template)
        return published, others

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
