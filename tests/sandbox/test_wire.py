"""The wire format: requests that are not pyone's, and the bytes of responses."""

from __future__ import annotations

import json
import xmlrpc.client
from collections.abc import Iterator

import pytest

from provision_engine.sandbox import ManualClock, Sandbox, rpc
from provision_engine.sandbox.errors import RpcFault

from .client import SLOW_STEPS, Caller, pass_time, vm_of


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(clock=ManualClock(), timings=SLOW_STEPS) as running:
        yield running


@pytest.mark.parametrize(
    "values", [("a:b", 1, True, "x"), ("", -5, False, "a<&>\"'b"), ("é", 2147483647, True, "\n\t")]
)
def test_reads_what_the_library_writes(values: tuple[str, int, bool, str]) -> None:
    body = xmlrpc.client.dumps(values, "one.x").encode()
    method, parameters = rpc.read(body)
    assert (method, tuple(parameters)) == ("one.x", values)
    assert [type(p) for p in parameters] == [type(v) for v in values]


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("<value>bare</value>", "bare"),
        ("<value><string><![CDATA[<x>]]></string></value>", "<x>"),
        ("<value><string>a&#65;</string></value>", "aA"),
        ("<value><string>a\r\nb\rc</string></value>", "a\nb\nc"),
        ("<value><double>1.5</double></value>", 1.5),
        ("<value><i4>7</i4></value>", 7),
    ],
)
def test_reads_other_forms(value: str, read: object) -> None:
    params = f"<params><param>{value}</param></params>"
    text = f"<methodCall><methodName>m</methodName>{params}</methodCall>"
    assert rpc.read(text.encode()) == ("m", [read])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"\xff\xfe",
        b"<methodCall><methodName>m</methodName><params>",
        b"<methodResponse><params></params></methodResponse>",
        b"<a>\x01</a>",
        b"<methodCall><methodName>m</methodName><params><param><value><string>&#128578;</string>"
        b"</value></param></params></methodCall>",
    ],
)
def test_malformed_calls(body: bytes) -> None:
    with pytest.raises(RpcFault) as fault:
        rpc.read(body)
    assert fault.value.code == -503


def test_writes_as_oned_does() -> None:
    assert rpc.result([True, "a<b", 0]) == (
        b'<?xml version="1.0" encoding="UTF-8"?>\r\n<methodResponse>\r\n<params>\r\n<param><value>'
        b"<array><data>\r\n<value><boolean>1</boolean></value>\r\n"
        b"<value><string>a&lt;b</string></value>\r\n<value><i4>0</i4></value>\r\n"
        b"</data></array></value></param>\r\n</params>\r\n</methodResponse>\r\n"
    )


def test_writes_the_results_of_a_multicall_as_oned_does() -> None:
    fault = rpc.written(RpcFault(-506, "Method 'x' not defined"))
    refused = rpc.written([[False, "no", 512, -1, rpc.Long(-1)]])
    assert rpc.results([refused.encode(), fault.encode()]) == (
        b'<?xml version="1.0" encoding="UTF-8"?>\r\n<methodResponse>\r\n<params>\r\n<param><value>'
        b"<array><data>\r\n<value><array><data>\r\n<value><array><data>\r\n"
        b"<value><boolean>0</boolean></value>\r\n<value><string>no</string></value>\r\n"
        b"<value><i4>512</i4></value>\r\n<value><i4>-1</i4></value>\r\n"
        b"<value><i8>-1</i8></value>\r\n</data></array></value>\r\n</data></array></value>\r\n"
        b"<value><struct>\r\n<member><name>faultCode</name>\r\n<value><i4>-506</i4></value>"
        b"</member>\r\n<member><name>faultString</name>\r\n"
        b"<value><string>Method 'x' not defined</string></value></member>\r\n</struct></value>\r\n"
        b"</data></array></value></param>\r\n</params>\r\n</methodResponse>\r\n"
    )


def test_clone_and_update_of_a_service_template(sandbox: Sandbox) -> None:
    caller = Caller(sandbox)
    path = f"/service_template/{sandbox.store.flow_templates()['nature']}/action"
    clone = {"action": {"perform": "clone", "params": {"name": "copy"}}}
    status, answer = caller.flow("POST", path, clone)
    assert (status, answer["DOCUMENT"]["NAME"]) == (201, "copy")
    role = answer["DOCUMENT"]["TEMPLATE"]["BODY"]["roles"][0]
    assert sandbox.store.vm_template(role["template_id"]).name == "Function-copy"
    path = f"/service_template/{answer['DOCUMENT']['ID']}"
    params = {"template_json": '{"description": "x"}', "append": True}
    change = {"action": {"perform": "update", "params": params}}
    assert caller.flow("POST", f"{path}/action", change)[0] == 204
    shown = caller.flow("GET", path)[1]
    assert shown["DOCUMENT"]["TEMPLATE"]["BODY"]["description"] == "x"
    broken = {"action": {"perform": "update", "params": {"template_json": "{"}}}
    assert caller.flow("POST", f"{path}/action", broken)[0] == 400


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"roles": []}, "Mandatory document key 'name (string)' is missing from"),
        ({"name": "x"}, "Mandatory document key 'roles (array)' is missing from"),
        ({"name": "x", "roles": [{"template_id": 0}]}, "Mandatory document key 'type (string)'"),
    ],
)
def test_wrong_service_templates(sandbox: Sandbox, body: object, message: str) -> None:
    status, text = Caller(sandbox).flow("POST", "/service_template", body)
    assert (status, text.startswith(message)) == (400, True)


def test_services_belong_to_their_owner(sandbox: Sandbox) -> None:
    service = Caller(sandbox).instantiate()
    pass_time(sandbox, 5)
    stranger = Caller(sandbox, "other")
    assert stranger.flow("DELETE", f"/service/{service}")[0] == 401
    assert stranger.act(service, "recover", delete=True)[0] == 401
    Caller(sandbox).act(service, "chmod", octet="644")
    assert stranger.flow("GET", f"/service/{service}")[0] == 200
    status, text = stranger.flow("DELETE", f"/service/{service}")
    assert (status, text.startswith("Error undeploying role FAAS")) == (500, True)
    assert sandbox.store.vm_state(vm_of(sandbox, service)) == "RUNNING"
    assert stranger.act(service, "rename", name="mine")[0] == 401


def test_a_changed_body_is_seen_by_both(sandbox: Sandbox) -> None:
    """A service's document may be changed through oned; oneflow uses the new body."""
    service = Caller(sandbox).instantiate()
    pass_time(sandbox, 5)
    body = sandbox.store.service(service)
    assert body is not None
    changed_body = json.dumps({"state": 2, "roles": body["roles"], "mark": 1})
    text = f"<T><BODY><![CDATA[{changed_body}]]></BODY></T>"
    Caller(sandbox).good("document.update", service, text, 0)
    Caller(sandbox).good("vm.action", "poweroff", vm_of(sandbox, service))
    pass_time(sandbox, 2)
    changed = sandbox.store.service(service)
    assert changed is not None
    assert (changed["mark"], changed["state"]) == (1, 4)


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ("CPU=x", "CPU attribute must be a positive float"),
        ("CPU=nan", "CPU attribute must be a positive float"),
        ('DISK=[IMAGE="img",SIZE="x"]', "SIZE attribute must be a positive integer"),
        ("CPU=-1", "CPU attribute must be a positive float"),
        ("MEMORY=0", "MEMORY attribute must be a positive integer"),
        ("VCPU=1.5", "VCPU attribute must be a positive integer"),
        ('DISK=[IMAGE="other"]', "does not own an image with name: other"),
        ('NIC=[NETWORK="other"]', "does not own a network with name: other"),
    ],
)
def test_vms_that_cannot_be_created(sandbox: Sandbox, extra: str, why: str) -> None:
    code, message = Caller(sandbox).refused("template.instantiate", 0, "", False, extra, False)
    assert (code, why in message) == (0x4000, True)
    assert sandbox.store.live_vms() == []


def test_several_disks_and_nics(sandbox: Sandbox) -> None:
    extra = (
        'DISK=[IMAGE="img"]\nDISK=[SIZE="10",TYPE="fs"]\nNIC=[NETWORK="net"]\nNIC=[NETWORK="net"]'
    )
    vm = Caller(sandbox).good("template.instantiate", 0, "", False, extra, False)
    shown = sandbox.store.vm_xml(vm)
    assert [shown.count(t) for t in ("<DISK>", "<NIC>", "<ETH1_IP>")] == [2, 2, 1]
    assert "<TARGET><![CDATA[sdb]]></TARGET>" in shown
    assert "<CONTEXT><DISK_ID><![CDATA[2]]></DISK_ID>" in shown
