"""The machines of the recordings: what the replay sets up for each story.

What a recording shows is derived from it (`derived.py`); the tables hold the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from provision_engine.sandbox import Sandbox, Timings
from provision_engine.sandbox.template import Template, parse

from . import derived
from .environments import Environment, Moment
from .stories import EPOCHS

Differences = dict[str, Any]


def _fails(driver: str) -> Callable[[Sandbox], object]:
    return lambda sandbox: sandbox.faults.drivers.set(driver, fails=True)


def _slow(driver: str, seconds: float) -> Callable[[Sandbox], object]:
    return lambda sandbox: sandbox.faults.drivers.set(driver, slow_seconds=seconds)


def _timed(**seconds: float) -> Callable[[Sandbox], object]:
    def apply(sandbox: Sandbox) -> None:
        sandbox.timings = replace(sandbox.timings, **seconds)

    return apply


def _pace(**seconds: float) -> Differences:
    """The durations of the story's first service."""
    return {"paces": {0: seconds}}


def _add_three_documents(sandbox: Sandbox) -> None:
    """Three runtimes of devuser, from an earlier attempt."""
    store = sandbox.world.store
    store.documents.next_id = 62
    for name, body in (("sr-one", '{"x": 1}'), (None, '{"x": 1}'), (None, "{}")):
        content = Template([("BODY", body)])
        store.new_document(store.users_by_name["devuser"], 1337, name, content)


def _add_stuck_vm(sandbox: Sandbox) -> None:
    """The VM that the scenario resize-failure leaves in HOTPLUG_RESIZE."""
    world = sandbox.world
    with world.moment():
        owner = world.store.users_by_name["devuser"]
        size = parse('CPU=4\nMEMORY=400\nDISK=[IMAGE="img",SIZE="1025"]')
        world.machines.create(owner, world.store.vm_templates.get(0), size)


def _add_stranger(sandbox: Sandbox) -> None:
    """A user that no story uses, but whose id shows among the members of `users`."""
    sandbox.world.store.add_user("stranger", "strangerpass")


_FAILED_BOOT = {"moments": (Moment(0, _fails("boot")),)}
_FIRST_SLOW_BOOT = {"moments": (Moment(0, _slow("boot", 4.5)),)}
_STUCK_VM = {"prepare_objects": _add_stuck_vm}


def _failing_resizes(slow_at: float) -> Differences:
    fails = (Moment(0, _fails("resize")), Moment(0, _fails("disk-resize")))
    return {"moments": (*fails, Moment(slow_at, _slow("resize", 20.0)))}


_SLOW_BOOT = (Moment(0, _slow("boot", 8.0)),)
_SLOW_RESIZE = (Moment(0, _slow("resize", 6.0)),)
_DIFFERENCES: dict[str, dict[str, Differences]] = {
    "6.8.0": {
        "documents": {"prepare_objects": _add_three_documents},
        "create-faas": _pace(vms_visible=0.25, schedule=0.05, service_notice=0.1),
        "create-faas-daas": {"next_vm": 36, "taken_addresses": ()},
        "instantiate-errors": {"next_vm": 38},
        "failed-deploy-missing-vm-template": _pace(vms_visible=0.3),
        "failed-deploy-bad-contents": _pace(vms_visible=0.1),
        "vm-boot-failure": _FAILED_BOOT | _pace(service_failure=29.5),
        "slow-boot": _FIRST_SLOW_BOOT | _pace(service_notice=0.05, nets=0.3),
        "resize-failure": _failing_resizes(82.6) | _pace(schedule=0.9),
        "quota-exceeded": _STUCK_VM | _pace(vms_visible=0.1),
        "report-ready": _pace(schedule=0.1, service_notice=0.05),
        "oned-view-of-flow": _pace(shutdown=0.05, service_notice=0.05, nets=0.1),
        "lock-levels-allow-update": {
            "paces": {
                0: {"boot": 0.8, "service_notice": 0.1, "nets": 0.0, "sched_action": 4.2},
                2: {"sched_action": 7.0, "service_notice": 0.15},
            },
        },
        "vm-user-template-update": _STUCK_VM,
        "hostile-values-through-oneflow": {
            "paces": {8: {"schedule": 0.01, "prolog": 0.12, "boot": 0.02}}
        },
        "delete-while-booting": {
            "moments": _SLOW_BOOT,
            "timings": {"sched_action_seconds": 1.2},
        },
        "delete-while-resizing": {"moments": _SLOW_RESIZE},
        "slow-shutdown": {
            "moments": (Moment(36, _slow("shutdown", 5.1)),),
            "timings": {"boot_seconds": 0.3},
        },
        "scheduled-actions-in-pool": {
            "moments": (Moment(47.6, _slow("save", 4.0)),),
            "timings": {"resume_seconds": 0.02},
        },
        "poweroff-and-back": {"moments": (Moment(62, _timed(poweroff_seconds=0.02)),)},
        "two-roles-while-booting": {"timings": {"sched_action_seconds": 8.5}},
        "broken-lists": {"tolerance_seconds": 20},
        "service-of-another": {"tolerance_seconds": 20},
    },
    "7.4.0": {
        "create-faas": _pace(schedule=10.95, service_notice=0.27, nets=0.1),
        "create-faas-daas": _pace(schedule=13.2)
        | {"next_vm": 2, "taken_addresses": (), "last_address": 2},
        "instantiate-errors": {
            "next_vm": 4,
            "last_address": 4,
            "paces": {0: {"schedule": 12.4}, 1: {"schedule": 12.4}},
        },
        "failed-deploy-missing-vm-template": _pace(vms_visible=0.1),
        "failed-deploy-denied-vm-template": _pace(vms_visible=0.1),
        "vm-boot-failure": _FAILED_BOOT | _pace(service_failure=19.9),
        "slow-boot": _FIRST_SLOW_BOOT | _pace(schedule=8.1, service_notice=0.05, nets=0.4),
        "resize-failure": _failing_resizes(138.1) | _pace(schedule=11.6),
        "quota-exceeded": _STUCK_VM | _pace(vms_visible=0.1),
        "report-ready": _pace(schedule=9.5),
        "oned-view-of-flow": _pace(schedule=1.25, shutdown=0.05, service_notice=0.05, nets=0.1),
        "lease-by-scheduled-action": _pace(schedule=9.8, sched_action=3.2),
        "lease-renewal": {"last_address": 21}
        | _pace(schedule=20.0, sched_action=4.1, service_notice=0.2, nets=0.0),
        "vm-user-template-update": _STUCK_VM,
        "hostile-values-through-oneflow": {
            "paces": {7: {"schedule": 0.01, "prolog": 0.12, "boot": 0.02}}
        },
        "delete-while-booting": {
            "moments": _SLOW_BOOT,
            "timings": {"sched_action_seconds": 1.2},
        },
        "delete-while-resizing": {"moments": _SLOW_RESIZE},
        "slow-shutdown": {
            "moments": (Moment(42, _slow("shutdown", 5.1)),),
            "timings": {"boot_seconds": 0.3},
        },
        "scheduled-actions-in-pool": {
            "moments": (Moment(78.9, _slow("save", 4.0)),),
            "timings": {"resume_seconds": 0.02},
        },
        "poweroff-and-back": {"moments": (Moment(104, _timed(poweroff_seconds=0.02)),)},
        "rank-that-stops-the-scheduler": {
            "timings": {
                "scheduler_failure_seconds": 63.0,
                "shutdown_seconds": 0.008,
                "epilog_seconds": 0.3,
            },
            "paces": {0: {"schedule": 10.0}, 1: {"schedule": 10.0}},
        },
        "stop-and-resume": {"moments": (Moment(70.3, _timed(schedule_seconds=5.0)),)},
        "undeploy-and-resume": {"moments": (Moment(105.3, _timed(schedule_seconds=5.0)),)},
        "delete-while-disk-resizing": {"timings": {"sched_action_seconds": 13.0}},
        "two-roles-while-booting": {"timings": {"sched_action_seconds": 6.4}},
        "vm-is-replaced-by-its-service": {"timings": {"autoscale_seconds": 7.0}},
    },
}
"""What cannot be derived from the recordings, by story."""

_BUSY = {"shutdown_seconds": 0.05, "poweroff_seconds": 0.02, "service_notice_seconds": 0.1}
"""The recordings of endings were made on a busy machine: oneflow took seconds for a call."""
_LATER_SEEDS = {"6.8.0": 1796126350, "7.4.0": 1796127150}
_SEEDED_AT = {
    "": {"6.8.0": 1795479906, "7.4.0": 1795485729},
    "-states": {"6.8.0": 1795508042, "7.4.0": 1795508620},
    "-endings": {"6.8.0": 1795517724, "7.4.0": 1795518385},
    "-permissions": _LATER_SEEDS,
    "-multicall": _LATER_SEEDS,
}
"""When the flow templates were created, by recording and release."""


def environment_of(
    release: str, names: tuple[str, ...], calls: list[dict[str, Any]]
) -> Environment:
    """The machine on which a story was recorded."""
    recording = calls[0]["recording"]
    found: Differences = {"seeds_at": _SEEDED_AT[recording][release]}
    timings = Timings.measured(release)
    if recording == "":
        found |= derived.ids(calls)
    elif recording == "-states":
        found |= derived.counters(calls) | {"paces": derived.paces_by_looks(release, calls)}
    else:
        epoch = EPOCHS[release][calls[0]["part"]]
        found |= derived.counters(calls) | {"paces": derived.paces_by_stamps(epoch, calls)}
        found |= {"tolerance_seconds": 8}
        if recording == "-endings":
            timings = replace(timings, **_BUSY)
        else:
            found |= derived.allocations(calls) | {"prepare_objects": _add_stranger}
    given = dict(_DIFFERENCES[release].get(names[0], {}))
    timings = replace(timings, **given.pop("timings", {}))
    return Environment(release, timings=timings, **(found | given))
