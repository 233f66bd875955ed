"""Makes the configuration: which file, validation, defaults, and limits between keys."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints

from provision_engine.config.model import Configuration, Document
from provision_engine.config.reader import read_document, read_text
from provision_engine.config.schema import ConfigurationError, leaves, shown, violation
from provision_engine.text import one_line

DEFAULT_PATH = Path("/etc/provision-engine/engine.conf")
ENVIRONMENT_VARIABLE = "PROVISION_ENGINE_CONF"

# The keys that /server/config always shows; the others only when the file sets them.
CONTRACT_KEYS = frozenset(name for name in leaves() if name.startswith("capacity.")) | {
    *("one_xmlrpc", "oneflow_server", "host", "port", "timeout", "mapping"),
    *("log.level", "log.system"),
}

_WORKERS_MIN, _WORKERS_MAX = 2, 8
# oned accepts 15 connections (MAX_CONN in oned.conf) from all its clients: oneflow needs some of
# them to do what the engine asks of it.
_ONED_CONNECTIONS, _ONED_LEAST = 10, 2


def load(path: Path | None = None) -> Configuration:
    """Read `path`, else the file that PROVISION_ENGINE_CONF names, else the default one.

    Only the default file may be missing: then every key has its default. Raises
    ConfigurationError, one line that says what is wrong.
    """
    named = path or os.environ.get(ENVIRONMENT_VARIABLE)
    source = Path(named or DEFAULT_PATH)
    try:
        return parse(read_text(source), source)
    except ConfigurationError as error:
        if named or not isinstance(error.__cause__, FileNotFoundError):
            raise
        return _configuration(None, {})


def parse(text: str, source: Path) -> Configuration:
    """Make a configuration of YAML text; `source` is named in errors."""
    written = read_document(text, source)
    if reason := violation(written):
        raise ConfigurationError(f"{shown(source)}: {one_line(reason)}")
    return _configuration(source, written)


def _configuration(source: Path | None, written: Document) -> Configuration:
    given = dict(_given(written))
    values = {name: _frozen(name, rules, given.get(name)) for name, rules in leaves().items()}
    values |= _derived(values)
    _check_together(values, source)
    path, document = source.absolute() if source else None, _shown_document(given)
    made: Configuration = _section(Configuration, values, path=path, _document=document)
    return made


def _given(written: Document | None, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values in the file with the dotted names of their keys."""
    for key, value in (written or {}).items():
        if f"{path}{key}" in leaves():
            yield f"{path}{key}", value
        else:
            yield from _given(value, f"{path}{key}.")


def _frozen(name: str, rules: Document, value: Any) -> Any:
    """Return a value as the configuration holds it; what the file leaves out is the default."""
    value = rules.get("default") if value is None else value
    if isinstance(value, dict):
        return MappingProxyType(value)
    if name == "server.trusted_proxies":
        return tuple(map(ip_network, value))
    if isinstance(value, list):
        return tuple(value)
    if _is_path(rules):
        return Path(value) if value else None
    return value.rstrip("/") if name == "oneflow_server" else value


def _section(kind: type, values: Document, prefix: str = "", **further: Any) -> Any:
    """Make a section of the configuration, sections in it included, of the values of its keys."""
    types = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name = prefix + field.metadata.get("key", field.name)
        if name in values:
            further[field.name] = values[name]
        elif any(key.startswith(f"{name}.") for key in values):
            further[field.name] = _section(types[field.name], values, f"{name}.")
    return kind(**further)


def _derived(values: Document) -> Document:
    """Return the defaults that follow from other values or from the machine."""
    threads = values["server.threads"]
    chosen_workers = min(max(_cores(), _WORKERS_MIN), _WORKERS_MAX)
    workers = values["server.workers"] or chosen_workers
    defaults = {
        "server.workers": chosen_workers,
        "limits.oned_requests": min(threads, max(_ONED_LEAST, _ONED_CONNECTIONS // workers)),
        "limits.oneflow_requests": max(1, threads * 3 // 4),
        "wait.max_requests": max(1, threads // 4),
        "lock.stale_seconds": 2 * values["timeout"] + 60,
    }
    return {name: value for name, value in defaults.items() if values[name] is None}


def _cores() -> int:
    """Return how many cores this process may use, which in a container is not all."""
    return len(os.sched_getaffinity(0))


def _check_together(values: Document, source: Path | None) -> None:
    """Check the limits that one key sets for another, which a schema cannot express."""
    stale, least = values["lock.stale_seconds"], 2 * values["timeout"]
    if stale <= least:
        allowed = f"must be more than twice the timeout, that is more than {least}"
        raise ConfigurationError(f"{source}: lock.stale_seconds is {stale}: {allowed}")
    usual, longest = values["lease.default_seconds"], values["lease.max_seconds"]
    if usual is not None and longest is not None and usual > longest:
        allowed = f"must be at most lease.max_seconds, which is {longest}"
        raise ConfigurationError(f"{source}: lease.default_seconds is {usual}: {allowed}")
    most = values["standby.max"]
    for flavours, count in values["standby.flavours"].items():
        if count > most:
            name = one_line(f"standby.flavours.{flavours}")
            allowed = f"must be at most standby.max, which is {most}"
            raise ConfigurationError(f"{source}: {name} is {count}: {allowed}")


def _shown_document(given: Document) -> Document:
    document: Document = {}
    for name, rules in leaves().items():
        if (name in CONTRACT_KEYS or name in given) and not _is_path(rules):
            *sections, key = name.split(".")
            section = document
            for outer in sections:
                section = section.setdefault(outer, {})
            section[key] = given.get(name, rules.get("default"))
    return document


def _is_path(rules: Document) -> bool:
    """Return whether a key holds a path of this machine, which is no caller's concern."""
    return str(rules.get("pattern", "")).startswith("^/")
