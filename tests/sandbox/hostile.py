"""Scenarios for `record.py`: what a hostile user may write, and what others may do to services."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .permissions import (
    FEW_MODES,
    FLOW_TEMPLATE,
    RUNTIME,
    SERVICE,
    SMALL_VM,
    USERS,
    allocated,
    bits,
    each_mode,
    people,
)

if TYPE_CHECKING:
    from .record import Recorder

BODIES: dict[str, str] = {
    "empty": "",
    "no-json": "{",
    "list": "[]",
    "number": "5",
    "null": "null",
    "text": '"text"',
    "no-roles": '{"name": "x"}',
    "roles-number": '{"name": "x", "roles": 5, "state": 2}',
    "roles-null": '{"name": "x", "roles": null, "state": 2}',
    "role-number": '{"name": "x", "roles": [5], "state": 2}',
    "no-state": '{"name": "x", "roles": []}',
    "state-text": '{"name": "x", "roles": [], "state": "x"}',
    "state-99": '{"name": "x", "roles": [], "state": 99}',
    "no-name": '{"roles": [{"name": "FAAS", "cardinality": 1}], "state": 2}',
    "nodes-number": '{"name": "x", "roles": [{"name": "FAAS", "nodes": 5}], "state": 2}',
    "deep": '{"name": "x", "roles": [], "x": ' + "[" * 150 + "]" * 150 + "}",
    "id-text": '{"name": "x", "roles": [{"name": "F", "vm_template": "²", "template_id": "²", '
    '"cardinality": 1}], "state": 2}',
}
"""Bodies that no oneflow writes."""


def _document_text(body: str) -> str:
    escaped = body.replace('"', '\\"')
    return f'BODY="{escaped}"' if body else 'OTHER="1"'


def broken_services(r: Recorder) -> None:
    """Services that an ordinary user has written, as oneflow shows and changes them."""
    with people(r) as users:
        owner, admin = users["owner"], users["oneadmin"]
        for name, body in BODIES.items():
            text = f'NAME="{name}"\n{_document_text(body)}'
            number = allocated(owner.one("document.allocate", text, SERVICE))
            owner.one("document.info", number, False)
            owner.flow("GET", f"/service/{number}")
            owner.recover(number)
            owner.recover(number, delete=True)
            owner.flow("DELETE", f"/service/{number}")
            admin.one("document.delete", number)


def broken_templates(r: Recorder) -> None:
    """The same for flow templates."""
    with people(r) as users:
        owner, admin = users["owner"], users["oneadmin"]
        for name, body in BODIES.items():
            text = f'NAME="{name}"\n{_document_text(body)}'
            number = allocated(owner.one("document.allocate", text, FLOW_TEMPLATE))
            owner.flow("GET", f"/service_template/{number}")
            for merge in ({"name": "made"}, {}):
                action = {"perform": "instantiate", "params": {"merge_template": merge}}
                path = f"/service_template/{number}/action"
                status, answer = owner.flow("POST", path, {"action": action})
                if status == 201:
                    r.pause(1)
                    service = int(answer["DOCUMENT"]["ID"])
                    owner.one("document.info", service, False)
                    owner.recover(service, delete=True)
                    admin.one("document.delete", service)
            owner.flow("DELETE", f"/service_template/{number}")
            admin.one("document.delete", number)


def broken_lists(r: Recorder) -> None:
    """What one published broken document does to everybody's lists."""
    with people(r) as users:
        owner, mate, admin = users["owner"], users["mate"], users["oneadmin"]
        for kind, path in ((SERVICE, "/service"), (FLOW_TEMPLATE, "/service_template")):
            for name in ("empty", "no-json", "list", "number", "no-roles", "roles-number", "deep"):
                text = f'NAME="{name}"\n{_document_text(BODIES[name])}'
                number = allocated(owner.one("document.allocate", text, kind))
                owner.one("document.chmod", number, *bits("644"))
                mate.flow("GET", path)
                admin.one("document.delete", number)


def _forged(state: int, vm: int, more: dict[str, Any] | None = None) -> str:
    role = {
        "name": "FAAS", "cardinality": 1, "state": state, "min_vms": 1, "cooldown": 5,
        "elasticity_policies": [], "scheduled_policies": [], "last_vmname": 1, "on_hold": False,
        "nodes": [{"deploy_id": vm, "vm_info": {"VM": {"ID": str(vm), "UID": "0", "GID": "0",
                   "UNAME": "oneadmin", "GNAME": "oneadmin", "NAME": "x"}}}],
    }  # fmt: skip
    body = {
        "name": "forged", "deployment": "straight", "description": "", "roles": [role],
        "ready_status_gate": False, "automatic_deletion": False, "registration_time": 1795000000,
        "state": state, "start_time": 1795000000, "log": [],
    }  # fmt: skip
    return _document_text(json.dumps(body | (more or {})))


def forged_services(r: Recorder) -> None:
    """Services that name the VM of another user: deleted and recovered by three users."""
    with people(r) as users:
        owner, mate, admin = users["owner"], users["mate"], users["oneadmin"]
        for caller in (owner, mate, admin):
            for state in (2, 7, 6):
                vm = allocated(mate.one("vm.allocate", f'NAME="victim"\n{SMALL_VM}', True))
                text = f'NAME="forged"\n{_forged(state, vm)}'
                number = allocated(owner.one("document.allocate", text, SERVICE))
                owner.one("document.chmod", number, *bits("666"))
                caller.flow("DELETE", f"/service/{number}")
                r.pause(1)
                admin.one("document.info", number, False)
                admin.one("vm.info", vm, False)
                caller.recover(number, delete=True)
                r.pause(1)
                caller.recover(number, delete=True)
                r.pause(1)
                admin.one("document.info", number, False)
                admin.one("vm.info", vm, False)
                admin.one("document.delete", number)
                admin.one("vm.action", "terminate-hard", vm)


def services_by_mode(r: Recorder) -> None:
    """oneflow's calls on services of others, which here have no VMs."""
    for users, mode, caller in each_mode(r, FEW_MODES):
        if caller.user in ("member", "deputy") and mode != "600":
            continue
        owner, admin = users["owner"], users["oneadmin"]
        text = f'NAME="it"\n{_forged(7, 0)}'.replace("nodes", "none")
        number = allocated(owner.one("document.allocate", text, SERVICE))
        owner.one("document.chmod", number, *bits(mode))
        caller.flow("GET", f"/service/{number}")
        for action in (
            {"perform": "rename", "params": {"name": "renamed"}},
            {"perform": "chmod", "params": {"octet": "664"}},
            {"perform": "chgrp", "params": {"group_id": USERS}},
            {"perform": "chown", "params": {"owner_id": r.ids["mate"]}},
        ):
            caller.flow("POST", f"/service/{number}/action", {"action": action})
        owner.one("document.info", number, False)
        caller.flow("DELETE", f"/service/{number}")
        admin.one("document.chmod", number, *bits(mode))
        caller.recover(number, delete=True)
        admin.one("document.info", number, False)
        admin.one("document.delete", number)


def flow_templates_by_mode(r: Recorder) -> None:
    """oneflow's calls on flow templates of others."""
    for users, mode, caller in each_mode(r, FEW_MODES):
        if caller.user in ("member", "deputy") and mode != "600":
            continue
        owner, admin = users["owner"], users["oneadmin"]
        key = "template_id" if r.is_seven else "vm_template"
        role = {"name": "FAAS", "type": "vm", key: 999, "cardinality": 1}
        if not r.is_seven:
            del role["type"]
        body = {"name": "it", "deployment": "straight", "roles": [role]}
        _, answer = owner.flow("POST", "/service_template", body)
        number = int(answer["DOCUMENT"]["ID"])
        path = f"/service_template/{number}"
        owner.one("document.chmod", number, *bits(mode))
        caller.flow("GET", path)
        for action in (
            {"perform": "rename", "params": {"name": "renamed"}},
            {"perform": "clone", "params": {"name": "copy"}},
            {"perform": "chmod", "params": {"octet": "664"}},
            {"perform": "update", "params": {"template_json": '{"description": "x"}'}},
            {"perform": "instantiate", "params": {"merge_template": {"name": "made"}}},
        ):
            status, answer = caller.flow("POST", f"{path}/action", {"action": action})
            if action["perform"] == "clone":  # which fails after it has made the copy
                admin.one("document.delete", number + 1)
            if status == 201 and action["perform"] == "instantiate":
                service = int(answer["DOCUMENT"]["ID"])
                r.pause(1)
                caller.one("document.info", service, False)
                caller.recover(service, delete=True)
                admin.one("document.delete", service)
        admin.one("document.chmod", number, *bits(mode))
        caller.flow("PUT", path, body)
        caller.flow("DELETE", path)
        admin.one("document.delete", number)


def service_of_another(r: Recorder) -> None:
    """Services with a running VM, published with mode 666, that another user deletes."""
    with people(r) as users:
        owner, mate, admin = users["owner"], users["mate"], users["oneadmin"]
        for is_vm_open in (False, True):
            service = owner.instantiate("published")
            (vm,) = owner.vms(service)
            owner.wait(vm, 3, 3)
            owner.wait_service(service, 2)
            owner.one("document.chmod", service, *bits("666"))
            if is_vm_open:
                owner.one("vm.chmod", vm, *bits("666"))
            mate.flow("DELETE", f"/service/{service}")
            r.pause(2)
            admin.one("document.info", service, False)
            admin.one("vm.info", vm, False)
            mate.recover(service, delete=True)
            r.pause(2)
            admin.one("document.info", service, False)
            admin.one("vm.info", vm, False)
            admin.one("vm.action", "terminate-hard", vm)
            admin.one("document.delete", service)


def hostile_objects(r: Recorder) -> None:
    """VMs, VM templates and documents with whatever a user likes to write into them."""
    with people(r) as users:
        owner, admin = users["owner"], users["oneadmin"]
        vm = allocated(owner.one("vm.allocate", f'NAME="it"\nSERVICE_ID="abc"\n{SMALL_VM}', True))
        for text in (
            'SERVICE_ID="1"\nROLE_NAME="FAAS"\nFLAVOURS="0"',
            f'SERVICE_ID="{2**70}"',
            f'SERVICE_ID="{"9" * 5000}"',
            'READY="YES"\nERROR="x"\nSCHED_MESSAGE="x"',
            "SERVICE_ID=[A=1]",
            'SCHED_REQUIREMENTS="\x1b[31m"',
            'PHASE="a\nb"',
            'UID="0"\nGID="0"\nID="0"\nNAME="x"\nSTATE="3"',
            'CPU="64"\nMEMORY="1"\nDISK=[SIZE="1"]',
        ):
            owner.one("vm.update", vm, text, 1)
            owner.one("vm.info", vm, False)
        for text in (
            "", "MEMORY=16", "CPU=1", 'CPU="x"\nMEMORY=16', "CPU=-1\nMEMORY=16", "CPU=1\nMEMORY=0",
            "CPU=1\nMEMORY=16\nVCPU=0", f"CPU=1\nMEMORY={2**40}", f'NAME="a<b"\n{SMALL_VM}',
            f'NAME="{"x" * 129}"\n{SMALL_VM}', f'CONTEXT=[FILES="/etc/passwd"]\n{SMALL_VM}',
            f'DISK=[SOURCE="/etc/passwd"]\n{SMALL_VM}',
            f'DISK=[SIZE="10",TYPE="fs"]\n{SMALL_VM}', f"{SMALL_VM}A=",
        ):  # fmt: skip
            answer = owner.one("vm.allocate", text, True)
            if answer[0]:
                owner.one("vm.info", answer[1], False)
                admin.one("vm.action", "terminate-hard", answer[1])
        _hostile_templates(owner, admin)
        _hostile_documents(owner, admin)
        admin.one("vm.action", "terminate-hard", vm)


def _hostile_templates(owner: Recorder, admin: Recorder) -> None:
    for text in (
        "", 'NAME=""', 'NAME="a<b"', f'NAME="{"x" * 129}"', 'NAME="it"\nCPU="x"', "NAME=it A=[B=",
        f'NAME="it"\nCONTEXT=[FILES="/etc/passwd"]\n{SMALL_VM}',
        f'NAME="it"\nCONTEXT=[START_SCRIPT="curl"]\n{SMALL_VM}', f'NAME="it"\n{SMALL_VM}',
        f'NAME="it"\n{SMALL_VM}',
    ):  # fmt: skip
        answer = owner.one("template.allocate", text)
        if answer[0]:
            owner.one("template.info", answer[1], False, False)
            vm = owner.one("template.instantiate", answer[1], "", True, "", False)
            if vm[0]:
                admin.one("vm.action", "terminate-hard", vm[1])
            owner.one("template.instantiate", answer[1], "a<b", True, "", False)
            owner.one("template.clone", answer[1], "it", False)
            owner.one("template.clone", answer[1], "", False)
            admin.one("template.delete", answer[1], False)


def _hostile_documents(owner: Recorder, admin: Recorder) -> None:
    for kind in (SERVICE, RUNTIME, -1):
        for text in ("", 'NAME="same"', 'NAME=[A="1"]', 'UID="0"', "A=[B="):
            answer = owner.one("document.allocate", text, kind)
            if answer[0]:
                owner.one("document.info", answer[1], False)
                owner.one("document.update", answer[1], 'NAME="other"\nUID="0"', 1)
                owner.one("document.update", answer[1], 'NAME="other"', 0)
                owner.one("document.update", answer[1], "A=1", 2)
                owner.one("document.info", answer[1], False)
                admin.one("document.delete", answer[1])


SCENARIOS: dict[str, Callable[[Recorder], None]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        broken_services,
        broken_templates,
        broken_lists,
        forged_services,
        services_by_mode,
        flow_templates_by_mode,
        service_of_another,
        hostile_objects,
    )
}
