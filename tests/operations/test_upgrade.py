"""The Ruby engine's configuration and documents, used by this engine."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from provision_engine import config
from provision_engine.app import create_app
from provision_engine.cloud import template
from provision_engine.cloud.client import Backends, CloudClient, Credentials
from provision_engine.cloud.enums import DocumentType
from provision_engine.deadline import Deadline
from provision_engine.sandbox import Sandbox

LOGIN = {"Authorization": "Basic " + base64.b64encode(b"devuser:devpass").decode()}
RUBY = """\
:one_xmlrpc: {oned}
:oneflow_server: {oneflow}
:host: 127.0.0.1
:port: 1337
:timeout: 30
:mapping:
  :nature: {nature}
:capacity:
  :disk:
    :default: 1024
  :cpu:
    :default: 2
    :mult: 2
  :memory:
    :default: 1024
    :mult: 2
    :resize_mode: BALLOONING
:log:
  :level: 2
  :system: file
"""


@pytest.fixture(params=["6.8.0", "7.4.0"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(release=request.param) as sandbox:
        yield sandbox


@pytest.fixture
def configuration(sandbox: Sandbox) -> config.Configuration:
    text = RUBY.format(
        oned=sandbox.oned_url,
        oneflow=sandbox.oneflow_url,
        nature=sandbox.store.flow_templates()["nature"],
    )
    return config.parse(text, Path("engine.conf"))


@pytest.fixture
def cloud(configuration: config.Configuration) -> CloudClient:
    credentials = Credentials("devuser", "devpass")
    return CloudClient(Backends(configuration), credentials, Deadline(20))


@pytest.fixture
def old(sandbox: Sandbox, cloud: CloudClient) -> int:
    """A runtime as the Ruby engine stored it: ids are strings, and there is no ENGINE."""
    number = sandbox.store.flow_templates()["nature"]
    answer = requests.post(
        f"{sandbox.oneflow_url}/service_template/{number}/action",
        json={"action": {"perform": "instantiate", "params": {"merge_template": {}}}},
        auth=("devuser", "devpass"),
        timeout=10,
    )
    service = int(answer.json()["DOCUMENT"]["ID"])
    for _ in cloud.deadline.polls():
        if vms := [
            vm for vm in sandbox.store.live_vms() if sandbox.store.vm_state(vm.id) == "RUNNING"
        ]:
            break
    body = {
        "NAME": "old",
        "FAAS": {
            "FLAVOUR": "nature",
            "CPU": 1,
            "MEMORY": 128,
            "DISK_SIZE": 1024,
            "VM_ID": str(vms[0].id),
            "STATE": "PENDING",
            "ENDPOINT": "",
        },
        "SCHEDULING": {},
        "DEVICE_INFO": {"GEOGRAPHIC_LOCATION": "Madrid"},
        "SERVICE_ID": str(service),
    }
    document = template.document("old", json.dumps(body))
    return cloud.oned.allocate_document(document, DocumentType.RUNTIME)


def test_the_configuration_is_read_and_shown_without_colons(
    configuration: config.Configuration,
) -> None:
    shown = configuration.as_document()
    assert (shown["timeout"], shown["log"]["level"]) == (30, 2)
    assert list(shown["mapping"]) == ["nature"]


def test_an_old_runtime_is_read_changed_and_deleted(
    configuration: config.Configuration, old: int, sandbox: Sandbox
) -> None:
    client = create_app(configuration).test_client()
    path = f"/serverless-runtimes/{old}"

    def runtime(answer: Any) -> Any:
        assert answer.status_code == 200, answer.data
        return answer.get_json()["SERVERLESS_RUNTIME"]

    seen = runtime(client.get(path, headers=LOGIN))
    assert (seen["NAME"], seen["FAAS"]["STATE"]) == ("old", "RUNNING")
    assert type(seen["SERVICE_ID"]) is type(seen["FAAS"]["VM_ID"]) is int
    assert seen["FAAS"]["ENDPOINT"]
    listed = client.get("/serverless-runtimes", headers=LOGIN).get_json()
    assert [entry["SERVERLESS_RUNTIME"]["ID"] for entry in listed] == [old]
    change = json.dumps({"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "", "MEMORY": 256}}})
    changed = runtime(client.put(path, headers=LOGIN, data=change))
    assert changed["FAAS"]["MEMORY"] == 256
    assert changed["DEVICE_INFO"] == {"GEOGRAPHIC_LOCATION": "Madrid"}
    assert client.delete(path, headers=LOGIN).status_code == 204
    assert sandbox.store.documents(DocumentType.RUNTIME) == []


def test_a_new_runtime_has_the_members_that_the_old_engine_reads(
    configuration: config.Configuration, cloud: CloudClient
) -> None:
    client = create_app(configuration).test_client()
    body = json.dumps({"SERVERLESS_RUNTIME": {"FAAS": {"FLAVOUR": "nature"}}})
    made = client.post("/serverless-runtimes", headers=LOGIN, data=body).get_json()
    number = made["SERVERLESS_RUNTIME"]["ID"]
    kept = cloud.oned.document(number).body
    assert {"FAAS", "SERVICE_ID", "SCHEDULING", "DEVICE_INFO"} <= kept.keys()
    assert {"FLAVOUR", "CPU", "MEMORY", "DISK_SIZE", "VM_ID"} <= kept["FAAS"].keys()
    assert kept.keys() - {"FAAS", "SERVICE_ID", "SCHEDULING", "DEVICE_INFO"} == {"ENGINE"}
