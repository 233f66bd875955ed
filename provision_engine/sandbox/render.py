"""VMs and users as XML. The XML of a VM is cached until the VM changes."""

from __future__ import annotations

from collections.abc import Iterable

from provision_engine.sandbox import xml
from provision_engine.sandbox.store import Group, History, Store, User, Vm
from provision_engine.sandbox.template import Template

_SHORT_DISK = (
    "DISK_ID", "DATASTORE", "DATASTORE_ID", "IMAGE", "IMAGE_ID", "SIZE", "TYPE", "CLONE",
    "CLONE_TARGET", "LN_TARGET", "DISK_SNAPSHOT_TOTAL_SIZE",
)  # fmt: skip
_SHORT_NIC = ("IP", "MAC", "NETWORK", "NETWORK_ID", "NIC_ID", "SECURITY_GROUPS")
_SHORT_USER_TEMPLATE = ("ERROR", "LABELS", "SCHED_MESSAGE", "SCHED_RANK", "SCHED_REQUIREMENTS")
_EMPTY_QUOTAS = (
    "<DATASTORE_QUOTA></DATASTORE_QUOTA><NETWORK_QUOTA></NETWORK_QUOTA>"
    "<VM_QUOTA></VM_QUOTA><IMAGE_QUOTA></IMAGE_QUOTA>"
)
_DEFAULT_USER_QUOTAS = f"<DEFAULT_USER_QUOTAS>{_EMPTY_QUOTAS}</DEFAULT_USER_QUOTAS>"
_DEFAULT_GROUP_QUOTAS = f"<DEFAULT_GROUP_QUOTAS>{_EMPTY_QUOTAS}</DEFAULT_GROUP_QUOTAS>"


def vm(store: Store, machine: Vm) -> str:
    """A VM as in the response of one.vm.info."""
    if machine.rendered is None:
        machine.rendered = _vm(store, machine)
    return machine.rendered


def vm_in_pool(store: Store, machine: Vm) -> str:
    """A VM as in the extended pool calls, which show only the ids of scheduled actions."""
    if not machine.scheduled:
        return vm(store, machine)
    return _vm(store, machine, with_actions=False)


def vm_short(machine: Vm) -> str:
    """A VM as in the response of one.vmpool.info."""
    if machine.rendered_short is None:
        machine.rendered_short = _vm_short(machine)
    return machine.rendered_short


def _vm(store: Store, machine: Vm, with_actions: bool = True) -> str:
    ids = "".join([xml.plain("ID", i) for i in machine.scheduled_ids])
    template = machine.template.to_xml()
    actions = "".join([_scheduled(store, machine, i) for i in sorted(machine.scheduled)])
    if actions and with_actions:
        template = template.removesuffix("</TEMPLATE>") + actions + "</TEMPLATE>"
    return (
        f"<VM>{machine.head_xml()}{_vm_states(machine, with_previous=True)}"
        f"{machine.lock_xml()}<MONITORING></MONITORING><SCHED_ACTIONS>{ids}</SCHED_ACTIONS>{template}"
        f"{machine.user_template.to_xml('USER_TEMPLATE')}"
        f"{_records([_record(store, machine, h) for h in machine.history])}"
        "<BACKUPS><BACKUP_CONFIG/><BACKUP_IDS></BACKUP_IDS></BACKUPS></VM>"
    )


def _vm_states(machine: Vm, with_previous: bool) -> str:
    states = [("LAST_POLL", 0), ("STATE", machine.state), ("LCM_STATE", machine.lcm_state)]
    if with_previous:
        states += [("PREV_STATE", machine.state), ("PREV_LCM_STATE", machine.lcm_state)]
    states += [("RESCHED", machine.resched), ("STIME", machine.stime), ("ETIME", machine.etime)]
    return xml.plains(states) + xml.plain("DEPLOY_ID", xml.escape(machine.deploy_id))


def _records(records: list[str]) -> str:
    if not records:
        return "<HISTORY_RECORDS/>"
    return f"<HISTORY_RECORDS>{''.join(records)}</HISTORY_RECORDS>"


def _record(store: Store, machine: Vm, record: History) -> str:
    plan = (("PLAN_ID", -1), ("ACTION_ID", record.plan_action_id))
    times = (
        ("PSTIME", record.pstime), ("PETIME", record.petime),
        ("RSTIME", record.rstime), ("RETIME", record.retime),
        ("ESTIME", record.estime), ("EETIME", record.eetime),
        ("ACTION", record.action), ("UID", record.uid), ("GID", record.gid),
        ("REQUEST_ID", record.request_id),
    )  # fmt: skip
    return (
        "<HISTORY>"
        + xml.plains((("OID", machine.id), ("SEQ", record.seq), ("HOSTNAME", record.hostname)))
        + xml.plains((("HID", record.host_id), ("CID", 0)))
        + xml.plains((("STIME", record.stime), ("ETIME", record.etime)))
        + "<VM_MAD><![CDATA[dummy]]></VM_MAD><TM_MAD><![CDATA[dummy]]></TM_MAD><DS_ID>0</DS_ID>"
        + (xml.plains(plan) if store.release.history_has_plan else "")
        + xml.plains(times)
        + "</HISTORY>"
    )


def _scheduled(store: Store, machine: Vm, action_id: int) -> str:
    action = machine.scheduled[action_id]
    members: list[tuple[str, object]] = [
        ("ID", action.id), ("PARENT_ID", machine.id), ("TYPE", "VM"),
        ("ACTION", xml.escape(action.action)), ("ARGS", ""), ("TIME", action.time),
        ("REPEAT", -1), ("DAYS", ""), ("END_TYPE", -1), ("END_VALUE", -1), ("DONE", -1),
        ("MESSAGE", xml.escape(action.message)),
    ]  # fmt: skip
    if store.release.sched_action_has_warning:
        members.append(("WARNING", 0))
    return f"<SCHED_ACTION>{xml.plains(members)}</SCHED_ACTION>"


def _vm_short(machine: Vm) -> str:
    head = (
        ("ID", machine.id), ("UID", machine.uid), ("GID", machine.gid),
        ("UNAME", xml.escape(machine.uname)), ("GNAME", xml.escape(machine.gname)),
        ("NAME", machine.name),
    )  # fmt: skip
    vcpu = machine.template.text("VCPU") or ""
    size = (("CPU", f"{machine.cpu:g}"), ("MEMORY", machine.memory_mb), ("VCPU", vcpu))
    disks = [_some("DISK", d, _SHORT_DISK) for d in machine.template.vectors("DISK")]
    nics = [_some("NIC", n, _SHORT_NIC) for n in machine.template.vectors("NIC")]
    chosen = [i for i in machine.user_template.items if i[0] in _SHORT_USER_TEMPLATE]
    attributes = Template(chosen).to_xml("USER_TEMPLATE")
    return (
        f"<VM>{xml.plains(head)}{_vm_states(machine, with_previous=False)}"
        f"<TEMPLATE>{xml.plains(size)}{''.join(disks)}{''.join(nics)}</TEMPLATE><MONITORING/>"
        f"{attributes if machine.user_template.items else '<USER_TEMPLATE/>'}"
        f"{_records([_short_record(machine, h) for h in machine.history[-1:]])}</VM>"
    )


def _some(name: str, members: dict[str, str], wanted: tuple[str, ...]) -> str:
    inner = "".join([xml.cdata(key, members[key]) for key in wanted if key in members])
    return f"<{name}>{inner}</{name}>"


def _short_record(machine: Vm, record: History) -> str:
    return (
        "<HISTORY>"
        + xml.plains((("OID", machine.id), ("SEQ", record.seq)))
        + xml.cdata("HOSTNAME", record.hostname)
        + xml.plains((("HID", record.host_id), ("CID", 0), ("DS_ID", 0)))
        + xml.cdata("VM_MAD", "dummy")
        + xml.cdata("TM_MAD", "dummy")
        + xml.cdata("ACTION", record.action)
        + "</HISTORY>"
    )


def user(store: Store, person: User) -> str:
    """A user as in the response of one.user.info."""
    return f"<USER>{_user(person)}{_user_quotas(store, person)}{_DEFAULT_USER_QUOTAS}</USER>"


def user_pool(store: Store, people: list[User]) -> str:
    """Users as in the response of one.userpool.info: each is followed by its quotas."""
    inner = "".join(
        [
            f"<USER>{_user(p)}</USER>"
            f"<QUOTAS>{xml.plain('ID', p.id)}{_user_quotas(store, p)}</QUOTAS>"
            for p in people
        ]
    )
    return f"<USER_POOL>{inner}{_DEFAULT_USER_QUOTAS}</USER_POOL>"


def _user_quotas(store: Store, person: User) -> str:
    return person.quotas.to_xml(store.release.network_id, store.release.quota_has_pci)


def _user(person: User) -> str:
    tokens = (
        (("TOKEN", xml.escape(t.token)), ("EXPIRATION_TIME", t.expires), ("EGID", t.group_id))
        for t in person.tokens
    )
    return (
        xml.plains((("ID", person.id), ("GID", person.gid)))
        + f"<GROUPS>{_ids(person.groups)}</GROUPS>"
        + xml.plains((("GNAME", person.gname), ("NAME", xml.escape(person.name))))
        + xml.cdata("PASSWORD", person.password_hash)
        + xml.cdata("AUTH_DRIVER", person.driver)
        + xml.plain("ENABLED", int(person.is_enabled))
        + "".join([f"<LOGIN_TOKEN>{xml.plains(token)}</LOGIN_TOKEN>" for token in tokens])
        + person.template.to_xml()
    )


def group(store: Store, one: Group) -> str:
    """A group as in the response of one.group.info."""
    quotas = f"{_EMPTY_QUOTAS}{_vlan_rules(store, one)}{_DEFAULT_GROUP_QUOTAS}"
    return f"<GROUP>{_group(store, one)}{quotas}</GROUP>"


def group_pool(store: Store, groups: list[Group]) -> str:
    """Groups as in the response of one.grouppool.info: each is followed by its quotas."""
    inner = "".join(
        [
            f"<GROUP>{_group(store, g)}</GROUP>"
            f"<QUOTAS>{xml.plain('ID', g.id)}{_EMPTY_QUOTAS}</QUOTAS>{_vlan_rules(store, g)}"
            for g in groups
        ]
    )
    return f"<GROUP_POOL>{inner}{_DEFAULT_GROUP_QUOTAS}</GROUP_POOL>"


def _vlan_rules(store: Store, one: Group) -> str:
    if not store.release.group_has_vlan_rules:
        return ""
    return f"<VLAN_RULES>{xml.cdata('ID', one.id)}</VLAN_RULES>"


def _group(store: Store, one: Group) -> str:
    members = {person.id for person in store.users.all() if one.id in person.groups}
    return (
        xml.plains((("ID", one.id), ("NAME", xml.escape(one.name))))
        + one.template.to_xml()
        + f"<USERS>{_ids(members)}</USERS><ADMINS></ADMINS>"
    )


def _ids(numbers: Iterable[int]) -> str:
    return "".join([xml.plain("ID", number) for number in sorted(numbers)])
