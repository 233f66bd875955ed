"""The machines of the recordings: the table from which the replay sets up each sandbox."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from provision_engine.sandbox import Sandbox, Timings
from provision_engine.sandbox.template import Template, parse

from . import derived
from .environments import Environment, Moment
from .stories import EPOCHS


def _six(**differences: Any) -> Environment:
    differences.setdefault("seeds_at", 1795479906)
    return Environment("6.8.0", timings=Timings.measured("6.8.0"), **differences)


def _seven(**differences: Any) -> Environment:
    differences.setdefault("seeds_at", 1795485729)
    return Environment("7.4.0", timings=Timings.measured("7.4.0"), **differences)


def _fails(driver: str) -> Callable[[Sandbox], object]:
    return lambda sandbox: sandbox.faults.drivers.set(driver, fails=True)


def _slow(driver: str, seconds: float) -> Callable[[Sandbox], object]:
    return lambda sandbox: sandbox.faults.drivers.set(driver, slow_seconds=seconds)


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


ENVIRONMENTS: dict[str, dict[str, Environment]] = {
    "6.8.0": {
        "authentication": _six(),
        "service-templates": _six(),
        "vm-templates": _six(),
        "documents": _six(next_document=76, prepare_objects=_add_three_documents),
        "create-faas": _six(
            next_document=80,
            next_vm=35,
            paces={0: {"vms_visible": 0.25, "schedule": 0.05, "service_notice": 0.1}},
        ),
        "create-faas-daas": _six(next_document=81, next_vm=36),
        "instantiate-errors": _six(next_document=82, next_vm=38),
        "failed-deploy-missing-vm-template": _six(
            next_document=84, paces={0: {"vms_visible": 0.3}}
        ),
        "failed-deploy-denied-vm-template": _six(next_document=85),
        "failed-deploy-bad-contents": _six(next_document=86, paces={0: {"vms_visible": 0.1}}),
        "vm-boot-failure": _six(
            next_document=87,
            next_vm=40,
            taken_addresses=(1,),
            paces={0: {"service_failure": 29.5}},
            moments=(Moment(0, _fails("boot")),),
        ),
        "slow-boot": _six(
            next_document=88,
            next_vm=41,
            taken_addresses=(1,),
            paces={0: {"service_notice": 0.05, "nets": 0.3}},
            moments=(Moment(0, _slow("boot", 4.5)),),
        ),
        "resize-failure": _six(
            next_document=89,
            next_vm=42,
            taken_addresses=(1,),
            paces={0: {"schedule": 0.9}},
            moments=(
                Moment(0, _fails("resize")),
                Moment(0, _fails("disk-resize")),
                Moment(82.6, _slow("resize", 20.0)),
            ),
        ),
        "quota-exceeded": _six(
            next_document=90, paces={0: {"vms_visible": 0.1}}, prepare_objects=_add_stuck_vm
        ),
        "unknown-method": _six(),
        "pending-unsatisfiable-requirements": _six(
            next_document=91, next_vm=43, taken_addresses=(1, 2)
        ),
        "report-ready": _six(
            next_document=92,
            next_vm=44,
            taken_addresses=(1, 2),
            paces={0: {"schedule": 0.1, "service_notice": 0.05}},
        ),
        "oned-view-of-flow": _six(
            next_document=133,
            next_vm=69,
            paces={0: {"shutdown": 0.05, "service_notice": 0.05, "nets": 0.1}},
        ),
        "same-name-and-lock": _six(next_document=134),
        "lock-levels-allow-update": _six(
            next_document=139,
            next_vm=71,
            taken_addresses=(1, 2),
            paces={
                0: {"boot": 0.8, "service_notice": 0.1, "nets": 0.0, "sched_action": 4.2},
                2: {"sched_action": 7.0, "service_notice": 0.15},
            },
        ),
        "template-syntax": _six(),
        "vm-user-template-update": _six(prepare_objects=_add_stuck_vm),
        "hostile-values-through-oneflow": _six(
            next_document=188,
            next_vm=99,
            paces={8: {"schedule": 0.01, "prolog": 0.12, "boot": 0.02}},
        ),
    },
    "7.4.0": {
        "authentication": _seven(),
        "service-templates": _seven(),
        "vm-templates": _seven(),
        "documents": _seven(next_document=13),
        "create-faas": _seven(
            next_document=17,
            next_vm=1,
            last_address=1,
            paces={0: {"schedule": 10.95, "service_notice": 0.27, "nets": 0.1}},
        ),
        "create-faas-daas": _seven(
            next_document=18, next_vm=2, last_address=2, paces={0: {"schedule": 13.2}}
        ),
        "instantiate-errors": _seven(
            next_document=19,
            next_vm=4,
            last_address=4,
            paces={0: {"schedule": 12.4}, 1: {"schedule": 12.4}},
        ),
        "failed-deploy-missing-vm-template": _seven(
            next_document=21, paces={0: {"vms_visible": 0.1}}
        ),
        "failed-deploy-denied-vm-template": _seven(
            next_document=22, paces={0: {"vms_visible": 0.1}}
        ),
        "failed-deploy-bad-contents": _seven(next_document=23),
        "vm-boot-failure": _seven(
            next_document=24,
            next_vm=6,
            last_address=6,
            paces={0: {"service_failure": 19.9}},
            moments=(Moment(0, _fails("boot")),),
        ),
        "slow-boot": _seven(
            next_document=25,
            next_vm=7,
            last_address=7,
            paces={0: {"schedule": 8.1, "service_notice": 0.05, "nets": 0.4}},
            moments=(Moment(0, _slow("boot", 4.5)),),
        ),
        "resize-failure": _seven(
            next_document=26,
            next_vm=8,
            last_address=8,
            paces={0: {"schedule": 11.6}},
            moments=(
                Moment(0, _fails("resize")),
                Moment(0, _fails("disk-resize")),
                Moment(138.1, _slow("resize", 20.0)),
            ),
        ),
        "quota-exceeded": _seven(
            next_document=27, paces={0: {"vms_visible": 0.1}}, prepare_objects=_add_stuck_vm
        ),
        "unknown-method": _seven(),
        "pending-unsatisfiable-requirements": _seven(next_document=28, next_vm=9, last_address=9),
        "report-ready": _seven(
            next_document=29, next_vm=10, last_address=10, paces={0: {"schedule": 9.5}}
        ),
        "oned-view-of-flow": _seven(
            next_document=38,
            next_vm=19,
            paces={0: {"schedule": 1.25, "shutdown": 0.05, "service_notice": 0.05, "nets": 0.1}},
        ),
        "same-name-and-lock": _seven(next_document=39),
        "lock-levels-allow-update": _seven(next_document=41),
        "lease-by-scheduled-action": _seven(
            next_document=42,
            next_vm=20,
            last_address=20,
            paces={0: {"schedule": 9.8, "sched_action": 3.2}},
        ),
        "lease-renewal": _seven(
            next_document=43,
            next_vm=21,
            last_address=21,
            paces={0: {"schedule": 20.0, "sched_action": 4.1, "service_notice": 0.2, "nets": 0.0}},
        ),
        "template-syntax": _seven(),
        "vm-user-template-update": _seven(prepare_objects=_add_stuck_vm),
        "hostile-values-through-oneflow": _seven(
            next_document=44,
            next_vm=22,
            last_address=22,
            paces={7: {"schedule": 0.01, "prolog": 0.12, "boot": 0.02}},
        ),
    },
}

_SLOW_BOOT = (Moment(0, _slow("boot", 8.0)),)


def _quick_poweroff(sandbox: Sandbox) -> None:
    sandbox.timings = replace(sandbox.timings, poweroff_seconds=0.02)


_QUICK_POWEROFF, _QUICK_POWEROFF_OF_7 = Moment(62, _quick_poweroff), Moment(104, _quick_poweroff)
_SLOW_RESIZE = (Moment(0, _slow("resize", 6.0)),)
STATES: dict[str, dict[str, dict[str, Any]]] = {
    "6.8.0": {
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
        "poweroff-and-back": {"moments": (_QUICK_POWEROFF,)},
    },
    "7.4.0": {
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
        "poweroff-and-back": {"moments": (_QUICK_POWEROFF_OF_7,)},
        "rank-that-stops-the-scheduler": {
            "timings": {
                "scheduler_failure_seconds": 63.0,
                "shutdown_seconds": 0.008,
                "epilog_seconds": 0.3,
            },
            "paces": {0: {"schedule": 10.0}, 1: {"schedule": 10.0}},
        },
    },
}
"""What cannot be derived from the recordings of states."""


_STATES_SEEDED_AT = {"6.8.0": 1795508042, "7.4.0": 1795508620}


def environment_of(
    release: str, names: tuple[str, ...], calls: list[dict[str, Any]]
) -> Environment:
    """The machine on which a story was recorded."""
    known = ENVIRONMENTS[release].get(names[0])
    if known is not None:
        return known
    if calls[0]["recording"] == "-endings":
        return _ending(release, names[0], calls)
    if calls[0]["recording"] != "-states":
        return _permissions(release, names[0], calls)
    given = dict(STATES[release].get(names[0], {}))
    timings = replace(Timings.measured(release), **given.pop("timings", {}))
    counters = derived.counters(calls) | {"seeds_at": _STATES_SEEDED_AT[release]}
    paces = {"paces": derived.paces_by_looks(release, calls)}
    return Environment(release, timings=timings, **(counters | paces | given))


_ENDINGS_SEEDED_AT = {"6.8.0": 1795517724, "7.4.0": 1795518385}


def _schedule_soon(sandbox: Sandbox) -> None:
    sandbox.timings = replace(sandbox.timings, schedule_seconds=5.0)


ENDINGS: dict[str, dict[str, dict[str, Any]]] = {
    "6.8.0": {
        "two-roles-while-booting": {"timings": {"sched_action_seconds": 8.5}},
    },
    "7.4.0": {
        "stop-and-resume": {"moments": (Moment(70.3, _schedule_soon),)},
        "undeploy-and-resume": {"moments": (Moment(105.3, _schedule_soon),)},
        "delete-while-disk-resizing": {"timings": {"sched_action_seconds": 13.0}},
        "two-roles-while-booting": {"timings": {"sched_action_seconds": 6.4}},
        "vm-is-replaced-by-its-service": {"timings": {"autoscale_seconds": 7.0}},
    },
}
"""What cannot be derived from the recordings of endings."""


def _ending(release: str, name: str, calls: list[dict[str, Any]]) -> Environment:
    """That of a story of `endings.py`: it was busy, so that oneflow took seconds for a call."""
    given = dict(ENDINGS[release].get(name, {}))
    usual = replace(
        Timings.measured(release),
        shutdown_seconds=0.05,
        poweroff_seconds=0.02,
        service_notice_seconds=0.1,
    )
    counters = derived.counters(calls) | {"seeds_at": _ENDINGS_SEEDED_AT[release]}
    epoch = EPOCHS[release][calls[0]["part"]]
    return Environment(
        release,
        timings=replace(usual, **given.pop("timings", {})),
        paces=derived.paces_by_stamps(epoch, calls),
        tolerance_seconds=8,
        **(counters | given),
    )


def _add_stranger(sandbox: Sandbox) -> None:
    """A user that no story uses, but whose id shows among the members of `users`."""
    sandbox.world.store.add_user("stranger", "strangerpass")


_PERMISSIONS_SEEDED_AT = {"6.8.0": 1796126350, "7.4.0": 1796127150}
_LONG_SEEDED = {"tolerance_seconds": 20}
PERMISSIONS: dict[str, dict[str, dict[str, Any]]] = {
    "6.8.0": {"broken-lists": _LONG_SEEDED, "service-of-another": _LONG_SEEDED},
    "7.4.0": {},
}
"""What cannot be derived from the recordings of permissions."""


def _permissions(release: str, name: str, calls: list[dict[str, Any]]) -> Environment:
    """That of a story of `permissions.py`: a busy machine, with four users."""
    given = dict(PERMISSIONS[release].get(name, {}))
    counters = derived.counters(calls) | derived.allocations(calls)
    epoch = EPOCHS[release][calls[0]["part"]]
    return Environment(
        release,
        timings=replace(Timings.measured(release), **given.pop("timings", {})),
        paces=derived.paces_by_stamps(epoch, calls),
        **(
            counters
            | {"prepare_objects": _add_stranger, "seeds_at": _PERMISSIONS_SEEDED_AT[release]}
            | {"tolerance_seconds": 8}
            | given
        ),
    )
