"""Scenarios for `record.py`: how VMs and services end, and what happens to those that fail."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .record import Recorder

ACTIVE, STOPPED, SUSPENDED, DONE, POWEROFF, UNDEPLOYED = 3, 4, 5, 6, 8, 9
PROLOG, BOOT, RUNNING, EPILOG, SHUTDOWN, SHUTDOWN_POWEROFF = 1, 2, 3, 11, 12, 18
BOOT_FAILURE, PROLOG_FAILURE, DISK_RESIZE = 36, 39, 62
SERVICE_RUNNING, SERVICE_WARNING = 2, 4


def _order(at: float) -> str:
    return f'SCHED_ACTION=[ACTION="terminate-hard",TIME="{int(at)}"]'


def _running(r: Recorder, name: str) -> tuple[int, int]:
    service = r.instantiate(name)
    (vm,) = r.vms(service)
    r.wait(vm, ACTIVE, RUNNING)
    r.wait_service(service, SERVICE_RUNNING)
    return service, vm


def _end(r: Recorder, service: int, vm: int) -> None:
    """Deletes a service whose VM can be terminated, and records that both are gone."""
    r.flow("DELETE", f"/service/{service}")
    r.wait(vm, DONE)
    r.wait_gone(service)


def delete_in_prolog(r: Recorder) -> None:
    with r.driver("success 8", "prolog"):
        service = r.instantiate("prolog-1")
        (vm,) = r.vms(service)
        r.wait(vm, ACTIVE, PROLOG)
        r.pause(0.5)
        r.one("vm.action", "terminate-hard", vm)
        r.one("vm.action", "terminate", vm)
        r.flow("DELETE", f"/service/{service}")
        r.recover(service, delete=True)
        r.one("document.info", service, False)
        r.recover(service, delete=True)
        r.wait_gone(service)
        r.one("vm.info", vm, False)
        r.wait(vm, ACTIVE, RUNNING)
    r.one("vm.action", "terminate-hard", vm)
    r.wait(vm, DONE)


def delete_suspended(r: Recorder) -> None:
    service, vm = _running(r, "suspended-1")
    r.one("vm.action", "suspend", vm)
    r.wait(vm, SUSPENDED)
    r.pause(2)
    r.one("document.info", service, False)
    r.recover(service)
    r.one("vm.action", "poweroff", vm)
    r.one("vm.diskresize", vm, 0, "2048")
    _end(r, service, vm)


def stop_and_resume(r: Recorder) -> None:
    service, vm = _running(r, "stopped-1")
    r.one("vm.action", "stop", vm)
    r.wait(vm, STOPPED)
    r.pause(2)
    r.one("document.info", service, False)
    r.one("vm.action", "stop", vm)
    r.one("vm.action", "resume", vm)
    r.wait(vm, ACTIVE, RUNNING)
    r.one("vm.action", "stop", vm)
    r.wait(vm, STOPPED)
    _end(r, service, vm)


def undeploy_and_resume(r: Recorder) -> None:
    service, vm = _running(r, "undeployed-1")
    r.one("vm.action", "undeploy", vm)
    r.wait(vm, UNDEPLOYED)
    r.pause(2)
    r.one("document.info", service, False)
    r.one("vm.action", "resume", vm)
    r.wait(vm, ACTIVE, RUNNING)
    r.one("vm.action", "undeploy-hard", vm)
    r.wait(vm, UNDEPLOYED)
    _end(r, service, vm)


def delete_while_disk_resizing(r: Recorder) -> None:
    with r.driver("success 8", "resize_disk"):
        service, vm = _running(r, "disk-1")
        r.one("vm.diskresize", vm, 0, "2048")
        r.wait(vm, ACTIVE, DISK_RESIZE)
        r.one("vm.action", "terminate-hard", vm)
        r.one("vm.resize", vm, "CPU=2", True)
        r.one("vm.schedadd", vm, _order(time.time()))
        r.flow("DELETE", f"/service/{service}")
        r.recover(service, delete=True)
        r.wait_gone(service)
    r.wait(vm, DONE)


def boot_failure(r: Recorder) -> None:
    with r.driver("failure", "deploy"):
        service = r.instantiate("boot-failure-1")
        (vm,) = r.vms(service)
        r.wait(vm, ACTIVE, BOOT_FAILURE)
    r.pause(0.5)
    r.one("vm.action", "resume", vm)
    r.one("vm.recover", vm, 2)
    r.recover(service)
    r.pause(2)
    r.one("document.info", service, False)
    r.recover(service)
    r.one("vm.info", vm, False)
    _end(r, service, vm)


def delete_boot_failure(r: Recorder) -> None:
    with r.driver("failure", "deploy"):
        service = r.instantiate("boot-failure-2")
        (vm,) = r.vms(service)
        r.wait(vm, ACTIVE, BOOT_FAILURE)
    r.flow("DELETE", f"/service/{service}")
    r.recover(service, delete=True)
    r.wait(vm, DONE)
    r.wait_gone(service)


def order_to_end_a_failed_vm(r: Recorder) -> None:
    with r.driver("failure", "deploy"):
        service = r.instantiate("boot-failure-3")
        (vm,) = r.vms(service)
        r.wait(vm, ACTIVE, BOOT_FAILURE)
    r.one("vm.action", "terminate-hard", vm)
    r.wait(vm, DONE)
    r.pause(2)
    r.one("document.info", service, False)
    r.recover(service, delete=True)
    r.wait_gone(service)


def prolog_failure(r: Recorder) -> None:
    with r.driver("failure", "prolog"):
        service = r.instantiate("prolog-failure-1")
        (vm,) = r.vms(service)
        r.wait(vm, ACTIVE, PROLOG_FAILURE)
    r.one("vm.action", "resume", vm)
    r.flow("DELETE", f"/service/{service}")
    r.recover(service, delete=True)
    r.wait(vm, DONE)
    r.wait_gone(service)


def shutdown_failure(r: Recorder) -> None:
    service, vm = _running(r, "shutdown-failure-1")
    with r.driver("failure", "shutdown", "cancel"):
        r.flow("DELETE", f"/service/{service}")
        r.pause(1)
        r.one("vm.info", vm, False)
        r.one("document.info", service, False)
    r.flow("DELETE", f"/service/{service}")
    r.wait_gone(service)
    r.one("vm.info", vm, False)
    r.one("vm.action", "terminate", vm)
    r.wait(vm, DONE)


def slow_epilog(r: Recorder) -> None:
    service, vm = _running(r, "epilog-1")
    with r.driver("success 8", "epilog"):
        r.flow("DELETE", f"/service/{service}")
        r.wait(vm, ACTIVE, EPILOG)
        r.one("vm.action", "terminate-hard", vm)
        r.one("document.info", service, False)
        r.one("vm.schedadd", vm, _order(time.time()))
        r.pause(1)
    r.wait(vm, DONE)
    r.wait_gone(service)


def slow_poweroff(r: Recorder) -> None:
    service, vm = _running(r, "slow-poweroff-1")
    with r.driver("success 6", "shutdown"):
        r.one("vm.action", "poweroff", vm)
        r.wait(vm, ACTIVE, SHUTDOWN_POWEROFF)
        r.one("vm.action", "terminate-hard", vm)
        r.one("vm.action", "resume", vm)
        r.flow("DELETE", f"/service/{service}")
        r.one("document.info", service, False)
        r.recover(service, delete=True)
        r.wait_gone(service)
        r.wait(vm, POWEROFF)
    r.one("vm.action", "terminate-hard", vm)
    r.wait(vm, DONE)


def vm_ends_under_its_service(r: Recorder) -> None:
    service, vm = _running(r, "ended-1")
    r.one("vm.action", "terminate-hard", vm)
    r.wait(vm, DONE)
    r.pause(2)
    r.one("document.info", service, False)
    r.one("vm.action", "terminate-hard", vm)
    r.one("vm.action", "resume", vm)
    r.one("vm.update", vm, 'A="1"', 1)
    r.one("vm.resize", vm, "CPU=2", True)
    r.one("vmpool.infoset", str(vm), True)
    r.recover(service)
    r.flow("DELETE", f"/service/{service}")
    r.wait_gone(service)


def vm_is_replaced_by_its_service(r: Recorder) -> None:
    """oneflow's autoscaler creates a new VM if there are fewer than a role's `min_vms`."""
    service, vm = _running(r, "replaced-1")
    r.one("vm.action", "terminate-hard", vm)
    r.wait(vm, DONE)
    r.pause(1)
    (new,) = r.vms(service)
    r.one("document.info", service, False)
    r.flow("DELETE", f"/service/{service}")
    r.wait(new, ACTIVE, RUNNING)
    r.pause(12)
    r.one("document.info", service, False)
    _end(r, service, new)


def recover_while_booting(r: Recorder) -> None:
    with r.driver("success 6", "deploy"):
        service = r.instantiate("booting-1")
        (vm,) = r.vms(service)
        r.wait(vm, ACTIVE, BOOT)
        r.recover(service)
        r.one("document.info", service, False)
        r.one("vm.info", vm, False)
        r.wait(vm, ACTIVE, RUNNING)
        r.wait_service(service, SERVICE_RUNNING)
    r.recover(service)
    _end(r, service, vm)


def resume_that_fails(r: Recorder) -> None:
    service, vm = _running(r, "resume-failure-1")
    r.one("vm.action", "poweroff-hard", vm)
    r.wait(vm, POWEROFF)
    with r.driver("failure", "deploy"):
        r.one("vm.action", "resume", vm)
        r.pause(1)
        r.one("vm.info", vm, False)
    r.wait_service(service, SERVICE_WARNING)
    _end(r, service, vm)


def two_roles_while_booting(r: Recorder) -> None:
    with r.driver("success 8", "deploy"):
        service = r.instantiate("two-roles-1", template=1)
        vms = r.vms(service, count=2)
        for vm in vms:
            r.wait(vm, ACTIVE, BOOT)
        for _ in range(3):
            r.recover(service, delete=True)
            r.one("document.info", service, False)
        for vm in vms:
            r.one("vm.schedadd", vm, _order(time.time()))
    for vm in vms:
        r.wait(vm, DONE)


def service_names(r: Recorder) -> None:
    for name in ("a<b", "a&b", "x" * 129, "a/b;c"):
        action = {"perform": "instantiate", "params": {"merge_template": {"name": name}}}
        status, answer = r.flow("POST", "/service_template/0/action", {"action": action})
        if status == 201:
            service = int(answer["DOCUMENT"]["ID"])
            (vm,) = r.vms(service)
            r.wait(vm, ACTIVE, RUNNING)
            r.wait_service(service, SERVICE_RUNNING)
            _end(r, service, vm)


def outer_blanks(r: Recorder) -> None:
    """Texts with blanks at their ends, given to oneflow and then to oned."""
    texts = {"BOTH": "  blanks  ", "FIRST": " y", "LAST": "x ", "ONLY": " ", "INNER": "a  b"}
    members = ",".join(f'{name}="{text}"' for name, text in texts.items())
    text = f'DEVICE_INFO=[{members}]\nSINGLE="  single  "\n'
    contents = {"DEVICE_INFO": texts, "SINGLE": "  single  "} if r.is_seven else text
    member = "template_contents" if r.is_seven else "vm_template_contents"
    service = r.instantiate("outer-blanks-1", name="FAAS", **{member: contents})
    (vm,) = r.vms(service)
    r.wait(vm, ACTIVE, RUNNING)
    r.wait_service(service, SERVICE_RUNNING)
    r.one("vm.update", vm, text, 1)
    r.one("vm.info", vm, False)
    _end(r, service, vm)


SCENARIOS: dict[str, Callable[[Recorder], None]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        delete_in_prolog,
        delete_suspended,
        stop_and_resume,
        undeploy_and_resume,
        delete_while_disk_resizing,
        boot_failure,
        delete_boot_failure,
        order_to_end_a_failed_vm,
        prolog_failure,
        shutdown_failure,
        slow_epilog,
        slow_poweroff,
        vm_ends_under_its_service,
        vm_is_replaced_by_its_service,
        recover_while_booting,
        resume_that_fails,
        two_roles_while_booting,
        service_names,
        outer_blanks,
    )
}
