"""Chooses a host for each VM by capacity, ``SCHED_REQUIREMENTS`` and ``SCHED_RANK``.

An attribute that a host lacks matches nothing (scenario pending-unsatisfiable-requirements:
``ENERGY=50``). Invalid requirements leave their VM PENDING with a message. On 7.x a rank with a
character unknown to the scanner stops scheduling for everyone while its VM is pending.
"""

from __future__ import annotations

from provision_engine.sandbox.expressions import (
    Attributes,
    ExpressionError,
    compile_rank,
    compile_requirements,
    unknown_characters,
)
from provision_engine.sandbox.lifecycle import Lifecycle, in_words
from provision_engine.sandbox.states import PENDING, position_of
from provision_engine.sandbox.store import Host, Store, Vm

_DEFAULT_RANK = "FREE_CPU"
DISPATCH = "Cannot dispatch VM: "
MAXIMUM_MESSAGE_CHARACTERS = 100


def host_attributes(host: Host) -> Attributes:
    """The attributes of a host that requirements and ranks may use."""
    return {
        "ID": str(host.id),
        "NAME": host.name,
        "HOSTNAME": host.name,
        "CLUSTER": "default",
        "CLUSTER_ID": "0",
        "HYPERVISOR": "dummy",
        "MAX_CPU": str(host.cpu_percent),
        "TOTAL_CPU": str(host.cpu_percent),
        "FREE_CPU": f"{host.cpu_percent - host.used_cpu_percent:g}",
        "USED_CPU": f"{host.used_cpu_percent:g}",
        "MAX_MEM": str(host.memory_kb),
        "TOTAL_MEMORY": str(host.memory_kb),
        "FREE_MEMORY": str(host.memory_kb - host.used_memory_kb),
        "FREE_MEM": str(host.memory_kb - host.used_memory_kb),
    } | host.attributes


def has_room(host: Host, cpu: float, memory_mb: int) -> bool:
    """Does a host have that many free cores and MB?"""
    return (
        host.used_cpu_percent + cpu * 100 <= host.cpu_percent
        and host.used_memory_kb + memory_mb * 1024 <= host.memory_kb
    )


class Scheduler:
    """Tries to place the pending VMs, each time something changed that may make that possible."""

    def __init__(self, store: Store, lifecycle: Lifecycle) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._waiting: set[int] = set()
        self._retry_at = 0.0

    def watch(self, vm: Vm) -> None:
        """Keeps track of which VMs wait for a host."""
        if position_of(vm) == PENDING:
            self._waiting.add(vm.id)
        else:
            self._waiting.discard(vm.id)

    def run(self) -> None:
        """One cycle: each pending VM, in the order of ids, gets its best host or a message."""
        if self._store.agenda.now() < self._retry_at:
            return
        pending = [vm for vm in map(self._store.vms.find, sorted(self._waiting)) if vm is not None]
        if self._is_stopped_by(pending):
            delay = self._store.timings.scheduler_failure_seconds
            self._retry_at = self._store.agenda.now() + delay
            self._store.agenda.put_at(self._retry_at, "schedule")
            return
        placed = 0
        for vm in pending:
            if position_of(vm) == PENDING and self._place(vm):
                vm.history[-1].plan_action_id = placed
                placed += 1

    def _is_stopped_by(self, pending: list[Vm]) -> bool:
        """Would oned reject the whole plan, because a rank's scanner echoes characters into it?"""
        if not self._store.release.echo_stops_scheduler:
            return False
        return any(unknown_characters(vm.user_template.text("SCHED_RANK") or "") for vm in pending)

    def _place(self, vm: Vm) -> bool:
        required = self._requirements(vm)
        try:
            test = compile_requirements(required)
        except ExpressionError as error:
            prefix = DISPATCH if self._store.release.messages_are_cut else ""
            why = f"Error in SCHED_REQUIREMENTS: '{required}', error: {error}"
            self._set_message(vm, prefix + why)
            return False
        matching = [(host, attributes) for host, attributes in self._hosts() if test(attributes)]
        fitting = [pair for pair in matching if has_room(pair[0], vm.cpu, vm.memory_mb)]
        if vm.template.vectors("PCI"):
            fitting = []  # no host has such devices
        if not fitting:
            self._set_message(vm, self._no_host(required, bool(matching)))
            return False
        vm.user_template.remove("SCHED_MESSAGE")
        self._lifecycle.deploy(vm, self._best(vm, fitting))
        return True

    def _requirements(self, vm: Vm) -> str:
        everything = vm.template.text("AUTOMATIC_REQUIREMENTS") or ""
        required = vm.user_template.text("SCHED_REQUIREMENTS") or ""
        return f"{everything} & ( {required} )" if required else everything

    def _hosts(self) -> list[tuple[Host, Attributes]]:
        return [(host, host_attributes(host)) for host in self._store.hosts]

    def _best(self, vm: Vm, fitting: list[tuple[Host, Attributes]]) -> Host:
        try:
            rank = compile_rank(vm.user_template.text("SCHED_RANK") or _DEFAULT_RANK)
        except ExpressionError:  # an invalid rank is ignored (scenario scheduling-expressions)
            rank = compile_rank("")
        return max(fitting, key=lambda pair: (rank(pair[1]), -pair[0].id))[0]

    def _no_host(self, required: str, is_matching: bool) -> str:
        if self._store.release.messages_are_cut:
            hosts = ",".join(str(host.id) for host in self._store.hosts)
            lacking = f"[HOST] Not enough CPU on hosts: {hosts}"
            return lacking if is_matching else f"{DISPATCH}No host meets SCHED_REQUIREMENTS"
        if is_matching:
            return f"{DISPATCH}No host with enough capacity to deploy the VM"
        return f"{DISPATCH}No host meets capacity and SCHED_REQUIREMENTS: {required}"

    def _set_message(self, vm: Vm, message: str) -> None:
        release = self._store.release
        if release.messages_are_cut and len(message) >= MAXIMUM_MESSAGE_CHARACTERS:
            message = f"{message[:MAXIMUM_MESSAGE_CHARACTERS]}... see more details in VM log"
        vm.user_template.set("SCHED_MESSAGE", f"{in_words(self._store.agenda.now())}: {message}")
        vm.changed()
