"""What can be derived from a recording about the machine on which it was made."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

from provision_engine.sandbox import Sandbox, Timings
from provision_engine.sandbox.template import Template


def counters(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """The ids that OpenNebula had reached at the beginning of a story."""
    text = json.dumps(calls)
    address = re.search(r"<ETH0_IP><!\[CDATA\[10\.0\.(\d+)\.(\d+)\]", text)
    before = int(address[1]) * 256 + int(address[2]) - 1 if address else 0
    return {
        "next_document": _first(r'"DOCUMENT": \{"ID": "(\d+)"', text)
        or _first(r'allocate".*?"result": \[true, (\d+)', text),
        "next_vm": _first(r'"one.vm.info", .*?"params": \[(\d+)', text),
        "next_scheduled": _first(r"<SCHED_ACTION><ID>(\d+)<", text)
        or _first(r'schedadd".*?"result": \[true, (\d+)', text)
        or 0,
        "role_order": _role_order(calls),
        "taken_addresses": tuple(range(1, before + 1)),
        "last_address": before,
        "prepare_objects": _older_documents(calls),
        "first_flow_template": 0,
        "network_id": _first(r"<NETWORK_ID><!\[CDATA\[(\d+)", text),
    }


_ALLOCATIONS = {
    "next_user": ("one.user.allocate",),
    "next_group": ("one.group.allocate",),
    "next_rule": ("one.acl.addrule",),
    "next_document": ("one.document.allocate",),
    "next_vm_template": ("one.template.allocate",),
    "next_vm": ("one.vm.allocate", "one.template.instantiate"),
    "next_scheduled": ("one.vm.schedadd",),
}


def allocations(calls: list[dict[str, Any]]) -> dict[str, int]:
    """The same from the first call that makes an object of a kind, through oned or oneflow."""
    first: dict[str, int] = {}
    for call in calls:
        for counter, methods in _ALLOCATIONS.items():
            if call.get("method") in methods and call.get("result", [False])[0] is True:
                first.setdefault(counter, call["result"][1])
        if call.get("status") == 201:
            first.setdefault("next_document", int(call["response"]["DOCUMENT"]["ID"]))
        for number in re.findall(r'deploy_id\\*": ?(\d+)', json.dumps(call.get("result"))):
            first.setdefault("next_vm", int(number))
    return first


def ids(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """Those that the first recordings need: their other objects are a new sandbox's own."""
    found = counters(calls) | allocations(calls)
    return {
        name: found.get(name)
        for name in ("next_document", "next_vm", "taken_addresses", "last_address")
    }


def _role_order(calls: list[dict[str, Any]]) -> tuple[str, ...]:
    seed = re.search(r'"name": "Function", .*?"roles": \[({.*?})\]', json.dumps(calls))
    if seed:
        return tuple(json.loads(seed[1]))
    for call in calls:
        if call.get("status") == 201:
            roles = call["response"]["DOCUMENT"]["TEMPLATE"]["BODY"]["roles"]
            return tuple(roles[0]) if roles else ()
    return ()


def _first(pattern: str, text: str) -> int | None:
    match = re.search(pattern, text)
    return int(match[1]) if match else None


def _older_documents(calls: list[dict[str, Any]]) -> Callable[[Sandbox], object]:
    """The runtimes that a pool call shows and that the story has not created."""
    made = {c["result"][1] for c in calls if c.get("method") == "one.document.allocate"}
    pools = [
        c["result"][1]
        for c in calls
        if c.get("method") == "one.documentpool.info" and c["result"][0]
    ]
    shown = [document for pool in pools for document in ElementTree.fromstring(pool)]
    older = {int(d.findtext("ID") or 0): d for d in shown}

    def leave(sandbox: Sandbox) -> None:
        store = sandbox.world.store
        for number in sorted(older.keys() - made):
            store.documents.next_id = number
            body = Template([("BODY", older[number].findtext("TEMPLATE/BODY") or "")])
            owner = store.users_by_name["devuser"]
            store.new_document(owner, 1337, older[number].findtext("NAME"), body)

    return leave


_NEVER_SECONDS = 60.0
_WITHOUT_VMS = '"nodes":[]'
_IN_PENDING = "<STATE>1</STATE>"


def paces_by_looks(release: str, calls: list[dict[str, Any]]) -> dict[int, dict[str, float]]:
    """For each service of a story, when its VM existed and when it was scheduled.

    Each is the middle between the last read before it had happened and the first read after
    that.
    """
    paces = {}
    usual = Timings.measured(release).vms_visible_seconds
    births = [c for c in calls if '"instantiate"' in json.dumps(c.get("request"))]
    for number, birth in enumerate(births):
        answered = birth["at"] + birth["ms"] / 1000
        looks = _looks(calls, "one.document.info", int(birth["response"]["DOCUMENT"]["ID"]))
        made = _middle(looks, lambda text: _WITHOUT_VMS in text)
        visible = made - answered if made else usual
        vm = next(
            (_first(r'"deploy_id":(\d+)', text) for _, text in looks if "deploy_id" in text), None
        )
        waited = _middle(_looks(calls, "one.vm.info", vm), _waits_for_scheduler)
        schedule = waited - answered - visible if waited else _NEVER_SECONDS
        paces[number] = {"vms_visible": max(0.0, visible), "schedule": max(0.0, schedule)}
    return paces


def _waits_for_scheduler(text: str) -> bool:
    return _IN_PENDING in text and "SCHED_MESSAGE" not in text


def _looks(calls: list[dict[str, Any]], method: str, number: int | None) -> list[tuple[float, str]]:
    """When an object was read, and what was returned."""
    looks = []
    for position, call in enumerate(calls):
        if call["method"] != method or call["params"][0] != number or call["result"][0] is not True:
            continue
        first = call["at"] + call["ms"] / 1000
        following = calls[position + 1]["at"] if position + 1 < len(calls) else first
        times = call.get("repeated", 1)
        looks.append((first, call["result"][1]))
        if times > 1:
            looks.append((first + (following - first) * (times - 1) / times, call["result"][1]))
    return looks


def _middle(looks: list[tuple[float, str]], is_before: Callable[[str], bool]) -> float | None:
    """The middle between the last read before something happened and the first after it."""
    before = [at for at, text in looks if is_before(text)]
    after = [at for at, text in looks if not is_before(text)]
    if not after:
        return None
    return (before[-1] + after[0]) / 2 if before else after[0] - 0.05


def paces_by_stamps(epoch: float, calls: list[dict[str, Any]]) -> dict[int, dict[str, float]]:
    """The same from the timestamps of each first VM, if the calls do not show it."""
    paces = {}
    births = [c for c in calls if '"instantiate"' in json.dumps(c.get("request"))]
    for number, birth in enumerate(b for b in births if b["status"] == 201):
        answered = epoch + birth["at"] + birth["ms"] / 1000
        service = birth["response"]["DOCUMENT"]["ID"]
        stamps = re.search(
            rf"service_{service}\)</NAME>.*?<STIME>(\d+)<.*?<HISTORY_RECORDS(?:/>|>.*?<PSTIME>(\d+))",
            json.dumps(calls),
        )
        if stamps:
            born, host = float(stamps[1]), float(stamps[2] or float(stamps[1]) + _NEVER_SECONDS)
            visible = max(0.0, born - answered)
            schedule = max(0.0, host - answered - visible)
            paces[number] = {"vms_visible": visible, "schedule": schedule}
    return paces
