"""What no recording shows: the rest, `test_replay.py` compares with real installations."""

from __future__ import annotations

import re
import socket
import xmlrpc.client
from typing import Any

import pyone
import pytest

from provision_engine.sandbox import ManualClock, Sandbox, rpc
from provision_engine.sandbox.errors import RpcFault
from provision_engine.sandbox.expressions import ExpressionError, compile_requirements
from tests.support.opennebula import RUNTIME, SERVICE_RUNS, OpenNebula
from tests.support.users import ADMINISTRATOR, USER, User
from tests.support.waiting import WAIT_SECONDS


def seen_by(sandbox: Sandbox, user: User = USER) -> OpenNebula:
    return OpenNebula(sandbox.oned_url, sandbox.oneflow_url, user)


def started(sandbox: Sandbox, flow_template: str = "Function", **merged: Any) -> int:
    """The id of a service that the user has started."""
    return seen_by(sandbox).start_service(
        sandbox.store.flow_templates()[flow_template], "started", **merged
    )


def pass_time(sandbox: Sandbox, seconds: float) -> None:
    """Advance the sandbox's manual clock."""
    clock = sandbox.world.store.agenda.clock
    assert isinstance(clock, ManualClock)
    clock.advance(seconds)


# ---- services and VMs ----------------------------------------------------------------------------


def test_roles_are_merged_by_position_in_6_and_by_name_in_7(sandbox: Sandbox) -> None:
    is_six = sandbox.world.store.release.version.startswith("6")
    member = "vm_template_contents" if is_six else "template_contents"
    contents = {
        name: f'CPU="{cpu}"' if is_six else {"CPU": cpu}
        for name, cpu in (("DAAS", "3"), ("FAAS", "2"))
    }
    roles = [{"name": name, member: content} for name, content in contents.items()]
    service_id = started(sandbox, "Function-Data", roles=roles)
    pass_time(sandbox, 2)
    names = [role["name"] for role in (sandbox.store.service(service_id) or {})["roles"]]
    vm_ids = seen_by(sandbox).service_vm_ids(service_id)
    found = dict(zip(names, [sandbox.store.vm(vm_id).cpu for vm_id in vm_ids], strict=True))
    assert list(found.items()) == [("DAAS", 3), ("FAAS", 2)][:: 1 if is_six else -1]


def test_a_role_waits_for_its_parents(sandbox: Sandbox) -> None:
    number = sandbox.store.add_flow_template("family", [("DAAS", 1), ("FAAS", 0)])
    document = sandbox.world.store.documents.get(number)
    body = document.template.text("BODY") or ""
    of_child = '{"name":"FAAS","parents":["DAAS"],'
    document.template.set("BODY", body.replace('{"name":"FAAS",', of_child))
    service_id = started(sandbox, "family")
    pass_time(sandbox, 0.1)
    assert len(sandbox.store.live_vms()) == 1
    pass_time(sandbox, 10)
    assert len(sandbox.store.live_vms()) == 2
    assert seen_by(sandbox).service_state(service_id) == SERVICE_RUNS


@pytest.mark.parametrize(("is_automatic", "left"), [(True, -1), (False, SERVICE_RUNS)])
def test_a_service_may_end_with_its_last_vm(
    sandbox: Sandbox, is_automatic: bool, left: int
) -> None:
    service_id = started(sandbox, automatic_deletion=is_automatic)
    pass_time(sandbox, 5)
    one = seen_by(sandbox)
    one.call("vm.action", "terminate-hard", *one.service_vm_ids(service_id))
    pass_time(sandbox, 5)
    assert one.service_state(service_id) == left


HOST = {"NAME": "host00", "FREE_CPU": "300", "CLUSTERS": "0,1", "ID": "0"}
REQUIREMENTS = {
    "": True,
    "free_cpu<301": True,
    "FREE_CPU > 300": False,
    'NAME = "host*"': True,
    "NAME != host00": False,
    "ENERGY!=50": False,
    "!(ENERGY=50)": True,
    "FREE_CPU > 10 & NAME = host01": False,
    "FREE_CPU > 10 | NAME = host01": True,
    "(ENERGY=50 | ID=0) & !(NAME=host01)": True,
    "CLUSTERS @> 1": True,
}


def test_requirements_choose_hosts() -> None:
    found = {expression: compile_requirements(expression)(HOST) for expression in REQUIREMENTS}
    assert found == REQUIREMENTS
    for expression in ("NO SUCH (", "(", "A", "A=", "A=1 &", "A=1)", "A ~ 1"):
        with pytest.raises(ExpressionError):
            compile_requirements(expression)


# ---- the wire ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"not xml", b"\xff\xfe", b"<a>\x01</a>"),
        b"<methodCall><methodName>m</methodName><params>",
        b"<methodResponse><params></params></methodResponse>",
        b"<methodCall><methodName>m</methodName><params><param><value><string>&#128578;</string>"
        b"</value></param></params></methodCall>",
    ],
)
def test_a_malformed_call_is_a_fault(body: bytes) -> None:
    with pytest.raises(RpcFault) as fault:
        rpc.read(body)
    assert fault.value.code == -503


@pytest.mark.parametrize("way", ["Transfer-Encoding: chunked", "Expect: 100-continue"])
def test_a_body_may_be_sent_in_other_ways(sandbox: Sandbox, way: str) -> None:
    body = xmlrpc.client.dumps((USER.session,), "one.system.version")
    head = f"POST /RPC2 HTTP/1.1\r\n{way}\r\nContent-Length: {len(body)}\r\n\r\n"
    if "chunked" in way:
        head = f"POST /RPC2 HTTP/1.1\r\n{way}\r\n\r\n"
        body = "".join(f"{len(p):x}\r\n{p}\r\n" for p in (body[:20], body[20:])) + "0\r\n\r\n"
    port = int(sandbox.oned_url.rsplit(":", 1)[1].split("/")[0])
    with socket.create_connection(("127.0.0.1", port), WAIT_SECONDS) as connection:
        connection.sendall((head + body).encode())
        received = b""
        while b"</methodResponse>" not in received:
            received += connection.recv(65_536)
    assert sandbox.world.store.release.version.encode() in received


def test_pyone_reads_every_pool(sandbox: Sandbox) -> None:
    sandbox.store.populate(users=0, runtimes=3, flow_templates=0)
    one: Any = pyone.OneServer(sandbox.oned_url, session=ADMINISTRATOR.session)
    assert len(one.vmpool.info(-2, -1, -1, -1).VM) == 3
    assert len(one.vmpool.infoextended(-2, -1, -1, -1).VM) == 3
    assert len(one.vmpool.infoset("0,2", True).VM) == 2
    assert len(one.documentpool.info(-2, -1, -1, RUNTIME).DOCUMENT) == 3
    assert len(one.templatepool.info(-2, -1, -1).VMTEMPLATE) == 3
    assert ADMINISTRATOR.name == one.user.info(-1).NAME
    found = one.vm.info(0)
    assert (found.LCM_STATE, found.TEMPLATE["NIC"]["IP"]) == (3, "10.0.0.1")
    assert found.HISTORY_RECORDS.HISTORY[-1].HOSTNAME.startswith("host")
    with pytest.raises(pyone.OneNoExistsException):
        one.document.info(99_999)


# ---- large numbers -------------------------------------------------------------------------------


def test_populated_runtimes_are_complete(sandbox: Sandbox) -> None:
    sandbox.store.populate(
        users=2, runtimes=3, flow_templates=1, body=lambda name, service, vm: f"{service} {vm}"
    )
    one = seen_by(sandbox, User("user0", "pass0"))
    pool = one.call("documentpool.info", -3, -1, -1, RUNTIME)
    assert re.findall(r"<NAME>(runtime\d)</NAME>", pool) == ["runtime2", "runtime0"]
    service_id, vm_id = map(int, re.findall(r"<BODY><!\[CDATA\[(\d+) (\d+)\]\]>", pool)[0])
    assert one.vm_state(vm_id) == "RUNNING"
    assert one.service_state(service_id) == SERVICE_RUNS
    assert one.start_service(one.flow_template_id("flavour0"), "new") > service_id


def test_calls_record_their_sizes(sandbox: Sandbox) -> None:
    """So that a range or a page of a large pool is seen to be small."""
    sandbox.store.populate(users=1, runtimes=500, flow_templates=0)
    ids = [document.id for document in sandbox.store.documents()]
    one = seen_by(sandbox, User("user0", "pass0"))
    text = one.call("documentpool.info", -3, ids[-10], -1, RUNTIME)
    one.call("documentpool.info", -3, 0, -10, RUNTIME)
    one.call("documentpool.info", -3, -1, -1, RUNTIME)
    by_range, by_page, whole = (call.response_bytes for call in sandbox.calls)
    assert by_range == by_page > len(text)
    assert by_range * 40 < whole
    assert min(call.request_bytes for call in sandbox.calls) > len("one.documentpool.info")
