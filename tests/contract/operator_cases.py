"""The templates that operators write: a table of cases."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .device import DISK_MB, Json

Inputs = dict[str, tuple[str, str]]
"""User inputs: what the template says of each, and the value that a web interface sends."""

USUAL = """
CPU="1"
VCPU="1"
MEMORY="128"
DISK=[$DISK]
NIC=[$NIC]
CONTEXT=[NETWORK="YES",TOKEN="YES"]
"""
"""A VM template. $DISK and $NIC are those of the flow template of CONTRACT_FLAVOUR."""
SIZED = 'CPU="1"\nVCPU="1"\nMEMORY="128"\n'
DISK = "DISK=[$DISK]\n"
NIC = "NIC=[$NIC]\n"
CONTEXT = 'CONTEXT=[NETWORK="YES",TOKEN="YES"]\n'
FAAS: Json = {"FAAS": {}}
OTHER_ROLE = "LOG"
"""Plays neither FAAS nor DAAS."""
SCRIPT = "#!/bin/sh\necho one > /tmp/one\necho two >> /tmp/one"


@dataclass(frozen=True)
class Case:
    """A flow template, a request, and the differences that are meant besides the usual ones."""

    name: str
    vm: str = USUAL
    """The VM template of each role, which may have a text of its own under ``vm``."""
    roles: Mapping[str, Json] = field(default_factory=lambda: FAAS)
    """Members of each role; ``contents`` is an object here, whatever the dialect."""
    flow: Json = field(default_factory=dict)
    inputs: Inputs = field(default_factory=dict)
    """Of the service."""
    function: Json = field(default_factory=lambda: {"DISK_SIZE": DISK_MB})
    """What is requested of FAAS, and of DAAS where there is one."""
    request: Json = field(default_factory=dict)
    meant: Mapping[str, str | re.Pattern[str]] = field(default_factory=dict)
    """Paths with the value, or its pattern, in the VM of FAAS; an empty one is not there."""
    mode: str = "644"
    group_id: int = -1
    """Of the flow template and the VM template."""


CASES = (
    Case("plain"),
    Case("contents", roles={"FAAS": {"contents": {"GREETING": "hello", "COLOUR": "blue"}}}),
    Case(
        "service-network",
        SIZED + DISK + CONTEXT,
        {"FAAS": {"contents": {"NIC": [{"NAME": "_NIC0", "NETWORK_ID": "$Public"}]}}},
        {"networks": {"Public": "M|network|Public| |id:$NETWORK_ID"}},
    ),
    Case(
        "two-service-networks",
        SIZED + DISK + CONTEXT,
        {
            "FAAS": {
                "contents": {
                    "NIC": [
                        {"NAME": "_NIC0", "NETWORK_ID": "$Public"},
                        {"NAME": "_NIC1", "NETWORK_ID": "$Private"},
                    ]
                }
            }
        },
        {
            "networks": {
                "Public": "M|network|Public| |id:$NETWORK_ID",
                "Private": "M|network|Private| |id:$NETWORK6_ID",
            }
        },
    ),
    Case("contents-capacity", roles={"FAAS": {"contents": {"MEMORY": "512", "CPU": "2"}}}),
    Case(
        "contents-capacity-and-a-request",
        roles={"FAAS": {"contents": {"MEMORY": "512", "CPU": "2", "VCPU": "2"}}},
        function={"CPU": 3, "MEMORY": 256, "DISK_SIZE": DISK_MB},
    ),
    Case("overcommitted", 'CPU="0.1"\nVCPU="2"\nMEMORY="128"\n' + DISK + NIC + CONTEXT),
    Case("no-vcpu", 'CPU="0.5"\nMEMORY="128"\n' + DISK + NIC + CONTEXT),
    Case(
        "requirements",
        USUAL + 'SCHED_REQUIREMENTS="CLUSTER_ID=0"\nSCHED_RANK="FREE_CPU"\n',
    ),
    Case(
        "requirements-and-a-request",
        USUAL + 'SCHED_REQUIREMENTS="CLUSTER_ID=0 | CLUSTER_ID=1"\n',
        request={"SCHEDULING": {"REQUIREMENTS": "FREE_CPU > 0 | FREE_CPU > 1"}},
        meant={
            "USER_TEMPLATE/SCHED_REQUIREMENTS": re.compile(
                r"\(CLUSTER_ID=0 \| CLUSTER_ID=1\) & \(FREE_CPU > 0 \| FREE_CPU > 1\)"
            )
        },
    ),
    Case(
        "contents-requirements-and-a-request",
        USUAL + 'SCHED_REQUIREMENTS="CLUSTER_ID=0"\n',
        {"FAAS": {"contents": {"SCHED_REQUIREMENTS": "CLUSTER_ID<2"}}},
        request={"SCHEDULING": {"REQUIREMENTS": "FREE_CPU > 0"}},
        meant={
            "USER_TEMPLATE/SCHED_REQUIREMENTS": re.compile(r"\(CLUSTER_ID<2\) & \(FREE_CPU > 0\)")
        },
    ),
    Case("scheduled", USUAL + 'SCHED_ACTION=[ACTION="snapshot-create",TIME="+3600"]\n'),
    Case(
        "scheduled-and-a-lease",
        USUAL + 'SCHED_ACTION=[ACTION="snapshot-create",TIME="+3600"]\n',
        request={"LEASE": {"TTL": 7200}},
    ),
    Case(
        "contents-scheduled-and-a-lease",
        roles={
            "FAAS": {"contents": {"SCHED_ACTION": [{"ACTION": "snapshot-create", "TIME": "+3600"}]}}
        },
        request={"LEASE": {"TTL": 7200}},
    ),
    Case(
        "inputs",
        roles={"FAAS": {"contents": {"GREETING": "$GREETING"}}},
        inputs={"GREETING": ("O|text|A greeting| |hello", "hello")},
    ),
    Case(
        "role-inputs",
        roles={
            "FAAS": {
                "contents": {"GREETING": "$GREETING"},
                "inputs": {"GREETING": ("M|text|A greeting| |hello", "hello")},
            }
        },
    ),
    Case(
        "io-limits",
        SIZED + 'DISK=[$DISK,TOTAL_IOPS_SEC="500",SIZE_IOPS_SEC="4096"]\n' + NIC + CONTEXT,
    ),
    Case("two-disks", SIZED + DISK + 'DISK=[TYPE="fs",SIZE="77",FORMAT="raw"]\n' + NIC + CONTEXT),
    Case("same-disk-twice", SIZED + DISK + DISK + NIC + CONTEXT),
    Case(
        "contents-disk",
        roles={"FAAS": {"contents": {"DISK": [{"TYPE": "fs", "SIZE": "77", "FORMAT": "raw"}]}}},
        function={},
    ),
    Case("disk-size", SIZED + f'DISK=[$DISK,SIZE="{DISK_MB}"]\n' + NIC + CONTEXT, function={}),
    Case("no-disk", SIZED + NIC + CONTEXT, function={}),
    Case("two-nics", SIZED + DISK + NIC + NIC + CONTEXT),
    Case(
        "same-nic-in-contents",
        roles={"FAAS": {"contents": {"NIC": [{"NETWORK_ID": "$NETWORK_ID"}]}}},
    ),
    Case(
        "nic-alias",
        SIZED + DISK + 'NIC=[$NIC,NAME="first"]\nNIC_ALIAS=[$NIC,PARENT="first"]\n' + CONTEXT,
    ),
    Case("ipv6", SIZED + DISK + 'NIC=[NETWORK_ID="$NETWORK6_ID"]\n' + CONTEXT),
    Case("no-nic", SIZED + DISK),
    Case("external-ip", SIZED + DISK + 'NIC=[$NIC,EXTERNAL_IP="192.0.2.7"]\n' + CONTEXT),
    Case(
        "context",
        SIZED
        + DISK
        + NIC
        + 'CONTEXT=[NETWORK="YES",SSH_PUBLIC_KEY="ssh-rsa AAA me",GREETING="say \\"hi\\", a=b]"]\n',
    ),
    Case(
        "contents-context",
        USUAL,
        {"FAAS": {"contents": {"CONTEXT": {"NETWORK": "YES", "GREETING": "hello"}}}},
    ),
    Case(
        "start-script",
        SIZED + DISK + NIC + f'CONTEXT=[NETWORK="YES",START_SCRIPT="{SCRIPT}"]\n',
        meant={
            "TEMPLATE/CONTEXT/0/START_SCRIPT": "",
            "TEMPLATE/CONTEXT/0/START_SCRIPT_BASE64": base64.b64encode(SCRIPT.encode()).decode(),
        },
    ),
    Case("no-context", SIZED + DISK + NIC),
    Case(
        "custom-attributes",
        USUAL
        + 'GREETING="say \\"hi\\""\nMOTTO="Ça va, Ω?"\nEMPTY=""\n'
        + 'OWNER=[NAME="Zoë \\"Z\\"",FLOOR="3, left"]\n',
    ),
    Case(
        "contents-custom-attributes",
        roles={
            "FAAS": {
                "contents": {
                    "GREETING": 'say "hi"',
                    "MOTTO": "Ça va, Ω?",
                    "OWNER": {"NAME": 'Zoë "Z"', "FLOOR": "3, left"},
                }
            }
        },
    ),
    Case(
        "several-lines",
        USUAL + 'NOTE="one\ntwo"\nRAW=[TYPE="kvm",VALIDATE="NO",DATA="<a>\n</a>"]\n',
    ),
    Case(
        "third-role",
        roles={"FAAS": {}, "DAAS": {}, "LOG": {"contents": {"MEMORY": "64", "PURPOSE": "log"}}},
    ),
    Case("third-role-first", roles={"LOG": {"contents": {"MEMORY": "64"}}, "FAAS": {}}),
    Case("cardinality", roles={"FAAS": {"cardinality": 2}}),
    Case("on-hold", roles={"FAAS": {"on_hold": True}}),
    Case("ready-status-gate", flow={"ready_status_gate": True}),
    Case("roles-of-the-original", roles={"nature": {}, "s3": {"contents": {"PURPOSE": "data"}}}),
    Case(
        "parents",
        roles={
            "FAAS": {"parents": ["DAAS"], "contents": {"STORE": "${DAAS.template.memory}"}},
            "DAAS": {},
        },
        flow={"deployment": "straight"},
    ),
    Case(
        "elasticity",
        roles={
            "FAAS": {
                "min_vms": 1,
                "max_vms": 2,
                "elasticity_policies": [
                    {
                        "type": "CHANGE",
                        "adjust": 1,
                        "expression": "CPU > 1000",
                        "period": 30,
                        "period_number": 3,
                        "cooldown": 30,
                    }
                ],
            }
        },
    ),
    Case("vm-group", USUAL + 'VMGROUP=[VMGROUP_ID="$GROUP_ID",ROLE="one"]\n'),
    Case(
        "files",
        SIZED + DISK + NIC + 'CONTEXT=[NETWORK="YES",FILES_DS="$FILE[IMAGE_ID=$FILE_ID]"]\n',
    ),
    Case("raw", USUAL + 'RAW=[TYPE="kvm",VALIDATE="NO",DATA="<devices/>"]\n'),
    Case("pci", USUAL + 'PCI=[VENDOR="10de",DEVICE="1eb8",CLASS="0302"]\n'),
    Case(
        "topology",
        'CPU="2"\nVCPU="2"\nMEMORY="128"\n'
        + DISK
        + NIC
        + CONTEXT
        + 'TOPOLOGY=[PIN_POLICY="NONE",SOCKETS="1",CORES="2",THREADS="1"]\n',
    ),
    Case(
        "vm-inputs",
        USUAL
        + 'USER_INPUTS=[CPU="O|fixed|| |1",GREETING="M|text|A greeting"]\n'
        + 'INPUTS_ORDER="GREETING"\n',
    ),
    Case(
        "memory-max",
        USUAL + 'MEMORY_MAX="200"\nVCPU_MAX="2"\n',
        function={"MEMORY": 256, "CPU": 3, "DISK_SIZE": DISK_MB},
    ),
    Case("of-a-group", mode="640", group_id=1),
    Case(
        "hypervisor",
        USUAL
        + 'OS=[ARCH="x86_64",BOOT="disk0",MACHINE="q35"]\nFEATURES=[ACPI="yes",GUEST_AGENT="yes"]\n'
        + 'GRAPHICS=[LISTEN="0.0.0.0",TYPE="VNC"]\nCPU_MODEL=[MODEL="host-passthrough"]\n'
        + 'HYPERVISOR="kvm"\nLOGO="images/logos/linux.png"\nLABELS="web,test"\n'
        + 'NIC_DEFAULT=[MODEL="virtio"]\nINPUT=[TYPE="tablet",BUS="usb"]\nDESCRIPTION="A VM."\n',
    ),
    Case(
        "append",
        roles={"FAAS": {"contents": {"APPEND": "NIC", "NIC": [{"NETWORK_ID": "$NETWORK6_ID"}]}}},
    ),
)
