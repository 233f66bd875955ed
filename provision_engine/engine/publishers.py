"""Whose flow templates are everybody's flavours.

A flow template runs its script with the caller's SR_AUTH, so that a template of just any user must
not count. Those of publishers are read with OpenNebula's filter for their owner: what other users
publish costs nothing then. Neither a name nor group 0 is such a filter. So the templates that a
caller may use are surveyed, the oldest first and as far as a moment allows, and it is remembered
which users they belong to.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from provision_engine.cloud.client import CloudClient
from provision_engine.cloud.enums import DocumentType
from provision_engine.cloud.objects import Document
from provision_engine.deadline import Deadline
from provision_engine.engine.time_limits import SURVEY_CALL_SECONDS, SURVEY_SECONDS
from provision_engine.errors import BackendTimeout, BadGateway

TEMPLATE = DocumentType.FLOW_TEMPLATE

ADMINISTRATORS = 0
"""OpenNebula's first user, oneadmin, and its group."""
FIRST_IDS, GROWTH = 256, 4
"""The width of the first range of ids that is surveyed; each next one is wider."""
MAX_CHARACTERS = 2**20
"""A range whose documents are longer together is followed by a narrower one."""


class KnownPublishers:
    """The ids of publishers that one process has found. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: dict[int, str] = {}

    def add(self, template: Document) -> None:
        with self._lock:
            self._ids[template.user_id] = template.user_name

    def ids(self) -> list[int]:
        with self._lock:
            return sorted(self._ids)

    def names(self) -> set[str]:
        with self._lock:
            return set(self._ids.values())


@dataclass
class Survey:
    """What the templates that a caller may use tell of their owners."""

    counted: list[Document] = field(default_factory=list)
    """Those of publishers."""
    others: list[Document] = field(default_factory=list)
    """Those of all other users."""


class Publishers:
    """The publishers that engine.conf allows, as one caller finds them."""

    def __init__(
        self, cloud: CloudClient, allowed: Sequence[str | int], known: KnownPublishers
    ) -> None:
        self._cloud, self._known = cloud, known
        self._ids = {ADMINISTRATORS, *(who for who in allowed if isinstance(who, int))}
        self._names = {who for who in allowed if isinstance(who, str)}

    def own(self, template: Document) -> bool:
        """Whether a template belongs to a publisher, as OpenNebula says itself."""
        return (
            template.user_id in self._ids
            or template.user_name in self._names
            or template.group_id == ADMINISTRATORS
        )

    def templates(self) -> list[Document]:
        """Return the templates of publishers that the caller may use."""
        if self._names - self._known.names():
            self.survey()
        owners = sorted(self._ids.union(self._known.ids()))
        found = [d for owner in owners for d in self._cloud.oned.documents(TEMPLATE, owner)]
        return [template for template in found if self.own(template)]

    def survey(self) -> Survey:
        """Look at everything that the caller may use, and remember the publishers among it."""
        survey = Survey()
        for template in self._usable():
            is_counted = self.own(template)
            (survey.counted if is_counted else survey.others).append(template)
            if is_counted:
                self._known.add(template)
        return survey

    def _usable(self) -> Iterator[Document]:
        """The oldest first. What takes too long is left out."""
        deadline = self._cloud.deadline.at_most(SURVEY_SECONDS)
        first, ids, newest_id = 0, FIRST_IDS, self._newest_id(deadline)
        while first <= newest_id and not deadline.is_over:
            last = first + ids - 1
            found = self._limited(deadline, first_id=first, last_id=last)
            yield from found or ()
            is_large = found is None or sum(len(d.body_text) for d in found) > MAX_CHARACTERS
            first, ids = last + 1, max(1, ids // GROWTH) if is_large else ids * GROWTH

    def _newest_id(self, deadline: Deadline) -> int:
        """-1 where there is none, or where it cannot be read in a moment."""
        limited = self._cloud.until(deadline.at_most(SURVEY_CALL_SECONDS))
        try:
            newest = limited.oned.newest_documents(TEMPLATE, 1)
        except (BackendTimeout, BadGateway):
            return -1
        return newest[0].id if newest else -1

    def _limited(self, deadline: Deadline, **range_: int) -> list[Document] | None:
        """Read documents in a moment; None where it takes longer."""
        limited = self._cloud.until(deadline.at_most(SURVEY_CALL_SECONDS))
        try:
            return limited.oned.documents(TEMPLATE, **range_)
        except (BackendTimeout, BadGateway):
            return None
