"""gunicorn's settings, made of the configuration."""

from __future__ import annotations

import math
import os
import resource
from contextlib import suppress
from typing import Any

from provision_engine.config import Configuration
from provision_engine.server.logger import EngineLogger
from provision_engine.server.refusals import HEADER_BYTES, HEADER_FIELDS
from provision_engine.server.worker import Worker

KEEP_ALIVE_SECONDS = 30
"""A connection without a request occupies no thread, so it may stay open for a while."""
CONNECTIONS_PER_WORKER = 4096
REQUEST_LINE_BYTES = 8190
OPEN_FILES = 65_536
RESERVED_FILES = 256
"""Descriptors of a worker that are not connections of clients: logs, backends, libraries."""


def settings(configuration: Configuration) -> dict[str, Any]:
    """Return what follows from the configuration, and all that the environment could change."""
    server = configuration.server
    # Requests that only wait (?wait=) have threads of their own, so that they delay no others.
    threads = server.threads + configuration.wait.max_requests
    return {
        "worker_class": Worker,
        "workers": server.workers,
        "threads": threads,
        "worker_connections": _connections(threads),
        "keepalive": KEEP_ALIVE_SECONDS,
        "graceful_timeout": server.grace_seconds,
        "timeout": _longest_request_seconds(configuration),
        "limit_request_line": REQUEST_LINE_BYTES,
        "limit_request_field_size": HEADER_BYTES,
        "limit_request_fields": HEADER_FIELDS,
        "preload_app": True,
        "logger_class": EngineLogger,
        "proc_name": "provision-engine",
        "forwarded_allow_ips": "127.0.0.1,::1",
        # No header may change the path: every client of a local proxy could send it.
        "forwarder_headers": "",
        "control_socket_disable": True,
        "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,
    }


def allow_many_files() -> None:
    """Let each process have as many connections as the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    aim = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < aim:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (aim, hard))


def _connections(threads: int) -> int:
    """A worker accepts no more than it has descriptors for: gunicorn ends when it runs out."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return CONNECTIONS_PER_WORKER
    return max(threads + 1, min(CONNECTIONS_PER_WORKER, files - RESERVED_FILES))


def _longest_request_seconds(configuration: Configuration) -> int:
    """A worker that is silent for longer than any request may take is replaced."""
    longest = configuration.timeout_seconds + configuration.wait.max_seconds
    return math.ceil(longest) + configuration.server.grace_seconds + 30
