"""Delays each call by as long as a real OpenNebula takes for it; off by default.

`MEASURED_MILLISECONDS` holds medians over the `ms` of both recordings (2 cores, oned with SQLite;
see their README). Examples: one service takes 144 ms through oneflow and 0.75 ms through oned
(without the recorder's own overhead), one VM 1.6 ms, one instantiate 179 ms.
"""

from __future__ import annotations

import re
import threading
import time

MEASURED_MILLISECONDS: dict[str, float] = {
    "system.multicall": 0.0,
    "one.system.version": 0.75,
    "one.user.info": 1.6,
    "one.user.update": 2.8,
    "one.user.quota": 2.5,
    "one.document.allocate": 3.0,
    "one.document.info": 0.75,
    "one.document.update": 2.4,
    "one.document.rename": 2.2,
    "one.document.chmod": 2.6,
    "one.document.lock": 2.2,
    "one.document.unlock": 2.6,
    "one.document.delete": 2.5,
    "one.documentpool.info": 1.0,
    "one.template.allocate": 3.5,
    "one.template.info": 1.5,
    "one.template.delete": 2.8,
    "one.vm.info": 1.6,
    "one.vm.update": 4.0,
    "one.vm.action": 3.4,
    "one.vm.recover": 2.3,
    "one.vm.resize": 8.2,
    "one.vm.diskresize": 6.2,
    "one.vm.schedadd": 6.5,
    "one.vm.schedupdate": 2.6,
    "one.vm.scheddelete": 2.7,
    "one.vmpool.info": 0.9,
    "one.vmpool.infoextended": 1.4,
    "one.vmpool.infoset": 1.4,
    "GET /service": 144.0,
    "GET /service/N": 144.0,
    "DELETE /service/N": 160.0,
    "POST /service/N/action": 158.0,
    "GET /service_template": 149.0,
    "GET /service_template/N": 140.0,
    "POST /service_template/N/action": 179.0,
}
REQUEST_MILLISECONDS = 0.55
"""What a call costs less if it is a later one of a multicall: the connection and the request."""
OTHER_ONED_MILLISECONDS = 1.5
OTHER_ONEFLOW_MILLISECONDS = 3.0
PROFILES = ("measured",)
SATURATION = {"oned": 436 / 640, "oneflow": 0.0}
"""The share of a call that oned executes exclusively: one client completes 436 pairs of
``document.info`` and VM states per second, eight clients 640. For oneflow it is unknown."""
_NUMBER = re.compile(r"/\d+")


class Latency:
    """The delay of each call: none, or the measured one times a factor."""

    def __init__(self, profile: str | None = None, factor: float = 1.0) -> None:
        if profile is not None and profile not in PROFILES:
            raise ValueError(f"latency: {profile!r} is unknown, allowed is measured")
        self.profile = profile
        self.factor = factor
        self._busy = {backend: threading.Lock() for backend in SATURATION}

    def pass_time(self, backend: str, line: str, follows: bool = False) -> None:
        """Sleeps as long as the call takes, and makes others wait as a busy backend would.

        `follows` says that it is a later call of a multicall.
        """
        seconds = self.seconds(backend, line, follows)
        if seconds:
            alone_seconds = seconds * SATURATION[backend]
            with self._busy[backend]:
                time.sleep(alone_seconds)
            time.sleep(seconds - alone_seconds)

    def seconds(self, backend: str, line: str, follows: bool = False) -> float:
        """The delay of a call; `line` is the XML-RPC method or ``METHOD PATH``."""
        if self.profile is None:
            return 0.0
        other = OTHER_ONED_MILLISECONDS if backend == "oned" else OTHER_ONEFLOW_MILLISECONDS
        key = line if backend == "oned" else _NUMBER.sub("/N", line.split("?")[0])
        milliseconds = MEASURED_MILLISECONDS.get(key, other)
        if follows:
            milliseconds = max(0.0, milliseconds - REQUEST_MILLISECONDS)
        return milliseconds * self.factor / 1000
