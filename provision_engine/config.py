"""engine.conf, read, checked and frozen.

What is allowed, and what holds when the file says nothing, stands in one table:
schemas/config.json, a JSON schema that is valid in draft 4 to 6 and that clients read too.
"""

from __future__ import annotations

import copy
import difflib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jsonschema
import yaml

from provision_engine.errors import OperatorError

DEFAULT_PATH = Path("/etc/provision-engine/engine.conf")
ENVIRONMENT_VARIABLE = "PROVISION_ENGINE_CONF"
SCHEMA_PATH = Path(__file__).parent / "schemas" / "config.json"

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

_FILE_BYTES = 1_048_576
_MAPPING_DEPTH = 8
_SHOWN_CHARACTERS = 80
_SYMBOL = re.compile(r":[A-Za-z_][A-Za-z0-9_]*\Z")
_CREDENTIALS = re.compile(r"//.*@")
_WORKERS_MIN, _WORKERS_MAX = 2, 8
# oned itself keeps no more than 15 connections (MAX_CONN in oned.conf), for all its clients:
# oneflow needs some of them to do what the engine asks of it.
_ONED_CONNECTIONS, _ONED_LEAST = 10, 2

Document = dict[str, Any]


class ConfigurationError(OperatorError):
    """The configuration cannot be used; the text is one line that names the place."""


class _MissingError(ConfigurationError):
    """There is no such file."""


@dataclass(frozen=True)
class Disk:
    default_mb: int


@dataclass(frozen=True)
class Cpu:
    default_cores: int
    multiplier: int


@dataclass(frozen=True)
class Memory:
    default_mb: int
    multiplier: int
    resize_mode: str


@dataclass(frozen=True)
class Capacity:
    disk: Disk
    cpu: Cpu
    memory: Memory


@dataclass(frozen=True)
class Log:
    """level: 0 debug, 1 info, 2 warning, 3 error; system: "file" or "syslog".

    format: "text" or "json".
    """

    level: int
    system: str
    directory: Path
    format: str = "text"


@dataclass(frozen=True)
class Context:
    sr_auth: bool


@dataclass(frozen=True)
class Server:
    workers: int
    threads: int
    pid_file: Path
    grace_seconds: int


@dataclass(frozen=True)
class Limits:
    """Bounds of one process: *_requests counts calls to that backend in flight."""

    body_bytes: int
    oned_requests: int
    oneflow_requests: int


@dataclass(frozen=True)
class Cache:
    seconds: float


@dataclass(frozen=True)
class Lease:
    """default_seconds: of a runtime that asks for none. None: for ever, and without a limit."""

    default_seconds: int | None
    max_seconds: int | None


@dataclass(frozen=True)
class Wait:
    """Bounds of ?wait=: of one request, and of the requests waiting in one process."""

    max_seconds: int
    max_requests: int


@dataclass(frozen=True)
class Lock:
    stale_seconds: float


@dataclass(frozen=True)
class Tls:
    """certificate and key towards clients; ca_file and verify towards oned and oneflow."""

    certificate: Path | None
    key: Path | None
    ca_file: Path | None
    verify: bool


@dataclass(frozen=True)
class Configuration:
    """The configuration in force. `path` is the file it came from, None without a file."""

    path: Path | None
    one_xmlrpc: str
    oneflow_server: str
    host: str
    port: int
    timeout_seconds: float
    mapping: Mapping[str, int]
    capacity: Capacity
    log: Log
    context: Context
    server: Server
    limits: Limits
    cache: Cache
    lease: Lease
    wait: Wait
    lock: Lock
    tls: Tls
    _document: Document = field(repr=False)

    def as_document(self) -> Document:
        """Return what GET /server/config answers: the keys of engine.conf without colons.

        All keys of the contract are in it, further ones when the file sets them; nothing
        in it is secret (a URL with credentials is refused when the file is read).
        """
        return copy.deepcopy(self._document)


def load(path: Path | None = None) -> Configuration:
    """Read `path`, else the file that PROVISION_ENGINE_CONF names, else the usual one.

    Only the usual file may be missing: then everything has its default. Raises
    ConfigurationError with one line for everything that is wrong.
    """
    named = path or _path_of_environment()
    try:
        return parse(_read(named or DEFAULT_PATH), named or DEFAULT_PATH)
    except _MissingError:
        if named is None:
            return _configuration(None, {})
        raise


def parse(text: str, source: Path) -> Configuration:
    """Make a configuration of YAML text; `source` is named in errors."""
    written = _written(text, source)
    _validate(written, source)
    return _configuration(source, written)


@cache
def schema() -> Document:
    """Return the JSON schema of the configuration (draft 4 to 6)."""
    document: Document = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    return document


# ---- reading ---------------------------------------------------------------------------


def _path_of_environment() -> Path | None:
    value = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(value) if value else None


def _read(source: Path) -> str:
    try:
        with source.open("rb") as file:
            content = file.read(_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        kind = _MissingError if isinstance(error, FileNotFoundError) else ConfigurationError
        reason = getattr(error, "strerror", None) or str(error)
        raise kind(f"{_shown(source)}: cannot be read: {reason}") from error
    if len(content) > _FILE_BYTES:
        raise ConfigurationError(f"{_shown(source)}: is longer than {_FILE_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{_shown(source)}: line {line}: is not UTF-8") from error


def _written(text: str, source: Path) -> Document:
    """Return what the file says, its keys without colons and each of them once."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None or node.tag == "tag:yaml.org,2002:null":
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise ConfigurationError(f"{_shown(source)}: must hold keys and values (key: value)")
        return _Reader(loader, source).mapping(node, ())
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{_shown(source)}: is not YAML: {_yaml_reason(error)}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{_shown(source)}: is nested too deeply") from error
    except ValueError as error:
        # YAML's own conversions: a date in month 13, a number of thousands of digits.
        raise ConfigurationError(f"{_shown(source)}: holds a bad value: {error}") from error


def _yaml_reason(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return _one_line(f"{place}{reason}")


class _Reader:
    """Turns YAML nodes into values; nodes still know their lines and repeated keys."""

    def __init__(self, loader: yaml.SafeLoader, source: Path) -> None:
        self._loader = loader
        self._source = source

    def mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> Document:
        if len(path) > _MAPPING_DEPTH:
            raise self._error(node, path, "is nested too deeply")
        values: Document = {}
        spelled: dict[str, str] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            spelling = f"{key_node.value}:"
            if key in values:
                both = " and ".join(sorted({spelled[key], spelling}))
                raise self._error(key_node, (*path, key), f"is given twice (as {both})")
            spelled[key] = spelling
            values[key] = self._value(value_node, (*path, key))
        return values

    def _key(self, node: yaml.Node, path: tuple[str, ...]) -> str:
        key = self._loader.construct_object(node, deep=True)
        if not isinstance(key, str):
            reason = f"is a key that YAML reads as {_shown(key)}: put it in quotes"
            raise self._error(node, (*path, str(node.value)), reason)
        return key.removeprefix(":")

    def _value(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        value = self._loader.construct_object(node, deep=True)
        if not isinstance(value, str):
            return value
        if any(ord(character) < 32 or ord(character) == 127 for character in value):
            raise self._error(node, path, "holds a control character or a line break")
        return value[1:] if _SYMBOL.match(value) else value

    def _error(self, node: yaml.Node, path: tuple[str, ...], reason: str) -> ConfigurationError:
        place = f"{_shown(self._source)}: line {node.start_mark.line + 1}"
        key = f"{_dotted(path)} " if path else ""
        return ConfigurationError(f"{place}: {_one_line(key)}{reason}")


# ---- checking --------------------------------------------------------------------------


def _is_finite(_checker: object, value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# Draft 4 and not a later one: there 2.0 is no integer, and a boolean is never one.
_Validator: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft4Validator,
    type_checker=jsonschema.Draft4Validator.TYPE_CHECKER.redefine("number", _is_finite),
)


def _validate(written: Document, source: Path) -> None:
    errors = _Validator(schema()).iter_errors(written)
    first = min(errors, key=lambda error: [str(key) for key in error.absolute_path], default=None)
    if first is not None:
        raise ConfigurationError(f"{_shown(source)}: {_one_line(_reason(first))}")


def _reason(error: jsonschema.ValidationError) -> str:
    path = tuple(str(key) for key in error.absolute_path)
    if error.validator == "additionalProperties":
        return _unknown_key(path, error)
    if error.validator == "dependencies":
        return f"{_dotted(path)}: certificate and key must be given together"
    place = _dotted(path) or "the file"
    return f"{place} is {_shown(error.instance)}: must be {_allowed(_rules_at(path))}"


def _unknown_key(path: tuple[str, ...], error: jsonschema.ValidationError) -> str:
    known = list(_rules_at(path)["properties"])
    given: Any = error.instance
    unknown = next(key for key in given if key not in known)
    here = [_dotted((*path, key)) for key in known]
    name = _dotted((*path, unknown))
    near = _nearest(name, here) or _homonym(unknown) or _nearest(name, list(_leaves()))
    hint = f"did you mean {near}?" if near else f"allowed are {', '.join(here)}"
    return f"{name} is unknown: {hint}"


def _nearest(name: str, candidates: list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, candidates, n=1, cutoff=0.7)), None)


def _homonym(key: str) -> str | None:
    """Return where a key of this name belongs, when it was written in the wrong place."""
    return next((name for name in _leaves() if name.split(".")[-1] == key), None)


def _rules_at(path: tuple[str, ...]) -> Document:
    """Return what the schema says about one key, its references resolved."""
    rules = schema()
    for key in path:
        rules = rules.get("properties", {}).get(key) or rules["additionalProperties"]
    for part in rules.get("allOf", ()):
        rules = {**schema()["definitions"][part["$ref"].rsplit("/", 1)[-1]], **rules}
    return rules


_NAMES_OF_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "keys and values of its own",
    "string": "text",
}


def _allowed(rules: Document) -> str:
    if "enum" in rules:
        return " or ".join(rules["enum"])
    if "title" in rules:
        return str(rules["title"])
    kinds = rules["type"] if isinstance(rules["type"], list) else [rules["type"]]
    name = _NAMES_OF_TYPES[kinds[0]]
    if "minimum" in rules:
        return f"{name} from {rules['minimum']} to {rules['maximum']}"
    return name


def _shown(value: object) -> str:
    """Show a value in an error: short, on one line, without the credentials of a URL."""
    if isinstance(value, Path):
        return _one_line(str(value))
    text = json.dumps(value, default=str, ensure_ascii=False) if not _is_cyclic(value) else "…"
    text = _CREDENTIALS.sub("//***@", _one_line(text))
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _is_cyclic(value: object) -> bool:
    try:
        json.dumps(value, default=str)
    except (ValueError, TypeError, RecursionError):
        return True
    return False


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(path)


# ---- building --------------------------------------------------------------------------


def _leaves(rules: Document | None = None, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the dotted name of every key that holds a value."""
    rules = schema() if rules is None else rules
    if "properties" not in rules:
        yield _dotted(path)
    for key, below in rules.get("properties", {}).items():
        yield from _leaves(below, (*path, key))


def _configuration(source: Path | None, written: Document) -> Configuration:
    values = {name: _chosen(written, name) for name in _leaves()}
    values["mapping"] = values["mapping"] or {}
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
        capacity=_capacity(values),
        log=_log(values),
        context=Context(values["context.sr_auth"]),
        server=_server(values),
        limits=_limits(values),
        cache=Cache(values["cache.seconds"]),
        lease=Lease(values["lease.default_seconds"], values["lease.max_seconds"]),
        wait=Wait(values["wait.max_seconds"], values["wait.max_requests"]),
        lock=Lock(values["lock.stale_seconds"]),
        tls=_tls(values),
        _document=_shown_document(written),
    )


def _chosen(written: Document, name: str) -> Any:
    """Return the value of one key: the file's, else the schema's default, else None."""
    found, value = _lookup(written, name)
    return value if found else _rules_at(tuple(name.split("."))).get("default")


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
    """Check what the schema cannot say: the bounds that one key sets for another."""
    stale, least = values["lock.stale_seconds"], 2 * values["timeout"]
    if stale <= least:
        reason = f"must be more than twice the timeout, that is more than {least}"
        raise ConfigurationError(f"{source}: lock.stale_seconds is {stale}: {reason}")
    usual, longest = values["lease.default_seconds"], values["lease.max_seconds"]
    if usual is not None and longest is not None and usual > longest:
        reason = f"must be at most lease.max_seconds, which is {longest}"
        raise ConfigurationError(f"{source}: lease.default_seconds is {usual}: {reason}")


def _capacity(values: Document) -> Capacity:
    return Capacity(
        disk=Disk(values["capacity.disk.default"]),
        cpu=Cpu(values["capacity.cpu.default"], values["capacity.cpu.mult"]),
        memory=Memory(
            values["capacity.memory.default"],
            values["capacity.memory.mult"],
            values["capacity.memory.resize_mode"],
        ),
    )


def _log(values: Document) -> Log:
    directory = Path(values["log.directory"])
    return Log(values["log.level"], values["log.system"], directory, values["log.format"])


def _server(values: Document) -> Server:
    return Server(
        workers=values["server.workers"],
        threads=values["server.threads"],
        pid_file=Path(values["server.pid_file"]),
        grace_seconds=values["server.grace_seconds"],
    )


def _limits(values: Document) -> Limits:
    return Limits(
        body_bytes=values["limits.body_bytes"],
        oned_requests=values["limits.oned_requests"],
        oneflow_requests=values["limits.oneflow_requests"],
    )


def _tls(values: Document) -> Tls:
    paths = {key: values[f"tls.{key}"] for key in ("certificate", "key", "ca_file")}
    found = {key: Path(value) if value else None for key, value in paths.items()}
    return Tls(found["certificate"], found["key"], found["ca_file"], values["tls.verify"])


def _shown_document(written: Document) -> Document:
    document: Document = {}
    for name in _leaves():
        if name in CONTRACT_KEYS or _lookup(written, name)[0]:
            _put(document, name, _chosen(written, name))
    return document


def _put(document: Document, name: str, value: object) -> None:
    *sections, key = name.split(".")
    for section in sections:
        document = document.setdefault(section, {})
    document[key] = value
