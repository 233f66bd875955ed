"""What a VM is connected to: disks and images, NICs and networks, and its CONTEXT."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeVar

from provision_engine.sandbox import errors
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.releases import Release
from provision_engine.sandbox.store import USE, Image, Network, Pool, Store, User, Vm, VmGroup
from provision_engine.sandbox.template import Template

Vector = dict[str, str]
_VOLATILE_TYPES = ("fs", "swap")
"""The types of disks without an image."""
_EVERYWHERE = '("CLUSTERS/ID" @> 0)'
IMAGE_SIZE_MB = 1024
_IMAGE_PATH = "dummy_path"
ONEGATE_ENDPOINT = "http://127.0.0.1:5030"
_CONTEXT_ADDRESS_NAMES = [
    "DNS",
    "EXTERNAL",
    "GATEWAY",
    "IP",
    "IP6",
    "IP6_GATEWAY",
    "IP6_METHOD",
    "IP6_METRIC",
    "IP6_PREFIX_LENGTH",
    "IP6_ULA",
    "MAC",
    "MASK",
    "METHOD",
    "METRIC",
    "MTU",
    "NETWORK",
    "SEARCH_DOMAIN",
    "VLAN_ID",
    "VROUTER_IP",
    "VROUTER_IP6",
    "VROUTER_MANAGEMENT",
]
_IN_SYSTEM_DATASTORE = {
    "ALLOW_ORPHANS": "NO",
    "CLUSTER_ID": "0",
    "DATASTORE": "system",
    "DATASTORE_ID": "0",
    "DISK_TYPE": "FILE",
    "TM_MAD": "dummy",
}
"""What a disk without an image gets when its VM is placed on a host."""
_FIRST_SCREEN_PORT = 5900
_FROM_NIC = {"IP6": "IP6_GLOBAL"}
"""Names of addresses in CONTEXT that a NIC has under another name."""
_RULES = [
    {
        "PROTOCOL": "ALL",
        "RULE_TYPE": direction,
        "SECURITY_GROUP_ID": "0",
        "SECURITY_GROUP_NAME": "default",
    }
    for direction in ("OUTBOUND", "INBOUND")
]
_VARIABLE = re.compile(r"\$(\w+)")
_FILE = re.compile(r"\$FILE\[([^\]]*)\]")
_MEMBER = re.compile(r'(\w+)\s*=\s*"?([^",]*)"?')
_VECTORS = {"IMAGE": "DISK", "NETWORK": "NIC"}
_NOUNS = {"IMAGE": "an image", "NETWORK": "a network"}
T = TypeVar("T", Image, Network)
N = TypeVar("N", Image, Network, VmGroup)


class Devices:
    """Connects new VMs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def extended(self, template: Template) -> Template:
        """A VM template plus what its images and networks add (scenario vm-templates)."""
        full = template.copy()
        for number, disk in enumerate(full.vectors("DISK")):
            image = _named(self._store.images, disk, "IMAGE")
            if image is not None:
                disk |= self._image(image) | disk | {"DISK_ID": str(number)}
        for nic in full.vectors("NIC"):
            network = _named(self._store.networks, nic, "NETWORK")
            if network is not None:
                nic["NETWORK_ID"] = str(network.id)
        return full

    def requirements(self, disks: list[Vector], nics: list[Vector]) -> Iterator[tuple[str, str]]:
        """What oned itself requires of the host; only images and networks bind to a cluster."""
        is_bound = bool(nics) or any("IMAGE_ID" in disk for disk in disks)
        if is_bound:
            yield "AUTOMATIC_DS_REQUIREMENTS", _EVERYWHERE
            yield "AUTOMATIC_NIC_REQUIREMENTS", _EVERYWHERE
        everything = self._store.release.automatic_requirements
        cluster = "(CLUSTER_ID = 0) & " if is_bound else ""
        yield "AUTOMATIC_REQUIREMENTS", cluster + everything

    # ---- disks -------------------------------------------------------------------------------

    def disk(self, user: User, disk: Vector, number: int) -> Vector:
        """A DISK of a VM, from that of its template."""
        full = dict(disk)
        if "IMAGE" in disk or "IMAGE_ID" in disk:
            image = self._found(user, self._store.images, disk, "IMAGE", f"DISK {number}: ")
            full = self._image(image) | disk
            full |= {"IMAGE": image.name, "IMAGE_ID": str(image.id), "IMAGE_STATE": "2"}
        elif disk.get("TYPE") not in _VOLATILE_TYPES:
            raise _refusal(f"DISK {number}: Unknown disk type {disk.get('TYPE', '')}")
        else:
            full["DEV_PREFIX"] = "sd"
        if not full.get("SIZE", "0").isdigit():
            raise _refusal("SIZE attribute must be a positive integer value.")
        if "IMAGE_ID" in full and int(full["SIZE"]) < IMAGE_SIZE_MB:
            least = f"the image [{full['IMAGE_ID']}] size of {IMAGE_SIZE_MB}MB"
            raise _refusal(f"DISK {number}: SIZE of {full['SIZE']}MB is less than {least}.")
        full |= {"DISK_ID": str(number), "TARGET": _target(number)}
        return full

    def _image(self, image: Image) -> Vector:
        """The attributes that an image adds to a disk."""
        return {
            "ALLOW_ORPHANS": "NO",
            "CLONE": "YES",
            "CLONE_TARGET": "SYSTEM",
            "CLUSTER_ID": "0",
            "DATASTORE": "default",
            "DATASTORE_ID": "1",
            "DEV_PREFIX": "sd",
            "DISK_SNAPSHOT_TOTAL_SIZE": "0",
            "DISK_TYPE": "FILE",
            "DRIVER": "dummy_format",
            "FORMAT": "dummy_format",
            "IMAGE": image.name,
            "IMAGE_ID": str(image.id),
            "IMAGE_STATE": "1",
            "LN_TARGET": "NONE",
            "ORIGINAL_SIZE": str(IMAGE_SIZE_MB),
            "READONLY": "NO",
            "SAVE": "NO",
            "SIZE": str(IMAGE_SIZE_MB),
            "SOURCE": _IMAGE_PATH,
            "TM_MAD": "dummy",
            "TYPE": "FILE",
        } | dict(self._store.release.disk_extra)

    # ---- networks ----------------------------------------------------------------------------

    def check_networks(self, user: User, merged: Template) -> None:
        """0x2000 if a network does not exist."""
        for nic in (*merged.vectors("NIC"), *merged.vectors("NIC_ALIAS")):
            self._network(user, nic)
        names = {nic.get("NAME", f"NIC{n}") for n, nic in enumerate(merged.vectors("NIC"))}
        for alias in merged.vectors("NIC_ALIAS"):
            if alias.get("PARENT") not in names:
                raise _refusal(f"NIC named {alias.get('PARENT', '')} not found for alias")

    def connect(self, vm: Vm, user: User, merged: Template) -> None:
        """Gives a VM its NICs and their aliases, with addresses."""
        usual = next(iter(merged.vectors("NIC_DEFAULT")), {})
        wanted = [usual | nic for nic in merged.vectors("NIC")]
        nics = [self._nic(vm, user, nic, f"NIC{n}", n) for n, nic in enumerate(wanted)]
        vm.template.items += [("NIC", nic) for nic in nics]
        if nics:
            vm.template.items += [("SECURITY_GROUP_RULE", dict(rule)) for rule in _RULES]
        for number, asked in enumerate(merged.vectors("NIC_ALIAS"), start=len(nics)):
            parent = next(nic for nic in nics if nic["NAME"] == asked["PARENT"])
            before = parent["ALIAS_IDS"].split(",") if parent.get("ALIAS_IDS") else []
            parent["ALIAS_IDS"] = ",".join([*before, str(number)])
            name = f"NIC{parent['NIC_ID']}_ALIAS{number}"
            alias = self._nic(vm, user, asked, name, number)
            alias |= {"ALIAS_ID": str(len(before)), "PARENT_ID": parent["NIC_ID"]}
            vm.template.items.append(("NIC_ALIAS", alias))

    def _nic(self, vm: Vm, user: User, asked: Vector, name: str, number: int) -> Vector:
        network = self._network(user, asked)
        return (
            {"NAME": name}
            | asked
            | network.lease()
            | {
                "AR_ID": "0",
                "BRIDGE": "br0",
                "BRIDGE_TYPE": "linux",
                "CLUSTER_ID": "0",
                "NETWORK": network.name,
                "NETWORK_ID": str(network.id),
                "NIC_ID": str(number),
                "SECURITY_GROUPS": "0",
                "TARGET": f"one-{vm.id}-{number}",
                "VN_MAD": "dummy",
            }
        )

    def _network(self, user: User, nic: Vector) -> Network:
        return self._found(user, self._store.networks, nic, "NETWORK")

    # ---- groups and context ------------------------------------------------------------------

    def group(self, vm: Vm, merged: Template) -> None:
        """Puts a VM into its group."""
        for asked in merged.vectors("VMGROUP"):
            found = _named(self._store.vm_groups, asked, "VMGROUP")
            if found is None:
                raise _refusal("Cannot find VM Group to associate the VM")
            if asked.get("ROLE") not in found.template.values("ROLE", "NAME"):
                raise _refusal("Role does not exist in VM Group")
            vm.template.set("VMGROUP", asked | {"VMGROUP_ID": str(found.id)})

    def pass_through(self, vm: Vm) -> None:
        """Gives addresses to a VM's PCI devices."""
        for number, device in enumerate(vm.template.vectors("PCI")):
            device |= {"PCI_ID": str(number), "VM_BUS": "0x01"}
            if self._store.release.pci_has_address:
                device |= {
                    "VM_ADDRESS": f"01:{number + 1:02x}.0",
                    "VM_DOMAIN": "0x0000",
                    "VM_FUNCTION": "0",
                    "VM_SLOT": f"0x{number + 1:02x}",
                }

    def order(self, vm: Vm) -> None:
        """Marks the disks and NICs from which a VM boots."""
        os = vm.template.get("OS")
        names = os.get("BOOT", "").split(",") if isinstance(os, dict) else []
        for position, name in enumerate(names, start=1):
            for kind in ("DISK", "NIC"):
                for vector in vm.template.vectors(kind):
                    if name == f"{kind.lower()}{vector[f'{kind}_ID']}":
                        vector["ORDER"] = str(position)

    def context(self, vm: Vm, merged: Template, disk_count: int) -> None:
        """Gives a VM its CONTEXT: addresses, and values in the place of variables."""
        asked = merged.get("CONTEXT")
        if not isinstance(asked, dict):
            return
        context = {name: self._resolved(merged, name, text) for name, text in asked.items()}
        if asked.get("NETWORK", "").upper() == "YES":
            for name, nic in _interfaces(vm):
                wanted = (*_CONTEXT_ADDRESS_NAMES, *self._store.release.context_extra)
                values = {n: nic.get(_FROM_NIC.get(n, n), "") for n in wanted} | {"NETWORK": ""}
                context |= {f"{name}_{key}": value for key, value in values.items()}
        context |= {
            f"PCI{pci['PCI_ID']}_ADDRESS": pci["VM_ADDRESS"]
            for pci in vm.template.vectors("PCI")
            if "VM_ADDRESS" in pci
        }
        if asked.get("TOKEN", "").upper() == "YES":
            context |= {"ONEGATE_ENDPOINT": ONEGATE_ENDPOINT, "VMID": str(vm.id)}
            vm.template.set("CREATED_BY", str(vm.uid))
        is_sata = self._store.release.q35_has_sata and "q35" in "".join(
            vector.get("MACHINE", "") for vector in vm.template.vectors("OS")
        )
        target = _target(disk_count) if is_sata else "hda"
        vm.template.set("CONTEXT", context | {"DISK_ID": str(disk_count), "TARGET": target})

    def _resolved(self, merged: Template, name: str, text: str) -> str:
        if name == "FILES_DS":
            files = [self._file(found[1]) for found in _FILE.finditer(text)]
            return "".join([f"{_IMAGE_PATH}:'{image.name}' " for image in files])
        return _VARIABLE.sub(lambda found: merged.text(found[1]) or "", text)

    def _file(self, members: str) -> Image:
        asked = dict(_MEMBER.findall(members))
        image = _named(self._store.images, asked, "IMAGE")
        if image is None:
            wanted = f"Image with ID: {asked.get('IMAGE_ID')} does not exist"
            raise _refusal(f"Error parsing: $FILE[{members}]. {wanted}")
        return image

    def _found(self, user: User, pool: Pool[T], asked: Vector, key: str, before: str = "") -> T:
        """The object that a vector names, by id or by name; 0x2000 if it does not exist."""
        item = _named(pool, asked, key)
        if item is None and f"{key}_ID" in asked:
            noun = pool.noun.capitalize()
            raise _refusal(f"{before}{noun} with ID: {asked[f'{key}_ID']} does not exist")
        if item is None:
            uname = asked.get(f"{key}_UNAME", user.name)
            owner_id = self._store.users_by_name[uname].id
            owner = f" Set {key}_UNAME or {key}_UID of owner in {_VECTORS[key]}."
            text = f"User {owner_id} does not own {_NOUNS[key]} with name: {asked.get(key, '')} ."
            raise _refusal(f"{before}{text}{owner}")
        self._store.authorize(user, item, USE)
        return item


def place(vm: Vm, release: Release) -> None:
    """Adds what depends on the host and its datastore."""
    vm.template.set("TM_MAD_SYSTEM", "dummy")
    for disk in vm.template.vectors("DISK"):
        if "IMAGE_ID" not in disk:
            disk |= _IN_SYSTEM_DATASTORE | dict(release.disk_extra)
            disk["DRIVER"] = disk.get("FORMAT", "raw")
    for screen in vm.template.vectors("GRAPHICS"):
        screen["PORT"] = str(_FIRST_SCREEN_PORT + vm.id)


def leave(vm: Vm) -> None:
    """Takes back what a VM needed on its host."""
    for screen in vm.template.vectors("GRAPHICS"):
        screen.pop("PORT", None)


def _named(pool: Pool[N], asked: Vector, key: str) -> N | None:
    """The object that a vector names, by id or by name."""
    if f"{key}_ID" in asked:
        number = asked[f"{key}_ID"]
        return pool.find(int(number)) if number.isdigit() else None
    return pool.named(asked[key]) if key in asked else None


def _target(number: int) -> str:
    return f"sd{chr(ord('a') + number % 26)}"


def _interfaces(vm: Vm) -> Iterator[tuple[str, Vector]]:
    """The names under which CONTEXT shows NICs and aliases."""
    for nic in vm.template.vectors("NIC"):
        yield f"ETH{nic['NIC_ID']}", nic
    for alias in vm.template.vectors("NIC_ALIAS"):
        yield f"ETH{alias['PARENT_ID']}_ALIAS{alias['ALIAS_ID']}", alias


def _refusal(message: str) -> OneError:
    return OneError(errors.INTERNAL, message)
