"""Makes the configuration: which file, validation, defaults, and limits between keys."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints

from provision_engine.config.model import Configuration, Document
from provision_engine.config.reader import read_document, read_text
from provision_engine.config.schema import ConfigurationError, leaves, shown, violations
from provision_engine.text import one_line

DEFAULT_PATH = Path("/etc/provision-engine/engine.conf")
ENVIRONMENT_VARIABLE = "PROVISION_ENGINE_CONF"

# The keys that /server/config always shows; the others only when the file sets them.
CONTRACT_KEYS = frozenset(name for name in leaves() if name.startswith("capacity.")) | {
    *("one_xmlrpc", "oneflow_server", "host", "port", "timeout", "mapping"),
    *("log.level", "log.system"),
}

SHOWN_PROBLEMS = 20
_COMMENT = re.compile(r"(?m)(?:^|(?<=\s))#.*")
_CONTROL = re.compile(r"""\b(pid_file|grace_seconds):\s*["']?([^\s"',}]+)""")
_WORKERS_MIN, _WORKERS_MAX = 2, 8
# oned accepts 15 connections (MAX_CONN in oned.conf) from all its clients: oneflow needs some of
# them to do what the engine asks of it.
_ONED_CONNECTIONS, _ONED_LEAST = 10, 2


def load(path: Path | None = None) -> Configuration:
    """Read `path`, else the file that PROVISION_ENGINE_CONF names, else the default one.

    Only the default file may be missing: then every key has its default. Raises
    ConfigurationError, a line for each thing that is wrong.
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
    return _configuration(source, *read_document(text, source))


def salvage(path: Path | None = None) -> Configuration:
    """Return what can be told from a file with mistakes of how to find and stop its engine.

    All other keys have their defaults. Raises ConfigurationError if it cannot be read.
    """
    source = Path(path or os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_PATH)
    found = dict(_CONTROL.findall(_COMMENT.sub("", read_text(source))))
    server = {name: int(text) if text.isdecimal() else text for name, text in found.items()}
    wrong = violations({"server": server})
    usable = {name: value for name, value in server.items() if f"server.{name}" not in wrong}
    return _configuration(source, {"server": usable})


def _configuration(
    source: Path | None, written: Document, problems: Sequence[str] = ()
) -> Configuration:
    """Make the configuration. Raises ConfigurationError with the problems, and all others."""
    wrong = violations(written)
    given = {name: value for name, value in _given(written) if not _is_wrong(name, wrong)}
    values = {name: _frozen(name, rules, given.get(name)) for name, rules in leaves().items()}
    derived = _derived(values)
    values |= derived
    conflicts = [text for names, text in _conflicts(values) if not wrong.keys() & names]
    found = [f"{shown(source)}: {one_line(text)}" for text in (*wrong.values(), *conflicts)]
    if all_problems := [*problems, *found]:
        more = len(all_problems) - SHOWN_PROBLEMS
        last = [f"{shown(source)}: {more} more mistakes"] if more > 0 else []
        raise ConfigurationError(*all_problems[:SHOWN_PROBLEMS], *last)
    path = source.absolute() if source else None
    own: Document = {"path": path, "_document": _document(given)}
    own["_complete"] = _complete_document(given, derived)
    made: Configuration = _section(Configuration, values, "", **own)
    return made


def _is_wrong(name: str, wrong: Mapping[str, str]) -> bool:
    """Return whether a key, or a part of its value, is wrong."""
    return any(f"{part}.".startswith(f"{name}.") for part in wrong)


def _given(written: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values in the file with the dotted names of their keys."""
    for key, value in written.items() if isinstance(written, dict) else ():
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


def _conflicts(values: Document) -> Iterator[tuple[set[str], str]]:
    """Yield what breaks a limit that one key sets for another, and both names.

    A schema cannot express that.
    """
    stale, least = values["lock.stale_seconds"], 2 * values["timeout"]
    if stale <= least:
        allowed = f"must be more than twice the timeout, that is more than {least}"
        yield {"lock.stale_seconds", "timeout"}, f"lock.stale_seconds is {stale}: {allowed}"
    usual, longest = values["lease.default_seconds"], values["lease.max_seconds"]
    if usual is not None and longest is not None and usual > longest:
        allowed = f"must be at most lease.max_seconds, which is {longest}"
        names = {"lease.default_seconds", "lease.max_seconds"}
        yield names, f"lease.default_seconds is {usual}: {allowed}"
    most = values["standby.max"]
    for flavours, count in values["standby.flavours"].items():
        if count > most:
            name = f"standby.flavours.{flavours}"
            allowed = f"must be at most standby.max, which is {most}"
            yield {name, "standby.max"}, f"{name} is {count}: {allowed}"


def _document(given: Document) -> Document:
    shown = {
        name: rules.get("default") for name, rules in leaves().items() if name in CONTRACT_KEYS
    }
    return _nested(shown | given)


def _complete_document(given: Document, derived: Document) -> Document:
    """Return all keys with their values in force; those without any are left out."""
    defaults = {name: rules["default"] for name, rules in leaves().items() if "default" in rules}
    return _nested(defaults | derived | {n: v for n, v in given.items() if v is not None})


def _nested(values: Document) -> Document:
    """Return values by dotted names as sections, in the order of the schema, without paths."""
    document: Document = {}
    for name, rules in leaves().items():
        if name in values and not _is_path(rules):
            *sections, key = name.split(".")
            section = document
            for outer in sections:
                section = section.setdefault(outer, {})
            section[key] = values[name]
    return document


def _is_path(rules: Document) -> bool:
    """Return whether a key holds a path of this machine, which is no caller's concern."""
    return str(rules.get("pattern", "")).startswith("^/")
