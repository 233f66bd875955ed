"""The configuration in force, as frozen dataclasses.

A field is filled from the key of its name, or of the dotted name in its metadata.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

Document = dict[str, Any]
Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Capacity:
    """default_*: of a function whose size neither the request nor the VM template has."""

    default_disk_mb: int = field(metadata={"key": "disk.default"})
    default_cores: int = field(metadata={"key": "cpu.default"})
    cores_multiplier: int = field(metadata={"key": "cpu.mult"})
    default_memory_mb: int = field(metadata={"key": "memory.default"})
    memory_multiplier: int = field(metadata={"key": "memory.mult"})
    memory_resize_mode: str = field(metadata={"key": "memory.resize_mode"})


@dataclass(frozen=True)
class Log:
    """level: 0 debug, 1 info, 2 warning, 3 error; system: "file" or "syslog".

    format: "text", "extended" or "json".
    """

    level: int
    system: str
    directory: Path
    format: str = "text"


@dataclass(frozen=True)
class Server:
    workers: int
    threads: int
    pid_file: Path
    grace_seconds: int
    trusted_proxies: tuple[Network, ...] = ()
    """Whose X-Forwarded-For is believed."""

    def trusts(self, address: IPv4Address | IPv6Address) -> bool:
        """Return whether an address is that of a trusted proxy."""
        plain = getattr(address, "ipv4_mapped", None) or address
        return any(plain in network for network in self.trusted_proxies)


@dataclass(frozen=True)
class Limits:
    """Limits of one process: *_requests counts calls in flight to that backend.

    user_share: the part of changes, waiting requests and standbys that one user may have.
    """

    body_bytes: int
    oned_requests: int
    oneflow_requests: int
    user_share: float

    def of_one_user(self, count: int) -> int:
        """Return how many of ``count`` one user may have: its share, and at least one."""
        return max(1, int(count * self.user_share))


@dataclass(frozen=True)
class Lease:
    """default_seconds: for runtimes that request no lease. None: no lease, or no maximum."""

    default_seconds: int | None
    max_seconds: int | None


@dataclass(frozen=True)
class Wait:
    """Limits of ?wait=: for one request, and for the requests waiting in one process."""

    max_seconds: int
    max_requests: int


@dataclass(frozen=True)
class Standby:
    """Standby runtimes, which are started before they are requested; off if `flavours` is empty.

    flavours: flavour tuple to the number of runtimes for each user that uses it; seconds: how long
    the lease of an unused one; max_runtimes: of all users together, as far as one engine knows.
    """

    flavours: Mapping[str, int]
    seconds: int
    max_runtimes: int = field(metadata={"key": "max"})


@dataclass(frozen=True)
class Tls:
    """certificate and key towards clients; ca_file and verify towards oned and oneflow."""

    certificate: Path | None
    key: Path | None
    ca_file: Path | None
    verify: bool


@dataclass(frozen=True)
class Configuration:
    """The configuration in force. `path` is the file it came from, None without a file.

    publishers: users whose flow templates are everybody's flavours, by name or id; sr_auth: whether
    VMs get their owner's credentials; ready_port: the port on which a function has to answer before
    it is RUNNING, or None; stale_lock_seconds: the age at which a lock or an intent
    counts as left behind.
    """

    path: Path | None
    one_xmlrpc: str
    oneflow_server: str
    host: str
    port: int
    timeout_seconds: float = field(metadata={"key": "timeout"})
    mapping: Mapping[str, int]
    publishers: tuple[str | int, ...] = field(metadata={"key": "flavours.publishers"})
    capacity: Capacity
    log: Log
    sr_auth: bool = field(metadata={"key": "context.sr_auth"})
    ready_port: int | None = field(metadata={"key": "ready.port"})
    server: Server
    limits: Limits
    cache_seconds: float = field(metadata={"key": "cache.seconds"})
    lease: Lease
    wait: Wait
    standby: Standby
    stale_lock_seconds: float = field(metadata={"key": "lock.stale_seconds"})
    tls: Tls
    _document: Document = field(repr=False)
    _complete: Document = field(repr=False)

    def url(self, host: str = "") -> str:
        """Return where the engine listens, by another name of its host if given."""
        scheme, host = "https" if self.tls.certificate else "http", host or self.host
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    def as_document(self, *, has_all_keys: bool = False) -> Document:
        """Return the body of GET /server/config: the keys of engine.conf without colons.

        It has all keys of the contract, and those that the file sets; or all keys that have a
        value, as it is in force. Paths of files are left out. Nothing in it is secret: a URL with
        credentials is refused when the file is read.
        """
        return copy.deepcopy(self._complete if has_all_keys else self._document)
