"""An attacker, a victim and an administrator on one OpenNebula, and what the last two own."""

from __future__ import annotations

import contextlib
import secrets
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from lxml import etree

from provision_engine.cloud import template
from provision_engine.cloud.client import Backends, CloudClient, Credentials
from provision_engine.config import Configuration
from provision_engine.deadline import Deadline
from provision_engine.engine.context import Context
from provision_engine.engine.memory import Memory
from provision_engine.engine.safety.reconcile import Reconciler
from tests.security.forgeries import Facts, Forgery
from tests.support.client import RUNTIMES, Response, request
from tests.support.engine import configuration, engine_in_process, settings_for
from tests.support.installation import Installation, Target, new_user
from tests.support.opennebula import FLOW_TEMPLATE, RUNTIME, SERVICE, OpenNebula
from tests.support.users import OTHER, User
from tests.support.waiting import wait_until

MODES = ("600", "644", "666", "660")
TIMEOUT_SECONDS, REAL_TIMEOUT_SECONDS = 10.0, 30.0
READY_SECONDS = 180.0
ADMINISTRATORS, USABLE, ALL, NOT_DONE = 0, -2, -1, -1
VM_FIELDS = ("ID", "NAME", "UID", "GID", "PERMISSIONS", "STATE", "LCM_STATE", "RESCHED", "LOCK")
LEASE_SECONDS = 500_000
Things = dict[str, bytes]
"""Everything that some users own, by kind and id."""


@dataclass
class Scene:
    """A lane: the installation, its three users, and an engine in this process."""

    installation: Installation
    attacker: OpenNebula
    victim: OpenNebula
    administrator: OpenNebula
    port: int
    configuration: Configuration
    user_ids: dict[str, int] = field(default_factory=dict)
    """Of the victim and of the administrator, who are watched, and of the attacker."""
    facts: Facts = field(init=False)
    secrets: list[str] = field(default_factory=list)
    """Texts that only the victim and the administrator may see."""

    # ---- requests --------------------------------------------------------------------------------

    def request(self, user: OpenNebula, method: str, path: str, **named: Any) -> Response:
        return request(self.port, method, path, user=user.user, seconds=300, **named)

    def reconciler(self, user: OpenNebula) -> Reconciler:
        deadline = Deadline(self.configuration.timeout_seconds)
        cloud = CloudClient(self._backends, Credentials(*user.user), deadline)
        return Reconciler(Context(cloud, self.configuration, Memory()), 0)

    @cached_property
    def _backends(self) -> Backends:
        return Backends(self.configuration)

    # ---- what is watched -------------------------------------------------------------------------

    def things(self) -> Things:
        """What the victim and the administrator own: documents, VMs, orders to VMs."""
        found: Things = {}
        for kind in (RUNTIME, SERVICE, FLOW_TEMPLATE):
            pool = self._read("documentpool.info", USABLE, ALL, ALL, kind)
            found |= {f"document {_id(d)}": _canonical(d) for d in self._watched(pool)}
        pool = self._read("vmpool.infoextended", USABLE, ALL, ALL, NOT_DONE, "")
        found |= {f"VM {_id(vm)}": _of_vm(vm) for vm in self._watched(pool)}
        leased = self._read("vm.info", self.facts.vm_id, False)
        return found | {
            "lease": b"".join(map(_canonical, leased.iterfind("TEMPLATE/SCHED_ACTION")))
        }

    def _read(self, method: str, *params: Any) -> etree._Element:
        text: str = self.administrator.call(method, *params)
        return etree.fromstring(text.encode(), etree.XMLParser(huge_tree=True))

    def _watched(self, pool: etree._Element) -> Iterator[etree._Element]:
        watched = {str(self.user_ids[name]) for name in ("victim", "administrator")}
        return (item for item in pool if item.findtext("UID") in watched)

    # ---- what the attacker does ------------------------------------------------------------------

    def plant(self, forgery: Forgery, mode: str, owner: OpenNebula | None = None) -> int:
        """Write a document; its id."""
        owner = owner or self.attacker
        text = template.document(forgery.name, forgery.body)
        number = int(owner.call("document.allocate", text, forgery.kind))
        owner.call("document.chmod", number, *bits(mode))
        if forgery.lock_level:
            owner.call("document.lock", number, int(forgery.lock_level), True)
        return number

    def is_planted(self, number: int, forgery: Forgery) -> bool:
        """Whether a document is still as the attacker wrote it."""
        if self.attacker.refusal("document.info", number, False):
            return False
        return self.attacker.document(number).findtext("TEMPLATE/BODY") == forgery.body

    def uproot(self, number: int) -> None:
        self.attacker.refusal("document.unlock", number)
        self.attacker.refusal("document.delete", number)


def bits(mode: str) -> list[int]:
    """The nine numbers of ``chmod``."""
    return [int(bit) for digit in mode for bit in f"{int(digit):03b}"]


def _id(element: etree._Element) -> str:
    return element.findtext("ID") or ""


def _canonical(element: etree._Element) -> bytes:
    return etree.tostring(element)


def _of_vm(vm: etree._Element) -> bytes:
    """Without what OpenNebula measures."""
    parts = [part for name in VM_FIELDS for part in vm.iterfind(name)]
    parts += [vm.find("TEMPLATE"), vm.find("USER_TEMPLATE")]  # type: ignore[list-item]
    return b"".join(map(_canonical, parts))


# ---- setting it ----------------------------------------------------------------------------------


@contextlib.contextmanager
def open_scene(release: str, aim: Target) -> Iterator[Scene]:
    with contextlib.ExitStack() as stack:
        installation = stack.enter_context(aim.installation(release))
        victim = stack.enter_context(_user(installation, OTHER, 1))
        admin = stack.enter_context(_user(installation, installation.admin, ADMINISTRATORS))
        patience = TIMEOUT_SECONDS if installation.sandbox else REAL_TIMEOUT_SECONDS
        settings = settings_for(
            installation,
            timeout=patience,
            lock={"stale_seconds": 2 * patience + 0.1},
            cache={"seconds": 0},
            limits={"oned_requests": 20},
        )
        url = stack.enter_context(engine_in_process(settings))
        scene = Scene(
            installation,
            installation.opennebula,
            victim,
            admin,
            int(url.rpartition(":")[2]),
            configuration(settings),
        )
        _furnish(scene)
        try:
            yield scene
        finally:
            _clear(scene)


@contextlib.contextmanager
def _user(installation: Installation, known: User | None, group_id: int) -> Iterator[OpenNebula]:
    """A user of the sandbox, or one that is made in a real installation and removed again."""
    urls = installation.oned_url, installation.oneflow_url
    if installation.sandbox is not None:
        assert known is not None
        yield OpenNebula(*urls, known)
        return
    assert installation.admin is not None, "a real OpenNebula needs --admin"
    with new_user(OpenNebula(*urls, installation.admin), group_id) as user:
        yield OpenNebula(*urls, user)


def _furnish(scene: Scene) -> None:
    """Give the victim and the administrator a runtime, a service and a VM that no engine made."""
    one, admin = scene.victim, scene.administrator
    for name, user in (("victim", one), ("administrator", admin), ("attacker", scene.attacker)):
        info = etree.fromstring(user.call("user.info", -1, False).encode())
        scene.user_ids[name] = int(info.findtext("ID") or -1)
    pool = etree.fromstring(admin.call("templatepool.info", USABLE, ALL, ALL).encode())
    vm_template_id = min(int(_id(t)) for t in pool if t.findtext("NAME") == "Function")
    member = "vm_template" if one.version().startswith("6") else "template_id"
    flavour = f"flavour{secrets.token_hex(4)}"
    scene.facts = facts = Facts(flavour, vm_template_id, member)
    publish(scene, flavour)
    template_id = one.flow_template_id(flavour)
    name, key = secrets.token_hex(12), uuid.uuid4().hex
    members = {
        "NAME": name,
        "FAAS": {"FLAVOUR": flavour},
        "DEVICE_INFO": {"GEOGRAPHIC_LOCATION": secrets.token_hex(12)},
        "LEASE": {"TTL": LEASE_SECONDS},
    }
    made = scene.request(one, "POST", RUNTIMES, body=members, headers={"Idempotency-Key": key})
    assert made.status == 201, made.content
    runtime = made.runtime
    stored = one.body_of(runtime["ID"])
    lone, plain = f"lone{secrets.token_hex(4)}", f"web{secrets.token_hex(4)}"
    service_ids = [user.start_service(template_id, plain) for user in (one, admin)]
    vm_ids = [
        int(user.call("template.instantiate", vm_template_id, lone, False, "", False))
        for user in (one, admin)
    ]
    for user, service_id in (
        (one, runtime["SERVICE_ID"]),
        *zip((one, admin), service_ids, strict=True),
    ):
        user.until_service_runs(service_id, READY_SECONDS)
    scene.facts = facts = replace(
        facts,
        runtime_id=runtime["ID"],
        service_id=runtime["SERVICE_ID"],
        service_name=stored["ENGINE"]["SERVICE_NAME"],
        vm_id=runtime["FAAS"]["VM_ID"],
        key=stored["ENGINE"]["KEY"],
        digest=stored["ENGINE"]["DIGEST"],
        lone_vm_id=vm_ids[0],
        plain_service_id=service_ids[0],
        plain_service_name=plain,
        administrators_vm_id=vm_ids[1],
        administrators_service_id=service_ids[1],
    )
    for user in (one, admin):
        numbers = sorted(user.vm_ids())
        wait_until(lambda: user.vm_states(numbers) == {"RUNNING"}, READY_SECONDS, 0.05)  # noqa: B023
        secret = secrets.token_hex(12)
        for vm_id in numbers:
            user.call("vm.update", vm_id, f'SECRET="{secret}"\nERROR="{secret}"', 1)
        scene.secrets += [secret, *_addresses(user, numbers)]
    scene.secrets += [name, members["DEVICE_INFO"]["GEOGRAPHIC_LOCATION"], stored["ENGINE"]["KEY"]]


def publish(scene: Scene, flavour: str) -> int:
    """Have the administrator publish a flow template of that name; its id."""
    facts = scene.facts
    role = {
        "name": "FAAS",
        "cardinality": 1,
        facts.template_member: facts.vm_template_id,
        "min_vms": 1,
        "cooldown": 5,
        "elasticity_policies": [],
        "scheduled_policies": [],
    } | ({"type": "vm"} if facts.template_member == "template_id" else {})
    made = scene.administrator.flow(
        "POST", "/service_template", name=flavour, deployment="straight", description="",
        roles=[role], ready_status_gate=False, automatic_deletion=False,
    )  # fmt: skip
    assert made.status_code == 201, made.text
    number = int(made.json()["DOCUMENT"]["ID"])
    scene.administrator.call("document.chmod", number, *bits("644"))
    return number


def _addresses(user: OpenNebula, vm_ids: Sequence[int]) -> list[str]:
    """In quotes, since one may begin another."""
    nics = [user.vm(vm_id)["TEMPLATE"].get("NIC", {}) for vm_id in vm_ids]
    return [f'"{nic["IP"]}"' for nic in nics if isinstance(nic, dict) and "IP" in nic]


def _clear(scene: Scene) -> None:
    for user in (scene.attacker, scene.victim, scene.administrator):
        for number in user.ids(FLOW_TEMPLATE, -3) if scene.installation.sandbox is None else ():
            user.refusal("document.delete", number)
        for number in user.ids(SERVICE, -3) if user is scene.attacker else ():
            user.refusal("document.delete", number)
        user.clear()
