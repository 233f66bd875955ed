"""The states of a VM and the transitions between them, as tables.

A position is the pair of a VM's state and, while it is ACTIVE, its life-cycle state. `STEPS` says
how long a VM stays in a transient position and what follows, also if the driver fails there;
`ACTIONS` says which action is possible in which position. ``lifecycle.py`` moves VMs along them.
Source: the recordings of both releases, above all the scenarios with slow drivers.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from provision_engine.sandbox.store import Vm


class VmState(IntEnum):
    """States of a VM."""

    INIT = 0
    PENDING = 1
    HOLD = 2
    ACTIVE = 3
    STOPPED = 4
    SUSPENDED = 5
    DONE = 6
    POWEROFF = 8
    UNDEPLOYED = 9


class LcmState(IntEnum):
    """The life-cycle states of an ACTIVE VM that occur in the sandbox."""

    LCM_INIT = 0
    PROLOG = 1
    BOOT = 2
    RUNNING = 3
    SAVE_STOP = 5
    SAVE_SUSPEND = 6
    PROLOG_RESUME = 9
    EPILOG_STOP = 10
    EPILOG = 11
    SHUTDOWN = 12
    UNKNOWN = 16
    SHUTDOWN_POWEROFF = 18
    BOOT_UNKNOWN = 19
    BOOT_POWEROFF = 20
    BOOT_SUSPENDED = 21
    BOOT_STOPPED = 22
    CLEANUP_DELETE = 23
    SHUTDOWN_UNDEPLOY = 29
    EPILOG_UNDEPLOY = 30
    PROLOG_UNDEPLOY = 31
    BOOT_UNDEPLOY = 32
    BOOT_FAILURE = 36
    PROLOG_FAILURE = 39
    EPILOG_FAILURE = 40
    EPILOG_STOP_FAILURE = 41
    EPILOG_UNDEPLOY_FAILURE = 42
    BOOT_UNDEPLOY_FAILURE = 47
    BOOT_STOPPED_FAILURE = 48
    PROLOG_RESUME_FAILURE = 49
    PROLOG_UNDEPLOY_FAILURE = 50
    DISK_RESIZE = 62
    DISK_RESIZE_POWEROFF = 63
    DISK_RESIZE_UNDEPLOYED = 64
    HOTPLUG_RESIZE = 66


Position = tuple[VmState, LcmState]
L = LcmState


def active(lcm_state: LcmState) -> Position:
    """The position of an ACTIVE VM."""
    return VmState.ACTIVE, lcm_state


def still(state: VmState) -> Position:
    """The position of a VM that is not ACTIVE."""
    return state, LcmState.LCM_INIT


PENDING = still(VmState.PENDING)
HOLD = still(VmState.HOLD)
POWEROFF = still(VmState.POWEROFF)
SUSPENDED = still(VmState.SUSPENDED)
STOPPED = still(VmState.STOPPED)
UNDEPLOYED = still(VmState.UNDEPLOYED)
DONE = still(VmState.DONE)
PROLOG = active(L.PROLOG)
BOOT = active(L.BOOT)
RUNNING = active(L.RUNNING)
UNKNOWN = active(L.UNKNOWN)
SHUTDOWN = active(L.SHUTDOWN)
EPILOG = active(L.EPILOG)
CLEANUP_DELETE = active(L.CLEANUP_DELETE)
BOOT_FAILURE = active(L.BOOT_FAILURE)
PROLOG_FAILURE = active(L.PROLOG_FAILURE)
HOTPLUG_RESIZE = active(L.HOTPLUG_RESIZE)
DISK_RESIZE = active(L.DISK_RESIZE)

FAILURES = frozenset(active(state) for state in L if state.name.endswith("_FAILURE"))
TROUBLE = FAILURES | {UNKNOWN, POWEROFF}
"""Positions of a VM that turn its RUNNING service to WARNING (scenario poweroff-and-back).

SUSPENDED, STOPPED and UNDEPLOYED do not: the service stays RUNNING (scenario suspend-resume).
"""


class Step(NamedTuple):
    """What follows a transient position: after which duration, to where, with which bookkeeping.

    If the driver fails, `failed_to` and `failed` apply instead of `to` and `done`.
    """

    duration: str
    to: Position
    done: str = ""
    driver: str = ""
    failed_to: Position = BOOT_FAILURE
    failed: str = ""


def _booting(driver_failed_to: Position, duration: str = "resume_seconds") -> Step:
    return Step(duration, RUNNING, "booted", "boot", driver_failed_to, "boot_failed")


STEPS: dict[Position, Step] = {
    PROLOG: Step("prolog_seconds", BOOT, "prolog_done", "prolog", PROLOG_FAILURE, "prolog_failed"),
    BOOT: _booting(BOOT_FAILURE, "boot_seconds"),
    SHUTDOWN: Step("shutdown_seconds", EPILOG, "shut_down", "shutdown", RUNNING, "stayed_running"),
    EPILOG: Step(
        "epilog_seconds", DONE, "ended", "epilog", active(L.EPILOG_FAILURE), "epilog_failed"
    ),
    CLEANUP_DELETE: Step("cleanup_seconds", DONE, "deleted"),
    HOTPLUG_RESIZE: Step("resize_seconds", RUNNING, "resized", "resize", RUNNING, "resize_failed"),
    DISK_RESIZE: Step(
        "disk_resize_seconds", RUNNING, "disk_resized", "disk-resize", RUNNING, "disk_failed"
    ),
    active(L.DISK_RESIZE_POWEROFF): Step(
        "disk_resize_seconds", POWEROFF, "disk_resized", "disk-resize", POWEROFF, "disk_failed"
    ),
    active(L.DISK_RESIZE_UNDEPLOYED): Step(
        "disk_resize_seconds", UNDEPLOYED, "disk_resized", "disk-resize", UNDEPLOYED, "disk_failed"
    ),
    active(L.SHUTDOWN_POWEROFF): Step(
        "poweroff_seconds", POWEROFF, "powered_off", "shutdown", RUNNING, "stayed_running"
    ),
    active(L.SAVE_SUSPEND): Step(
        "save_seconds", SUSPENDED, "powered_off", "save", RUNNING, "stayed_running"
    ),
    active(L.SAVE_STOP): Step(
        "save_seconds", active(L.EPILOG_STOP), "shut_down", "save", RUNNING, "stayed_running"
    ),
    active(L.EPILOG_STOP): Step(
        "epilog_seconds", STOPPED, "left_host", "epilog", active(L.EPILOG_STOP_FAILURE)
    ),
    active(L.SHUTDOWN_UNDEPLOY): Step(
        "poweroff_seconds",
        active(L.EPILOG_UNDEPLOY),
        "shut_down",
        "shutdown",
        RUNNING,
        "stayed_running",
    ),
    active(L.EPILOG_UNDEPLOY): Step(
        "epilog_seconds", UNDEPLOYED, "left_host", "epilog", active(L.EPILOG_UNDEPLOY_FAILURE)
    ),
    active(L.BOOT_POWEROFF): _booting(POWEROFF),
    active(L.BOOT_SUSPENDED): _booting(SUSPENDED),
    active(L.BOOT_UNKNOWN): _booting(UNKNOWN),
    active(L.PROLOG_RESUME): Step(
        "prolog_seconds", active(L.BOOT_STOPPED), "prolog_done", "prolog",
        active(L.PROLOG_RESUME_FAILURE),
    ),
    active(L.BOOT_STOPPED): _booting(active(L.BOOT_STOPPED_FAILURE)),
    active(L.PROLOG_UNDEPLOY): Step(
        "prolog_seconds", active(L.BOOT_UNDEPLOY), "prolog_done", "prolog",
        active(L.PROLOG_UNDEPLOY_FAILURE),
    ),
    active(L.BOOT_UNDEPLOY): _booting(active(L.BOOT_UNDEPLOY_FAILURE), "boot_seconds"),
}  # fmt: skip

RETRIES: dict[Position, Position] = {
    step.failed_to: start
    for start, step in STEPS.items()
    if step.driver and step.failed_to in FAILURES
}
"""Where one.vm.recover with "retry" leads from a failure: back to the step that failed."""


class Action(NamedTuple):
    """An action of one.vm.action: its number in history records, and its transitions."""

    number: int
    leads: dict[Position, Position]


_ENDS: dict[Position, Position] = {
    PENDING: DONE, HOLD: DONE, RUNNING: SHUTDOWN, UNKNOWN: SHUTDOWN, DONE: DONE,
    POWEROFF: EPILOG, SUSPENDED: EPILOG, STOPPED: EPILOG, UNDEPLOYED: EPILOG,
} | dict.fromkeys(FAILURES, CLEANUP_DELETE)  # fmt: skip
_POWERS_OFF = dict.fromkeys((RUNNING, UNKNOWN), active(L.SHUTDOWN_POWEROFF))
_UNDEPLOYS = dict.fromkeys((RUNNING, UNKNOWN), active(L.SHUTDOWN_UNDEPLOY)) | {
    POWEROFF: active(L.EPILOG_UNDEPLOY)
}
_HARD_AGAIN = {
    name: {active(state): active(state)}
    for name, state in (
        ("terminate", L.SHUTDOWN),
        ("poweroff", L.SHUTDOWN_POWEROFF),
        ("undeploy", L.SHUTDOWN_UNDEPLOY),
    )
}
"""A hard action may replace a soft one in progress; the step then starts again."""

ACTIONS: dict[str, Action] = {
    "terminate": Action(27, _ENDS),
    "terminate-hard": Action(28, _ENDS | _HARD_AGAIN["terminate"]),
    "undeploy": Action(5, _UNDEPLOYS),
    "undeploy-hard": Action(6, _UNDEPLOYS | _HARD_AGAIN["undeploy"]),
    "hold": Action(7, {PENDING: HOLD}),
    "release": Action(8, {HOLD: PENDING}),
    "stop": Action(9, {RUNNING: active(L.SAVE_STOP), SUSPENDED: active(L.EPILOG_STOP)}),
    "suspend": Action(10, {RUNNING: active(L.SAVE_SUSPEND)}),
    "resume": Action(
        11,
        {
            POWEROFF: active(L.BOOT_POWEROFF),
            SUSPENDED: active(L.BOOT_SUSPENDED),
            UNKNOWN: active(L.BOOT_UNKNOWN),
            STOPPED: PENDING,
            UNDEPLOYED: PENDING,
        },
    ),
    "reboot": Action(15, {RUNNING: RUNNING}),
    "reboot-hard": Action(16, {RUNNING: RUNNING}),
    "poweroff": Action(19, _POWERS_OFF),
    "poweroff-hard": Action(20, _POWERS_OFF | _HARD_AGAIN["poweroff"]),
}
RESCHED_FLAGS = {"resched": 1, "unresched": 0}
"""These two actions only set a flag; they require the ADMIN right (scenario update)."""
DELETE_ACTION, TERMINATE_HARD, DISK_RESIZE_ACTION, RESIZE_ACTION = 13, 28, 29, 35
RESIZABLE = {PENDING, HOLD, POWEROFF, UNDEPLOYED, RUNNING, UNKNOWN}
DISK_RESIZES = {
    RUNNING: DISK_RESIZE,
    POWEROFF: active(L.DISK_RESIZE_POWEROFF),
    UNDEPLOYED: active(L.DISK_RESIZE_UNDEPLOYED),
}
RECOVER_FAILURE, RECOVER_SUCCESS, RECOVER_RETRY, RECOVER_DELETE = 0, 1, 2, 3
RESUMING = frozenset({active(L.BOOT_POWEROFF), active(L.BOOT_SUSPENDED)})
"""Boots on the host where the VM was before; each gets a new history record."""
PASSING_WHILE_UP = frozenset({HOTPLUG_RESIZE, DISK_RESIZE})
"""Transient positions of a running VM that do not affect its service."""


def position_of(vm: Vm) -> Position:
    """The position of a VM."""
    return VmState(vm.state), LcmState(vm.lcm_state)


def state_name(vm: Vm) -> str:
    """The state's name in oned's messages: the life-cycle state if the VM is ACTIVE."""
    state, lcm_state = position_of(vm)
    return lcm_state.name if state is VmState.ACTIVE else state.name


def refusal(action: str, vm: Vm) -> str:
    """Why a VM's state does not allow an action (scenarios slow-shutdown, suspend-resume)."""
    if action.startswith("terminate"):
        why = f"Could not terminate VM {vm.id}, wrong state {state_name(vm)}."
    else:
        why = f"This action is not available for state {state_name(vm)}"
    return f'Error performing action "{action}": {why}'
