"""OpenNebula as a user sees it, sandbox or real: through its own APIs, not the engine."""

from __future__ import annotations

import contextlib
import json
import xmlrpc.client
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyone
import requests
from lxml import etree

from provision_engine.sandbox import Sandbox
from provision_engine.sandbox.sandbox import CallRecord
from tests.support.calls import MULTICALL
from tests.support.users import User
from tests.support.waiting import wait_until

SERVICE, FLOW_TEMPLATE, RUNTIME = 100, 101, 1337
SERVICE_RUNS = 2
CALL_SECONDS, FLOW_SECONDS = 60.0, 120.0
ORDINARY_GROUP = 1
NO_SUCH_OBJECT = 0x0400
SWEEP_SECONDS = 2.0
SETTLED = ("READY", "STANDBY")
"""The phases in which no engine works on a runtime."""
LOCKED = "is locked"
Holdings = dict[str, set[int]]
"""Ids of ``runtimes``, ``services``, ``VMs`` that are not DONE, and of locked ``locks``."""
MINE, USABLE = -3, -2


def as_dict(element: etree._Element) -> Any:
    """A template as dictionaries, texts, and lists where a name repeats."""
    if not len(element):
        return element.text or ""
    found: dict[str, Any] = {}
    for child in element:
        value = as_dict(child)
        if child.tag in found:
            known = found[child.tag]
            found[child.tag] = [*known, value] if isinstance(known, list) else [known, value]
        else:
            found[child.tag] = value
    return found


class StoredRuntime(NamedTuple):
    """What a document of a runtime says."""

    id: int
    phase: str
    service_id: int | None
    vm_ids: set[int]
    is_locked: bool

    @classmethod
    def from_xml(cls, document: etree._Element) -> StoredRuntime:
        body = json.loads(document.findtext("TEMPLATE/BODY") or "{}")
        functions = (body.get(role, {}) for role in ("FAAS", "DAAS"))
        return cls(
            int(document.findtext("ID") or -1),
            body.get("ENGINE", {}).get("PHASE", "READY"),
            body.get("SERVICE_ID"),
            {function["VM_ID"] for function in functions if "VM_ID" in function},
            document.find("LOCK") is not None,
        )


class Transport(xmlrpc.client.Transport):
    """Has a time limit, and does not repeat a call whose connection breaks."""

    def request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:
        return self.single_request(host, handler, request_body, verbose)

    def make_connection(self, host: Any) -> Any:
        connection = super().make_connection(host)
        connection.timeout = CALL_SECONDS
        return connection


def _mismatches(what: str, named: Sequence[int], existing: set[int]) -> list[str]:
    """Where documents do not name each existing thing exactly once, and nothing else."""
    times = Counter(named)
    return [
        *(f"{what} {n} is named by {times[n]} documents" for n in times if times[n] > 1),
        *(f"{what} {n} is named by no document" for n in sorted(existing - times.keys())),
        *(f"{what} {n} does not exist" for n in sorted(times.keys() - existing)),
    ]


def calls_of(sandbox: Sandbox, since: int = 0) -> list[CallRecord]:
    """The calls that have reached a sandbox, those inside a multicall and not the multicall."""
    return [call for call in sandbox.calls[since:] if call.method != MULTICALL]


class OpenNebula:
    """Both services on behalf of one user."""

    def __init__(self, oned_url: str, oneflow_url: str, user: User) -> None:
        self.oned_url, self.oneflow_url, self.user = oned_url, oneflow_url, user

    def call(self, method: str, *params: Any) -> Any:
        """Calls oned; AssertionError if that fails."""
        answer = self._answer(method, *params)
        assert answer[0], answer[1]
        return answer[1]

    def refusal(self, method: str, *params: Any) -> int:
        """The error code of a call of oned; 0 if it succeeds."""
        answer = self._answer(method, *params)
        return 0 if answer[0] else int(answer[2])

    def _answer(self, method: str, *params: Any) -> Any:
        with xmlrpc.client.ServerProxy(self.oned_url, Transport()) as server:
            return getattr(server, f"one.{method}")(self.user.session, *params)

    def multicall(self, *calls: tuple[Any, ...]) -> list[Any]:
        """The results of several calls, each a method and its parameters, in one request."""
        parts = [
            {"methodName": f"one.{method}", "params": [self.user.session, *params]}
            for method, *params in calls
        ]
        with xmlrpc.client.ServerProxy(self.oned_url, Transport()) as server:
            results: Any = server.system.multicall(parts)
        return list(results)

    def _xml(self, method: str, *params: Any) -> etree._Element:
        return etree.fromstring(self.call(method, *params).encode())

    def ids(self, kind: int, whose: int = MINE) -> set[int]:
        """The ids of the documents of a type."""
        return set(self.names(kind, whose))

    def vm_ids(self, whose: int = MINE) -> set[int]:
        """The ids of the user's VMs that are not DONE, or of another user's."""
        pool = self._xml("vmpool.info", whose, -1, -1, -1, "")
        return {int(text) for text in pool.xpath("VM/ID/text()")}

    def locks(self) -> set[int]:
        """The ids of the user's locked runtimes."""
        pool = self._xml("documentpool.info", MINE, -1, -1, RUNTIME)
        return {int(d.findtext("ID") or -1) for d in pool.xpath("DOCUMENT[LOCK]")}

    def holdings(self) -> Holdings:
        """Everything that the user owns."""
        return {
            "runtimes": self.ids(RUNTIME),
            "services": self.ids(SERVICE),
            "VMs": self.vm_ids(),
            "locks": self.locks(),
        }

    def count(self) -> dict[str, int]:
        """The numbers of what the user owns."""
        return {what: len(ids) for what, ids in self.holdings().items()}

    def runtimes(self) -> list[StoredRuntime]:
        """The user's documents of runtimes, whatever their phase."""
        pool = self._xml("documentpool.info", MINE, -1, -1, RUNTIME)
        return [StoredRuntime.from_xml(document) for document in pool.iterfind("DOCUMENT")]

    def unsound(self) -> list[str]:
        """What contradicts that nobody works on any runtime, and that each service and each VM
        of the user belongs to exactly one of them.
        """
        runtimes = self.runtimes()
        services = [r.service_id for r in runtimes if r.service_id is not None]
        vm_ids = [vm_id for runtime in runtimes for vm_id in runtime.vm_ids]
        return [
            *(f"document {r.id} is {r.phase}" for r in runtimes if r.phase not in SETTLED),
            *(f"document {r.id} {LOCKED}" for r in runtimes if r.is_locked),
            *_mismatches("service", services, self.ids(SERVICE)),
            *_mismatches("VM", vm_ids, self.vm_ids()),
        ]

    def names(self, kind: int, whose: int = MINE) -> dict[int, str]:
        """The names of the documents of a type, by id."""
        pool = self._xml("documentpool.info", whose, -1, -1, kind)
        return {int(d.findtext("ID") or -1): d.findtext("NAME") or "" for d in pool}

    def flow_template_id(self, name: str, whose: int = USABLE) -> int:
        return min(id for id, found in self.names(FLOW_TEMPLATE, whose).items() if found == name)

    def document(self, document_id: int) -> etree._Element:
        return self._xml("document.info", document_id, False)

    def body_of(self, document_id: int) -> dict[str, Any]:
        """What a document holds."""
        body: dict[str, Any] = json.loads(
            self.document(document_id).findtext("TEMPLATE/BODY") or "{}"
        )
        return body

    def write(self, document_id: int, body: str | dict[str, Any]) -> None:
        """Replace what a document holds."""
        text = body if isinstance(body, str) else json.dumps(body)
        template = f"<TEMPLATE><BODY><![CDATA[{text}]]></BODY></TEMPLATE>"
        self.call("document.update", document_id, template, 1)

    def vm(self, vm_id: int) -> dict[str, Any]:
        """A VM with its TEMPLATE and USER_TEMPLATE."""
        return as_dict(self._xml("vm.info", vm_id, False))

    def vm_state(self, vm_id: int) -> str:
        """Its life-cycle state if it is active, else its state: ``RUNNING``, ``POWEROFF``."""
        vm = self._xml("vm.info", vm_id, False)
        state, lcm_state = (int(vm.findtext(name) or 0) for name in ("STATE", "LCM_STATE"))
        if state == pyone.VM_STATE.ACTIVE:
            return str(pyone.LCM_STATE(lcm_state).name)
        return str(pyone.VM_STATE(state).name)

    def vm_states(self, vm_ids: Sequence[int]) -> set[str]:
        return {self.vm_state(vm_id) for vm_id in vm_ids}

    def version(self) -> str:
        return str(self.call("system.version"))

    def add_user(self, user: User, group_id: int = ORDINARY_GROUP) -> int:
        """Creates a user, as an administrator, and returns its id."""
        return int(self.call("user.allocate", *user, "core", [group_id]))

    def flow(self, method: str, path: str, **body: Any) -> requests.Response:
        return requests.request(
            method,
            f"{self.oneflow_url}{path}",
            json=body or None,
            auth=self.user.pair,
            timeout=FLOW_SECONDS,
        )

    def start_service(self, flow_template_id: int, name: str, **merged: Any) -> int:
        """Creates a service without the engine."""
        params = {"merge_template": {"name": name, **merged}}
        answer = self.flow(
            "POST",
            f"/service_template/{flow_template_id}/action",
            action={"perform": "instantiate", "params": params},
        )
        assert answer.status_code == 201, answer.text
        return int(answer.json()["DOCUMENT"]["ID"])

    def service_vm_ids(self, service_id: int) -> list[int]:
        body = self.flow("GET", f"/service/{service_id}").json()["DOCUMENT"]["TEMPLATE"]["BODY"]
        nodes = [node for role in body["roles"] for node in role.get("nodes") or []]
        return [int(node["deploy_id"]) for node in nodes]

    def service_state(self, service_id: int) -> int:
        """-1 when it is gone. Read through oned, which is faster than oneflow."""
        answer = self._answer("document.info", service_id, False)
        if not answer[0] and answer[2] == NO_SUCH_OBJECT:
            return -1
        assert answer[0], answer[1]
        body = etree.fromstring(answer[1].encode()).findtext("TEMPLATE/BODY") or "{}"
        return int(json.loads(body)["state"])

    def until_service_runs(self, service_id: int, seconds: float | None = None) -> None:
        """Wait until oneflow has noticed that the VMs run, and could undeploy the service."""
        wait_until(lambda: self.service_state(service_id) == SERVICE_RUNS, seconds, 0.05)

    def end_service(self, service_id: int) -> None:
        """Requests its deletion; the caller checks the outcome."""
        action = {"perform": "recover", "params": {"delete": True}}
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):
            self.flow("POST", f"/service/{service_id}/action", action=action)

    def sweep(self, before: Holdings | None = None, ending: set[int] | None = None) -> Holdings:
        """Starts to remove what was not there before, and returns what that was.

        The VMs in ``ending`` are on their way: to end one again would begin anew each time.
        """
        ending = set() if ending is None else ending
        holdings = self.holdings()
        left = {what: ids - (before or {}).get(what, set()) for what, ids in holdings.items()}
        for service_id in left["services"]:
            self.end_service(service_id)
        for vm_id in left["VMs"] - ending:
            if not self.refusal("vm.action", "terminate-hard", vm_id):
                ending.add(vm_id)
        for document_id in left["runtimes"] | left["locks"]:
            self.refusal("document.unlock", document_id)
        for document_id in left["runtimes"]:
            self.refusal("document.delete", document_id)
        return {what: ids for what, ids in left.items() if ids}

    def clear(self, seconds: float = 300.0) -> None:
        """Removes everything that the user owns. Retries a VM that boots until it can be ended."""
        ending: set[int] = set()

        def is_empty() -> bool:
            return not any(self.holdings().values())

        def is_swept() -> bool:
            """Sweep, and give what ends by itself a moment before oneflow is asked once more."""
            if self.sweep(ending=ending):
                with contextlib.suppress(AssertionError):
                    wait_until(is_empty, SWEEP_SECONDS, 0.1)
            return is_empty()

        wait_until(is_swept, seconds, 0.0)
