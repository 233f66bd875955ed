"""engine.conf: what is accepted, what is rejected, and with which messages."""

from __future__ import annotations

import dataclasses
import json
from operator import attrgetter
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from provision_engine import config
from provision_engine.config import ConfigurationError, loading
from provision_engine.config.schema import leaves

SHIPPED = Path(__file__).parents[2] / "etc" / "engine.conf"
SOURCE = Path("/etc/x/engine.conf")


def parsed(text: str) -> config.Configuration:
    return config.parse(text, SOURCE)


def refused(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parsed(text)
    reason = str(caught.value)
    assert "\n" not in reason
    assert reason.startswith(f"{SOURCE}: ")
    return reason.removeprefix(f"{SOURCE}: ")


def without_colons(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.lstrip(":"): without_colons(item) for key, item in value.items()}
    return value


# ---- values ----------------------------------------------------------------------------


def test_everything_has_a_default() -> None:
    found = parsed("")
    assert found.one_xmlrpc == "http://localhost:2633/RPC2"
    assert found.oneflow_server == "http://localhost:2474"
    assert (found.host, found.port, found.timeout_seconds) == ("127.0.0.1", 1337, 30)
    assert found.mapping == {}
    assert found.capacity.default_disk_mb == 1024
    assert (found.capacity.default_cores, found.capacity.cores_multiplier) == (2, 2)
    assert (found.capacity.default_memory_mb, found.capacity.memory_multiplier) == (1024, 2)
    assert found.capacity.memory_resize_mode == "BALLOONING"
    assert (found.log.level, found.log.system) == (1, "file")
    assert found.log.directory == Path("/var/log/provision-engine")
    assert found.sr_auth is True
    assert found.server.workers >= 2
    assert found.server.pid_file == Path("/run/provision-engine/engine.pid")
    assert found.limits.body_bytes == 1_048_576
    assert found.cache_seconds == 10
    standby = found.standby
    assert (standby.flavours, standby.seconds, standby.max_runtimes) == ({}, 3600, 20)
    assert found.stale_lock_seconds > 2 * found.timeout_seconds
    assert (found.tls.certificate, found.tls.key, found.tls.ca_file) == (None, None, None)
    assert found.tls.verify is True


@pytest.mark.parametrize("text", ["", "---", "~", "# nothing\n", "capacity:\nlog:\n"])
def test_an_empty_file_and_empty_sections_are_all_defaults(text: str) -> None:
    assert dataclasses.asdict(parsed(text).capacity) == dataclasses.asdict(parsed("").capacity)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        (":capacity:\n  :cpu:\n    :mult: 5\n", "capacity.cores_multiplier", 5),
        (":capacity:\n  :cpu:\n    :mult: 5\n", "capacity.default_cores", 2),
        (":log:\n  :system: :syslog\n", "log.system", "syslog"),
        ("mapping:\n  :nature: 5\n  s3: 6\n", "mapping", {"nature": 5, "s3": 6}),
        ("host: ::1", "host", "::1"),  # no symbol
        ("server: {threads: 8}", "limits.oneflow_requests", 6),
        ("server: {threads: 1}", "limits.oned_requests", 1),
        # oned accepts 15 connections, and oneflow needs some for the engine's own requests.
        ("server: {workers: 1}", "limits.oned_requests", 10),
        ("server: {workers: 5}", "limits.oned_requests", 2),
        ("server: {workers: 8}", "limits.oned_requests", 2),
        # A lock is stale only when no update can still hold it.
        ("timeout: 100", "stale_lock_seconds", 260),
        ("lease: {default_seconds: 60, max_seconds: 60}", "lease.max_seconds", 60),
        ("standby: {flavours: }", "standby.flavours", {}),
        (":standby:\n  :flavours:\n    :nature: 2\n", "standby.flavours", {"nature": 2}),
        ("standby: {flavours: {nature: 3}, max: 3}", "standby.max_runtimes", 3),
        ("flavours: {publishers: [alice, 7]}", "publishers", ("alice", 7)),
        ("flavours: {publishers: }", "publishers", ()),
        ("oneflow_server: http://h:2474/", "oneflow_server", "http://h:2474"),
    ],
)
def test_a_value_is_read_or_follows_from_others(text: str, name: str, value: Any) -> None:
    assert attrgetter(name)(parsed(text)) == value


def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path: Path) -> None:
    file = tmp_path / "engine.conf"
    file.write_bytes(b"\xef\xbb\xbfport: 4000\n")
    assert config.load(file).port == 4000


def test_the_configuration_cannot_be_changed() -> None:
    found = parsed("mapping: {nature: 5}\nstandby: {flavours: {nature: 1}}")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.port = 1  # type: ignore[misc]
    for mapping in (found.mapping, found.standby.flavours):
        with pytest.raises(TypeError):
            mapping["nature"] = 6  # type: ignore[index]
    found.as_document()["mapping"]["nature"] = 6
    assert found.as_document()["mapping"] == found.mapping == {"nature": 5}


# ---- the document of /server/config ----------------------------------------------------


def test_the_document_equals_the_shipped_file() -> None:
    found = config.load(SHIPPED)
    assert found.as_document() == without_colons(yaml.safe_load(SHIPPED.read_text()))


def test_the_document_has_the_contract_keys_and_what_the_file_adds() -> None:
    text = "cache: {seconds: 3}\nmapping:\nstandby: {flavours: {nature-s3: 1}, max: 5}"
    document = parsed(text).as_document()
    assert document["cache"] == {"seconds": 3}
    assert document["standby"] == {"flavours": {"nature-s3": 1}, "max": 5}
    assert document["mapping"] is None
    assert document["capacity"]["memory"]["resize_mode"] == "BALLOONING"
    assert "server" not in document
    assert "standby" not in parsed("").as_document()
    assert "directory" not in document["log"]


def test_the_complete_document_has_every_value_in_force_but_no_path() -> None:
    text = "server: {threads: 8}\nlease: {max_seconds: 60}\nstandby: {flavours: }\nmapping:"
    found = parsed(text)
    document = found.as_document(has_all_keys=True)
    assert document["server"] == {
        "workers": found.server.workers,
        "threads": 8,
        "grace_seconds": 30,
        "trusted_proxies": [],
    }
    assert document["limits"]["oneflow_requests"] == 6
    assert document["wait"] == {"max_seconds": 60, "max_requests": 2}
    assert document["lock"] == {"stale_seconds": 120}
    assert document["lease"] == {"max_seconds": 60}
    assert document["log"] == {"level": 1, "system": "file", "format": "text"}
    assert (document["mapping"], document["standby"]["flavours"]) == ({}, {})
    assert document["tls"] == {"verify": True}
    jsonschema.Draft4Validator(config.schema()).validate(document)


@pytest.mark.parametrize(
    "validator",
    [jsonschema.Draft4Validator, jsonschema.Draft6Validator, jsonschema.Draft202012Validator],
)
def test_old_and_new_validators_accept_schema_and_document(validator: Any) -> None:
    validator.check_schema(config.schema())
    checker = validator(config.schema())
    checker.validate(config.load(SHIPPED).as_document())
    assert list(checker.iter_errors({"port": "1337"}))


def test_each_key_of_the_schema_is_described_and_each_default_is_valid() -> None:
    for name, rules in leaves().items():
        assert rules["description"].endswith("."), name
        if "default" in rules:
            sections = name.split(".")
            document: Any = rules["default"]
            for key in reversed(sections):
                document = {key: document}
            config.parse(json.dumps(document), SOURCE)


# ---- what is refused -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "value", "allowed"),
    [
        ("port: x", "port", '"x"', "an integer from 1 to 65535"),
        ("port: 0", "port", "0", "from 1 to 65535"),
        ("port: 65536", "port", "65536", "from 1 to 65535"),
        ("port: true", "port", "true", "an integer"),
        ("port: 80.0", "port", "80.0", "an integer"),
        ("port:", "port", "null", "an integer"),
        ("port: [1]", "port", "[1]", "an integer"),
        ("port: 2023-01-02", "port", '"2023-01-02"', "an integer"),
        ("timeout: .nan", "timeout", "NaN", "a number from 0.1 to 3600"),
        ("timeout: .inf", "timeout", "Infinity", "a number from 0.1 to 3600"),
        ("timeout: 0", "timeout", "0", "a number from 0.1"),
        ("timeout: yes", "timeout", "true", "a number"),
        ("host: a:1", "host", '"a:1"', "a host name or an IP address, without a port"),
        ("host: 7", "host", "7", "a host name"),
        ("one_xmlrpc: ftp://x", "one_xmlrpc", '"ftp://x"', "an http or https URL"),
        ("one_xmlrpc: http://h:99999", "one_xmlrpc", "99999", "an http or https URL"),
        ("oneflow_server: http://", "oneflow_server", '"http://"', "an http or https URL"),
        ("mapping: 3", "mapping", "3", "a mapping (keys and values)"),
        ("mapping: {nature: -1}", "mapping.nature", "-1", "from 0 to 2147483647"),
        ("mapping: {nature: '5'}", "mapping.nature", '"5"', "an integer"),
        ("capacity: {cpu: {mult: 2.5}}", "capacity.cpu.mult", "2.5", "from 1 to 1000"),
        ("capacity: {cpu: 3}", "capacity.cpu", "3", "a mapping (keys and values)"),
        ("capacity: {memory: {resize_mode: x}}", "resize_mode", '"x"', "BALLOONING or HOTPLUG"),
        ("log: {level: 4}", "log.level", "4", "from 0 to 3"),
        ("log: {system: journal}", "log.system", '"journal"', "file or syslog"),
        ("log: {directory: logs}", "log.directory", '"logs"', "an absolute path"),
        ("context: {sr_auth: 1}", "context.sr_auth", "1", "true or false"),
        ("server: {workers: 0}", "server.workers", "0", "from 1 to 64"),
        ("standby: 2", "standby", "2", "a mapping (keys and values)"),
        ("standby: {flavours: 2}", "standby.flavours", "2", "a mapping (keys and values)"),
        ("standby: {flavours: {nature: -1}}", "standby.flavours.nature", "-1", "from 0 to 1000"),
        ("standby: {flavours: {nature: x}}", "standby.flavours.nature", '"x"', "an integer"),
        ("standby: {seconds: 0}", "standby.seconds", "0", "an integer from 60 to 315360000"),
        ("standby: {max: -1}", "standby.max", "-1", "an integer from 0 to 100000"),
        ("cache: {seconds: -1}", "cache.seconds", "-1", "from 0 to 3600"),
        ("server: {trusted_proxies: 1}", "trusted_proxies", "1", "a list of IP addresses"),
        ("server: {trusted_proxies: [5]}", "trusted_proxies.0", "5", "an IP address, or a network"),
        ("server: {trusted_proxies: [x]}", "trusted_proxies.0", '"x"', "such as 10.0.0.0/8"),
        ("server: {trusted_proxies: [10.0.0.5/8]}", "proxies.0", "0.5/8", "such as 10.0.0.0/8"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_what_is_allowed(
    text: str, key: str, value: str, allowed: str
) -> None:
    reason = refused(text)
    assert key in reason.partition(" is ")[0]
    assert value in reason
    assert allowed in reason.partition("must be ")[2]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("prot: 3", "prot is unknown: did you mean port?"),
        ("capacity: {cpus: {}}", "capacity.cpus is unknown: did you mean capacity.cpu?"),
        ("standby: {nature: 2}", "standby.nature is unknown: did you mean standby.flavours?"),
        ("level: 3", "level is unknown: did you mean log.level?"),
        ("log: {xyzzy: 3}", "allowed are log.level, log.system, log.format, log.directory"),
        ("a: [", "is not YAML: line 1, column 5"),
        ("port: 1\n\tx: 2", "is not YAML: line 2"),
        ("a: 1\n--- \nb: 2", "is not YAML: line 2"),
        ("port: !!python/object/apply:os.system [ls]", "is not YAML: line 1"),
        ("port: 1\nport: 2", "line 2: port is given twice (as port:)"),
        ("port: 1\n:port: 2", "line 2: port is given twice (as :port: and port:)"),
        ("log: {level: 1, ':level': 2}", "log.level is given twice"),
        ("- a", "must be a mapping"),
        ("text", "must be a mapping"),
        ("mapping: {1: 2}", "mapping.1 is a key that YAML reads as 1: put it in quotes"),
        ("mapping: {no: 2}", "mapping.no is a key that YAML reads as false: put it in quotes"),
        ("a: &a {b: *a}", "is nested too deeply"),
        ("a: " + "[" * 20_000, "is nested too deeply"),
        ("port: 2023-13-45", "month must be in 1..12"),
        ('host: "a\\nb"', "line 1: host contains a control character or a line break"),
        ("tls: {key: /a}", "tls: certificate and key must be given together"),
        (
            "timeout: 100\nlock: {stale_seconds: 200}",
            "lock.stale_seconds is 200: must be more than twice the timeout, that is more than 200",
        ),
        (
            "lease: {default_seconds: 61, max_seconds: 60}",
            "lease.default_seconds is 61: must be at most lease.max_seconds, which is 60",
        ),
        (
            "standby: {flavours: {nature: 3}, max: 2}",
            "standby.flavours.nature is 3: must be at most standby.max, which is 2",
        ),
    ],
)
def test_an_invalid_file_is_rejected(text: str, reason: str) -> None:
    assert reason in refused(text)


def test_all_errors_are_reported_each_in_a_line_of_its_own() -> None:
    text = """
prot: 1
:port: x
timeout: 0
host: "a\\nb"
timeout: 5
mapping: {1: 2, nature: -1}
lock: {stale_seconds: 10}
log: {levl: 1, systm: 2, level: 9}
lease: {default_seconds: 61, max_seconds: 60}
tls: {key: /a}
"""
    with pytest.raises(ConfigurationError) as caught:
        parsed(text)
    lines = [str(line).removeprefix(f"{SOURCE}: ") for line in caught.value.args]
    assert [" ".join(line.split()[:5]) for line in lines] == [
        "line 5: host contains a",
        "line 6: timeout is given",
        "line 7: mapping.1 is a",
        "prot is unknown: did you",
        "log.levl is unknown: did you",
        "log.systm is unknown: did you",
        "log.level is 9: must be",
        "mapping.nature is -1: must be",
        'port is "x": must be',
        "timeout is 0: must be",
        "tls: certificate and key must",
        "lease.default_seconds is 61: must be",
    ]
    assert all("\n" not in line for line in lines)


def test_a_file_full_of_errors_does_not_flood_a_terminal() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parsed("\n".join(f"unheard{n}: 1" for n in range(500)))
    assert caught.value.args[-1] == f"{SOURCE}: 480 more mistakes"
    assert len(caught.value.args) == 21


@pytest.mark.parametrize(
    ("text", "pid_file", "grace_seconds"),
    [
        ("prot: 3", "/run/provision-engine/engine.pid", 30),
        ("server:\n  pid_file: /x/y.pid # z\n  grace_seconds: 7\nport: [", "/x/y.pid", 7),
        (":server:\n  # :pid_file: /no\n  :pid_file: '/x/y'\n\tport: 1", "/x/y", 30),
        ("server: {pid_file: /x/y, grace_seconds: 8, prot: 1}", "/x/y", 8),
        ("server: {pid_file: relative, grace_seconds: -1}", "/run/provision-engine/engine.pid", 30),
    ],
)
def test_a_file_with_mistakes_still_leads_to_the_running_engine(
    tmp_path: Path, text: str, pid_file: str, grace_seconds: int
) -> None:
    file = tmp_path / "engine.conf"
    file.write_text(text)
    with pytest.raises(ConfigurationError):
        config.load(file)
    found = config.salvage(file)
    assert found.path == file
    assert (str(found.server.pid_file), found.server.grace_seconds) == (pid_file, grace_seconds)


def test_an_error_is_short_whatever_the_value() -> None:
    assert len(refused("port: " + "x" * 5000)) < 300
    assert "\u2028" not in refused('port: "a\u2028b"')


@pytest.mark.parametrize(
    "url", ["http://user:pass9@host/RPC2", "http://user:pass9/x@host", "https://h/?token=pass9"]
)
def test_urls_carry_no_secrets_and_none_is_shown(url: str) -> None:
    reason = refused(f"one_xmlrpc: {url}")
    assert "without user, password" in reason
    assert "user:pass9" not in reason


# ---- which file ------------------------------------------------------------------------


def test_the_argument_comes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "one.conf", tmp_path / "other.conf"
    one.write_text("port: 4001\n")
    other.write_text("port: 4002\n")
    monkeypatch.setenv(config.ENVIRONMENT_VARIABLE, str(one))
    assert config.load().port == 4001
    assert config.load(other).port == 4002
    assert config.load(other).path == other


def test_only_the_default_file_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "missing.conf"
    monkeypatch.delenv(config.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(loading, "DEFAULT_PATH", missing)
    assert config.load().path is None
    missing.write_text("port: 4003\n")
    assert config.load().port == 4003
    missing.unlink()
    with pytest.raises(ConfigurationError, match=r"missing\.conf: cannot be read: No such file"):
        config.load(missing)
    monkeypatch.setenv(config.ENVIRONMENT_VARIABLE, str(missing))
    with pytest.raises(ConfigurationError, match="No such file"):
        config.load()
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        config.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"port: 1\nhost: \xff\n", "line 2: is not UTF-8"),
        (b"#" * 1_048_577, "is longer than"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_rejected(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    file = tmp_path / "engine.conf"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason):
        config.load(file)
