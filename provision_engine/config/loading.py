"""Makes the configuration: which file, validation, defaults, and limits between keys."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jsonschema

from provision_engine.config import model
from provision_engine.config.messages import ConfigurationError, reason, shown
from provision_engine.config.model import Configuration, Document
from provision_engine.config.reader import MissingError, read_document, read_text
from provision_engine.config.schema import leaves, rules_at, schema
from provision_engine.text import one_line

DEFAULT_PATH = Path("/etc/provision-engine/engine.conf")
ENVIRONMENT_VARIABLE = "PROVISION_ENGINE_CONF"

# The keys that /server/config always shows; the others only when the file sets them.
CONTRACT_KEYS = frozenset(
    {
        "one_xmlrpc",
        "oneflow_server",
        "host",
        "port",
        "timeout",
        "mapping",
        "capacity.disk.default",
        "capacity.cpu.default",
        "capacity.cpu.mult",
        "capacity.memory.default",
        "capacity.memory.mult",
        "capacity.memory.resize_mode",
        "log.level",
        "log.system",
    }
)

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
    values = {name: _chosen(written, name) for name in leaves()}
    for name in ("mapping", "standby.flavours"):
        values[name] = values[name] or {}
    values.update(_derived(values))
    _check_together(values, source)
    return Configuration(
        path=source.absolute() if source else None,
        one_xmlrpc=values["one_xmlrpc"],
        oneflow_server=values["oneflow_server"].rstrip("/"),
        host=values["host"],
        port=values["port"],
        timeout_seconds=values["timeout"],
        mapping=MappingProxyType(values["mapping"]),
        flavours=model.Flavours(tuple(values["flavours.publishers"] or ())),
        capacity=_capacity(values),
        log=_log(values),
        context=model.Context(values["context.sr_auth"]),
        server=_server(values),
        limits=_limits(values),
        cache=model.Cache(values["cache.seconds"]),
        lease=model.Lease(values["lease.default_seconds"], values["lease.max_seconds"]),
        wait=model.Wait(values["wait.max_seconds"], values["wait.max_requests"]),
        standby=_standby(values),
        lock=model.Lock(values["lock.stale_seconds"]),
        tls=_tls(values),
        _document=_shown_document(written),
    )


def _chosen(written: Document, name: str) -> Any:
    """Return the value of one key: the file's, else the schema's default, else None."""
    found, value = _lookup(written, name)
    return value if found else rules_at(tuple(name.split("."))).get("default")


def _lookup(document: Document, name: str) -> tuple[bool, Any]:
    value: Any = document
    for key in name.split("."):
        if not isinstance(value, dict) or key not in value:
            return False, None
        value = value[key]
    return True, value


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


def _capacity(values: Document) -> model.Capacity:
    return model.Capacity(
        disk=model.Disk(values["capacity.disk.default"]),
        cpu=model.Cpu(values["capacity.cpu.default"], values["capacity.cpu.mult"]),
        memory=model.Memory(
            values["capacity.memory.default"],
            values["capacity.memory.mult"],
            values["capacity.memory.resize_mode"],
        ),
    )


def _log(values: Document) -> model.Log:
    directory = Path(values["log.directory"])
    return model.Log(values["log.level"], values["log.system"], directory, values["log.format"])


def _server(values: Document) -> model.Server:
    return model.Server(
        workers=values["server.workers"],
        threads=values["server.threads"],
        pid_file=Path(values["server.pid_file"]),
        grace_seconds=values["server.grace_seconds"],
    )


def _limits(values: Document) -> model.Limits:
    return model.Limits(
        body_bytes=values["limits.body_bytes"],
        oned_requests=values["limits.oned_requests"],
        oneflow_requests=values["limits.oneflow_requests"],
        user_share=values["limits.user_share"],
    )


def _standby(values: Document) -> model.Standby:
    flavours = MappingProxyType(values["standby.flavours"])
    return model.Standby(flavours, values["standby.seconds"], values["standby.max"])


def _tls(values: Document) -> model.Tls:
    paths = {key: values[f"tls.{key}"] for key in ("certificate", "key", "ca_file")}
    found = {key: Path(value) if value else None for key, value in paths.items()}
    return model.Tls(found["certificate"], found["key"], found["ca_file"], values["tls.verify"])


def _shown_document(written: Document) -> Document:
    document: Document = {}
    for name in leaves():
        is_shown = name in CONTRACT_KEYS or _lookup(written, name)[0]
        if is_shown and not _is_path(name):
            _put(document, name, _chosen(written, name))
    return document


def _is_path(name: str) -> bool:
    """Whether a key holds a path of this machine, which is no caller's concern."""
    pattern: str = rules_at(tuple(name.split("."))).get("pattern", "")
    return pattern.startswith("^/")


def _put(document: Document, name: str, value: object) -> None:
    *sections, key = name.split(".")
    for section in sections:
        document = document.setdefault(section, {})
    document[key] = value
