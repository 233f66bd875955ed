"""OpenNebula's clock. Leases, locks and intents are compared with times that OpenNebula wrote."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

TOLERANCE_SECONDS = 2.0
"""The Date header counts whole seconds; clocks that differ by less are taken for equal."""


class Clock:
    """The time of OpenNebula's host, as the Date headers of its responses tell it."""

    def __init__(self) -> None:
        self._ahead_seconds = 0.0
        self._last_date = ""

    def observe(self, date: str, sent_at: float, received_at: float) -> None:
        """Compare a response's Date header with this host's clock (Unix times)."""
        if not date or date == self._last_date:
            return
        self._last_date = date
        try:
            seconds = parsedate_to_datetime(date).timestamp()
        except (ValueError, OverflowError):
            return
        if seconds < sent_at - TOLERANCE_SECONDS:
            self._ahead_seconds = seconds - sent_at
        elif seconds > received_at + TOLERANCE_SECONDS:
            self._ahead_seconds = seconds - received_at
        else:
            self._ahead_seconds = 0.0

    def now(self) -> float:
        """Return the time (Unix time)."""
        return time.time() + self._ahead_seconds
