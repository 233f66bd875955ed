"""OpenNebula's own names for states and types."""

from __future__ import annotations

from enum import IntEnum

import pyone

VmState = pyone.VM_STATE
LcmState = pyone.LCM_STATE
"""The lifecycle state of a VM that is ACTIVE."""


class DocumentType(IntEnum):
    """What a document of the pool is: one of oneflow's two, or the engine's."""

    SERVICE = 100
    FLOW_TEMPLATE = 101
    RUNTIME = 1337


class ServiceState(IntEnum):
    """The state of a oneflow service."""

    PENDING = 0
    DEPLOYING = 1
    RUNNING = 2
    UNDEPLOYING = 3
    WARNING = 4
    DONE = 5
    FAILED_UNDEPLOYING = 6
    FAILED_DEPLOYING = 7
    SCALING = 8
    FAILED_SCALING = 9
    COOLDOWN = 10
    DEPLOYING_NETS = 11
    UNDEPLOYING_NETS = 12
    FAILED_DEPLOYING_NETS = 13
    FAILED_UNDEPLOYING_NETS = 14
    HOLD = 15
