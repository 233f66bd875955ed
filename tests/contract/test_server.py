"""The engine's information about itself, and its logs."""

from __future__ import annotations

import json
import logging
import re
import socket
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from provision_engine import config, log
from tests.support.client import Json, authorization, schema
from tests.support.engine import engine_in_process
from tests.support.waiting import WAIT_SECONDS

from .device import PATH, WRONG, Device, Stage, small


def test_the_version_is_a_semantic_version(device: Device) -> None:
    answer = device.request("GET", "/server/version", user=None)
    assert answer.status == 200
    assert re.fullmatch(r"\d+\.\d+\.\d+([-+][0-9A-Za-z.-]+)?", answer.json)


@pytest.mark.parametrize("path", ["/", PATH, f"{PATH}/schema", f"{PATH}/999999", "/nothing"])
def test_a_head_is_answered_as_a_get_but_without_a_body(device: Device, path: str) -> None:
    """Read from the connection itself: HTTP clients look for no body."""
    login = authorization(device.user)["Authorization"]
    fields = f"Host: x\r\nConnection: close\r\nAuthorization: {login}"
    with socket.create_connection(("127.0.0.1", device.port), WAIT_SECONDS) as connection:
        connection.sendall(f"HEAD {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode())
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, end, body = received.partition(b"\r\n\r\n")
    assert (end, body) == (b"\r\n\r\n", b"")
    assert int(head.split()[1]) == device.request("GET", path).status


def test_the_schema_is_the_one_of_the_file(device: Device) -> None:
    answer = device.request("GET", f"{PATH}/schema", user=None)
    assert answer.status == 200
    assert answer.json == schema("serverless_runtime")


@pytest.mark.parametrize("name", ["serverless_runtime", "config", "error"])
@pytest.mark.parametrize("draft", [jsonschema.Draft4Validator, jsonschema.Draft6Validator])
def test_the_schemas_are_valid_in_draft_4_to_6(name: str, draft: Any) -> None:
    read = schema(name)
    draft.check_schema(read)
    newer = {"const", "contains", "if", "then", "else", "propertyNames", "$defs", "examples"}
    assert not newer & set(re.findall(r'"([$\w]+)":', json.dumps(read)))


def test_the_configuration_matches_its_schema_and_has_no_colons(device: Device) -> None:
    answer = device.request("GET", "/server/config", user=None)
    assert answer.status == 200
    jsonschema.Draft4Validator(schema("config")).validate(answer.json)
    assert {"one_xmlrpc", "oneflow_server", "port", "timeout", "mapping", "capacity"} <= set(
        answer.json
    )
    assert '":' not in re.sub(r'":', "", answer.text).replace('":', "")
    assert not [key for key in answer.json if key.startswith(":")]


@pytest.mark.parametrize("style", [":%s", "%s"])
def test_the_configuration_equals_a_file_that_sets_every_key(
    stage: Stage, device: Device, style: str
) -> None:
    def keyed(members: Json) -> Json:
        return {style % k: keyed(v) if isinstance(v, dict) else v for k, v in members.items()}

    every_key = {
        "host": "127.0.0.1",
        "port": 1337,
        "timeout": 17,
        "mapping": {"nature": 5},
        "capacity": {
            "disk": {"default": 2000},
            "cpu": {"default": 3, "mult": 4},
            "memory": {"default": 99, "mult": 5, "resize_mode": "HOTPLUG"},
        },
        "log": {"level": 2, "system": "file"},
    }
    urls = {"one_xmlrpc": stage.oned_url, "oneflow_server": stage.oneflow_url}
    with engine_in_process(urls | keyed(every_key)) as url:
        assert stage.device(url=url).request("GET", "/server/config").json == urls | every_key


def test_the_configuration_in_force_is_shown_on_request(device: Device) -> None:
    usual, complete = (
        device.request("GET", "/server/config", user=None, query=query).json
        for query in ({"all": "false"}, {"all": "true"})
    )
    jsonschema.Draft4Validator(schema("config")).validate(complete)
    assert {"limits", "standby"} <= complete.keys() - usual.keys()
    answer = device.request("GET", "/server/config", user=None, query={"all": "x"})
    assert (answer.status, answer.json["message"]) == (400, "?all=x: must be true or false")


@pytest.fixture
def logs(tmp_path: Path) -> Any:
    """The log files of all engines in this process, at debug level."""
    log.start(config.parse(f"log: {{level: 0, directory: {tmp_path}}}\n", tmp_path / "c").log)
    yield tmp_path
    log.stop()
    for logger in (log.engine, log.cloud, log.access):
        logger.setLevel(logging.NOTSET)


def test_an_unknown_member_is_a_warning_in_the_log(device: Device, logs: Path) -> None:
    with device.another_engine() as local:
        local.delete(local.create(FAAS=small(GPU=1), UNHEARD="x")["ID"])
    warnings = [w for w in (logs / "engine.log").read_text().split("\n") if w.startswith("W,")]
    assert any("FAAS.GPU" in warning for warning in warnings)
    assert any("UNHEARD" in warning for warning in warnings)


def test_the_lines_of_a_request_carry_its_id(device: Device, logs: Path) -> None:
    with device.another_engine() as local:
        local.get(999_999, headers={"X-Request-ID": "lamp-7"})
    for name in ("engine.log", "CloudClient.log"):
        assert " -- lamp-7: " in (logs / name).read_text()


def test_the_lines_of_a_request_say_who_it_was_and_what_it_made(device: Device, logs: Path) -> None:
    with device.another_engine() as local:
        made = local.create(FAAS=small(), NAME="lamp")["ID"]
        local.request("GET", f"{PATH}/{made}", user=WRONG)
        local.delete(made)
    text, user = (logs / "engine.log").read_text(), device.user.name
    assert f"Received request to Create a Serverless Runtime (client=127.0.0.1 user={user})" in text
    assert f": Created runtime {made}: flavour {small()['FLAVOUR']}, name lamp\n" in text
    who = f"(client=127.0.0.1 user={user} runtime={made})\n"
    for start in (
        "Response HTTP Return Code: 201",
        f"Received request to Read a Serverless Runtime {made}",
        "Response HTTP Return Code: 401",
        f"Received request to Delete a Serverless Runtime {made}",
        "Response HTTP Return Code: 204",
    ):
        assert f": {start} {who}" in text
