"""The users, VM templates and flow templates of a new sandbox, as in the recorded installations."""

from __future__ import annotations

import random
from typing import Any

from provision_engine.sandbox.service_body import compact
from provision_engine.sandbox.store import (
    ADMINS_GROUP,
    PUBLIC,
    SERVICE_TEMPLATE,
    USERS_GROUP,
    Image,
    Network,
    Store,
    User,
    VmTemplate,
)
from provision_engine.sandbox.template import Template, parse

USERS = (
    ("oneadmin", "opennebula", ADMINS_GROUP, 0, "core"),
    ("serveradmin", "", ADMINS_GROUP, 1, "server_cipher"),
    ("devuser", "devpass", USERS_GROUP, 2, "core"),
    ("other", "otherpass", USERS_GROUP, 3, "core"),
)
"""Name, password, group id, user id and driver; the passwords are invented for the sandbox.

The second is oneflow's own user, as which nobody else can log in.
"""

_VM_TEMPLATE = """
CONTEXT=[NETWORK="YES",TOKEN="YES"]
CPU="1"
DISK=[IMAGE="img",IMAGE_UNAME="oneadmin"]
MEMORY="128"
NIC=[NETWORK="net",NETWORK_UNAME="oneadmin"]
VCPU="1"
"""
VM_TEMPLATES = (("Function", True), ("Data", True), ("Denied", False))
"""Name, and whether all users may use it."""

_USERS_GROUP = """
SUNSTONE=[DEFAULT_VIEW="cloud",GROUP_ADMIN_DEFAULT_VIEW="groupadmin",
 GROUP_ADMIN_VIEWS="groupadmin,cloud",VIEWS="cloud"]
"""

MISSING_VM_TEMPLATE = 999
FLOW_TEMPLATES: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = (
    ("Function", (("FAAS", 0),)),
    ("Function-Data", (("FAAS", 0), ("DAAS", 1))),
    ("DenyVMTemplate", (("FAAS", 2),)),
    ("FAILED_DEPLOY", (("FAAS", MISSING_VM_TEMPLATE),)),
    ("nature", (("FAAS", 0),)),
    ("nature-s3", (("FAAS", 0), ("DAAS", 1))),
)
"""Name, and the name and VM template id of each role."""


def add_seeds(store: Store) -> None:
    """Adds users, VM templates and flow templates, with the ids they have in the recordings."""
    for number, name in ((ADMINS_GROUP, "oneadmin"), (USERS_GROUP, "users")):
        store.add_group(name, number)
    store.groups.get(USERS_GROUP).template = parse(_USERS_GROUP)
    for name, password, gid, user_id, driver in USERS:
        user = store.add_user(name, password, gid, user_id, driver)
        user.template.set("TOKEN_PASSWORD", random.Random(user_id).randbytes(32).hex())
    admin = store.users.get(0)
    _add_network_and_image(store, admin)
    for name, is_public in VM_TEMPLATES:
        add_vm_template(store, admin, name, _VM_TEMPLATE, is_public)
    store.documents.next_id = store.release.first_flow_template_id
    for name, roles in FLOW_TEMPLATES:
        add_flow(store, admin, name, [role(store, n, i) for n, i in roles])


def _add_network_and_image(store: Store, admin: User) -> None:
    names = admin.uname, admin.gname
    image = store.images.new_id()
    network = Network(
        store.release.network_id, admin.id, admin.gid, *names, "net", list(PUBLIC),
        only_grows=store.release.addresses_only_grow,
    )  # fmt: skip
    store.networks.add(network)
    store.networks.next_id = network.id + 1
    store.images.add(Image(image, admin.id, admin.gid, *names, "img", list(PUBLIC)))


def add_vm_template(store: Store, owner: User, name: str, text: str, is_public: bool) -> VmTemplate:
    """Adds a VM template, for all users or only for its owner."""
    number = store.vm_templates.new_id()
    made = VmTemplate(
        number, owner.id, owner.gid, owner.name, owner.gname, name,
        template=parse(text), registration_time=store.agenda.seconds(),
    )  # fmt: skip
    if is_public:
        made.permissions = list(PUBLIC)
    return store.vm_templates.add(made)


def add_flow(
    store: Store, owner: User, name: str, roles: list[dict[str, Any]], is_public: bool = True
) -> int:
    """Adds a flow template with these roles and returns its id."""
    body = compact(flow_body(store, name, roles))
    document = store.new_document(owner, SERVICE_TEMPLATE, name, Template([("BODY", body)]))
    if is_public:
        document.permissions = list(PUBLIC)
        store.documents.permissions_changed(document)
    return document.id


def role(store: Store, name: str, vm_template_id: int) -> dict[str, Any]:
    """A role as a flow template of that release contains it."""
    kind = {"type": "vm"} if store.release.role_has_type else {}
    return {
        "name": name,
        **kind,
        "cardinality": 1,
        store.release.role_template_key: vm_template_id,
        "min_vms": 1,
        "cooldown": 5,
        "elasticity_policies": [],
        "scheduled_policies": [],
    }


def flow_body(store: Store, name: str, roles: list[dict[str, Any]]) -> dict[str, Any]:
    """The body of a flow template."""
    return {
        "name": name,
        "deployment": "straight",
        "description": "",
        "roles": roles,
        "ready_status_gate": False,
        "automatic_deletion": False,
        "registration_time": store.agenda.seconds(),
    }
