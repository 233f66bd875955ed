"""Makes the configuration: which file, validation, defaults, and limits between keys."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints

import jsonschema

from provision_engine.config.messages import ConfigurationError, reason, shown
from provision_engine.config.model import Configuration, Document
from provision_engine.config.reader import MissingError, read_document, read_text
from provision_engine.config.schema import leaves, rules_at, schema
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
    named = path or _path_of_environment()
    try:
        return parse(read_text(named or DEFAULT_PATH), named or DEFAULT_PATH)
    except MissingError:
        if named is None:
            return _configuration(None, {})
        raise


def parse(text: str, source: Path) -> Configuration:
    """Make a configuration of YAML text; `source` is named in errors."""
    written = read_document(text, source)
    _validate(written, source)
    return _configuration(source, written)


def _path_of_environment() -> Path | None:
    value = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(value) if value else None


def _is_finite(_checker: object, value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# Draft 4 and not a later one: in draft 4, 2.0 is not an integer.
_Validator: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft4Validator,
    type_checker=jsonschema.Draft4Validator.TYPE_CHECKER.redefine("number", _is_finite),
)


def _validate(written: Document, source: Path) -> None:
    errors = _Validator(schema()).iter_errors(written)
    first = min(errors, key=lambda error: [str(key) for key in error.absolute_path], default=None)
    if first is not None:
        raise ConfigurationError(f"{shown(source)}: {one_line(reason(first))}")


def _configuration(source: Path | None, written: Document) -> Configuration:
    given = _given(written)
    values = {name: _frozen(name, given.get(name)) for name in leaves()}
    values.update(_derived(values))
    _check_together(values, source)
    path, document = source.absolute() if source else None, _shown_document(given)
    made: Configuration = _section(Configuration, values, path=path, _document=document)
    return made


def _given(written: Document) -> Document:
    """Return the values in the file by the dotted names of their keys."""
    given: Document = {}
    for name in leaves():
        *sections, key = name.split(".")
        section: Any = written
        for outer in sections:
            section = section.get(outer) or {}
        if key in section:
            given[name] = section[key]
    return given


def _rules(name: str) -> Document:
    return rules_at(tuple(name.split(".")))


def _frozen(name: str, value: Any) -> Any:
    """Return a value as the configuration holds it; what the file leaves out is the default."""
    if value is None:
        value = _rules(name).get("default")
    if isinstance(value, dict):
        return MappingProxyType(value)
    if isinstance(value, list):
        return tuple(value)
    if _is_path(name):
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
    for name in leaves():
        if (name in CONTRACT_KEYS or name in given) and not _is_path(name):
            *sections, key = name.split(".")
            section = document
            for outer in sections:
                section = section.setdefault(outer, {})
            section[key] = given[name] if name in given else _rules(name).get("default")
    return document


def _is_path(name: str) -> bool:
    """Whether a key holds a path of this machine, which is no caller's concern."""
    return str(_rules(name).get("pattern", "")).startswith("^/")
